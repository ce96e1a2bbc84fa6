//! Every message about a call: there and back, to the byte, and nothing that is malformed is taken.

use proptest::prelude::*;
use vernam_session::{CallTerms, HangUpReason, Message, Suite};

fn terms() -> impl Strategy<Value = CallTerms> {
    let suite = prop::sample::select(Suite::ALL.to_vec());
    (suite, any::<u32>(), any::<u8>(), any::<u16>()).prop_map(|(suite, bit_rate, frame_ms, packet_len)| CallTerms {
        suite,
        bit_rate,
        frame_ms,
        packet_len,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let (call, on) = (any::<u32>(), any::<bool>());
    let reason = prop::sample::select(HangUpReason::ALL.to_vec());
    prop_oneof![
        (call, terms()).prop_map(|(call, terms)| Message::Ring { call, terms }),
        (call, reason).prop_map(|(call, reason)| Message::HangUp { call, reason }),
        (call, on).prop_map(|(call, on)| Message::Hold { call, on }),
        (call, on).prop_map(|(call, on)| Message::Muted { call, on }),
        (call, call, terms()).prop_map(|(call, new, terms)| Message::ChangeAsk { call, new, terms }),
        (call, on).prop_map(|(new, yes)| Message::ChangeAnswer { new, yes }),
        call.prop_map(|call| Message::RecordAsk { call }),
        (call, on).prop_map(|(call, yes)| Message::RecordAnswer { call, yes }),
        call.prop_map(|call| Message::RecordStop { call }),
        (call, call, terms()).prop_map(|(was, call, terms)| Message::Resume { was, call, terms }),
        (call, 0..=100_u8, any::<u16>(), any::<u8>()).prop_map(|(call, lost_percent, jitter_ms, burst_tenths)| {
            Message::Quality { call, lost_percent, jitter_ms, burst_tenths }
        }),
    ]
}

proptest! {
    #[test]
    fn a_message_about_a_call_comes_back_as_it_was(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()).ok(), Some(message));
    }

    #[test]
    fn a_message_that_is_cut_or_goes_on_is_refused(message in message(), more in any::<u8>()) {
        let mut bytes = message.encode();
        for end in 0..bytes.len() {
            prop_assert!(Message::decode(&bytes[..end]).is_err(), "cut to {end}");
        }
        bytes.push(more);
        prop_assert!(Message::decode(&bytes).is_err());
    }

    #[test]
    fn whatever_is_taken_is_said_in_one_way_only(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let mut bytes = bytes;
        if let Some(kind) = bytes.first_mut() {
            *kind = 16 + *kind % 16;
        }
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

#[test]
fn each_type_has_the_byte_that_the_protocol_gives_it() {
    let terms = CallTerms { suite: Suite::Otp, bit_rate: 16_000, frame_ms: 20, packet_len: 40 };
    let terms_bytes = [1, 0, 0, 0x3e, 0x80, 20, 0, 40];
    let with_terms = |head: &[u8]| [head, &terms_bytes].concat();
    for (message, bytes) in [
        (Message::HangUp { call: 2, reason: HangUpReason::NotDisturbed }, vec![19, 0, 0, 0, 2, 6]),
        (Message::HangUp { call: 2, reason: HangUpReason::Lost }, vec![19, 0, 0, 0, 2, 7]),
        (Message::Hold { call: 2, on: true }, vec![20, 0, 0, 0, 2, 1]),
        (Message::Muted { call: 2, on: false }, vec![21, 0, 0, 0, 2, 0]),
        (Message::ChangeAsk { call: 2, new: 5, terms }, with_terms(&[22, 0, 0, 0, 2, 0, 0, 0, 5])),
        (Message::ChangeAnswer { new: 5, yes: true }, vec![23, 0, 0, 0, 5, 1]),
        (Message::RecordAsk { call: 2 }, vec![24, 0, 0, 0, 2]),
        (Message::RecordAnswer { call: 2, yes: true }, vec![25, 0, 0, 0, 2, 1]),
        (Message::RecordStop { call: 2 }, vec![26, 0, 0, 0, 2]),
        (Message::Resume { was: 2, call: 4, terms }, with_terms(&[27, 0, 0, 0, 2, 0, 0, 0, 4])),
        (
            Message::Quality { call: 2, lost_percent: 7, jitter_ms: 300, burst_tenths: 13 },
            vec![28, 0, 0, 0, 2, 7, 1, 44, 13],
        ),
    ] {
        assert_eq!(message.encode(), bytes, "{message:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bytes in [
        &[19, 0, 0, 0, 2, 8][..],                                // a reason that there is not
        &[20, 0, 0, 0, 2, 2],                                    // neither yes nor no
        &[22, 0, 0, 0, 2, 0, 0, 0, 5, 9, 0, 0, 0, 1, 20, 0, 40], // an unknown suite
        &[28, 0, 0, 0, 2, 101, 0, 0, 10],                        // more than everything lost
        &[29, 0, 0, 0, 2],                                       // an unknown type
    ] {
        assert!(Message::decode(bytes).is_err(), "{bytes:?}");
    }
}
