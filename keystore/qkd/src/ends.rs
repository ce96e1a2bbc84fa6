//! What a link's configuration means to its two ends.

use std::time::Duration;

use crate::distil::EndConfig;
use crate::distil::cascade::Variant;
use crate::draw::to_count;
use crate::link::LinkConfig;

/// How long one end waits for the other: well above the time between two stretches of light.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A tapped line gives no more than an alarm in so much time, unless its blocks are shorter.
const LEAST_BLOCK: Duration = Duration::from_secs(1);
/// A block of fewer sifted bits of the key basis than this is [`crate::DiscardReason::TooFewDetections`].
pub(crate) const MIN_DETECTIONS: u64 = 100;

impl LinkConfig {
    /// Slots in which Alice sends, per second of virtual time: pauses of the duty cycle have none.
    pub fn slots_per_second(&self) -> f64 {
        self.device.pulses_per_second()
    }

    /// Clicks per slot while the detectors are awake and nobody is on the line, over all intensities.
    pub fn clicks_per_slot(&self) -> f64 {
        self.device.mean_gain(&self.channel())
    }

    /// What Alice's and Bob's post-processing is set to.
    pub fn ends(&self) -> EndConfig {
        EndConfig {
            intensities: self.device.intensities(),
            p_x: self.device.q.sqrt(),
            analysis: self.analysis,
            security: self.security,
            qber_alarm: self.qber_alarm,
            block_slots: to_count(self.slots_per_second() * self.block_time().as_secs_f64()).max(1),
            first_block: 1,
            least_slots: to_count(self.slots_per_second() * LEAST_BLOCK.as_secs_f64()),
            block_bits: self.device.full_block(),
            min_detections: MIN_DETECTIONS,
            cascade: Variant::NearShannon,
            slots_per_second: self.slots_per_second(),
            trojan_photons: self.device.trojan_photons,
            timeout: TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceProfile;

    #[test]
    fn the_ends_take_every_built_in_profile() {
        for name in DeviceProfile::names() {
            for km in [0.0, 50.0, 150.0] {
                let config = LinkConfig::new(DeviceProfile::named(name).unwrap(), km);
                config.ends().validate().unwrap_or_else(|error| panic!("{name}, {km} km: {error}"));
            }
        }
    }
}
