//! Another vendor's KME at each end as a source: keys of ETSI GS QKD 014 become blocks of this KME's link.
//!
//! To the vendor's KMEs the two ends are SAEs. The master's end draws keys (`enc_keys`), names them to the slave's end
//! over [`crate::SourceTalk`], and deposits them, end to end, as one block once the slave's end has collected
//! (`dec_keys`) and durably deposited the same. It trusts the vendor's KMEs to give both ends the same bits under one
//! `key_ID`, and cannot tell if they do not.
//!
//! # Never different bits under one number, never a key twice
//! - The slave deposits block `n` before it says so, and the master deposits `n` only on that word. Each ledger takes a
//!   number once.
//! - Numbers only ascend. The master goes on behind what either ledger has had; a number for which anything was unclear
//!   is never used again by either: the slave voids it if it has it.
//! - A key is in one question only. What was drawn, or collected, for a number that was given up is wiped.
//! - Both may die at any point: keys under way are lost, and the master's next `ready` tells the slave which blocks it
//!   does not have.
//!
//! # Not more than is wanted
//! Keys are drawn when the pools hold less than [`UpstreamConfig::low_bits`], until they hold
//! [`UpstreamConfig::high_bits`], at either end; one block at a time, and only when the slave has said that it is ready.
//! After a failure it waits twice as long as after the one before, a minute at most: a fault does not drain the vendor's
//! KMEs.

mod master;
mod slave;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use vernam_etsi014::{KmeClient, SaeId};

use self::master::Master;
use self::slave::Slave;
use self::words::MAX_KEYS;
use super::{MAX_BLOCK_BYTES, SourceError};
use crate::{KeySource, SourceFuture, SourceTalk};

/// The longest time between two tries at the same thing.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Brings a question before the far end's source, and its answer back: `Kme::ask_source` for the link.
pub type Ask = Arc<dyn Fn(Value) -> SourceFuture<'static, Result<Value, String>> + Send + Sync>;

/// Tells how many bits are free in the link's pools, both halves together.
pub type Pooled = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Which end draws the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamRole {
    /// Draws keys (`enc_keys`) and names them to the far end.
    Master,
    /// Collects them (`dec_keys`).
    Slave,
}

/// How an upstream source works. Both ends have one; only the roles differ, and the names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// Which end this is.
    pub role: UpstreamRole,
    /// The SAE ID under which the vendor's KMEs know the far end's KME.
    pub other: SaeId,
    /// Keys are drawn when the pools hold less than so many bits,
    pub low_bits: u64,
    /// until they hold so many.
    pub high_bits: u64,
    /// How many keys make a block; fewer where the vendor's KME grants fewer at once.
    pub keys_per_block: u32,
    /// The size of the keys that are drawn, in bits; `None`: the vendor's default size.
    pub key_bits: Option<u32>,
    /// How often the pools are looked at.
    pub poll: Duration,
    /// How long the far end may take to collect the keys of a block, before they are given up at both ends.
    pub patience: Duration,
    /// The slave's end counts the link as down when the master's end said nothing for so long.
    pub down_after: Duration,
}

impl UpstreamConfig {
    /// With the settings that fit most.
    pub fn new(role: UpstreamRole, other: SaeId) -> Self {
        Self {
            role,
            other,
            low_bits: 1 << 20,
            high_bits: 1 << 22,
            keys_per_block: 128,
            key_bits: None,
            poll: Duration::from_secs(1),
            patience: Duration::from_mins(1),
            down_after: Duration::from_mins(2),
        }
    }

    /// Between two tries to collect keys, two questions about one block, and two offers of one that the ledger could not
    /// write.
    fn pause(&self) -> Duration {
        self.poll.min(LONGEST_PAUSE)
    }

    fn check(&self) -> Result<(), SourceError> {
        let wrong = |setting, reason: String| Err(SourceError::Setting { setting, reason });
        if self.low_bits == 0 || self.low_bits > self.high_bits {
            return wrong("low_bits", format!("1 to high_bits ({}) are possible", self.high_bits));
        }
        if !(1..=MAX_KEYS).contains(&self.keys_per_block) {
            return wrong("keys_per_block", format!("1 to {MAX_KEYS} are possible"));
        }
        let size_fits = |bits: u32| bits > 0 && bits.is_multiple_of(8) && u64::from(bits) / 8 <= MAX_BLOCK_BYTES;
        if !self.key_bits.is_none_or(size_fits) {
            let most = MAX_BLOCK_BYTES * 8;
            return wrong("key_bits", format!("it must be a multiple of 8, from 8 to {most}"));
        }
        if self.poll.is_zero() || self.patience.is_zero() {
            return wrong("poll", "poll and patience must be longer than nothing".to_owned());
        }
        Ok(())
    }
}

/// A source, and what answers the far end's, where there is such a thing.
type Ends = (Box<dyn KeySource>, Option<Arc<dyn SourceTalk>>);

/// Another vendor's KME as a source.
pub struct Upstream;

impl Upstream {
    /// This end's source; with it, at the slave's end, what answers the master's end.
    ///
    /// `client` speaks to the vendor's KME here. `next_block` is the lowest number that the ledger still takes for the
    /// link, as of now. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot be.
    pub fn pair(
        config: UpstreamConfig,
        client: KmeClient,
        next_block: u64,
        pooled: Pooled,
        ask: Ask,
    ) -> Result<Ends, SourceError> {
        config.check()?;
        Ok(match config.role {
            UpstreamRole::Master => (Box::new(Master::new(config, client, next_block, pooled, ask)?), None),
            UpstreamRole::Slave => {
                let (source, talk) = Slave::pair(config, client, next_block, pooled);
                (Box::new(source), Some(talk))
            }
        })
    }
}
