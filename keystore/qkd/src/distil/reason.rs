//! Reasons for giving a block up, as both ends say them.

use super::wire::Reader;
use crate::block::DiscardReason;
use crate::pulse::Basis;

/// What can be wrong with a message. The place in the list is what goes over the wire.
const FAULTS: [&str; 8] = [MISSING, UNEXPECTED, MALFORMED, SLOTS, TOO_MANY, DIFFERENT, TAG, STRAY];
pub(super) const MISSING: &str = "a message is missing, or came out of turn,";
pub(super) const UNEXPECTED: &str = "a message came that has no place there";
pub(super) const MALFORMED: &str = "a message made no sense";
pub(super) const SLOTS: &str = "slots were claimed that were not sent, or a second time,";
pub(super) const TOO_MANY: &str = "error correction asked for more than it can need";
pub(super) const DIFFERENT: &str = "the two ends arrived at different lengths of key";
pub(super) const TAG: &str = "a tag was wrong";
pub(super) const STRAY: &str = "a message came for a block that is not being made";

/// What an end can wait for.
const AWAITED: [&str; 10] =
    [REPLY, ERRORS, SIFT, START, ANSWER, QUESTION, VERIFICATION, AMPLIFICATION, CONFIRMATION, COMMITMENT];
pub(super) const REPLY: &str = "answer to the sifting";
pub(super) const ERRORS: &str = "count of errors";
pub(super) const SIFT: &str = "further sifting";
pub(super) const START: &str = "start of error correction";
pub(super) const ANSWER: &str = "answer in error correction";
pub(super) const QUESTION: &str = "question in error correction";
pub(super) const VERIFICATION: &str = "verification";
pub(super) const AMPLIFICATION: &str = "privacy amplification";
pub(super) const CONFIRMATION: &str = "confirmation";
pub(super) const COMMITMENT: &str = "last word";

/// The payload of a message that gives a block up. Its number stands in the header.
pub(super) fn encode(reason: &DiscardReason, out: &mut Vec<u8>) {
    let place = |list: &[&str], text: &str| {
        u8::try_from(list.iter().position(|other| *other == text).unwrap_or(usize::MAX)).unwrap_or(u8::MAX)
    };
    match *reason {
        DiscardReason::QberTooHigh { basis, qber, threshold, .. } => {
            out.extend_from_slice(&[1, u8::from(basis == Basis::Z)]);
            out.extend_from_slice(&qber.to_le_bytes());
            out.extend_from_slice(&threshold.to_le_bytes());
        }
        DiscardReason::NoSecretKey { qber, single, decoys, .. } => {
            out.push(2);
            out.extend_from_slice(&qber.to_le_bytes());
            out.extend_from_slice(&single.to_le_bytes());
            out.extend_from_slice(&decoys.to_le_bytes());
        }
        DiscardReason::TooFewDetections { sifted_bits, .. } => {
            out.push(3);
            out.extend_from_slice(&sifted_bits.to_le_bytes());
        }
        DiscardReason::BrightLight { .. } => out.push(4),
        DiscardReason::Unequal { .. } => out.push(5),
        DiscardReason::Tampered { what, .. } => out.extend_from_slice(&[6, place(&FAULTS, what)]),
        DiscardReason::TimedOut { waiting_for, .. } => out.extend_from_slice(&[7, place(&AWAITED, waiting_for)]),
        // Of pads the far end judges by its own stock: whoever could say this in our name would end the link.
        DiscardReason::NoAuthenticationKey { .. } | DiscardReason::PeerGaveUp { .. } => out.push(8),
    }
}

/// The reason; [`DiscardReason::PeerGaveUp`] where it cannot be made out.
pub(super) fn decode(block: u64, payload: &[u8]) -> DiscardReason {
    let mut reader = Reader(payload);
    let reason = read(block, &mut reader);
    match (reason, reader.end()) {
        (Some(reason), Some(())) => reason,
        _ => DiscardReason::PeerGaveUp { block },
    }
}

fn read(block: u64, reader: &mut Reader<'_>) -> Option<DiscardReason> {
    let text = |list: &[&'static str], place: u8| list.get(usize::from(place)).copied();
    Some(match reader.u8()? {
        1 => {
            let basis = [Basis::X, Basis::Z].get(usize::from(reader.u8()?)).copied()?;
            let (qber, threshold) = (reader.f64_in(0.0, 1.0)?, reader.f64_in(0.0, 0.5)?);
            DiscardReason::QberTooHigh { block, basis, qber, threshold }
        }
        2 => {
            let (qber, single) = (reader.f64_in(0.0, 1.0)?, reader.f64_in(0.0, f64::MAX)?);
            DiscardReason::NoSecretKey { block, qber, single, decoys: reader.f64_in(0.0, f64::MAX)? }
        }
        3 => DiscardReason::TooFewDetections { block, sifted_bits: reader.u64()? },
        4 => DiscardReason::BrightLight { block },
        5 => DiscardReason::Unequal { block },
        6 => DiscardReason::Tampered { block, what: text(&FAULTS, reader.u8()?)? },
        7 => DiscardReason::TimedOut { block, waiting_for: text(&AWAITED, reader.u8()?)? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_reason_survives() {
        let block = 4;
        let mut reasons = vec![
            DiscardReason::QberTooHigh { block, basis: Basis::X, qber: 0.25, threshold: 0.11 },
            DiscardReason::QberTooHigh { block, basis: Basis::Z, qber: 0.12, threshold: 0.11 },
            DiscardReason::NoSecretKey { block, qber: 0.01, single: 0.0, decoys: 0.35 },
            DiscardReason::TooFewDetections { block, sifted_bits: 3 },
            DiscardReason::BrightLight { block },
            DiscardReason::Unequal { block },
            DiscardReason::PeerGaveUp { block },
        ];
        reasons.extend(FAULTS.map(|what| DiscardReason::Tampered { block, what }));
        reasons.extend(AWAITED.map(|waiting_for| DiscardReason::TimedOut { block, waiting_for }));
        for reason in reasons {
            let mut payload = Vec::new();
            encode(&reason, &mut payload);
            assert_eq!(decode(block, &payload), reason);
            payload.push(0);
            assert_eq!(decode(block, &payload), DiscardReason::PeerGaveUp { block }, "trailing bytes");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_a_reason_too(payload in prop::collection::vec(any::<u8>(), 0..24)) {
            let reason = decode(9, &payload);
            prop_assert_eq!(reason.block(), 9);
            prop_assert!(!reason.to_string().is_empty());
        }
    }
}
