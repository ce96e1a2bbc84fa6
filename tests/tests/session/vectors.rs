//! Known answers for every construction of PROTOCOL.md, in `tests/vectors/`, with all inputs.
//!
//! The intermediate values (transcript, AAD, hash, AEAD key) are made here a second time, straight from the text and the
//! cryptographic crates, and the records of `vernam-session` must be what follows from them.
//!
//! To write the files anew after a change of the protocol: `VERNAM_WRITE_VECTORS=1 cargo nextest run -p vernam-tests`.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "the inputs are fixed: what does not fit shows as a failed test"
)]

use std::path::PathBuf;
use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use polyval::universal_hash::UniversalHash;
use ring::{aead, digest, hkdf};
use serde_json::{Value, json};
use vernam_key::{Control, Direction, File, Inbound, Material, Outbound, Purpose, SecretBytes, Text, Voice};
use vernam_session::limits::{HASH_KEY_LEN, RECORD_HEADER_LEN, VOICE_HEADER_LEN};
use vernam_session::{
    Exporter, FlowContext, FlowId, KeyBlock, RecordHeader, RecordOpener, RecordSealer, Role, Suite, VoiceOpener,
    VoiceSealer, voice_pad_len,
};
use vernam_tests::hex;
use vernam_tests::world::{Setup, Side, World};

const EXPORTER: [u8; 32] = *b"exporter of a TLS 1.3 connection";
const SESSION_ID: [u8; 16] = *b"session of a day";
const NOW: Duration = Duration::from_secs(5);

/// Compares `value` with the file of that name among the vectors, or writes it there if asked to.
pub(super) fn assert_file(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("VERNAM_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("tests/vectors/{name}: {error}"));
    assert!(
        known == text,
        "tests/vectors/{name}: the protocol has changed. Was that meant? Then see the head of vectors.rs"
    );
}

/// Bytes that are different everywhere and the same every time.
fn counted(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(29).wrapping_add((at >> 8) as u8) ^ salt).collect()
}

fn block<D: Direction>(flow: FlowId, suite: Suite, generation: u32, first_seq: u64, bytes: &[u8]) -> KeyBlock<D> {
    KeyBlock { flow, generation, suite, first_seq, material: Material::from_source(SecretBytes::copy_of(bytes)) }
}

/// Section 6, once more.
fn aad(context: &FlowContext, suite: Suite, [generation, len]: [u32; 2], number: u64, last: bool) -> Vec<u8> {
    let mut aad = key_context(context, suite, generation);
    aad.extend_from_slice(&number.to_be_bytes());
    aad.extend_from_slice(&len.to_be_bytes());
    aad.extend_from_slice(&[u8::from(last), 0, 0, 0]);
    aad
}

fn key_context(context: &FlowContext, suite: Suite, generation: u32) -> Vec<u8> {
    let mut out = context.session_id.to_vec();
    out.extend_from_slice(&[context.sender.code(), context.flow.purpose]);
    out.extend_from_slice(&context.flow.number.to_be_bytes());
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&[suite.code(), 0, 0, 0, 0, 0]);
    out
}

fn polyval(key: &[u8], parts: &[&[u8]], lengths: [usize; 2]) -> Vec<u8> {
    let mut hash = polyval::Polyval::new(key.try_into().unwrap());
    for part in parts {
        hash.update_padded(part);
    }
    let [first, second] = lengths.map(|len| (8 * len as u64).to_le_bytes());
    hash.update_padded(&[first, second].concat());
    hash.finalize().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Section 7.2, once more: the key of an AEAD block.
fn aead_key(context: &FlowContext, suite: Suite, generation: u32, seed: &[u8]) -> Vec<u8> {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let info = [b"vernam/1 aead key".as_slice(), &key_context(context, suite, generation)].concat();
    let mut key = vec![0; 32];
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &EXPORTER);
    salt.extract(seed).expand(&[&info], Len).unwrap().fill(&mut key).unwrap();
    key
}

fn aead_seal(suite: Suite, key: &[u8], number: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce = [&[0; 4][..], &number.to_be_bytes()].concat();
    if suite == Suite::Aes256Gcm {
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).unwrap());
        let mut out = plaintext.to_vec();
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).unwrap();
        key.seal_in_place_append_tag(nonce, aead::Aad::from(aad), &mut out).unwrap();
        return out;
    }
    let key = chacha20poly1305::ChaCha20Poly1305::new(key.try_into().unwrap());
    let nonce: [u8; 12] = nonce.try_into().unwrap();
    key.encrypt(&nonce.into(), Payload { msg: plaintext, aad }).unwrap()
}

