//! A whole session, recorded to the byte, and a second implementation that reads it from the text of PROTOCOL.md.
//!
//! `tests/vectors/session-*.json` hold what went over the wire with the keys, `session-*.plaintexts.json` what was said.
//! To write them anew after a change of the protocol: `VERNAM_WRITE_VECTORS=1 cargo nextest run -p vernam-tests recorded`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vernam_key::{File, Text};
use vernam_session::{CallTerms, FilePoint, FileTerms, Message, Suite};
use vernam_tests::hex;
use vernam_tests::world::{Recorded, Seen, Setup, Side, World};

use super::vectors::assert_file;

const CALL: u32 = 2;
const TRANSFER: u32 = 4;
const PACKET_LEN: usize = 40;
/// Bytes of what is sent that stand for the list of names.
const LIST: u32 = 60;

/// A short conversation: stock is announced, a call is made and changes keys, texts and a file go over, and a goodbye.
fn conversation(suite: Suite) -> World {
    let setup = Setup {
        seed: 2_026,
        handshake_keys: (2, 1_024),
        stock_key_len: 512,
        stock_keys: 12,
        block_len: 512,
        voice_block: 5,
        ..Setup::with(suite)
    };
    let mut world = World::established(setup);
    for side in Side::BOTH {
        world.announce(side, 4);
        world.run();
    }
    let terms = CallTerms { suite, bit_rate: 16_000, frame_ms: 20, packet_len: 40 };
    tell(&mut world, Side::Alice, Message::Ring { call: CALL, terms });
    tell(&mut world, Side::Bob, Message::Ringing { call: CALL });
    tell(&mut world, Side::Bob, Message::Answer { call: CALL });
    world.begin_call(CALL, suite, PACKET_LEN);
    for at in 0..12_u8 {
        talk(&mut world, at);
    }
    world.write(Side::Alice, 0, suite, "Is this line safe?");
    world.write(Side::Bob, 0, suite, "As safe as the sum of two random numbers. ✓");
    world.run();
    // A minute later every AEAD key is due.
    world.run_for(Duration::from_secs(61));
    for at in 12..15_u8 {
        talk(&mut world, at);
    }
    let file = file();
    let (list_len, list_hash) = (LIST, *blake3::hash(&file[..LIST as usize]).as_bytes());
    let bytes = file.len() as u64 - u64::from(LIST);
    let terms = FileTerms { id: [0x1d; 16], suite, files: 1, folders: 0, bytes, list_len, list_hash };
    let (transfer, prefix) = (TRANSFER + 1, *blake3::hash(b"").as_bytes());
    tell(&mut world, Side::Bob, Message::FileOffer { transfer, terms });
    tell(&mut world, Side::Alice, Message::FileList { transfer });
    tell(&mut world, Side::Alice, Message::FileAccept { transfer, point: FilePoint { entry: 0, offset: 0, prefix } });
    world.send_file(Side::Bob, TRANSFER + 1, suite, &file);
    world.run();
    tell(&mut world, Side::Alice, Message::FileStored { transfer, files: 1, failed: 0 });
    let now = world.around.now;
    world[Side::Alice].session.bye(now);
    world.run();
    for side in Side::BOTH {
        assert_eq!(world[side].closed(), Some(&None), "{suite}");
        assert!(!world[side].seen.iter().any(|seen| matches!(seen, Seen::Refused(..))), "{suite}");
    }
    world
}

fn tell(world: &mut World, side: Side, message: Message) {
    let now = world.around.now;
    world[side].session.send(message, now);
    world.run();
}

fn talk(world: &mut World, at: u8) {
    for side in Side::BOTH {
        world.say(side, CALL, &packet(side, at));
    }
    world.run_for(Duration::from_millis(20));
}

fn packet(side: Side, at: u8) -> Vec<u8> {
    let first = if side == Side::Alice { 0xa0 } else { 0xb0 };
    (0..40).map(|byte: u8| first ^ at.wrapping_mul(17) ^ byte).collect()
}

fn file() -> Vec<u8> {
    (0..1_500_u32).map(|at| b"vernam "[at as usize % 7] ^ at.to_be_bytes()[2]).collect()
}

