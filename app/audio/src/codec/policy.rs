//! Says which settings a call should have, by what the network loses and how much pad is left. Pure logic: the time is
//! an argument, and nothing here ever sees a packet or a sound, so that a change can tell a listener on the wire
//! nothing of what is said.

use std::time::Duration;

use super::{CodecSettings, PAD_LADDER, Profile};

/// Least time between two wishes.
pub const MIN_BETWEEN_CHANGES: Duration = Duration::from_secs(10);

/// From this loss on, percent, the standard profile is left: with single losses it still sounds as well at 10 % as
/// the other.
const HARD_LOSS: f32 = 10.0;
/// With bursts, which FEC cannot repair, it is left from this loss on, percent...
const HARD_LOSS_IN_BURSTS: f32 = 3.0;
/// ...if so many packets are lost in a row on average.
const BURSTS: f32 = 2.0;
/// Below this loss, percent, the network is calm...
const CALM_LOSS: f32 = 2.0;
/// ...and the standard profile is taken up again when it was calm for so long.
const CALM_TIME: Duration = Duration::from_secs(30);

/// With less pad than for this time, the next lower rungs are looked at: the first announcement of minutes left.
const LITTLE_PAD: Duration = Duration::from_mins(5);
/// The next higher rung is taken when the pad lasts for so long there. Well apart from `LITTLE_PAD`, so that new key
/// that comes in drops does not lead up and down.
const MUCH_PAD: Duration = Duration::from_mins(30);

/// Least bytes of a packet that a change during a call leads to: 8 kb/s in 20 ms. From 8 to 6 kb/s in such frames saves
/// a sixth of the pad, costs a third of the quality (PESQ-WB 3.0 to 2.1), and clicks: Opus then changes its inner
/// sampling rate at once, and has no room left in the packet to cover that.
pub const MIN_PACKET_IN_CALL: usize = 20;

/// What was measured of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The time since any fixed moment.
    pub now: Duration,
    /// Packets lost of those sent by us lately (some seconds), percent, as the receiver tells.
    pub loss: f32,
    /// How many packets are lost in a row on average, where any are: 1 for single losses.
    pub burst: f32,
    /// Under one-time pad: how long the pad lasts with the settings in use. None under another suite.
    pub pad_left: Option<Duration>,
}

/// What a call should change to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The profile's name, for people.
    pub profile: Profile,
    /// Its settings, with the frame length of the call.
    pub settings: CodecSettings,
}

/// Follows a call and says when its settings should change.
///
/// - Under one-time pad it goes down [`PAD_LADDER`] while the pad lasts less than five minutes, and up when it lasts
///   half an hour there; one rung at a time, because Opus narrows its band without a click only step by step.
/// - Otherwise it changes between [`Profile::Standard`] and [`Profile::HardNetwork`], if the person chose the former.
///   Whoever chose another has it.
///
/// The frame length of a call never changes: playout at the other end goes by it. Rungs whose packets would then have
/// less than [`MIN_PACKET_IN_CALL`] bytes are left out.
#[derive(Debug, Clone)]
pub struct ProfilePolicy {
    chosen: Profile,
    in_use: CodecSettings,
    last_wish: Option<Duration>,
    calm_since: Option<Duration>,
}

impl ProfilePolicy {
    /// The settings to begin a call with: those of the profile, or under one-time pad, with `pad` bytes for the
    /// direction that has fewer, the rung of [`PAD_LADDER`] at or below [`CodecSettings::one_time_pad`] that lasts for
    /// five minutes.
    pub fn at_start(chosen: Profile, pad: Option<u64>) -> CodecSettings {
        let Some(bytes) = pad else {
            // Without pad its rates have no sense.
            let without = if chosen == Profile::OneTimePad { Profile::Standard } else { chosen };
            return without.settings();
        };
        let (last, rungs) = PAD_LADDER[1..].split_last().expect("the ladder has rungs");
        rungs.iter().find(|rung| rung.pad_lasts(bytes) >= LITTLE_PAD).copied().unwrap_or(*last)
    }

    /// For a call that begins with these settings.
    pub fn new(chosen: Profile, in_use: CodecSettings) -> Self {
        Self { chosen, in_use, last_wish: None, calm_since: None }
    }

    /// The settings that the call has.
    pub fn in_use(&self) -> CodecSettings {
        self.in_use
    }

    /// Tells that the call has other settings now, by a wish that came true or otherwise.
    pub fn now_uses(&mut self, settings: CodecSettings) {
        self.in_use = settings;
    }

    /// The person chose another profile.
    pub fn choose(&mut self, chosen: Profile) {
        self.chosen = chosen;
    }

