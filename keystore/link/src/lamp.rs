//! When Alice sends her next stretch of light. Without clock: the time since the start of the run is an argument.

use std::ops::Range;
use std::time::Duration;

use vernam_qkd::LinkConfig;
use vernam_qkd::distil::EndConfig;

use crate::limits::{CATCH_UP, CLICKS_PER_STRETCH, LONGEST_STRETCH, STRETCHES_UNDER_WAY};
use crate::{Error, LightSetup, Pace};

/// How many slots are sent when.
#[derive(Debug)]
pub(crate) struct Lamp {
    pace: Pace,
    slots_per_second: f64,
    stretch: u64,
    /// No light beyond this slot.
    end: u64,
    /// Slots sent so far.
    sent: u64,
    /// Up to here, Bob says, he has measured.
    answered: u64,
    /// Up to here, the distilling has got, or has lost what it needs.
    settled: u64,
    /// How long the distilling may keep silent before the light goes on without it.
    patience: Duration,
    /// Since when the light waits for the distilling.
    latest: Duration,
    /// Whether somebody is there to see it.
    lit: bool,
    /// The time at which slot [`Self::since_slot`] is due in real time.
    since: Duration,
    since_slot: u64,
}

impl Lamp {
    pub(crate) fn new(light: LightSetup, link: &LinkConfig, distil: &EndConfig) -> Result<Self, Error> {
        let longest = LONGEST_STRETCH.min(distil.timeout / 4);
        if light.stretch.is_zero() || light.stretch > longest {
            return Err(Error::Setting {
                what: "a stretch of light",
                value: format!("{:?}", light.stretch),
                rule: "it must be longer than nothing, and at most a second and a quarter of the time-out",
            });
        }
        let gain = link.channel().observe(link.device.mu).gain;
        let most = CLICKS_PER_STRETCH / gain.max(f64::MIN_POSITIVE);
        let wanted = light.stretch.as_secs_f64() * distil.slots_per_second;
        let end = match light.pace {
            Pace::RealTime => u64::MAX,
            Pace::AsFastAsPossible { until } => to_count(until.as_secs_f64() * distil.slots_per_second),
        };
        Ok(Self {
            pace: light.pace,
            slots_per_second: distil.slots_per_second,
            stretch: to_count(wanted.min(most)).clamp(1, distil.block_slots),
            end,
            sent: 0,
            answered: 0,
            settled: 0,
            patience: distil.timeout,
            latest: Duration::ZERO,
            lit: false,
            since: Duration::ZERO,
            since_slot: 0,
        })
    }

    /// Somebody is there. What was under way before is lost.
    pub(crate) fn light_up(&mut self, now: Duration) {
        (self.answered, self.settled, self.latest) = (self.sent, self.sent, now);
        (self.since, self.since_slot, self.lit) = (now, self.sent, true);
    }

    /// Nobody is there.
    pub(crate) fn put_out(&mut self) {
        self.lit = false;
    }

    /// When to call [`Self::next`]; `None` while something else has to happen first.
    pub(crate) fn due(&self) -> Option<Duration> {
        if !self.lit || self.has_ended() || under_way(self.answered, self.sent, self.stretch) >= MOST {
            return None;
        }
        match self.pace {
            Pace::RealTime => Some(self.since.saturating_add(self.time_of(self.sent - self.since_slot))),
            // Bob keeps what he cannot distil yet. Not too much of it.
            Pace::AsFastAsPossible { .. } if under_way(self.settled, self.sent, self.stretch) >= MOST => {
                Some(self.latest.saturating_add(self.patience))
            }
            Pace::AsFastAsPossible { .. } => Some(Duration::ZERO),
        }
    }

    /// The slots to be sent now.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Range<u64>> {
        let due = self.due().filter(|due| *due <= now)?;
        match self.pace {
            Pace::RealTime if now.saturating_sub(due) > CATCH_UP => (self.since, self.since_slot) = (now, self.sent),
            // The distilling is stuck on light that never came.
            Pace::AsFastAsPossible { .. } if !due.is_zero() => self.settle(self.sent, now),
            _ => {}
        }
        let start = self.sent;
        self.sent = self.end.min(start.saturating_add(self.stretch));
        Some(start..self.sent)
    }

    /// Bob has measured all up to `slot`.
    pub(crate) fn answer(&mut self, slot: u64) {
        self.answered = slot.clamp(self.answered, self.sent);
    }

    /// The distilling has got to the virtual time `at`.
    pub(crate) fn progress(&mut self, at: Duration, now: Duration) {
        self.settle(to_count((at.as_secs_f64() * self.slots_per_second).round()), now);
    }

    /// A block was finished or thrown away: nothing waits for what was sent before.
    pub(crate) fn block_over(&mut self, now: Duration) {
        self.settle(self.sent, now);
    }

    fn settle(&mut self, slot: u64, now: Duration) {
        (self.settled, self.latest) = (slot.clamp(self.settled, self.sent), now);
    }

    /// Slots sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether all light was sent that there will be.
    pub(crate) fn has_ended(&self) -> bool {
        self.sent >= self.end
    }

    fn time_of(&self, slots: u64) -> Duration {
        Duration::try_from_secs_f64(to_f64(slots) / self.slots_per_second).unwrap_or(Duration::MAX)
    }
}