/// What the text says the ciphertext and tag are, and the values on the way.
fn expected(
    context: &FlowContext,
    suite: Suite,
    key: &[u8],
    pad_at: usize,
    record: &RecordHeader,
    plaintext: &[u8],
) -> (Vec<u8>, Value) {
    let tag_len = if context.flow.purpose == Voice::CODE && suite == Suite::Otp { 8 } else { 16 };
    let aad = aad(context, suite, [record.generation, record.len], record.seq, record.last);
    if suite == Suite::Otp {
        let pad = &key[HASH_KEY_LEN + pad_at..][..plaintext.len() + tag_len];
        let (text_pad, mask) = pad.split_at(plaintext.len());
        let ciphertext = xor(plaintext, text_pad);
        let hash = polyval(&key[..HASH_KEY_LEN], &[&aad, &ciphertext], [aad.len(), ciphertext.len()]);
        let tag = xor(&hash[..tag_len], mask);
        let values = json!({ "aad": hex::encode(&aad), "pad": hex::encode(pad), "polyval": hex::encode(&hash) });
        return ([ciphertext, tag].concat(), values);
    }
    let key = aead_key(context, suite, record.generation, key);
    let values = json!({ "aad": hex::encode(&aad), "aead_key": hex::encode(&key) });
    (aead_seal(suite, &key, record.seq, &aad, plaintext), values)
}

fn record_vectors<P: Purpose>(suite: Suite, sender: Role, number: u32, salt: u8) -> Value {
    let context = FlowContext { session_id: SESSION_ID, sender, flow: FlowId::of::<P>(number) };
    let exporter = Exporter::new(EXPORTER);
    let (mut sealer, mut opener) =
        (RecordSealer::<P>::new(context, &exporter), RecordOpener::<P>::new(context, &exporter));
    let mut blocks = Vec::new();
    let mut seq = 0;
    for generation in 0..2_u32 {
        let key = counted(if suite == Suite::Otp { 16 + 3 + 17 + 100 + 4 * 16 } else { 32 }, salt ^ generation as u8);
        sealer.install(block::<Outbound>(context.flow, suite, generation, 0, &key)).unwrap();
        opener.install(block::<Inbound>(context.flow, suite, generation, 0, &key)).unwrap();
        let mut records = Vec::new();
        let mut pad_at = 0;
        for len in [3, 0, 17, 100] {
            let plaintext = counted(len, 0x55);
            let last = generation == 1 && len == 100;
            let mut record = Vec::new();
            sealer.seal(&plaintext, last, &mut record, NOW).unwrap();
            let header = RecordHeader { last, generation, seq, len: len as u32 };
            let (body, mut values) = expected(&context, suite, &key, pad_at, &header, &plaintext);
            assert_eq!(record[..RECORD_HEADER_LEN], header.to_bytes());
            assert_eq!(record[RECORD_HEADER_LEN..], body, "{suite} {} {seq}", context.flow);
            let mut received = record[RECORD_HEADER_LEN..].to_vec();
            let got = opener.open(&header, &mut received).map(|plain| plain.to_vec());
            assert_eq!(got.as_deref(), Ok(plaintext.as_slice()));
            values["number"] = json!(seq);
            values["last"] = json!(last);
            values["plaintext"] = json!(hex::encode(&plaintext));
            values["record"] = json!(hex::encode(&record));
            records.push(values);
            seq += 1;
            pad_at += len + 16;
        }
        blocks.push(json!({ "generation": generation, "key_block": hex::encode(&key), "records": records }));
    }
    json!({ "sender_role": sender.code(), "purpose": P::CODE, "flow_number": number, "blocks": blocks })
}

fn voice_vectors(suite: Suite, sender: Role) -> Value {
    const FRAME_LEN: usize = 45;
    let context = FlowContext { session_id: SESSION_ID, sender, flow: FlowId::of::<Voice>(7) };
    let exporter = Exporter::new(EXPORTER);
    let mut sealer = VoiceSealer::new(context, suite, FRAME_LEN, &exporter).unwrap();
    let mut opener = VoiceOpener::new(context, suite, FRAME_LEN, &exporter).unwrap();
    let mut blocks = Vec::new();
    for generation in 0..2_u32 {
        let key = counted(if suite == Suite::Otp { voice_pad_len(FRAME_LEN, 3) } else { 32 }, 0x30 + generation as u8);
        let first_seq = if suite == Suite::Otp { 3 * u64::from(generation) } else { 0 };
        sealer.install(block::<Outbound>(context.flow, suite, generation, first_seq, &key)).unwrap();
        opener.install(block::<Inbound>(context.flow, suite, generation, first_seq, &key)).unwrap();
        let mut datagrams = Vec::new();
        for at in 0..3 {
            let frame = counted(FRAME_LEN, at);
            let mut datagram = Vec::new();
            let seq = sealer.seal(&frame, &mut datagram, NOW).unwrap();
            let header = RecordHeader { last: false, generation, seq: u64::from(seq), len: FRAME_LEN as u32 };
            let pad_at = usize::from(at) * (FRAME_LEN + 8);
            let (body, mut values) = expected(&context, suite, &key, pad_at, &header, &frame);
            assert_eq!(datagram[VOICE_HEADER_LEN..], body, "{suite} voice {seq}");
            assert_eq!(
                opener.open(&mut datagram.clone()).map(|(seq, frame)| (seq, frame.to_vec())),
                Ok((seq, frame.clone()))
            );
            values["number"] = json!(seq);
            values["packet"] = json!(hex::encode(&frame));
            values["datagram"] = json!(hex::encode(&datagram));
            datagrams.push(values);
        }
        blocks.push(json!({
            "generation": generation, "first_seq": first_seq, "key_block": hex::encode(&key), "datagrams": datagrams,
        }));
    }
    json!({ "sender_role": sender.code(), "purpose": Voice::CODE, "flow_number": 7, "packet_len": FRAME_LEN, "blocks": blocks })
}