    /// What the call should change to, if to anything. To be asked about once a second. A wish that does not come true
    /// comes again after [`MIN_BETWEEN_CHANGES`].
    pub fn wish(&mut self, conditions: &Conditions) -> Option<Wish> {
        let now = conditions.now;
        if conditions.loss < CALM_LOSS {
            self.calm_since.get_or_insert(now);
        } else {
            self.calm_since = None;
        }
        let wish = match conditions.pad_left {
            Some(left) => Wish { profile: Profile::OneTimePad, settings: self.rung(left) },
            None => {
                let profile = self.by_network(conditions);
                Wish { profile, settings: profile.settings().with_frame(self.in_use.frame()) }
            }
        };
        let same = (wish.settings.bit_rate(), wish.settings.frame()) == (self.in_use.bit_rate(), self.in_use.frame());
        let soon = self.last_wish.is_some_and(|last| now < last + MIN_BETWEEN_CHANGES);
        if same || soon {
            return None;
        }
        self.last_wish = Some(now);
        Some(wish)
    }

    fn by_network(&self, conditions: &Conditions) -> Profile {
        if self.chosen != Profile::Standard && self.chosen != Profile::OneTimePad {
            return self.chosen;
        }
        let bursts = conditions.loss >= HARD_LOSS_IN_BURSTS && conditions.burst >= BURSTS;
        let was_hard = self.in_use.bit_rate() == CodecSettings::hard_network().bit_rate();
        let calm = self.calm_since.is_some_and(|since| conditions.now.saturating_sub(since) >= CALM_TIME);
        if conditions.loss >= HARD_LOSS || bursts || (was_hard && !calm) {
            Profile::HardNetwork
        } else {
            Profile::Standard
        }
    }

    /// The rung that suits a pad which lasts for `left` with the settings in use.
    fn rung(&self, left: Duration) -> CodecSettings {
        let rungs: Vec<_> = PAD_LADDER.into_iter().map(|rung| rung.with_frame(self.in_use.frame())).collect();
        let possible = rungs.iter().take_while(|rung| rung.packet_len() >= MIN_PACKET_IN_CALL).count().max(1);
        let rungs = &rungs[..possible];
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let bytes = millis.saturating_mul(self.in_use.pad_bytes_per_second()) / 1_000;
        let Some(here) = rungs.iter().position(|rung| rung.bit_rate() <= self.in_use.bit_rate()) else {
            // A call that began below all of them.
            return self.in_use;
        };
        let higher = here.checked_sub(1).map(|above| rungs[above]);
        let lower = rungs.get(here + 1);
        match (higher, lower) {
            (Some(higher), _) if higher.pad_lasts(bytes) >= MUCH_PAD => higher,
            (_, Some(lower)) if rungs[here].pad_lasts(bytes) < LITTLE_PAD => *lower,
            _ => rungs[here],
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::FrameLength;

    const AES: Conditions = Conditions { now: Duration::ZERO, loss: 0.0, burst: 1.0, pad_left: None };

    fn at(seconds: u64, loss: f32, burst: f32) -> Conditions {
        Conditions { now: Duration::from_secs(seconds), loss, burst, ..AES }
    }

    #[test]
    fn loss_and_bursts_lead_to_the_hard_profile_and_calm_leads_back() {
        let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::standard());
        assert_eq!(policy.wish(&at(0, 0.0, 1.0)), None);
        assert_eq!(policy.wish(&at(1, 9.0, 1.0)), None, "FEC is enough for single losses");
        assert_eq!(policy.wish(&at(2, 2.9, 3.0)), None);
        let wish = policy.wish(&at(3, 3.0, 2.0)).unwrap();
        assert_eq!(wish, Wish { profile: Profile::HardNetwork, settings: CodecSettings::hard_network() });
        policy.now_uses(wish.settings);
        assert_eq!(policy.wish(&at(20, 3.0, 1.0)), None, "not calm");
        assert_eq!(policy.wish(&at(21, 1.0, 1.0)), None, "calm for no time yet");
        assert_eq!(policy.wish(&at(50, 1.0, 1.0)), None);
        assert_eq!(policy.wish(&at(51, 1.0, 1.0)).unwrap().profile, Profile::Standard);
    }

    #[test]
    fn a_wish_that_does_not_come_true_comes_again_but_not_soon() {
        let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::standard());
        let wishes: Vec<u64> = (0..35).filter(|&second| policy.wish(&at(second, 20.0, 1.0)).is_some()).collect();
        assert_eq!(wishes, [0, 10, 20, 30]);
    }

    #[test]
    fn whoever_chose_has_it_and_the_frame_length_stays() {
        for chosen in [Profile::LowDelay, Profile::HardNetwork] {
            let mut policy = ProfilePolicy::new(chosen, chosen.settings());
            assert_eq!(policy.wish(&at(0, 30.0, 5.0)), None);
            assert_eq!(policy.wish(&at(100, 0.0, 1.0)), None);
        }
        let slow = CodecSettings::standard().with_frame(FrameLength::Ms60);
        let wish = ProfilePolicy::new(Profile::Standard, slow).wish(&at(0, 30.0, 5.0)).unwrap();
        assert_eq!(wish.settings.frame(), FrameLength::Ms60);
    }

