//! What comes out of a link: blocks of key, reports that may be published, and reasons for there being none.

use std::fmt;
use std::time::Duration;

use vernam_key::SecretBytes;

use crate::draw::to_count;
use crate::finite::{Analysis, Bounds, Counts, Intensities};
use crate::pulse::Basis;

/// What a link has to say. Take it with [`crate::RateLink::poll_event`].
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A block passed: key at both ends.
    Block(BlockPair),
    /// The block in the making has grown.
    Progress(Progress),
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
    /// Pulses sent, of every intensity and basis.
    pub pulses: u64,
    /// Sifted bits and their errors, by basis and intensity. The errors of the key basis by intensity are known only
    /// once it was corrected; until then they are 0.
    pub counts: Counts,
    /// Share of wrong bits in the key basis; that of the test basis where the block did not get as far as correction.
    pub qber_x: f64,
    /// Share of wrong bits in the test basis; 1/2 if there was nothing to measure.
    pub qber_z: f64,
    /// Clicks per pulse of each intensity (`Q_k`), brightest first, over both bases.
    pub gains: [f64; 3],
    /// What the decoys say of it.
    pub bounds: Bounds,
    /// Bits disclosed about the key.
    pub leakage: Leakage,
    /// What authentication took.
    pub auth: AuthCost,
    /// How the length of the key was arrived at.
    pub analysis: Analysis,
    /// How likely it may be that something is wrong with the key. All parts are 1 if there is none.
    pub epsilon: Epsilon,
    /// Key bits that each end got, after authentication took its share; 0 if the block was discarded.
    pub key_bits: u64,
    /// Key bits per second at which the link worked; 0 if the block was discarded.
    pub rate_bps: f64,
    /// Whether somebody was on the line. The simulation knows; real equipment does not, so use it for captions only.
    pub eve: bool,
}

/// Bits disclosed about the key while it was made: privacy amplification takes them off again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Leakage {
    /// Parities sent in error correction, bits.
    pub parities: f64,
    /// The hash that shows that both ends hold the same, bits.
    pub verification: f64,
}

/// Key that authentication of the classical channel took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthCost {
    /// Wegman-Carter tags, of both directions.
    pub tags: u64,
    /// Bits of this block's output kept back to replace the pads of tags: these and those of discarded blocks before.
    pub bits: u64,
}

/// How likely it may be that something is wrong with a key. Probabilities; they add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epsilon {
    /// Secrecy: distance of the key from one that Eve knows nothing of.
    pub secrecy: f64,
    /// Correctness: that the two ends hold different keys.
    pub correctness: f64,
    /// Authentication: that a forged message passed.
    pub authentication: f64,
}

/// Fewer decoys than this, of what is to be expected beside the signals, are not luck.
const FEW_DECOYS: f64 = 0.9;

impl BlockReport {
    /// Decoys that clicked for each signal that did, as a share of what their brightness lets expect: `(Q_ν/Q_μ)/(ν/μ)`.
    ///
    /// 1 on a line that treats photons alike; noise and bright lines only raise it. Who lets bright pulses through rather
    /// than weak ones, to have photons to keep, lowers it. 1 if nothing clicked.
    pub fn decoy_share(&self, intensities: &Intensities) -> f64 {
        decoy_share(&self.gains, intensities)
    }

    /// Sifted bits of the key basis.
    pub fn sifted_bits(&self) -> u64 {
        to_count(self.counts.x.detected.iter().sum::<f64>().round())
    }

    /// The larger of the two error rates: what the alarm looks at.
    pub fn qber(&self) -> f64 {
        self.qber_x.max(self.qber_z)
    }
}

impl Epsilon {
    /// All of it together: the key is `total()`-close to an ideal one.
    pub fn total(&self) -> f64 {
        self.secrecy + self.correctness + self.authentication
    }
}

/// What is known of a block while it is being made.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The block.
    pub number: u64,
    /// Virtual time.
    pub at: Duration,
    /// Pulses of the block so far.
    pub pulses: u64,
    /// Counts of the block so far; the errors are of the test basis only.
    pub counts: Counts,
    /// QBER of the test basis in the last stretch alone; 1/2 if nothing came.
    pub qber_z: f64,
    /// Clicks per pulse of each intensity in the block so far.
    pub gains: [f64; 3],
}

