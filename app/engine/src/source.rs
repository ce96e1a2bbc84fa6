//! Where keys come from: one trait for a KME over ETSI GS QKD 014, for pads carried by hand, and for tests.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use vernam_etsi014::{ClientError, KmeClient, SaeId};
use vernam_key::KeyId;
use vernam_store::StockKey;

use crate::limits::KEY_RESERVE;

/// A reply that is still to come.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// A source of keys shared with a contact.
///
/// [`take`](Self::take) is for what we send, [`collect`](Self::collect) for what the contact sends: the two never give
/// the same key.
pub trait KeySource: Send + Sync {
    /// How much there is for `contact`, and in which portions.
    fn room<'a>(&'a self, contact: &'a str) -> Reply<'a, Room>;
    /// `number` fresh keys of `bytes` bytes, which `contact` can collect.
    fn take<'a>(&'a self, contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>>;
    /// The keys that `contact` took under these names, in this order.
    fn collect<'a>(&'a self, contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>>;
}

/// What a source has for one contact.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// Bytes that could be taken now, as far as the source tells.
    pub available: u64,
    /// Longest key, bytes.
    pub max_key: u32,
    /// Shortest key, bytes.
    pub min_key: u32,
    /// Most keys in one request.
    pub max_keys: u32,
    /// How the quantum link behind it does, if the source tells (our own KME does, in a status extension).
    pub link: Option<LinkHealth>,
}

impl Room {
    /// How many of these bytes a stock may take: the last [`KEY_RESERVE`] are for handshakes.
    pub fn for_stock(&self) -> u64 {
        self.available.saturating_sub(KEY_RESERVE)
    }
}

/// How a quantum link does, as its KME tells.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkHealth {
    /// Share of wrong bits, 0 to 1.
    pub qber: f64,
    /// Share above which blocks are discarded, 0 to 1.
    pub threshold: f64,
    /// Secret key rate, bit/s.
    pub rate_bps: f64,
    /// The KME's word for it, such as `up` or `alarm`.
    pub state: String,
    /// Why it is so, in plain words.
    pub reason: Option<String>,
}

/// Why a source gives no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// In plain words.
    pub reason: String,
    /// When to ask again.
    pub retry_after: Option<Duration>,
    /// Whether the source answered, and said no.
    pub refused: bool,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SourceError {}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { message, retry_after, .. } => Self { reason: message, retry_after, refused: true },
            other => Self { reason: other.to_string(), retry_after: None, refused: false },
        }
    }
}

fn sae(contact: &str) -> Result<SaeId, SourceError> {
    SaeId::new(contact).map_err(|error| SourceError { reason: error.to_string(), retry_after: None, refused: false })
}

impl KeySource for KmeClient {
    fn room<'a>(&'a self, contact: &'a str) -> Reply<'a, Room> {
        Box::pin(async move {
            let status = self.status(&sae(contact)?).await?;
            let link = status.status_extension.as_ref().and_then(|extension| {
                let link = extension.get("vernam_link")?;
                let number = |name: &str| link.get(name).and_then(serde_json::Value::as_f64);
                let text = |name: &str| link.get(name).and_then(|value| value.as_str()).map(str::to_owned);
                Some(LinkHealth {
                    qber: number("qber")?,
                    threshold: number("threshold")?,
                    rate_bps: number("rate_bps")?,
                    state: text("state")?,
                    reason: text("reason"),
                })
            });
            Ok(Room {
                available: status.stored_key_count.saturating_mul(u64::from(status.key_size)) / 8,
                max_key: status.max_key_size / 8,
                min_key: status.min_key_size.div_ceil(8),
                max_keys: status.max_key_per_request,
                link,
            })
        })
    }

    fn take<'a>(&'a self, contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
        Box::pin(async move {
            let keys = self.enc_keys(&sae(contact)?, number, bytes.saturating_mul(8)).await?;
            Ok(keys.into_iter().map(|key| StockKey { id: key.key_id, bytes: key.key }).collect())
        })
    }

    fn collect<'a>(&'a self, contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        Box::pin(async move {
            let keys = self.dec_keys(&sae(contact)?, ids).await?;
            Ok(keys.into_iter().map(|key| StockKey { id: key.key_id, bytes: key.key }).collect())
        })
    }
}
