//! Settings with a name: which bit rate, frame length and redundancy serve which need, and what each costs in pad. It
//! does not say when to use which; [`ProfilePolicy`](super::ProfilePolicy) does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{CodecSettings, FrameLength, LOSS_HINT};
use crate::{Error, Result, error::SettingsError};

/// Bytes of pad that the tag of each voice packet takes besides the packet itself (`transport/PROTOCOL.md`).
pub const VOICE_TAG_BYTES: usize = 8;

/// From this bit rate on a coarse copy of each frame in the next packet (FEC) pays: below, it would take from the
/// speech itself more than it saves on losses.
const FEC_FROM: u32 = 24_000;
/// From this bit rate on there is room for deep redundancy besides.
const DRED_FROM: u32 = 48_000;
/// How far back deep redundancy reaches.
const DRED_REACH: Duration = Duration::from_millis(500);
/// Loss hint with deep redundancy, percent. The hint decides how much of a packet it may take: at 10 % and 48 kb/s
/// libopus finds that too little for anything and leaves it out.
const DRED_LOSS: u8 = *LOSS_HINT.end();
const BEST: u8 = 10;

/// A need with the settings that serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// [`CodecSettings::standard`].
    #[default]
    Standard,
    /// [`CodecSettings::low_delay`].
    LowDelay,
    /// [`CodecSettings::hard_network`].
    HardNetwork,
    /// [`CodecSettings::one_time_pad`] and the other rungs of [`PAD_LADDER`].
    OneTimePad,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Standard, Self::LowDelay, Self::HardNetwork, Self::OneTimePad];

    /// Its name, as people type it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::LowDelay => "low-delay",
            Self::HardNetwork => "hard-network",
            Self::OneTimePad => "one-time-pad",
        }
    }

    /// Its settings.
    pub const fn settings(self) -> CodecSettings {
        match self {
            Self::Standard => CodecSettings::standard(),
            Self::LowDelay => CodecSettings::low_delay(),
            Self::HardNetwork => CodecSettings::hard_network(),
            Self::OneTimePad => CodecSettings::one_time_pad(),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || SettingsError::Profile { name: name.to_owned() }.into();
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(unknown)
    }
}

/// The settings for one-time pad, dearest first: 3,400, 2,400, 1,900, 1,200 and 884 bytes of pad a second, tags
/// included. Each pays with some quality for more minutes; the lower ones with delay too, because longer frames have
/// fewer tags. During a call the frame length stays; [`ProfilePolicy`](super::ProfilePolicy) keeps to that.
pub const PAD_LADDER: [CodecSettings; 5] = [
    with_redundancy(24_000, FrameLength::Ms20, true),
    with_redundancy(16_000, FrameLength::Ms20, true),
    with_redundancy(12_000, FrameLength::Ms20, true),
    with_redundancy(8_000, FrameLength::Ms40, true),
    with_redundancy(6_000, FrameLength::Ms60, true),
];

/// The redundancy that suits a bit rate.
const fn with_redundancy(bit_rate: u32, frame: FrameLength, otp: bool) -> CodecSettings {
    let fec = bit_rate >= FEC_FROM;
    let deep = bit_rate >= DRED_FROM && !matches!(frame, FrameLength::Ms10) && !otp;
    let expected_loss = match (fec, deep) {
        (_, true) => DRED_LOSS,
        (true, false) => *LOSS_HINT.start(),
        (false, false) => 0,
    };
    let dred = if deep { DRED_REACH } else { Duration::ZERO };
    CodecSettings { bit_rate, frame, fec, expected_loss, complexity: BEST, dred }
}

impl CodecSettings {
    /// The default: 32 kb/s, 20 ms, FEC with the loss hint at 10 %. 80 bytes a packet.
    ///
    /// Of the settings measured at this rate it holds up best at 5 to 20 % loss, and costs little without loss.
    pub const fn standard() -> Self {
        with_redundancy(32_000, FrameLength::Ms20, false)
    }

    /// For a short way from mouth to ear: 48 kb/s, 10 ms, FEC. 60 bytes a packet.
    pub const fn low_delay() -> Self {
        with_redundancy(48_000, FrameLength::Ms10, false)
    }