    #[test]
    fn the_person_can_choose_another_profile_during_the_call() {
        let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::standard());
        policy.choose(Profile::HardNetwork);
        assert_eq!(policy.wish(&at(0, 0.0, 1.0)).unwrap().settings, CodecSettings::hard_network());
    }

    #[test]
    fn a_call_starts_on_the_rung_that_lasts() {
        let start = |bytes| ProfilePolicy::at_start(Profile::Standard, Some(bytes)).bit_rate();
        assert_eq!(start(u64::MAX), 16_000);
        assert_eq!(start(300 * 2_400), 16_000);
        assert_eq!(start(300 * 2_400 - 1), 12_000);
        assert_eq!(start(300 * 1_200), 8_000);
        assert_eq!(start(0), 6_000);
        assert_eq!(ProfilePolicy::at_start(Profile::LowDelay, None), CodecSettings::low_delay());
        assert_eq!(ProfilePolicy::at_start(Profile::OneTimePad, None), CodecSettings::standard());
    }

    /// A call whose pad runs out: the rungs go down only, one after the other, and stretch it.
    #[test]
    fn a_dwindling_pad_is_stretched() {
        let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::one_time_pad());
        let mut bytes: u64 = 400 * CodecSettings::one_time_pad().pad_bytes_per_second();
        let (mut rates, mut seconds) = (vec![16_000], 0);
        while let Some(left) = bytes.checked_sub(policy.in_use().pad_bytes_per_second()) {
            bytes = left;
            seconds += 1;
            let pad_left = Some(policy.in_use().pad_lasts(bytes));
            if let Some(wish) = policy.wish(&Conditions { pad_left, ..at(seconds, 0.0, 1.0) }) {
                assert_eq!((wish.profile, wish.settings.frame()), (Profile::OneTimePad, FrameLength::Ms20));
                policy.now_uses(wish.settings);
                rates.push(wish.settings.bit_rate());
            }
        }
        println!("{rates:?} in {seconds} s");
        assert_eq!(rates, [16_000, 12_000, 8_000]);
        assert!(seconds > 500);
    }

    #[test]
    fn new_pad_leads_up_one_rung_at_a_time_and_no_suite_but_its_own_uses_the_ladder() {
        let mut policy = ProfilePolicy::new(Profile::Standard, PAD_LADDER[4]);
        let mut rates = Vec::new();
        for second in 0..60 {
            let pad_left = Some(Duration::from_hours(24));
            if let Some(wish) = policy.wish(&Conditions { pad_left, ..at(second, 30.0, 5.0) }) {
                policy.now_uses(wish.settings);
                rates.push((second, wish.settings.bit_rate()));
            }
        }
        assert_eq!(rates, [(0, 8_000), (10, 12_000), (20, 16_000), (30, 24_000)]);
        assert_eq!(policy.in_use().frame(), FrameLength::Ms60);
        assert_eq!(policy.wish(&at(60, 0.0, 1.0)).unwrap().profile, Profile::Standard);
    }

    #[test]
    fn during_a_call_no_packet_gets_too_short() {
        let pad_left = Some(Duration::from_secs(1));
        let lowest = |frame| {
            let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::one_time_pad().with_frame(frame));
            for second in (0..100).step_by(10) {
                if let Some(wish) = policy.wish(&Conditions { pad_left, ..at(second, 0.0, 1.0) }) {
                    policy.now_uses(wish.settings);
                }
            }
            policy.in_use().bit_rate()
        };
        assert_eq!(FrameLength::ALL.map(lowest), [16_000, 8_000, 6_000, 6_000]);
    }

    #[test]
    fn whatever_is_measured_wishes_are_rare_and_possible() {
        const SEED: u64 = 0x9071;
        println!("seed {SEED:#x}");
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut policy = ProfilePolicy::new(Profile::Standard, CodecSettings::standard());
        let mut last = None;
        for second in 0..5_000 {
            let pad_left = random.random_bool(0.5).then(|| Duration::from_secs(random.random_range(0..4_000)));
            let loss = [f32::NAN, f32::INFINITY, -1.0, random.random_range(0.0..40.0)][random.random_range(0..4)];
            let conditions = Conditions { pad_left, ..at(second, loss, random.random_range(0.0..4.0)) };
            if let Some(wish) = policy.wish(&conditions) {
                assert!(last.is_none_or(|last| second >= last + 10), "{last:?} {second}");
                last = Some(second);
                let settings = wish.settings;
                assert!(CodecSettings::for_terms(settings.bit_rate(), settings.frame(), false).is_ok());
                assert_eq!(settings.frame(), FrameLength::Ms20);
                policy.now_uses(settings);
            }
        }
    }
}
