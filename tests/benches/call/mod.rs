//! A call's one-way delay from microphone to loudspeaker, measured from outside, and what a call costs.
//!
//! Chirps are said into a microphone in software and found again in what the other end's loudspeaker plays; both places are
//! recorded in the same way by the same program, so that its own delay cancels out. Beside it stands a bare pipeline
//! ([`bare`]) in the same run: the same devices, codec and frame length, and nothing else.

pub(crate) mod bare;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vernam_tests::sound::{self, Device, Sound, Times, chirp};
use vernam_tests::telephone::{Habits, Handset, Town};
use vernam_tests::wire::{Impairment, Wire};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");
/// Chirps of one row: twenty seconds.
const CHIRPS: usize = 50;
/// The devices of two people.
const MOUTHS: [&str; 2] = ["a_mouth", "b_mouth"];
const EARS: [&str; 2] = ["a_ear", "b_ear"];

/// What one row measured.
struct Row {
    /// Percentiles 50 and 95, milliseconds; nothing if no chirp came through.
    delay: Option<[f64; 2]>,
    /// Chirps found of those said.
    found: usize,
    /// What p50 is to be at most, milliseconds.
    goal: Option<f64>,
    /// Share of one core that each of the processes took.
    cpu: Vec<f64>,
}

/// A call with a name in the table.
struct Case {
    name: &'static str,
    profile: &'static str,
    suite: &'static str,
    processing: bool,
    noise_suppression: bool,
    /// How much the wire's delay varies; nothing is no wire at all.
    jitter: Option<Duration>,
    goal: f64,
}

const CASES: [Case; 7] = [
    Case { name: "10 ms frames, no echo cancelling", profile: "low-delay", ..PLAIN },
    Case { name: "20 ms frames, no echo cancelling", goal: 70.0, ..PLAIN },
    Case { name: "20 ms frames, one-time pad, 32 kb/s", suite: "otp", goal: 70.0, ..PLAIN },
    Case { name: "20 ms frames, echo cancelled, level evened", processing: true, goal: 85.0, ..PLAIN },
    Case { name: "the same, and noise taken out", processing: true, noise_suppression: true, goal: 85.0, ..PLAIN },
    Case {
        name: "10 ms frames, the same",
        profile: "low-delay",
        processing: true,
        noise_suppression: true,
        goal: 85.0,
        ..PLAIN
    },
    Case {
        name: "20 ms frames, 30 ms of jitter on the wire",
        jitter: Some(Duration::from_millis(30)),
        goal: 130.0,
        ..PLAIN
    },
];
const PLAIN: Case = Case {
    name: "",
    profile: "standard",
    suite: "aes-256-gcm",
    processing: false,
    noise_suppression: false,
    jitter: None,
    goal: 50.0,
};

/// `make bench` and `make bench PART=call`.
pub(crate) fn run() {
    if let Err(why) = sound::is_available() {
        return println!("the delay of calls cannot be measured: {why}");
    }
    println!(
        "one-way delay of a call from microphone to loudspeaker, devices in software, {CHIRPS} chirps\n  {:<48} {:>6} {:>6}  \
         {:>13}  CPU of each process",
        "", "p50", "p95", "p50 at most"
    );
    for frame_ms in [10, 20] {
        print(&format!("bare pipeline, {frame_ms} ms frames, one direction"), || bare_row(frame_ms));
    }
    for case in &CASES {
        print(case.name, || call_row(case));
    }
    println!();
}

/// Measures a row and prints it. One that cannot be measured does not keep the others from it.
fn print(name: &str, row: impl FnOnce() -> anyhow::Result<Row> + Send) {
    let measured = std::thread::scope(|scope| scope.spawn(row).join());
    let row = match measured {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => return println!("  {name:<48} not measured: {error:#}"),
        Err(_its_panic_was_printed) => return println!("  {name:<48} not measured"),
    };
    let Some([p50, p95]) = row.delay else { return println!("  {name:<48} no chirp came through") };
    let verdict = |goal: f64| if p50 <= goal { "met" } else { "MISSED" };
    let goal = row.goal.map(|goal| format!("{goal:.0} ms: {}", verdict(goal))).unwrap_or_default();
    let cpu: Vec<String> = row.cpu.iter().map(|share| format!("{:.1} %", share * 100.0)).collect();
    println!("  {name:<48} {p50:>6.1} {p95:>6.1}  {goal:>13}  {}  ({} chirps)", cpu.join(", "), row.found);
}

