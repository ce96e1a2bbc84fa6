//! Two KMEs with a link between them, in this process and on loopback, with key that follows from a seed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::SecretBytes;
use vernam_kme::{Kme, KmeConfig, KmeHandle, LinkReport, LinkState, PeerConfig, TlsIdentity};
use vernam_ledger::{Kek, Ledger, LedgerLimits, Options, Place};

/// The bits of the blocks are the same in every run.
const SEED: u64 = 0x0014;
/// Bytes of a block that the link gives.
pub const BLOCK: usize = 1 << 17;

/// Two KMEs, `kme-a` and `kme-b`, with ledgers in memory.
pub struct Kmes {
    /// Where `kme-a` listens.
    pub a: SocketAddr,
    /// Where `kme-b` listens.
    pub b: SocketAddr,
    servers: Vec<KmeHandle>,
}

impl Kmes {
    /// Serves these people, the first at `kme-a` and the second at `kme-b`, with certificates of `ca` and `blocks` blocks
    /// of key between them.
    pub async fn start(ca: &LabCa, people: [&[&str]; 2], blocks: u64) -> anyhow::Result<Self> {
        let listeners = [listener().await?, listener().await?];
        let [a, b] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let mut kmes = Vec::new();
        for (id, saes, peer, there, behind) in
            [("kme-a", people[0], "kme-b", b, people[1]), ("kme-b", people[1], "kme-a", a, people[0])]
        {
            let link: KmeId = peer.parse()?;
            let behind: Result<Vec<SaeId>, _> = behind.iter().map(|name| name.parse()).collect();
            let saes: Result<Vec<SaeId>, _> = saes.iter().map(|name| name.parse()).collect();
            let peer = PeerConfig::new(link.clone(), there.to_string(), behind?);
            let kme = Kme::new(KmeConfig::new(id.parse()?, saes?, [peer]), ledger(id)?)?;
            kme.set_link_report(&link, LinkReport { state: LinkState::Up, ..LinkReport::unknown() });
            kmes.push((id, link, kme));
        }
        let mut bits = ChaCha20Rng::seed_from_u64(SEED);
        for number in 0..blocks {
            let mut block = vec![0; BLOCK];
            bits.fill_bytes(&mut block);
            for (_, link, kme) in &kmes {
                kme.deposit(link, number, SecretBytes::copy_of(&block)).await?;
            }
        }
        let mut servers = Vec::new();
        for ((id, _, kme), listener) in kmes.iter().zip(listeners) {
            let Identity { chain, key } = ca.issue(id)?;
            let tls = TlsIdentity { roots: vec![ca.root()], chain, key, crls: Vec::new() };
            servers.push(kme.serve(listener, tls, std::future::pending())?);
        }
        Ok(Self { a, b, servers })
    }

    /// Ends both, once they have answered what they were asked.
    pub async fn end(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}

/// Writes `NAME.pem` and `NAME.key` into a folder; returns the certificate.
pub fn write_identity(folder: &Path, ca: &LabCa, name: &str) -> anyhow::Result<CertificateDer<'static>> {
    let mut identity = ca.issue(name)?;
    std::fs::write(folder.join(format!("{name}.pem")), identity.chain_pem())?;
    write_private(&folder.join(format!("{name}.key")), identity.key_pem().as_bytes())?;
    anyhow::ensure!(!identity.chain.is_empty(), "a chain has a certificate");
    Ok(identity.chain.remove(0))
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

/// A socket on a free port of loopback.
async fn listener() -> anyhow::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await.context("no free port on loopback")
}

/// A ledger of its own, in memory.
fn ledger(id: &str) -> anyhow::Result<Ledger> {
    let options = Options {
        place: Place::Memory,
        kme: id.parse()?,
        kek: Kek::from_secret(SecretBytes::copy_of(&[14; 32])).context("a key of 32 bytes")?,
        limits: LedgerLimits::default(),
        scrub_within: Duration::from_secs(10),
        anchor: None,
    };
    Ok(Ledger::open(options)?)
}
