//! Networks, made from seeds: when each packet of a stream comes, if it does.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vernam_audio::{CodecSettings, FrameLength};

/// A stream of one packet a frame, seen from the receiver.
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    /// What the packets are made with; their frames set the pace.
    pub(crate) codec: CodecSettings,
    /// Whether the sender's clock runs at another pace.
    pub(crate) drifts: bool,
    /// When each packet was sent and came, microseconds by the receiver's clock.
    pub(crate) packets: Vec<(u64, Option<u64>)>,
}

/// What every packet takes at least, microseconds.
pub(crate) const LEAST: u64 = 20_000;
const MS: u64 = 1_000;

impl Trace {
    /// `late` gives what a packet takes above [`LEAST`], of its number, its time of sending and the dice; `None` where it
    /// is lost. The sender's clock is slow by `ppm`.
    pub(crate) fn new(
        name: &'static str,
        codec: CodecSettings,
        length: Duration,
        ppm: i64,
        seed: u64,
        mut late: impl FnMut(u64, u64, &mut ChaCha8Rng) -> Option<u64>,
    ) -> Self {
        let frame = codec.frame();
        println!("{name}, {frame:?}: seed {seed}");
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let frame_time = u64::from(frame.millis()) * MS;
        let packets = (0..frame.frames_in(length))
            .map(|seq| {
                let by_its_clock = seq * frame_time;
                let apart = i64::try_from(by_its_clock).unwrap() * ppm / 1_000_000;
                let sent = by_its_clock.saturating_add_signed(apart);
                (sent, late(seq, sent, &mut dice).map(|late| sent + LEAST + late))
            })
            .collect();
        Self { name, codec, drifts: ppm != 0, packets }
    }

    pub(crate) fn frame(&self) -> FrameLength {
        self.codec.frame()
    }

    /// Numbers and times of what comes, in the order of coming.
    pub(crate) fn arrivals(&self) -> Vec<(u64, u32)> {
        let came = self.packets.iter().zip(0..).filter_map(|((_, at), seq)| Some(((*at)?, seq)));
        let mut arrivals: Vec<_> = came.collect();
        arrivals.sort_unstable();
        arrivals
    }

    pub(crate) fn steady(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::new("steady", standard(frame), length, 0, seed, |_, _, dice| Some(dice.random_range(0..2 * MS)))
    }

    /// A few milliseconds of jitter, and every 0.5 to 1.5 s the air is busy for 30 to 90 ms.
    pub(crate) fn wifi(frame: FrameLength, length: Duration, seed: u64) -> Self {
        let (mut begin, mut end) = (0, 0);
        Self::new("Wi-Fi bursts", standard(frame), length, 0, seed, move |_, sent, dice| {
            if sent >= end {
                begin = sent + dice.random_range(500 * MS..1_500 * MS);
                end = begin + dice.random_range(30 * MS..90 * MS);
            }
            let held_back = if sent >= begin { end - sent } else { 0 };
            Some(held_back + dice.random_range(0..4 * MS))
        })
    }

    /// Every 20 s nothing comes for 300 ms, then all at once.
    pub(crate) fn spikes(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::stalls("spikes of 300 ms", frame, length, 300 * MS, 20_000 * MS, seed)
    }

    /// Every 30 s nothing comes for 2 s, then all at once.
    pub(crate) fn long_stalls(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::stalls("stalls of 2 s", frame, length, 2_000 * MS, 30_000 * MS, seed)
    }

    fn stalls(name: &'static str, frame: FrameLength, length: Duration, stall: u64, every: u64, seed: u64) -> Self {
        Self::new(name, standard(frame), length, 0, seed, move |_, sent, dice| {
            let since = (sent + every / 2) % every;
            Some(stall.saturating_sub(since) * u64::from(sent > every / 4) + dice.random_range(0..2 * MS))
        })
    }

    pub(crate) fn lossy(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::new("20 % loss", standard(frame), length, 0, seed, |_, _, dice| {
            let late = dice.random_range(0..5 * MS);
            (!dice.random_bool(0.2)).then_some(late)
        })
    }

    /// Every second or so two to six packets in a row are lost.
    pub(crate) fn bursts(codec: CodecSettings, length: Duration, seed: u64) -> Self {
        let name = if codec.dred().is_zero() { "losses in bursts" } else { "the same, hard-network profile" };
        let mut left = 0_u32;
        Self::new(name, codec, length, 0, seed, move |_, _, dice| {
            let late = dice.random_range(0..5 * MS);
            left = left.saturating_sub(1);
            if left == 0 && dice.random_bool(0.02) {
                left = 1 + dice.random_range(2..=6);
            }
            (left <= 1).then_some(late)
        })
    }

    /// One packet in ten takes 20 to 50 ms more, and so comes after the ones behind it.
    pub(crate) fn reordering(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::new("reordering", standard(frame), length, 0, seed, |_, _, dice| {
            let detour = if dice.random_bool(0.1) { dice.random_range(20 * MS..50 * MS) } else { 0 };
            Some(detour + dice.random_range(0..2 * MS))
        })
    }

    pub(crate) fn jittery(frame: FrameLength, length: Duration, seed: u64) -> Self {
        Self::new("jitter of 30 ms", standard(frame), length, 0, seed, |_, _, dice| Some(dice.random_range(0..30 * MS)))
    }

    /// As a phone on the move sees it: queues that fill and empty within seconds, 1 % loss, a hand-over now and then.
    pub(crate) fn mobile(frame: FrameLength, length: Duration, seed: u64) -> Self {
        let (mut queue, mut drift, mut end) = (10.0 * 1_000.0, 0.0_f64, 0);
        Self::new("mobile", standard(frame), length, 0, seed, move |_, sent, dice| {
            drift = drift * 0.98 + (dice.random::<f64>() - 0.5) * 600.0;
            queue = (queue + drift).clamp(0.0, 60_000.0);
            if sent >= end && dice.random_bool(0.001) {
                end = sent + dice.random_range(80 * MS..200 * MS);
            }
            let late = dice.random_range(0..8 * MS) + end.saturating_sub(sent) + queue as u64;
            (!dice.random_bool(0.01)).then_some(late)
        })
    }

    pub(crate) fn drifting(frame: FrameLength, length: Duration, seed: u64, ppm: i64) -> Self {
        let name = if ppm > 0 { "sender 200 ppm slow" } else { "sender 200 ppm fast" };
        Self::new(name, standard(frame), length, ppm, seed, |_, _, dice| Some(dice.random_range(0..2 * MS)))
    }
}

fn standard(frame: FrameLength) -> CodecSettings {
    CodecSettings::standard().with_frame(frame)
}
