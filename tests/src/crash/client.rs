//! A client that can be killed: it draws keys, collects the other one's, and writes down each before it does anything
//! else. It is a process of its own; what it was told comes in its environment.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use vernam_etsi014::{ClientError, DeliveredKey, KmeClient, SaeId};
use vernam_key::KeyId;

/// The environment variable with the orders, as JSON.
pub const ORDERS: &str = "VERNAM_CRASH_CLIENT";

/// The most keys that are asked for at once.
pub(super) const MOST: u32 = 8;
const SIZES: [u32; 5] = [64, 256, 512, 2048, 8192];

/// What a client is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Its own SAE ID.
    pub name: String,
    /// The other one's.
    pub other: String,
    /// `https://host:port` of its KME.
    pub kme: String,
    /// The folder with `root.pem`, `NAME.pem` and `NAME.key`.
    pub certificates: PathBuf,
    /// Where it writes down every key.
    pub log: PathBuf,
    /// Where the other one does.
    pub other_log: PathBuf,
    /// While this file is there it draws no new keys.
    pub rest: PathBuf,
    /// Of its choices.
    pub seed: u64,
}

/// One line of a client's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Drawn as the master.
    Drawn(KeyId, Vec<u8>),
    /// Collected as the slave.
    Collected(KeyId, Vec<u8>),
    /// The KME says that it has no such key, and it was drawn.
    Gone(KeyId),
}

impl Line {
    fn text(kind: char, key: &DeliveredKey) -> String {
        format!(
            "{kind} {} {} .\n",
            key.key_id,
            crate::hex::encode(key.key.expose("a test compares what both sides got"))
        )
    }

    fn parse(text: &str) -> Option<Self> {
        // The stop at the end tells a whole line from one that a kill cut off.
        let mut words = text.strip_suffix(" .")?.split(' ');
        let (kind, id) = (words.next()?, words.next()?.parse().ok()?);
        let bytes = words.next().and_then(crate::hex::decode);
        match kind {
            "M" => Some(Self::Drawn(id, bytes?)),
            "S" => Some(Self::Collected(id, bytes?)),
            "G" => Some(Self::Gone(id)),
            _ => None,
        }
    }
}

/// The whole lines of a log, from `offset` on; moves it. A line that a kill cut off is passed over once it is followed by
/// another.
pub fn read_log(path: &Path, offset: &mut usize) -> Vec<Line> {
    let Ok(text) = fs::read(path) else { return Vec::new() };
    let new = text.get(*offset..).unwrap_or_default();
    let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    *offset += whole;
    let lines = String::from_utf8_lossy(&new[..whole]);
    lines.lines().filter_map(Line::parse).collect()
}

/// What `ORDERS` says, if it is there.
pub fn orders() -> anyhow::Result<Option<Orders>> {
    let Ok(text) = std::env::var(ORDERS) else { return Ok(None) };
    serde_json::from_str(&text).map(Some).context("the orders are not as they should be")
}

/// Follows the orders until it is killed.
pub async fn follow(orders: Orders) -> anyhow::Result<()> {
    let pem = |name: String| fs::read(orders.certificates.join(name));
    let (root, chain, key) =
        (pem("root.pem".to_owned())?, pem(format!("{}.pem", orders.name))?, pem(format!("{}.key", orders.name))?);
    let kme = KmeClient::from_pem(&orders.kme, &root, &chain, &key)?;
    let other = SaeId::new(&orders.other)?;
    let mut rng = ChaCha8Rng::seed_from_u64(orders.seed);
    // A torn last line of a former life is ended, so that it is not joined with the first of this one.
    let mut log = OpenOptions::new().create(true).append(true).open(&orders.log)?;
    log.write_all(b"\n")?;

    let mut settled = HashSet::new();
    for line in read_log(&orders.log, &mut 0) {
        if let Line::Collected(id, _) | Line::Gone(id) = line {
            settled.insert(id);
        }
    }
    let (mut offset, mut wanted) = (0, Vec::new());
    loop {
        if !orders.rest.exists() {
            draw(&kme, &other, &mut log, &mut rng).await?;
        }
        for line in read_log(&orders.other_log, &mut offset) {
            if let Line::Drawn(id, _) = line
                && !settled.contains(&id)
            {
                wanted.push(id);
            }
        }
        collect(&kme, &other, &mut log, &mut wanted, &mut rng).await?;
        if wanted.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn draw(kme: &KmeClient, other: &SaeId, log: &mut File, rng: &mut ChaCha8Rng) -> anyhow::Result<()> {
    let (number, size) = (rng.random_range(1..=MOST), SIZES[rng.random_range(0..SIZES.len())]);
    match kme.enc_keys(other, number, size).await {
        Ok(keys) => log.write_all(keys.iter().map(|key| Line::text('M', key)).collect::<String>().as_bytes())?,
        Err(ClientError::Refused { status: 503, .. } | ClientError::Unreachable { .. }) => {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(error) => anyhow::bail!("Get key was answered with: {error}"),
    }
    Ok(())
}

/// Collects some of what is wanted; what is refused together is asked for one by one.
async fn collect(
    kme: &KmeClient,
    other: &SaeId,
    log: &mut File,
    wanted: &mut Vec<KeyId>,
    rng: &mut ChaCha8Rng,
) -> anyhow::Result<()> {
    let several = rng.random_range(1..=MOST as usize).min(wanted.len());
    let together = wanted.drain(..several).collect::<Vec<_>>();
    if together.is_empty() {
        return Ok(());
    }
    for ids in [vec![together.clone()], together.iter().map(|id| vec![*id]).collect()] {
        let alone = ids.len() > 1 || together.len() == 1;
        for ids in ids {
            match kme.dec_keys(other, &ids).await {
                Ok(keys) => {
                    log.write_all(keys.iter().map(|key| Line::text('S', key)).collect::<String>().as_bytes())?;
                    if !alone {
                        return Ok(());
                    }
                }
                Err(ClientError::Refused { status: 400, .. }) if alone => {
                    log.write_all(format!("G {} .\n", ids[0]).as_bytes())?;
                }
                Err(ClientError::Refused { status: 400, .. }) => {}
                Err(ClientError::Refused { status: 503, .. } | ClientError::Unreachable { .. }) => {
                    // The answer may be lost, and the keys with it: they are asked for again, one by one or later.
                    wanted.extend(ids);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if !alone {
                        return Ok(());
                    }
                }
                Err(error) => anyhow::bail!("Get key with key IDs was answered with: {error}"),
            }
        }
        if alone {
            break;
        }
    }
    Ok(())
}
