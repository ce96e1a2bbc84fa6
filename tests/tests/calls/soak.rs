//! Ten minutes of a call: memory stays flat, and the delay does not creep, though the two clocks differ.
//!
//! Once in virtual time, in some seconds, over everything that is pure: encoder, sealer, a bad wire, opener, jitter buffer,
//! decoder. Once for real, as `make soak`: two processes, devices, ten minutes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::Command;
use std::time::Duration;

use vernam_audio::{AtEnd, CodecSettings, JitterSettings, PlayoutDecoder, Speech, VoiceEncoder};
use vernam_key::{Direction, Material, SecretBytes, Voice};
use vernam_session::{Exporter, FlowContext, FlowId, KeyBlock, Role, Suite, VoiceOpener, VoiceSealer};
use vernam_tests::sound::{RATE, Times, chirp};
use vernam_tests::telephone::{Town, memory_of};
use vernam_tests::wire::{Fate, Fates, Impairment, Loss, Wire};

use super::{EARS, MOUTHS, PROGRAM, plain, sound, speech};

/// How long both calls last.
const CALL: Duration = Duration::from_mins(10);
/// In virtual time, how far apart chirps are by which the delay is measured; there is speech between them.
const CHIRP_EVERY: Duration = Duration::from_secs(5);
/// By how much the sender's clock is fast, or slow: parts per million. What two cheap sound cards differ by at most.
const DRIFT_PPM: i32 = 200;
/// By how much the delay of the last minutes may differ from that of the first: one frame.
const CREEP: Duration = Duration::from_millis(20);
/// By how much memory may grow once the call runs, bytes: one frame kept for each of the call's would be fifty times
/// as much, one packet for each twice as much.
const GROWTH: u64 = 1 << 20;

/// What one run in virtual time came to.
#[derive(Debug)]
struct Run {
    /// From mouth to ear, chirp by chirp, without the codec's own.
    delays: Vec<Duration>,
    /// Chirps said.
    chirps: usize,
    /// Memory after a minute and at the end, bytes.
    memory: [u64; 2],
}

fn block<D: Direction>(flow: FlowId, generation: u32) -> KeyBlock<D> {
    let material = Material::from_source(SecretBytes::copy_of(&[5; 32]));
    KeyBlock { flow, generation, suite: Suite::Aes256Gcm, first_seq: 0, material }
}

/// Speech without end, with a chirp in it at every multiple of [`CHIRP_EVERY`].
struct Mouth {
    speech: vernam_audio::SpeechFrames,
    chirp: Vec<i16>,
    noise: chirp::Noise,
    said: usize,
}

impl Mouth {
    fn next_into(&mut self, pcm: &mut [i16]) {
        let every = usize::try_from(CHIRP_EVERY.as_secs()).unwrap() * RATE as usize;
        let _again_and_again = self.speech.next_into(pcm);
        for sample in pcm {
            // A pause around it, so that nothing else is taken for it; longer after it, when it comes late.
            let place = self.said % every;
            if place < 12 * self.chirp.len() || place + 3 * self.chirp.len() > every {
                *sample = self.chirp.get(place).unwrap_or(&0) + self.noise.sample();
            }
            self.said += 1;
        }
    }
}

fn run(drift_ppm: i32, seed: u64) -> Run {
    println!("seed {seed}, the sender's clock is {drift_ppm} ppm fast");
    let settings = CodecSettings::standard();
    let frame = settings.frame();
    let speech = Speech::load(speech("reader")).unwrap().frames(frame, AtEnd::Loop);
    let mut mouth = Mouth { speech, chirp: chirp::chirp(), noise: chirp::Noise::default(), said: 0 };
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    let flow = FlowId::of::<Voice>(1);
    let context = || FlowContext { session_id: [5; 16], sender: Role::Initiator, flow };
    let exporter = Exporter::new([7; 32]);
    let mut sealer = VoiceSealer::new(context(), Suite::Aes256Gcm, settings.packet_len(), &exporter).unwrap();
    let mut opener = VoiceOpener::new(context(), Suite::Aes256Gcm, settings.packet_len(), &exporter).unwrap();
    let mut fates = Fates::new(seed);
    let bad = Impairment::NONE
        .losing(Loss::Bursts { share: 0.02, length: 1.5 })
        .taking(Duration::from_millis(40), Duration::from_millis(12))
        .reordering(0.01, Duration::from_millis(20))
        .repeating(0.005);
    let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame)).unwrap();
    let mut under_way: BinaryHeap<Reverse<(Duration, u32, Vec<u8>)>> = BinaryHeap::new();
    let (mut pcm, mut packet, mut datagram) = (vec![0; frame.samples()], vec![0; settings.packet_len()], Vec::new());
    // The sender's clock, in the receiver's time.
    let sends_at = |number: u32| (frame.duration() * number).mul_f64(1.0 - f64::from(drift_ppm) * 1e-6);
    let (mut sent, mut generations) = (0, 0);
    // What was heard since the last chirp was looked for, and where in the call that begins.
    let (mut heard, mut heard_from, mut delays) = (Vec::new(), Duration::ZERO, Vec::new());
    let (mut memory, mut next_chirp) = ([0; 2], 1);
    let phase = Duration::from_millis(7);
    for tick in 0..u32::try_from(frame.frames_in(CALL)).unwrap() {
        let now = phase + frame.duration() * tick;
        while sends_at(sent) <= now {
            let at = sends_at(sent);
            mouth.next_into(&mut pcm);
            encoder.encode(&pcm, &mut packet).unwrap();
            if sealer.packets_left(at) == Some(0) {
                sealer.install(block(flow, generations)).unwrap();
                opener.install(block(flow, generations)).unwrap();
                generations += 1;
            }
            sealer.seal(&packet, &mut datagram, at).unwrap();
            if let Fate::Arrives { at, again, .. } = fates.draw(&bad, at) {
                for at in std::iter::once(at).chain(again) {
                    under_way.push(Reverse((at, sent, datagram.clone())));
                }
            }
            sent += 1;
        }
        while under_way.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((at, _, mut datagram))) = under_way.pop() else { break };
            if let Ok((seq, packet)) = opener.open(&mut datagram) {
                let _fate = playout.push(seq, packet, at);
            }
        }
        playout.pull(now, &mut pcm).unwrap();
        heard.extend_from_slice(&pcm);
        // Half a second after it was said, a chirp is looked for; the first is left out.
        let said_at = CHIRP_EVERY.mul_f64(1.0 - f64::from(drift_ppm) * 1e-6) * next_chirp;
        if now > said_at + Duration::from_millis(500) {
            let from =
                usize::try_from(said_at.saturating_sub(heard_from).as_micros() * u128::from(RATE) / 1_000_000).unwrap();
            if let Some(at) = chirp::find(&heard[from..]).first() {
                delays.push(Duration::from_secs(*at as u64) / RATE);
            }
            heard_from = phase + frame.duration() * (tick + 1);
            heard.clear();
            next_chirp += 1;
        }
        if now > Duration::from_mins(1) && memory[0] == 0 {
            memory[0] = memory_of(std::process::id()).unwrap();
        }
    }
    memory[1] = memory_of(std::process::id()).unwrap();
    println!("{:?}, {generations} keys, {:?}", playout.stats(), opener.counters());
    Run { delays, chirps: usize::try_from(next_chirp - 1).unwrap(), memory }
}