/// Why a block was thrown away. `Display` says it in plain words.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DiscardReason {
    /// More errors than the alarm allows.
    QberTooHigh {
        /// The block.
        block: u64,
        /// The basis in which they were counted.
        basis: Basis,
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
        /// At least so many of the key basis's bits came from single photons, says the decoy analysis.
        single: f64,
        /// Decoys that arrived for each signal, as a share of what their brightness lets expect: see
        /// [`BlockReport::decoy_share`].
        decoys: f64,
    },
    /// Next to nothing arrived: the line is cut, or far too long for the device.
    TooFewDetections {
        /// The block.
        block: u64,
        /// How many bits were left after sifting.
        sifted_bits: u64,
    },
    /// Bob's monitor saw light far brighter than any pulse of Alice's: somebody blinds the detectors.
    BrightLight {
        /// The block.
        block: u64,
    },
    /// The hashes of the two corrected keys differ: error correction left an error.
    Unequal {
        /// The block.
        block: u64,
    },
    /// A message of the classical channel was altered, replayed, reordered or made up.
    Tampered {
        /// The block.
        block: u64,
        /// What was wrong with it.
        what: &'static str,
    },
    /// The far end fell silent.
    TimedOut {
        /// The block.
        block: u64,
        /// What was being waited for.
        waiting_for: &'static str,
    },
    /// The far end gave up the block, for a reason of its own.
    PeerGaveUp {
        /// The block.
        block: u64,
    },
    /// No key is left to authenticate messages with: the link needs a new start-up secret.
    NoAuthenticationKey {
        /// The block.
        block: u64,
    },
}

impl DiscardReason {
    /// The block that was thrown away.
    pub fn block(&self) -> u64 {
        match *self {
            Self::QberTooHigh { block, .. }
            | Self::NoSecretKey { block, .. }
            | Self::TooFewDetections { block, .. }
            | Self::BrightLight { block }
            | Self::Unequal { block }
            | Self::Tampered { block, .. }
            | Self::TimedOut { block, .. }
            | Self::PeerGaveUp { block }
            | Self::NoAuthenticationKey { block } => block,
        }
    }
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::QberTooHigh { block, basis, qber, threshold } => write!(
                f,
                "QBER {:.1} % in {basis:?} in block {block}, threshold {} %: the line is being read, or is badly \
                 disturbed",
                qber * 100.0,
                percent(threshold)
            ),
            Self::NoSecretKey { block, qber, decoys, .. } if decoys < FEW_DECOYS => write!(
                f,
                "QBER {:.1} % in block {block}, but only {:.0} % of the decoys came that should have: somebody splits \
                 photons off the brighter pulses",
                qber * 100.0,
                decoys * 100.0
            ),
            Self::NoSecretKey { block, qber, single, .. } if single > 0.0 => write!(
                f,
                "QBER {:.1} % in block {block}: nothing secret is left once the errors are corrected and all that an \
                 eavesdropper may know is taken out",
                qber * 100.0
            ),
            Self::NoSecretKey { block, qber, .. } => write!(
                f,
                "QBER {:.1} % in block {block}, and no single photon can be told from the rest: the block is too short \
                 for its statistics, or the line too long",
                qber * 100.0
            ),
            Self::TooFewDetections { block, sifted_bits } => write!(
                f,
                "only {sifted_bits} bits arrived in block {block}: the line is cut, or too long for this device"
            ),
            Self::BrightLight { block } => {
                write!(f, "bright light on the line in block {block}: somebody is blinding the detectors")
            }
            Self::Unequal { block } => {
                write!(f, "error correction left an error in block {block}; the hashes of the two ends differ")
            }
            Self::Tampered { block, what } => {
                write!(f, "{what} on the classical channel in block {block}: somebody meddles with it")
            }
            Self::TimedOut { block, waiting_for } => {
                write!(f, "no {waiting_for} came from the far end in block {block}: check the classical connection")
            }
            Self::PeerGaveUp { block } => write!(f, "the far end gave up block {block}; its log says why"),
            Self::NoAuthenticationKey { block } => {
                write!(f, "no key is left to authenticate block {block}: install a new start-up secret at both ends")
            }
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

/// See [`BlockReport::decoy_share`].
pub(crate) fn decoy_share(gains: &[f64; 3], intensities: &Intensities) -> f64 {
    let [signal, decoy, _] = *gains;
    if signal > 0.0 { decoy / signal * intensities.mu[0] / intensities.mu[1] } else { 1.0 }
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
        let alarm = DiscardReason::QberTooHigh { block: 12, basis: Basis::X, qber: 0.2492, threshold: 0.11 };
        let text = alarm.to_string();
        assert!(text.starts_with("QBER 24.9 % in X in block 12, threshold 11 %: the line is being read"), "{text}");
        assert_eq!(alarm.block(), 12);
        let no_key = DiscardReason::NoSecretKey { block: 3, qber: 0.08, single: 1.0, decoys: 1.0 }.to_string();
        assert!(no_key.starts_with("QBER 8.0 % in block 3: nothing secret is left"), "{no_key}");
        let split = DiscardReason::NoSecretKey { block: 3, qber: 0.02, single: 0.0, decoys: 0.349 }.to_string();
        assert!(split.contains("only 35 % of the decoys came"), "{split}");
        let cut = DiscardReason::TooFewDetections { block: 7, sifted_bits: 2 }.to_string();
        assert!(cut.starts_with("only 2 bits arrived in block 7"), "{cut}");
    }

    #[test]
    fn debug_shows_no_bits() {
        let block = KeyBlock { number: 5, bits: SecretBytes::from_vec(vec![0xA7; 3]) };
        assert_eq!(format!("{block:?}"), "KeyBlock { number: 5, bits: <3 secret bytes> }");
    }
}
