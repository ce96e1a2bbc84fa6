//! What the two ends of a call agree on about the codec: frame length, bit rate, protection against loss.

use std::time::Duration;

use crate::{Result, SAMPLE_RATE, error::SettingsError};

/// Lowest bit rate offered: Opus gives intelligible narrow-band speech from here on (RFC 6716, section 2.1.1).
pub const MIN_BIT_RATE: u32 = 6_000;
/// Highest bit rate offered. Mono speech gains nothing above, and a 60 ms packet stays inside one QUIC datagram.
pub const MAX_BIT_RATE: u32 = 128_000;
/// Longest packet that these settings can make, bytes: [`MAX_BIT_RATE`] for 60 ms.
pub const MAX_PACKET_LEN: usize = 960;
/// Highest loss hint offered, percent. The encoder spends the more on redundancy the more loss it expects; beyond
/// this the speech itself would starve.
pub const MAX_EXPECTED_LOSS: u8 = 30;
/// Farthest that deep redundancy (DRED) can reach back: libopus' `DRED_MAX_FRAMES` of 104 times 10 ms, which cover one
/// second and the codec's own delay.
pub const MAX_DRED: Duration = Duration::from_millis(1_040);

/// How much sound one packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameLength {
    /// 10 ms: lowest delay, most overhead.
    Ms10,
    /// 20 ms: the default.
    Ms20,
    /// 40 ms: half the packets, for a small stock of pad (each packet also pays for its tag).
    Ms40,
    /// 60 ms: a third of the packets.
    Ms60,
}

impl FrameLength {
    /// Every frame length, shortest first.
    pub const ALL: [Self; 4] = [Self::Ms10, Self::Ms20, Self::Ms40, Self::Ms60];

    /// The frame length of so many milliseconds, if there is one.
    pub fn from_millis(millis: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|frame| frame.millis() == millis)
            .ok_or_else(|| SettingsError::FrameLength { millis }.into())
    }

    /// Milliseconds.
    pub const fn millis(self) -> u32 {
        match self {
            Self::Ms10 => 10,
            Self::Ms20 => 20,
            Self::Ms40 => 40,
            Self::Ms60 => 60,
        }
    }

    /// The time from one packet to the next.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis() as u64)
    }

    /// Samples of mono sound at 48 kHz.
    pub const fn samples(self) -> usize {
        (SAMPLE_RATE / 1000 * self.millis()) as usize
    }

    /// How many frames it takes to hold `time`, rounded up.
    pub fn frames_in(self, time: Duration) -> u64 {
        let frames = time.as_nanos().div_ceil(self.duration().as_nanos());
        u64::try_from(frames).unwrap_or(u64::MAX)
    }
}

/// Codec settings, checked: a value of this type can be handed to Opus.
///
/// Every packet of a call has exactly [`packet_len`](Self::packet_len) bytes, whatever is said or not said: constant
/// bit rate, no silence suppression (RFC 6562: sizes of variable rate packets betray what is said). A receiver needs
/// none of this but the frame length: what a packet holds stands in the packet.
///
/// Settings with a name are with [`Profile`](super::Profile).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecSettings {
    pub(super) bit_rate: u32,
    pub(super) frame: FrameLength,
    pub(super) fec: bool,
    pub(super) expected_loss: u8,
    pub(super) complexity: u8,
    pub(super) dred: Duration,
}

impl CodecSettings {
    /// Settings from their parts, without deep redundancy.
    ///
    /// - `bit_rate` in bits per second of Opus, [`MIN_BIT_RATE`] to [`MAX_BIT_RATE`];
    /// - `fec`: put a coarse copy of each frame into the next packet, so that a single loss can be repaired;
    /// - `expected_loss` in percent, 0 to [`MAX_EXPECTED_LOSS`]: with `fec` or deep redundancy, how much to spend on
    ///   it. At 0 Opus leaves it out;
    /// - `complexity` 0 (fast) to 10 (best).
    pub fn new(bit_rate: u32, frame: FrameLength, fec: bool, expected_loss: u8, complexity: u8) -> Result<Self> {
        if !(MIN_BIT_RATE..=MAX_BIT_RATE).contains(&bit_rate) {
            return Err(SettingsError::BitRate { bit_rate, min: MIN_BIT_RATE, max: MAX_BIT_RATE }.into());
        }
        if expected_loss > MAX_EXPECTED_LOSS {
            return Err(SettingsError::ExpectedLoss { percent: expected_loss, max: MAX_EXPECTED_LOSS }.into());
        }
        if complexity > 10 {
            return Err(SettingsError::Complexity { complexity }.into());
        }
        Ok(Self { bit_rate, frame, fec, expected_loss, complexity, dred: Duration::ZERO })
    }