    /// For networks that lose much, or in bursts: 48 kb/s, 20 ms, FEC for single losses and deep redundancy (DRED) of
    /// the last half second for longer ones. 120 bytes a packet.
    ///
    /// Deep redundancy travels in the padding of a packet, in the form of libopus 1.6, which is not a standard yet
    /// (draft-ietf-mlcodec-opus-dred): a receiver with another form of it conceals instead.
    pub const fn hard_network() -> Self {
        with_redundancy(48_000, FrameLength::Ms20, false)
    }

    /// For one-time pad, where every byte is paid for with key: 16 kb/s, 20 ms, no FEC. 40 bytes a packet.
    ///
    /// The rung of [`PAD_LADDER`] to start from.
    pub const fn one_time_pad() -> Self {
        PAD_LADDER[1]
    }

    /// The sender's settings for the terms of a call. Both sides agree on bit rate and frame length, and so on
    /// [`packet_len`](Self::packet_len); what redundancy a packet holds is the sender's own business, and chosen here
    /// by bit rate as in the presets. Under one-time pad (`otp`) there is no deep redundancy: its bit rates follow the
    /// stock of pad, not the network.
    pub fn for_terms(bit_rate: u32, frame: FrameLength, otp: bool) -> Result<Self> {
        let checked = Self::new(bit_rate, frame, false, 0, BEST)?;
        Ok(with_redundancy(checked.bit_rate, checked.frame, otp))
    }

    /// Bytes of pad that a second of voice takes in one direction: every packet and its tag, rounded up.
    pub const fn pad_bytes_per_second(&self) -> u64 {
        let millis = self.frame().millis() as u64;
        ((self.packet_len() + VOICE_TAG_BYTES) as u64 * 1_000).div_ceil(millis)
    }

    /// How long so many bytes of pad last in one direction.
    pub const fn pad_lasts(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.pad_bytes_per_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_pass_their_own_checks_and_have_the_stated_sizes() {
        for (preset, len, fec, dred) in [
            (CodecSettings::standard(), 80, true, false),
            (CodecSettings::one_time_pad(), 40, false, false),
            (CodecSettings::low_delay(), 60, true, false),
            (CodecSettings::hard_network(), 120, true, true),
        ] {
            let CodecSettings { bit_rate, frame, expected_loss, complexity, dred: reach, .. } = preset;
            let checked = CodecSettings::new(bit_rate, frame, fec, expected_loss, complexity).unwrap();
            assert_eq!(checked.with_dred(reach).unwrap(), preset);
            assert_eq!((preset.packet_len(), preset.fec(), !reach.is_zero()), (len, fec, dred));
        }
    }

    #[test]
    fn names_lead_to_profiles_and_others_are_refused_in_words() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile);
        }
        let message = "loud".parse::<Profile>().unwrap_err().to_string();
        assert!(message.contains("\"loud\"") && Profile::ALL.iter().all(|profile| message.contains(profile.name())));
    }

    #[test]
    fn the_ladder_goes_down_in_pad() {
        let costs: Vec<u64> = PAD_LADDER.iter().map(CodecSettings::pad_bytes_per_second).collect();
        assert_eq!(costs, [3_400, 2_400, 1_900, 1_200, 884]);
        assert_eq!(PAD_LADDER[4].pad_lasts(884 * 60 + 883), Duration::from_mins(1));
        for rung in PAD_LADDER {
            assert_eq!(CodecSettings::for_terms(rung.bit_rate(), rung.frame(), true).unwrap(), rung);
            assert!(rung.dred().is_zero());
        }
    }

    #[test]
    fn terms_lead_back_to_the_presets_and_to_one_packet_length_at_both_ends() {
        for profile in Profile::ALL {
            let settings = profile.settings();
            let otp = profile == Profile::OneTimePad;
            assert_eq!(CodecSettings::for_terms(settings.bit_rate(), settings.frame(), otp).unwrap(), settings);
        }
        for frame in FrameLength::ALL {
            for bit_rate in [6_000, 23_999, 24_000, 47_999, 48_000, 128_000] {
                let [with, without] = [true, false].map(|otp| CodecSettings::for_terms(bit_rate, frame, otp).unwrap());
                assert_eq!(with.packet_len(), without.packet_len());
            }
        }
        assert!(CodecSettings::for_terms(5_999, FrameLength::Ms20, false).is_err());
    }
}
