//! What comes out of a link: blocks of key, reports that may be published, and reasons for there being none.

use std::fmt;
use std::time::Duration;

use vernam_key::SecretBytes;

/// What a link has to say. Take it with [`crate::RateLink::poll_event`].
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A block passed: key at both ends.
    Block(BlockPair),
    /// A block was thrown away at both ends, and the link is in alarm.
    Discarded {
        /// What was measured in it.
        report: BlockReport,
        /// Why it cannot be used.
        reason: DiscardReason,
    },
}

/// One block of key as the two ends hold it, and what was measured while it was made.
#[derive(Debug)]
pub struct BlockPair {
    /// The copy at the sending end.
    pub alice: KeyBlock,
    /// The copy at the receiving end; bit for bit the same.
    pub bob: KeyBlock,
    /// What the two ends may tell the world.
    pub report: BlockReport,
}

/// One end's copy of a block: secret.
///
/// Neither `Clone` nor shown by `Debug`; the bits are wiped when it is dropped.
pub struct KeyBlock {
    /// Which block this is: the same number at both ends, rising, with a gap where a block was discarded.
    pub number: u64,
    /// The key, whole bytes. May be empty on a link that makes less than eight bits in a block.
    pub bits: SecretBytes,
}

impl fmt::Debug for KeyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBlock {{ number: {}, bits: <{} secret bytes> }}", self.number, self.bits.len())
    }
}

/// What was measured while one block was made. Holds nothing secret.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockReport {
    /// The block's number; discarded blocks count too. The first is 1.
    pub number: u64,
    /// Virtual time at which its first pulse was sent.
    pub start: Duration,
    /// Virtual time at which it was finished.
    pub end: Duration,
    /// Bits left after sifting, drawn at random around what the model expects.
    pub sifted_bits: u64,
    /// How many of them were wrong: error correction finds every one. Drawn likewise.
    pub error_bits: u64,
    /// `error_bits/sifted_bits`, the QBER measured in this block; 1/2 if there was nothing to measure.
    pub qber: f64,
    /// Clicks per signal pulse (`Q_μ`), from the model.
    pub gain: f64,
    /// Lower bound of the clicks per single-photon pulse, from the model's decoys.
    pub y1_lower: f64,
    /// Upper bound of the single photons' error rate, from the model's decoys.
    pub e1_upper: f64,
    /// Key bits that each end got; 0 if the block was discarded.
    pub key_bits: u64,
    /// Key bits per second at which the link worked; 0 if the block was discarded.
    pub rate_bps: f64,
    /// Whether somebody was on the line. The simulation knows; real equipment does not, so use it for captions only.
    pub eve: bool,
}

/// Why a block was thrown away. `Display` says it in plain words.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DiscardReason {
    /// More errors than the alarm allows.
    QberTooHigh {
        /// The block.
        block: u64,
        /// What was measured.
        qber: f64,
        /// What the alarm is set to.
        threshold: f64,
    },
    /// Errors below the alarm, but nothing secret remains after error correction and privacy amplification.
    NoSecretKey {
        /// The block.
        block: u64,
        /// What was measured.
        qber: f64,
    },
    /// Next to nothing arrived: the line is cut, or far too long for the device.
    TooFewDetections {
        /// The block.
        block: u64,
        /// How many bits were left after sifting.
        sifted_bits: u64,
    },
}

impl DiscardReason {
    /// The block that was thrown away.
    pub fn block(&self) -> u64 {
        match *self {
            Self::QberTooHigh { block, .. }
            | Self::NoSecretKey { block, .. }
            | Self::TooFewDetections { block, .. } => block,
        }
    }
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::QberTooHigh { block, qber, threshold } => write!(
                f,
                "QBER {:.1} % in block {block}, threshold {} %: the line is being read, or is badly disturbed",
                qber * 100.0,
                percent(threshold)
            ),
            Self::NoSecretKey { block, qber } => write!(
                f,
                "QBER {:.1} % in block {block}: nothing secret is left once the errors are corrected and all that an \
                 eavesdropper may know is taken out",
                qber * 100.0
            ),
            Self::TooFewDetections { block, sifted_bits } => write!(
                f,
                "only {sifted_bits} bits arrived in block {block}: the line is cut, or too long for this device"
            ),
        }
    }
}

/// How a link is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LinkState {
    /// The first block is not finished yet.
    Starting,
    /// The last block passed.
    Up,
    /// The last block was discarded.
    Alarm {
        /// Virtual time at which the first of the discarded blocks was finished.
        since: Duration,
        /// What was wrong with the last of them.
        reason: DiscardReason,
    },
}

/// A share as a percentage, without digits that say nothing: 0.11 is "11", 0.125 is "12.5".
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_plain_words() {
        let alarm = DiscardReason::QberTooHigh { block: 12, qber: 0.2492, threshold: 0.11 };
        let text = alarm.to_string();
        assert!(text.starts_with("QBER 24.9 % in block 12, threshold 11 %: the line is being read"), "{text}");
        assert_eq!(alarm.block(), 12);
        let no_key = DiscardReason::NoSecretKey { block: 3, qber: 0.08 }.to_string();
        assert!(no_key.starts_with("QBER 8.0 % in block 3: nothing secret is left"), "{no_key}");
        let cut = DiscardReason::TooFewDetections { block: 7, sifted_bits: 2 }.to_string();
        assert!(cut.starts_with("only 2 bits arrived in block 7"), "{cut}");
    }

    #[test]
    fn debug_shows_no_bits() {
        let block = KeyBlock { number: 5, bits: SecretBytes::from_vec(vec![0xA7; 3]) };
        assert_eq!(format!("{block:?}"), "KeyBlock { number: 5, bits: <3 secret bytes> }");
    }
}