#[test]
fn records_and_datagrams_of_all_suites_have_known_answers() {
    for suite in Suite::ALL {
        let value = json!({
            "about": "Known answers for PROTOCOL.md, sections 6 to 9. Byte strings are hexadecimal.",
            "suite": suite.name(),
            "suite_code": suite.code(),
            "session_id": hex::encode(&SESSION_ID),
            "exporter": hex::encode(&EXPORTER),
            "streams": [
                record_vectors::<Control>(suite, Role::Initiator, 0, 0x11),
                record_vectors::<Text>(suite, Role::Responder, 0, 0x12),
                record_vectors::<File>(suite, Role::Initiator, 0x0102_0304, 0x13),
            ],
            "voice": [voice_vectors(suite, Role::Initiator), voice_vectors(suite, Role::Responder)],
        });
        assert_file(&format!("records-{suite}.json"), &value);
    }
}

#[test]
fn the_handshake_has_known_answers() {
    let suites = [Suite::ALL.to_vec(), vec![Suite::Aes256Gcm, Suite::Otp]];
    let world = World::established(Setup {
        seed: 7,
        suites,
        handshake_keys: (2, 600),
        stock_keys: 3,
        ..Setup::with(Suite::Otp)
    });
    let recording = world.recording();
    let message = |stream: &[u8]| (stream[0], usize::from(u16::from_be_bytes([stream[1], stream[2]])));
    let hellos = recording.parties.each_ref().map(|party| {
        let (kind, len) = message(&party.streams[0][5..]);
        assert_eq!(kind, b'H');
        party.streams[0][8..8 + len].to_vec()
    });
    let names = Side::BOTH.map(|side| side.name().as_bytes().to_vec());
    let mut transcript = [b"vernam/1 transcript".as_slice(), &recording.exporter].concat();
    for part in names.iter().chain(&hellos) {
        transcript.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
        transcript.extend_from_slice(part);
    }
    let session_id = digest::digest(&digest::SHA256, &transcript).as_ref()[..16].to_vec();
    assert_eq!(world[Side::Alice].session.session_id().unwrap().to_vec(), session_id);
    let confirmations = [0, 1].map(|at: usize| {
        let party = &recording.parties[at];
        let key = &party.handshake_key;
        let data = [transcript.as_slice(), &[at as u8]].concat();
        let tag = xor(&polyval(&key[..16], &[&data], [data.len(), 0]), &key[16..32]);
        let confirm = &party.streams[0][8 + hellos[at].len()..];
        assert_eq!((message(confirm), &confirm[3..19]), ((b'C', 16), tag.as_slice()));
        json!({
            "name": String::from_utf8_lossy(&names[at]),
            "hello": hex::encode(&hellos[at]),
            "handshake_key": hex::encode(key),
            "confirmation": hex::encode(&tag),
            "stream": hex::encode(&party.streams[0][..8 + hellos[at].len() + 19]),
        })
    });
    let [initiator, responder] = confirmations;
    let value = json!({
        "about": "Known answers for PROTOCOL.md, section 3. Byte strings are hexadecimal.",
        "exporter": hex::encode(&recording.exporter),
        "transcript": hex::encode(&transcript),
        "session_id": hex::encode(&session_id),
        "agreed_suite": "otp",
        "initiator": initiator,
        "responder": responder,
    });
    assert_file("handshake.json", &value);
}

#[test]
fn polyval_is_that_of_rfc_8452() {
    let key = hex::decode("25629347589242761d31f826ba4b757b").unwrap();
    let blocks = hex::decode("4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362").unwrap();
    let mut hash = polyval::Polyval::new(key.as_slice().try_into().unwrap());
    hash.update_padded(&blocks);
    assert_eq!(hex::encode(&hash.finalize()), "f7a3b47b846119fae5b7866cf5e5b77e");
}