    /// The same settings at another bit rate.
    pub fn with_bit_rate(self, bit_rate: u32) -> Result<Self> {
        let changed = Self::new(bit_rate, self.frame, self.fec, self.expected_loss, self.complexity)?;
        Ok(Self { dred: self.dred, ..changed })
    }

    /// The same settings with another encoder complexity, 0 (fast) to 10 (best).
    pub fn with_complexity(self, complexity: u8) -> Result<Self> {
        let changed = Self::new(self.bit_rate, self.frame, self.fec, self.expected_loss, complexity)?;
        Ok(Self { dred: self.dred, ..changed })
    }

    /// The same settings with another frame length.
    #[must_use]
    pub const fn with_frame(self, frame: FrameLength) -> Self {
        Self { frame, ..self }
    }

    /// The same settings with deep redundancy (DRED) that reaches back `reach`, at most [`MAX_DRED`], in steps of
    /// 10 ms; zero for none. How much of it fits into a packet is up to the bit rate and the expected loss.
    pub fn with_dred(self, reach: Duration) -> Result<Self> {
        if reach > MAX_DRED {
            return Err(SettingsError::Dred { millis: reach.as_millis(), max: MAX_DRED.as_millis() }.into());
        }
        Ok(Self { dred: reach, ..self })
    }

    /// Bits per second asked for. What is spent is [`packet_len`](Self::packet_len) bytes each frame.
    pub const fn bit_rate(&self) -> u32 {
        self.bit_rate
    }

    /// How much sound one packet holds.
    pub const fn frame(&self) -> FrameLength {
        self.frame
    }

    /// Whether each packet carries a coarse copy of the frame before.
    pub const fn fec(&self) -> bool {
        self.fec
    }

    /// The loss hint, percent.
    pub const fn expected_loss(&self) -> u8 {
        self.expected_loss
    }

    /// How far back the deep redundancy of a packet may reach. Zero: there is none.
    pub const fn dred(&self) -> Duration {
        self.dred
    }

    /// Encoder complexity, 0 to 10.
    pub const fn complexity(&self) -> u8 {
        self.complexity
    }

    /// Bytes of every packet: bit rate times frame length, rounded down to whole bytes.
    pub const fn packet_len(&self) -> usize {
        (self.bit_rate * self.frame.millis() / 8_000) as usize
    }
}

impl Default for CodecSettings {
    fn default() -> Self {
        Self::standard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_is_refused_in_words() {
        let frame = FrameLength::Ms20;
        for (settings, words) in [
            (CodecSettings::new(5_999, frame, false, 0, 10), "5999 bit/s"),
            (CodecSettings::new(128_001, frame, false, 0, 10), "choose 6000 to 128000"),
            (CodecSettings::new(32_000, frame, true, 31, 10), "31 %"),
            (CodecSettings::new(32_000, frame, true, 10, 11), "complexity of 11"),
            (CodecSettings::standard().with_bit_rate(0), "0 bit/s"),
            (CodecSettings::standard().with_dred(MAX_DRED + Duration::from_millis(1)), "1041 ms"),
        ] {
            let message = settings.unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(FrameLength::from_millis(30).unwrap_err().to_string().contains("30 ms"));
    }

    #[test]
    fn the_longest_packet_is_the_named_limit() {
        let longest = CodecSettings::new(MAX_BIT_RATE, FrameLength::Ms60, false, 0, 10).unwrap();
        assert_eq!(longest.packet_len(), MAX_PACKET_LEN);
    }

    #[test]
    fn frames_in_a_time_round_up() {
        assert_eq!(FrameLength::Ms20.frames_in(Duration::ZERO), 0);
        assert_eq!(FrameLength::Ms20.frames_in(Duration::from_millis(40)), 2);
        assert_eq!(FrameLength::Ms20.frames_in(Duration::from_millis(41)), 3);
    }
}
