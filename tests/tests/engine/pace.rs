//! Voice has one size and one pace, whatever is said.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use vernam_quic::{Passage, Tap, WireSettings};
use vernam_session::{Suite, voice_datagram_len};
use vernam_tests::lab::voice::{FRAME, Mouth, Tape, check, loudest};
use vernam_tests::lab::{Lab, Person, Relay, Setup, filled, part};

use super::{begin, converse, end};

/// Three seconds.
const PACKETS: usize = 150;
/// Packets of a call's first half second, in which QUIC still finds out what the path takes.
const WARM_UP: usize = 25;
/// UDP payloads below this carry no voice, but acknowledgements, keep-alives or a short word on the control stream: a
/// voice datagram of 40 bytes of Opus, behind QUIC's shortest header (flags and an 8-byte connection ID) and before its tag.
const SMALL: usize = 1 + 8 + voice_datagram_len(Suite::Otp, 40) + 16;

/// Checks that packet after packet left, all of one length, a frame's time apart.
///
/// A busy machine delays single packets, never all of them: so the *least* delay of one half is compared with that of
/// the other. A pace that is off by one packet in three seconds shows, a stall does not.
#[track_caller]
pub(super) fn one_pace(tape: &Tape) -> usize {
    let sent = tape.sent();
    let numbers: Vec<u32> = sent.keys().copied().collect();
    let all: Vec<u32> = (0..).take(sent.len()).collect();
    assert_eq!(numbers, all, "a packet for every frame");
    let lengths: BTreeSet<usize> = sent.values().map(|(packet, _)| packet.len()).collect();
    assert_eq!(lengths.len(), 1, "Opus packets of several lengths: {lengths:?}");
    let frame = FRAME.duration();
    let late: Vec<i128> = sent
        .iter()
        .map(|(seq, (_, at))| {
            i128::try_from(at.as_micros()).unwrap() - i128::from(*seq) * i128::try_from(frame.as_micros()).unwrap()
        })
        .collect();
    let (first, second) = late.split_at(late.len() / 2);
    let drift = second.iter().min().unwrap() - first.iter().min().unwrap();
    assert!(drift.unsigned_abs() < frame.as_micros(), "the pace drifts by {drift} µs over {} packets", sent.len());
    lengths.into_iter().next().unwrap_or_default()
}

/// The UDP payloads that carry voice, by size, of one call of Alice's.
async fn sizes(pair: &[Person; 2], tap: &Tap, mouths: [Mouth; 2]) -> BTreeMap<usize, usize> {
    let tapes = begin(pair, Suite::Otp, mouths).await;
    tapes[0].until_sent(WARM_UP).await;
    tap.take();
    let before = tapes[0].sent().len();
    tapes[0].until_sent(WARM_UP + PACKETS).await;
    let records = tap.take();
    let left: Vec<_> = tapes[0].sent().into_values().skip(before).map(|(_, at)| at).collect();
    let frames = left.len();
    // After a stall of the machine frames leave in a burst, and QUIC puts several of a burst into one UDP datagram. At the
    // call's own pace it never can.
    let in_bursts = left.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) < FRAME.duration() / 2).count();
    end(pair).await;
    one_pace(&tapes[0]);
    one_pace(&tapes[1]);
    check(&tapes[0], &tapes[1]);
    assert_eq!(tap.missed(), 0);
    let mut sizes = BTreeMap::new();
    for record in records.iter().filter(|record| record.passage == Passage::Sent && record.len >= SMALL) {
        *sizes.entry(record.len).or_insert(0) += 1;
    }
    let count: usize = sizes.values().sum();
    // A few more carry signalling.
    assert!(
        count + 2 + in_bursts >= frames && count <= frames * 3 / 2 + 20,
        "{count} UDP datagrams for {frames} frames, {in_bursts} in bursts: {sizes:?}"
    );
    sizes
}