const MOST: u64 = STRETCHES_UNDER_WAY as u64;

fn under_way(from: u64, to: u64, stretch: u64) -> u64 {
    (to - from).div_ceil(stretch)
}

/// The most slots that a stretch can have.
pub(crate) fn longest_stretch(distil: &EndConfig) -> u64 {
    to_count(LONGEST_STRETCH.as_secs_f64() * distil.slots_per_second).clamp(1, distil.block_slots)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` rounds down and saturates, as wanted"
)]
fn to_count(value: f64) -> u64 {
    value as u64
}

#[expect(clippy::cast_precision_loss, reason = "slots of a run stay below 2^53 for weeks; then a pace is rounded")]
fn to_f64(slots: u64) -> f64 {
    slots as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use vernam_qkd::DeviceProfile;

    const STRETCH: Duration = Duration::from_millis(100);

    fn lamp(device: &str, pace: Pace) -> Lamp {
        let link = LinkConfig::new(DeviceProfile::named(device).unwrap(), 10.0);
        let light = LightSetup { pace, stretch: STRETCH };
        let mut lamp = Lamp::new(light, &link, &link.ends()).unwrap();
        assert_eq!(lamp.due(), None, "nobody is there");
        lamp.light_up(Duration::ZERO);
        lamp
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn real_time_follows_the_clock_but_waits_for_answers() {
        let mut lamp = lamp("gys", Pace::RealTime);
        let first = lamp.next(ms(0)).unwrap();
        assert_eq!(first.start, 0);
        assert_eq!(lamp.next(ms(99)), None);
        for stretch in 1..4 {
            assert_eq!(lamp.next(ms(stretch * 100)).unwrap().start, stretch * first.end);
        }
        assert_eq!(lamp.due(), None, "four are under way");
        lamp.answer(first.end * 2);
        assert_eq!(lamp.due(), Some(ms(400)));
        assert_eq!(lamp.next(ms(500)).unwrap().start, 4 * first.end);
        assert_eq!(lamp.due(), Some(ms(500)), "what is a little late is caught up");
        lamp.answer(u64::MAX);
        assert!(lamp.next(ms(9_000)).is_some());
        assert_eq!(lamp.due(), Some(ms(9_100)), "what was missed for long is not");
        lamp.put_out();
        assert_eq!(lamp.due(), None);
        lamp.light_up(ms(20_000));
        assert_eq!(lamp.due(), Some(ms(20_000)));
        assert_eq!(lamp.next(ms(20_000)).unwrap().start, 6 * first.end, "no slot is sent twice");
    }

    #[test]
    fn as_fast_as_possible_waits_for_the_distilling_and_ends() {
        let mut lamp = lamp("gys", Pace::AsFastAsPossible { until: ms(1_050) });
        let step = lamp.next(ms(0)).unwrap().end;
        for _ in 1..4 {
            lamp.next(ms(0)).unwrap();
        }
        lamp.answer(4 * step);
        assert_eq!(lamp.due(), Some(Duration::from_secs(10)), "measured, but not distilled");
        lamp.progress(ms(100), ms(7));
        assert_eq!(lamp.next(ms(7)).unwrap(), 4 * step..5 * step);
        lamp.answer(5 * step);
        assert_eq!(lamp.next(ms(8)), None);
        assert!(lamp.next(ms(10_008)).is_some(), "what got lost does not stop the light for ever");
        let mut slots = 6 * step;
        while let Some(range) = lamp.next(ms(10_009)) {
            assert_eq!(range.start, slots);
            slots = range.end;
            lamp.answer(slots);
            lamp.block_over(ms(10_009));
        }
        assert!(lamp.has_ended() && lamp.due().is_none());
        assert_eq!(slots, step * 10 + step / 2);
    }

    #[test]
    fn fast_links_send_shorter_stretches() {
        let mut lamp = lamp("lab-1ghz", Pace::RealTime);
        let slots = lamp.next(ms(0)).unwrap().end;
        let link = LinkConfig::new(DeviceProfile::named("lab-1ghz").unwrap(), 10.0);
        let clicks = to_f64(slots) * link.channel().observe(link.device.mu).gain;
        assert!(clicks <= CLICKS_PER_STRETCH && clicks > CLICKS_PER_STRETCH * 0.9, "{clicks}");

        for stretch in [Duration::ZERO, Duration::from_secs(2)] {
            let light = LightSetup { pace: Pace::RealTime, stretch };
            let error = Lamp::new(light, &link, &link.ends()).unwrap_err();
            assert!(error.to_string().contains("at most a second"), "{error}");
        }
    }
}