fn sound() -> anyhow::Result<Sound> {
    let (mouths, ears) = (MOUTHS.map(Device::microphone), EARS.map(Device::speaker));
    Sound::start(&[&mouths[..], &ears[..]].concat())
}

/// Says chirps at one end and finds them at the other.
fn chirp_through(sound: &Sound) -> anyhow::Result<(Option<[f64; 2]>, usize)> {
    let (said, heard) = (sound.listen_behind(MOUTHS[0])?, sound.listen(EARS[1])?);
    sound.say(MOUTHS[0], &chirp::chirps(CHIRPS), 1, Times::Once)?.wait()?;
    std::thread::sleep(chirp::EVERY);
    let mut delays: Vec<f64> =
        chirp::delays(&said.stop(), &heard.stop()).iter().map(|delay| delay.as_secs_f64() * 1e3).collect();
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| delays[(delays.len() * share).div_ceil(100).max(1) - 1];
    let percentiles = (!delays.is_empty()).then(|| [at(50), at(95)]);
    Ok((percentiles, delays.len()))
}

/// Ends a child when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _it_ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn bare_row(frame_ms: u32) -> anyhow::Result<Row> {
    let sound = sound()?;
    let mut program = Command::new(std::env::current_exe()?);
    let [microphone, loudspeaker] = [Device::id_behind(MOUTHS[0]), Device::speaker(EARS[1]).id()];
    program.args([bare::NAME, &frame_ms.to_string(), &microphone, &loudspeaker]).stdin(Stdio::null());
    let child = Ended(sound.surround(&mut program).spawn()?);
    std::thread::sleep(Duration::from_secs(3));
    let (began, before) = (Instant::now(), vernam_tests::telephone::cpu_of(child.0.id())?);
    let (delay, found) = chirp_through(&sound)?;
    let used = vernam_tests::telephone::cpu_of(child.0.id())?.saturating_sub(before);
    let cpu = vec![used.div_duration_f64(began.elapsed())];
    Ok(Row { delay, found, goal: None, cpu })
}

fn call_row(case: &Case) -> anyhow::Result<Row> {
    let sound = sound()?;
    let habits = [0, 1].map(|person| Habits {
        microphone: Device::id_behind(MOUTHS[person]),
        speaker: Device::speaker(EARS[person]).id(),
        processing: case.processing,
        noise_suppression: case.noise_suppression,
    });
    let town = Town::new(PROGRAM, &habits)?;
    let (bob, mut address) = town.answer(Some(&sound), &["--auto", "--once"])?;
    let wire = case.jitter.map(|jitter| Wire::to(address, 1).map(|wire| (wire, jitter))).transpose()?;
    if let Some((wire, jitter)) = &wire {
        wire.set_both(Impairment::NONE.taking(Duration::ZERO, *jitter));
        address = wire.addr;
    }
    let terms = ["--suite", case.suite, "--profile", case.profile];
    let alice = town.call(Some(&sound), address, &terms)?;
    let both = [&alice, &bob];
    for person in both {
        person.wait("answered");
        person.wait_for("a microphone", |event| event["event"] == "device_opened" && event["part"] == "microphone");
    }
    // The buffers find their length.
    std::thread::sleep(Duration::from_secs(5));
    let used = |people: [&Handset; 2]| people.map(|person| person.cpu().unwrap_or_default());
    let (began, before) = (Instant::now(), used(both));
    let (delay, found) = chirp_through(&sound)?;
    let elapsed = began.elapsed();
    let cpu = used(both)
        .iter()
        .zip(before)
        .map(|(now, before)| now.saturating_sub(before).div_duration_f64(elapsed))
        .collect();
    alice.end()?;
    bob.wait("ended");
    Ok(Row { delay, found, goal: Some(case.goal), cpu })
}
