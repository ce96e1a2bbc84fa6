//! Every message about a call or about files: there and back, to the byte, and nothing that is malformed is taken.

use proptest::prelude::*;
use vernam_session::limits::{MAX_FILE_BYTES, MAX_FILE_ENTRIES, MAX_FILE_LIST};
use vernam_session::{CallTerms, FileCancelReason, FilePoint, FileStopReason, FileTerms, HangUpReason, Message, Suite};

fn terms() -> impl Strategy<Value = CallTerms> {
    let suite = prop::sample::select(Suite::ALL.to_vec());
    (suite, any::<u32>(), any::<u8>(), any::<u16>()).prop_map(|(suite, bit_rate, frame_ms, packet_len)| CallTerms {
        suite,
        bit_rate,
        frame_ms,
        packet_len,
    })
}

fn file_terms() -> impl Strategy<Value = FileTerms> {
    let suite = prop::sample::select(Suite::ALL.to_vec());
    let most = u32::try_from(MAX_FILE_ENTRIES / 2).expect("a million fits");
    let amounts = (1..=most, 0..=most, 0..=MAX_FILE_BYTES, 1..=MAX_FILE_LIST);
    (any::<[u8; 16]>(), suite, amounts, any::<[u8; 32]>()).prop_map(|(id, suite, amounts, list_hash)| {
        let (files, folders, bytes, list_len) = amounts;
        FileTerms { id, suite, files, folders, bytes, list_len, list_hash }
    })
}

fn about_files() -> impl Strategy<Value = Message> {
    let (transfer, on) = (any::<u32>(), any::<bool>());
    let point = (any::<u32>(), any::<u64>(), any::<[u8; 32]>());
    let point = point.prop_map(|(entry, offset, prefix)| FilePoint { entry, offset, prefix });
    let stop = prop::sample::select(FileStopReason::ALL.to_vec());
    let cancel = prop::sample::select(FileCancelReason::ALL.to_vec());
    prop_oneof![
        (transfer, file_terms()).prop_map(|(transfer, terms)| Message::FileOffer { transfer, terms }),
        transfer.prop_map(|transfer| Message::FileList { transfer }),
        (transfer, point).prop_map(|(transfer, point)| Message::FileAccept { transfer, point }),
        (transfer, on).prop_map(|(transfer, on)| Message::FilePause { transfer, on }),
        (transfer, transfer, transfer).prop_map(|(transfer, files, failed)| Message::FileStored {
            transfer,
            files,
            failed
        }),
        (transfer, stop, any::<u64>()).prop_map(|(transfer, reason, missing)| {
            let missing = if reason == FileStopReason::Full { missing } else { 0 };
            Message::FileStop { transfer, reason, missing }
        }),
        (any::<[u8; 16]>(), cancel).prop_map(|(id, reason)| Message::FileCancel { id, reason }),
        any::<[u8; 16]>().prop_map(|id| Message::FileResume { id }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![about_calls(), about_files()]
}

fn about_calls() -> impl Strategy<Value = Message> {
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
    fn a_message_comes_back_as_it_was(message in message()) {
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
    fn whatever_is_taken_is_said_in_one_way_only(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = bytes;
        if let Some(kind) = bytes.first_mut() {
            *kind = 16 + *kind % 24;
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
    let (id, suite, list_hash) = ([9; 16], Suite::Aes256Gcm, [7; 32]);
    let offered = FileTerms { id, suite, files: 3, folders: 4, bytes: 258, list_len: 6, list_hash };
    let offer_bytes = [
        [32, 0, 0, 0, 2].as_slice(),
        &[9; 16],
        &[2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 6],
        &[7; 32],
    ]
    .concat();
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
        (Message::FileOffer { transfer: 2, terms: offered }, offer_bytes.clone()),
        (Message::FileList { transfer: 2 }, vec![33, 0, 0, 0, 2]),
        (
            Message::FileAccept { transfer: 2, point: FilePoint { entry: 3, offset: 4, prefix: [5; 32] } },
            [[34, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4].as_slice(), &[5; 32]].concat(),
        ),
        (Message::FilePause { transfer: 2, on: true }, vec![35, 0, 0, 0, 2, 1]),
        (Message::FileStored { transfer: 2, files: 3, failed: 4 }, vec![36, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]),
        (
            Message::FileStop { transfer: 2, reason: FileStopReason::Full, missing: 258 },
            vec![37, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 1, 2],
        ),
        (
            Message::FileCancel { id: [9; 16], reason: FileCancelReason::Unknown },
            [[38].as_slice(), &[9; 16], &[3]].concat(),
        ),
        (Message::FileResume { id: [9; 16] }, [[39].as_slice(), &[9; 16]].concat()),
    ] {
        assert_eq!(message.encode(), bytes, "{message:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bytes in [
        &[19, 0, 0, 0, 2, 10][..],                               // a reason that there is not
        &[20, 0, 0, 0, 2, 2],                                    // neither yes nor no
        &[22, 0, 0, 0, 2, 0, 0, 0, 5, 9, 0, 0, 0, 1, 20, 0, 40], // an unknown suite
        &[28, 0, 0, 0, 2, 101, 0, 0, 10],                        // more than everything lost
        &[29, 0, 0, 0, 2],                                       // an unknown type
        &[37, 0, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 1, 2],            // room is missing, and it is not for want of room
        &[37, 0, 0, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0],            // a reason that there is not
    ] {
        assert!(Message::decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_offer_of_files_beyond_the_bounds_is_refused() {
    let terms = |files, folders, bytes, list_len| {
        let (id, suite, list_hash) = ([9; 16], Suite::Otp, [7; 32]);
        let terms = FileTerms { id, suite, files, folders, bytes, list_len, list_hash };
        Message::decode(&Message::FileOffer { transfer: 2, terms }.encode())
    };
    let most = u32::try_from(MAX_FILE_ENTRIES).unwrap();
    assert!(terms(most - 1, 1, MAX_FILE_BYTES, MAX_FILE_LIST).is_ok());
    for (files, folders, bytes, list_len) in [
        (0, 0, 0, 1),
        (most, 1, 0, 1),
        (u32::MAX, u32::MAX, 0, 1),
        (1, 0, MAX_FILE_BYTES + 1, 1),
        (1, 0, 0, 0),
        (1, 0, 0, MAX_FILE_LIST + 1),
    ] {
        assert!(terms(files, folders, bytes, list_len).is_err(), "{files} {folders} {bytes} {list_len}");
    }
}