/// The recording: everything on the wire, and the keys.
fn recording(world: &World, suite: Suite) -> Value {
    let recording = world.recording();
    let party = |side: Side, recorded: &Recorded| {
        let stock = recorded.stock.iter();
        json!({
            "name": side.name(),
            "handshake_key": hex::encode(&recorded.handshake_key),
            "stock": stock.map(|(at, bytes)| json!({ "position": at, "bytes": hex::encode(bytes) })).collect::<Vec<_>>(),
            "streams": recorded.streams.iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>(),
            "datagrams": recorded.datagrams.iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>(),
        })
    };
    json!({
        "about": "A recorded session with all its keys: transport/PROTOCOL.md; tests/interop/decode_session.py reads it.",
        "suite": suite.name(),
        "exporter": hex::encode(&recording.exporter),
        "initiator": party(Side::Alice, &recording.parties[0]),
        "responder": party(Side::Bob, &recording.parties[1]),
    })
}

/// What each side said, as the other side's session accepted it.
fn plaintexts(world: &World) -> Value {
    let side = |side: Side| {
        let heard = &world[side.other()];
        let mut control: Vec<String> = heard.messages().iter().map(|message| hex::encode(&message.encode())).collect();
        if side == Side::Alice {
            control.push(hex::encode(&Message::Bye.encode()));
        }
        let voice: Vec<Value> = heard
            .seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Voice(_, seq, packet) => Some(json!([seq, hex::encode(packet)])),
                _ => None,
            })
            .collect();
        assert_eq!(voice.len(), 15);
        let mut said = json!({
            "control records": world.control_records(side),
            "control": control,
            "text/0": heard.records::<Text>().map(hex::encode).collect::<Vec<_>>(),
            "voice/2": voice,
        });
        if side == Side::Bob {
            let pieces: Vec<&[u8]> = heard.records::<File>().collect();
            assert_eq!(pieces.concat(), file());
            said["file/5"] = pieces.into_iter().map(hex::encode).collect();
        }
        said
    };
    json!({ "initiator": side(Side::Alice), "responder": side(Side::Bob) })
}

#[test]
fn a_recorded_session_comes_out_the_same_to_the_byte() {
    for suite in Suite::ALL {
        let world = conversation(suite);
        assert_file(&format!("session-{suite}.json"), &recording(&world, suite));
        assert_file(&format!("session-{suite}.plaintexts.json"), &plaintexts(&world));
        world.around.audit.check().expect("no byte of key twice");
    }
}

#[test]
fn a_second_implementation_reads_the_recorded_sessions_from_the_specification() {
    for suite in Suite::ALL {
        let recording = vector(&format!("session-{suite}.json"));
        let plaintexts = vector(&format!("session-{suite}.plaintexts.json"));
        // The script is given the recording alone; its answer is compared here.
        let decoded = decode(&[&recording]).unwrap_or_else(|refused| panic!("{suite}: {refused}"));
        let expected = std::fs::read_to_string(&plaintexts).expect("it is in the repository");
        let [decoded, expected] = [decoded, expected].map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
        assert_eq!(decoded, expected, "{suite}");
        let verdict = decode(&[&recording, &plaintexts]).unwrap_or_else(|refused| panic!("{suite}: {refused}"));
        assert!(verdict.contains("all plaintexts agree"));
    }
}

#[test]
fn a_second_implementation_refuses_a_recording_with_one_bit_changed() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    for (suite, what) in Suite::ALL.into_iter().flat_map(|suite| ["streams", "datagrams"].map(|what| (suite, what))) {
        let text = std::fs::read_to_string(vector(&format!("session-{suite}.json"))).expect("it is in the repository");
        let mut recording: Value = serde_json::from_str(&text).expect("JSON");
        let place = &mut recording["responder"][what][1];
        let mut bytes = place.as_str().and_then(hex::decode).expect("hexadecimal digits");
        *bytes.last_mut().expect("not empty") ^= 1;
        *place = json!(hex::encode(&bytes));
        let changed = folder.path().join("changed.json");
        std::fs::write(&changed, recording.to_string()).expect("the folder is ours");
        let refused = decode(&[&changed]).expect_err("one bit is another");
        assert!(refused.contains("refused: a tag is wrong"), "{suite} {what}: {refused}");
    }
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// Runs the second implementation. What it printed, or what it said against it.
fn decode(files: &[&Path]) -> Result<String, String> {
    let can = |python: &&str| {
        let found = Command::new(python).args(["-c", "import cryptography.hazmat.primitives.ciphers.aead"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(can).expect(
        "no python3 that has the package `cryptography`: install Debian's python3-cryptography (`make setup` does it)",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/decode_session.py");
    let output = Command::new(python).arg(script).args(files).output().expect("it just ran");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