async fn loud_and_silent(pad_packets: bool) -> [BTreeMap<usize, usize>; 2] {
    let lab = Lab::new(21);
    let tap = Tap::new(1 << 16);
    let wire = WireSettings { tap: Some(tap.clone()), pad_packets, ..WireSettings::default() };
    let his = WireSettings { pad_packets, ..WireSettings::default() };
    let setup = || Setup::with_mark(128 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup().over(wire), setup().over(his)).await;
    let loud = sizes(&pair, &tap, [Mouth::loud("reader"), Mouth::loud("commands")]).await;
    let silent = sizes(&pair, &tap, [Mouth::Silence, Mouth::Silence]).await;
    part(pair).await;
    [loud, silent]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn padded_every_packet_of_a_call_has_one_size_over_shouting_and_over_silence() {
    let [loud, silent] = loud_and_silent(true).await;
    // A machine that stalls makes QUIC probe for loss, and quinn does not pad probes: rare, and not about what is said.
    let common = |sizes: &BTreeMap<usize, usize>| sizes.iter().max_by_key(|(_, count)| **count).map(|(len, _)| *len);
    assert_eq!(common(&loud), common(&silent), "loud {loud:?}, silent {silent:?}");
    for sizes in [&loud, &silent] {
        let all: usize = sizes.values().sum();
        let of_one_size = sizes.values().max().copied().unwrap_or_default();
        assert!((all - of_one_size) * 20 <= all, "more than probes are of another size: {sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpadded_a_packet_of_silence_is_as_long_as_one_of_shouting() {
    let [loud, silent] = loud_and_silent(false).await;
    // What rides along (an acknowledgement; a key offer every two seconds) depends on times, and on nothing that is said.
    let shortest = |sizes: &BTreeMap<usize, usize>| sizes.keys().next().copied().unwrap_or_default();
    let base = shortest(&loud);
    assert!(base.abs_diff(shortest(&silent)) <= 3, "loud {loud:?}, silent {silent:?}");
    for sizes in [&loud, &silent] {
        let near: usize = sizes.range(..=base + 32).map(|(_, count)| count).sum();
        let all: usize = sizes.values().sum();
        assert!(near * 10 >= all * 8, "sizes far apart: {sizes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opus_itself_makes_equal_packets_of_silence_and_of_shouting() {
    for suite in Suite::ALL {
        let lab = Lab::new(22);
        let setup = || Setup::with_mark(64 << 10).preferring(suite);
        let pair = lab.talking(setup(), setup()).await;
        let (tapes, stats) = converse(&pair, suite, [Mouth::loud("reader"), Mouth::Silence], 50).await;
        let (loud, silent) = (one_pace(&tapes[0]), one_pace(&tapes[1]));
        assert_eq!((loud, silent), (usize::from(stats[0].terms.packet_len), loud), "{suite}");
        assert!(
            loudest(&tapes[1]) > 10_000 && loudest(&tapes[0]) < 100,
            "the loud one is heard, the silent one is not"
        );
        part(pair).await;
    }
}

/// The TLS secrets of a test's own connection, as tshark reads them.
#[derive(Default)]
struct KeyLog(Mutex<String>);

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let [random, secret] = [client_random, secret].map(vernam_tests::hex::encode);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *lines += &[label, &random, &secret].join(" ");
        lines.push('\n');
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decrypted_capture_shows_datagrams_of_one_length() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("SKIPPED: tshark is not installed, so no capture can be decrypted");
        return;
    }
    let lab = Lab::new(23);
    let keys = Arc::new(KeyLog::default());
    let key_log: Arc<dyn rustls::KeyLog> = Arc::clone(&keys) as _;
    let wire = WireSettings { key_log: Some(key_log), ..WireSettings::default() };
    let setup = || Setup::with_mark(96 << 10).preferring(Suite::Otp);
    let pair = lab.pair(setup().over(wire), setup());
    let relay = Relay::to(pair[1].addr).await;
    pair[0].connect("bob", relay.addr).await;
    filled(&pair, [96 << 10; 2]).await;
    let (loud, stats) = converse(&pair, Suite::Otp, [Mouth::loud("reader"), Mouth::loud("commands")], 100).await;
    let (silent, _) = converse(&pair, Suite::Otp, [Mouth::Silence, Mouth::Silence], 50).await;
    part(pair).await;

    let (capture, secrets) = (lab.home().join("call.pcap"), lab.home().join("keys.log"));
    relay.write_pcap(&capture).unwrap();
    std::fs::write(&secrets, &*keys.0.lock().unwrap_or_else(PoisonError::into_inner)).unwrap();
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&capture).arg("-o").arg(format!("tls.keylog_file:{}", secrets.display()));
    tshark.args(["-d", "udp.port==4433,quic", "-Y", "quic.dg", "-T", "fields", "-E", "occurrence=a"]);
    let output = tshark.args(["-e", "quic.dg"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout);
    let mut lengths = BTreeMap::new();
    for datagram in shown.split([',', '\n']).filter(|datagram| !datagram.is_empty()) {
        let hex = datagram.replace(':', "");
        *lengths.entry(hex.len() / 2).or_insert(0_usize) += 1;
    }
    let expected = voice_datagram_len(Suite::Otp, usize::from(stats[0].terms.packet_len));
    let sent: usize = loud.iter().chain(&silent).map(|tape| tape.sent().len()).sum();
    assert_eq!(lengths.keys().copied().collect::<Vec<_>>(), [expected], "of {sent} sent: {lengths:?}");
    // The first and the last ones may be missing from what tshark could decrypt; most are there.
    assert!(lengths[&expected] * 10 >= sent * 9, "{} datagrams of {sent} were decrypted", lengths[&expected]);
}

/// A tape on which packet `seq` left at `at(seq)` µs.
fn left(at: impl Fn(u64) -> u64, len: impl Fn(u32) -> usize) -> Tape {
    let tape = Tape::default();
    let mut head = tape.head(Mouth::Silence);
    for seq in 0..150_u32 {
        head.sent(seq, &vec![1; len(seq)], std::time::Duration::from_micros(at(u64::from(seq))));
    }
    tape
}

#[test]
fn a_stalled_machine_is_no_other_pace() {
    // Now and then everything waits for a third of a second, and then leaves in a burst.
    let stalled = |seq: u64| if seq % 40 > 25 { (seq / 40 * 40 + 40) * 20_000 } else { seq * 20_000 + seq % 7 * 900 };
    assert_eq!(one_pace(&left(stalled, |_| 40)), 40);
}

#[test]
#[should_panic(expected = "the pace drifts")]
fn a_pace_that_is_two_percent_off_is_noticed() {
    one_pace(&left(|seq| seq * 20_400, |_| 40));
}

#[test]
#[should_panic(expected = "several lengths")]
fn one_packet_of_another_length_is_noticed() {
    one_pace(&left(|seq| seq * 20_000, |seq| if seq == 77 { 39 } else { 40 }));
}