fn median(delays: &[Duration]) -> Duration {
    let mut delays = delays.to_vec();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

fn check(run: &Run) {
    let [first, last] = [&run.delays[..run.delays.len() / 5], &run.delays[run.delays.len() * 4 / 5..]].map(median);
    let longest = run.delays.iter().max().unwrap();
    let [early, late] = run.memory;
    println!(
        "{} of {} chirps found; delay {first:?} in the first two minutes, {last:?} in the last, {longest:?} at most; memory \
         {early} bytes after a minute, {late} at the end",
        run.delays.len(),
        run.chirps
    );
    assert!(run.delays.len() * 2 >= run.chirps, "most chirps are heard");
    assert!(first.abs_diff(last) < CREEP, "the delay creeps");
    assert!(*longest < Duration::from_millis(300), "the delay is bounded");
    assert!(late < early + GROWTH, "memory grows");
}

/// Not a test by itself: it has a process to itself, whose memory is looked at.
#[test]
#[ignore = "the tests below start it"]
fn ten_minutes_in_virtual_time() {
    let drift = std::env::var("VERNAM_SOAK_DRIFT").ok().and_then(|drift| drift.parse().ok()).unwrap_or(DRIFT_PPM);
    check(&run(drift, 91));
}

fn in_a_process_of_its_own(drift_ppm: i32) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "calls::soak::ten_minutes_in_virtual_time", "--ignored", "--nocapture"]);
    let run = child.env("VERNAM_SOAK_DRIFT", drift_ppm.to_string()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&run.stdout));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn ten_minutes_from_a_fast_clock_keep_the_delay_and_the_memory() {
    in_a_process_of_its_own(DRIFT_PPM);
}

#[test]
fn ten_minutes_from_a_slow_clock_keep_the_delay_and_the_memory() {
    in_a_process_of_its_own(-DRIFT_PPM);
}

#[test]
#[ignore = "takes ten minutes; `make soak` runs it"]
fn ten_minutes_for_real() {
    let Some(sound) = sound() else { return };
    let town = Town::new(PROGRAM, &plain()).unwrap();
    let (bob, address) = town.answer(Some(&sound), &["--auto", "--once"]).unwrap();
    let wire = Wire::to(address, 92).unwrap();
    wire.set_both(
        Impairment::NONE.taking(Duration::from_millis(10), Duration::from_millis(5)).losing(Loss::Even(0.01)),
    );
    let alice = town.call(Some(&sound), wire.addr, &["--suite", "aes-256-gcm", "--profile", "standard"]).unwrap();
    for person in [&alice, &bob] {
        person.wait("answered");
    }
    let _speaks = sound.say(MOUTHS[0], &chirp::chirps(1), 1, Times::Endless).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let (said, heard) = (sound.listen_in(MOUTHS[0]).unwrap(), sound.listen(EARS[1]).unwrap());
    let memory = || [&alice, &bob].map(|person| person.memory().unwrap());
    heard.until(Duration::from_mins(1)).unwrap();
    let early = memory();
    heard.until(CALL).unwrap();
    let late = memory();
    assert!(alice.all("reconnecting").is_empty() && alice.all("ended").is_empty());
    println!("{}\n{}", alice.tick().unwrap_or_default(), bob.tick().unwrap_or_default());
    alice.end().unwrap();
    bob.wait("ended");
    let (said, heard) = (said.stop(), heard.stop());
    let chirps = chirp::find(&said.pcm).len();
    let delays = chirp::delays(&said, &heard);
    for memory in [0, 1].map(|who| [early[who], late[who]]) {
        check(&Run { delays: delays.clone(), chirps, memory });
    }
}
