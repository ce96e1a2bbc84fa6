//! What the two ends must agree on before they start.

use std::time::Duration;

use thiserror::Error;

use super::cascade::Variant;
use super::{limits, verify};
use crate::finite::{Analysis, FiniteError, Intensities, Security};

/// What both ends of a link are set to. They must be set alike: what differs ends every block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndConfig {
    /// The three brightnesses of Alice's pulses and their shares.
    pub intensities: Intensities,
    /// Probability with which each of the two chooses the key basis for a pulse, by itself: the root of the sifting
    /// factor `q` where the key basis gives all key.
    pub p_x: f64,
    /// Which bounds turn counts into a length of key.
    pub analysis: Analysis,
    /// How likely it may be that something is wrong with a key.
    pub security: Security,
    /// QBER above which a block is discarded, in either basis.
    pub qber_alarm: f64,
    /// A block ends after so many slots.
    pub block_slots: u64,
    /// A block ends once it holds so many sifted bits of the key basis, or some more: a stretch of slots is not divided
    /// for it.
    pub block_bits: u64,
    /// The number of the first block; the numbers rise from there. The same at both ends, and above every number that the
    /// two have given out before, if what becomes of the key goes by them.
    pub first_block: u64,
    /// A block whose errors are clearly too many is given up before it is full, but not before it has so many slots:
    /// a tapped line should not give a hundred alarms a second.
    pub least_slots: u64,
    /// A block of fewer sifted bits of the key basis is [`crate::DiscardReason::TooFewDetections`]. The alarm too waits
    /// for so many bits of the test basis before it ends a block early.
    pub min_detections: u64,
    /// How errors are corrected.
    pub cascade: Variant,
    /// Slots in a second of virtual time. The times in reports follow from it, so that they are the same at both ends.
    pub slots_per_second: f64,
    /// Mean number of photons per slot of a stranger's light that may leave Alice's device again after having seen how
    /// the pulse was prepared (a Trojan horse). 0 where the device isolates well enough not to count it. See
    /// [`crate::finite::Tagged`] for what it costs.
    pub trojan_photons: f64,
    /// How long one end waits for a message of the other. Must be longer than the time between two stretches of slots
    /// and a few round trips.
    pub timeout: Duration,
}

/// An [`EndConfig`] that cannot be, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum EndConfigError {
    /// The pulses or the probabilities of failure do not suit the analysis.
    #[error(transparent)]
    Finite(#[from] FiniteError),
    /// Another number lies outside of what it means.
    #[error("distilling key with {field} = {value}: {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// What it must be.
        rule: &'static str,
    },
}

impl EndConfig {
    /// Checks every number.
    pub fn validate(&self) -> Result<(), EndConfigError> {
        self.intensities.validate(self.analysis.decoys)?;
        self.security.validate()?;
        let check =
            |field, value, ok, rule| if ok { Ok(()) } else { Err(EndConfigError::Field { field, value, rule }) };
        check("p_x", self.p_x, self.p_x > 0.0 && self.p_x < 1.0, "must lie between 0 and 1; both bases are needed")?;
        let alarm = self.qber_alarm;
        check("qber_alarm", alarm, alarm > 0.0 && alarm <= 0.5, "must be above 0 and at most 0.5; 0.11 is usual")?;
        let slots = crate::draw::to_f64(self.block_slots);
        check("block_slots", slots, (1.0..=limits::MAX_BLOCK_SLOTS).contains(&slots), "must be 1 to 1e15")?;
        let bits = crate::draw::to_f64(self.block_bits);
        let bits_fit = (1..=limits::MAX_BLOCK_BITS).contains(&self.block_bits);
        check("block_bits", bits, bits_fit, "must be 1 to 16777216; a larger block needs more memory than it gains")?;
        let hash = verify::collision_bound(self.block_bits + limits::MAX_SIFT_DETECTIONS as u64);
        let eps_cor = self.security.eps_cor;
        check(
            "security.eps_cor",
            eps_cor,
            hash <= eps_cor,
            "must be at least 1e-33, which a hash of 128 bits can show",
        )?;
        let first = crate::draw::to_f64(self.first_block);
        check("first_block", first, (1..1 << 53).contains(&self.first_block), "must be 1 to 2^53")?;
        let least = crate::draw::to_f64(self.min_detections);
        check(
            "min_detections",
            least,
            (1..=self.block_bits).contains(&self.min_detections),
            "must be 1 to block_bits",
        )?;
        let rate = self.slots_per_second;
        check("slots_per_second", rate, (1e-3..=1e12).contains(&rate), "must be 0.001 to 1e12")?;
        let trojan = self.trojan_photons;
        check("trojan_photons", trojan, (0.0..=1.0).contains(&trojan), "must be 0 to 1 photon per slot")?;
        let timeout = self.timeout.as_secs_f64();
        check("timeout", timeout, (1e-3..=3600.0).contains(&timeout), "must be 0.001 to 3600 seconds")
    }
}
