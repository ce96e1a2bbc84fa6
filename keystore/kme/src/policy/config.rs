//! What an operator sets, and whether it makes sense.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_etsi014::SaeId;

use super::share::Fair;
use super::window;

/// The shortest and the longest window over which shares are reckoned.
const FAIR_WINDOW: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// What one SAE may have. `None` means no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaePolicy {
    /// Bits of key per second in the long run.
    pub rate_bps: Option<u64>,
    /// Bits it may draw at once after a pause, where there is a rate. A request for more than this waits until all of it
    /// has come together, and is paid off afterwards.
    pub burst_bits: u64,
    /// Requests of any kind per second; after a pause, those of one second at once.
    pub requests_per_second: Option<u32>,
    /// Bits per day (UTC).
    pub daily_bits: Option<u64>,
    /// Whether it may draw from the reserve.
    pub may_use_reserve: bool,
    /// Its weight where key is shared out, at least 1.
    pub weight: u32,
}

impl Default for SaePolicy {
    /// No limits, no right to the reserve.
    fn default() -> Self {
        Self {
            rate_bps: None,
            burst_bits: 128 * 65_536, // the largest request within the default limits
            requests_per_second: None,
            daily_bits: None,
            may_use_reserve: false,
            weight: 1,
        }
    }
}

/// The policy of a KME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// For every SAE that has none of its own.
    pub default: SaePolicy,
    /// By SAE.
    pub saes: BTreeMap<SaeId, SaePolicy>,
    /// Bits of our half of each link's pool that only SAEs with `may_use_reserve` get.
    pub reserve_bits: u64,
    /// Below this many free bits (above the reserve), our half of a link's pool is shared out fairly among those who draw
    /// from it; 0: first come, first served. Best a small part of the pool, and several requests' worth.
    pub fair_below_bits: u64,
    /// How far back drawing counts when it is shared out (to within a sixteenth).
    pub fair_window: Duration,
}

impl Default for PolicyConfig {
    /// No limits and no reserve; the last 256 keys of 256 bits are shared out fairly, looking back one minute.
    fn default() -> Self {
        Self {
            default: SaePolicy::default(),
            saes: BTreeMap::new(),
            reserve_bits: 0,
            fair_below_bits: 256 * 256,
            fair_window: Duration::from_mins(1),
        }
    }
}

/// A policy does not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A limit of 0 would be a ban.
    #[error("{}: {limit} must be at least 1; leave it out for no limit, and the SAE out to serve it nothing", whose(.sae.as_ref()))]
    Zero {
        /// Whose policy; `None`: the default.
        sae: Option<SaeId>,
        /// The field of [`SaePolicy`].
        limit: &'static str,
    },
    /// The window is too short to count in, or longer than what anybody remembers.
    #[error("fair_window must be {} s to {} s, not {window:?}", FAIR_WINDOW.start().as_secs(), FAIR_WINDOW.end().as_secs())]
    FairWindow {
        /// What was asked for.
        window: Duration,
    },
}

fn whose(sae: Option<&SaeId>) -> String {
    sae.map_or_else(|| "the default policy".to_owned(), |sae| format!("the policy of SAE {sae}"))
}

impl SaePolicy {
    fn check(&self, sae: Option<&SaeId>) -> Result<(), PolicyError> {
        let limits = [
            ("rate_bps", self.rate_bps == Some(0)),
            ("burst_bits", self.burst_bits == 0 && self.rate_bps.is_some()),
            ("requests_per_second", self.requests_per_second == Some(0)),
            ("daily_bits", self.daily_bits == Some(0)),
            ("weight", self.weight == 0),
        ];
        match limits.into_iter().find(|(_, zero)| *zero) {
            Some((limit, _)) => Err(PolicyError::Zero { sae: sae.cloned(), limit }),
            None => Ok(()),
        }
    }
}

impl PolicyConfig {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.default.check(None)?;
        for (sae, policy) in &self.saes {
            policy.check(Some(sae))?;
        }
        if self.fair_below_bits > 0 && !FAIR_WINDOW.contains(&self.fair_window) {
            return Err(PolicyError::FairWindow { window: self.fair_window });
        }
        Ok(())
    }

    /// The policy of one SAE.
    pub fn of(&self, sae: &SaeId) -> &SaePolicy {
        self.saes.get(sae).unwrap_or(&self.default)
    }

    /// How long a slot of the window is.
    pub(super) fn slot(&self) -> Duration {
        window::slot_length(self.fair_window.clamp(*FAIR_WINDOW.start(), *FAIR_WINDOW.end()))
    }

    pub(super) fn fair(&self) -> Fair {
        Fair { below: self.fair_below_bits, window: self.fair_window, slot: self.slot() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_makes_sense() {
        PolicyConfig::default().check().unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let sae: SaeId = "alice".parse().unwrap();
        let zero = [
            SaePolicy { rate_bps: Some(0), ..SaePolicy::default() },
            SaePolicy { rate_bps: Some(1), burst_bits: 0, ..SaePolicy::default() },
            SaePolicy { requests_per_second: Some(0), ..SaePolicy::default() },
            SaePolicy { daily_bits: Some(0), ..SaePolicy::default() },
            SaePolicy { weight: 0, ..SaePolicy::default() },
        ];
        for policy in zero {
            let of_all = PolicyConfig { default: policy, ..PolicyConfig::default() };
            assert!(of_all.check().unwrap_err().to_string().starts_with("the default policy: "));
            let of_one = PolicyConfig { saes: [(sae.clone(), policy)].into(), ..PolicyConfig::default() };
            assert!(of_one.check().unwrap_err().to_string().starts_with("the policy of SAE alice: "));
        }
        let mut config = PolicyConfig { fair_window: Duration::ZERO, ..PolicyConfig::default() };
        assert_eq!(config.check().unwrap_err().to_string(), "fair_window must be 1 s to 86400 s, not 0ns");
        config.fair_below_bits = 0;
        config.check().unwrap();
    }
}
