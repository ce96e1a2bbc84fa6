//! The quantum link: how much faster than the clock it is simulated, and how fast its post-processing is.
//!
//! The first table's baseline is time itself: simulated seconds per second, on one core, from the laser to the key. The
//! second's is the ten megabits a second that a post-processing of today is expected to do.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use vernam_key::SecretBytes;
use vernam_qkd::distil::{Alice, AuthKey, Bob, EndEvent};
use vernam_qkd::optics::{Receiver, Sent, Transmitter};
use vernam_qkd::{BlockReport, Detection, DeviceProfile, LinkConfig, LinkEvent, PhotonLink};

use super::timing::{median, time};

const SEED: u64 = 625;
/// Lengths of the first table, km.
const LENGTHS: [f64; 5] = [0.0, 10.0, 25.0, 50.0, 100.0];
/// Sifted bits of a block in the first table, the least that privacy amplification should work on.
const BLOCK_BITS: u32 = 1_000_000;
/// One block of the slowest link takes long: no cell of the table may.
const PATIENCE: Duration = Duration::from_secs(20);
/// Slots of a stretch of light in the second table: some ten thousand clicks.
const STRETCH: u64 = 250_000;
/// More stretches than any block there takes.
const MOST_STRETCHES: usize = 100_000;
/// What a core should do, sifted bits a second.
const MARK_BPS: f64 = 10e6;

pub(crate) fn run() {
    println!("link: simulated seconds per second on one core, photons and post-processing (seed {SEED})");
    print!("  {:<16}", "profile");
    for km in LENGTHS {
        print!("{:>12}", format!("{km} km"));
    }
    println!();
    for name in DeviceProfile::names() {
        print!("  {name:<16}");
        for km in LENGTHS {
            print!("{:>12}", pace(name, km));
        }
        println!();
    }
    println!(
        "  each cell: one block of 10^6 sifted bits, from the first pulse to the key; * it gave no key; + stopped early"
    );
    println!(
        "\nlink: post-processing, sifted key bits a second; the mark, {:.0} Mbit/s a core, is for the slower end",
        MARK_BPS / 1e6
    );
    for (qber, bits) in [(0.01, 1_000_000), (0.03, 1_000_000), (0.05, 1_000_000), (0.03, 10_000_000)] {
        println!("{}", post_processing(qber, bits));
    }
    println!();
}

/// Simulated seconds per second over one whole block.
fn pace(name: &str, km: f64) -> String {
    let Some(config) = config(name, km) else { return "no profile".to_owned() };
    let Ok(mut link) = PhotonLink::from_seed(config, SEED) else { return "no link".to_owned() };
    let began = Instant::now();
    loop {
        link.advance(link.next_event_at());
        while let Some(event) = link.poll_event() {
            let (report, mark) = match event {
                LinkEvent::Block(pair) => (pair.report, ""),
                LinkEvent::Discarded { report, .. } => (report, "*"),
                _ => continue,
            };
            return format!("{}{mark}", rate(simulated(&report) / began.elapsed().as_secs_f64()));
        }
        if began.elapsed() > PATIENCE {
            return format!("{}+", rate(link.now().as_secs_f64() / began.elapsed().as_secs_f64()));
        }
    }
}

fn simulated(report: &BlockReport) -> f64 {
    report.end.saturating_sub(report.start).as_secs_f64()
}

fn rate(x: f64) -> String {
    if x < 10.0 { format!("{x:.2}x") } else { format!("{x:.0}x") }
}

fn config(name: &str, km: f64) -> Option<LinkConfig> {
    let mut device = DeviceProfile::named(name).ok()?;
    device.block_bits = BLOCK_BITS;
    let mut config = LinkConfig::new(device, km);
    // As long as it takes: the block ends with its bits.
    config.block_pace = Duration::from_hours(12);
    Some(config)
}

/// Light enough for a block, stretch by stretch. It is made as it is wanted, and not timed: only the two ends are.
struct Clicks {
    config: LinkConfig,
    transmitter: Transmitter,
    receiver: Receiver,
    slot: u64,
}

impl Clicks {
    fn new(qber: f64, bits: u32) -> Option<Self> {
        let mut config = config("lab-1ghz", 25.0)?;
        config.device.e_d = qber;
        // A block of this size needs more bits to test than the profile spares.
        config.device.q = 0.5;
        // Looking for pulses whose clicks fell into a dead time is the simulation's work, not the post-processing's.
        config.device.dead_time_us = 0.0;
        config.device.block_bits = bits;
        let transmitter = Transmitter::new(&config.device, config.loss_db(), 0.0, ChaCha20Rng::seed_from_u64(SEED));
        let receiver = Receiver::new(&config.device, ChaCha20Rng::seed_from_u64(SEED + 1));
        Some(Self { config, transmitter, receiver, slot: 0 })
    }

    fn next(&mut self) -> (Sent, Vec<Detection>) {
        let slots = self.slot..self.slot + STRETCH;
        self.slot = slots.end;
        let (sent, light, _) = self.transmitter.send(slots);
        let detections = self.receiver.detect(&light);
        (sent, detections)
    }
}

fn post_processing(qber: f64, bits: u32) -> String {
    let rounds = if bits > 1_000_000 { 1 } else { 5 };
    let (mut alice, mut bob) = (Vec::new(), Vec::new());
    let mut last = String::new();
    for _round in 0..rounds {
        let Some(clicks) = Clicks::new(qber, bits) else { return "  no profile".to_owned() };
        let floor = reset_peak();
        let Some((report, busy)) = distil(clicks) else { return format!("  QBER {:.0} %: no key", qber * 100.0) };
        let sifted = counted(report.sifted_bits());
        alice.push(sifted / busy[0].as_secs_f64());
        bob.push(sifted / busy[1].as_secs_f64());
        let memory = peak().zip(floor).map_or_else(String::new, |(peak, floor)| {
            format!(", {:.0} MB for both ends", counted(peak.saturating_sub(floor)) / 1e3)
        });
        let key = 100.0 * counted(report.key_bits) / sifted;
        last = format!("f {:.3}, {key:.0} % of it key{memory}", efficiency(&report));
    }
    let (alice, bob) = (median(alice), median(bob));
    let both = 1.0 / (1.0 / alice + 1.0 / bob);
    let slower = alice.min(bob);
    let verdict = if slower >= MARK_BPS { "met" } else { "MISSED" };
    format!(
        "  {bits:>10} bits, QBER {:.0} %: Alice {:>5.1}, Bob {:>5.1}, both on one core {:>5.1} Mbit/s  {:>5.2} x mark: \
         {verdict}  ({last})",
        qber * 100.0,
        alice / 1e6,
        bob / 1e6,
        both / 1e6,
        slower / MARK_BPS
    )
}

fn efficiency(report: &BlockReport) -> f64 {
    report.leakage.parities / counted(report.sifted_bits()) / vernam_qkd::decoy::binary_entropy(report.qber_x)
}

/// Runs both ends over the clicks until there is a block; and how long each end was busy, Alice and Bob.
fn distil(mut clicks: Clicks) -> Option<(BlockReport, [Duration; 2])> {
    let secret = vec![7; 4_096];
    let auth = || AuthKey::new(SecretBytes::from_vec(secret.clone())).ok();
    let ends = clicks.config.ends();
    let mut alice = Alice::new(ends, auth()?, Box::new(ChaCha20Rng::seed_from_u64(SEED + 2))).ok()?;
    let mut bob = Bob::new(ends, auth()?).ok()?;
    let (now, mut busy) = (Duration::ZERO, [Duration::ZERO; 2]);
    for _stretch in 0..MOST_STRETCHES {
        let (sent, detections) = clicks.next();
        let slots = sent.slots();
        busy[0] += time(|| alice.sent(sent));
        busy[1] += time(|| bob.detected(slots, detections, false, now));
        loop {
            let (mut to_alice, mut to_bob) = (None, None);
            busy[1] += time(|| to_alice = bob.poll_message());
            busy[0] += time(|| to_bob = alice.poll_message());
            if to_alice.is_none() && to_bob.is_none() {
                break;
            }
            if let Some(message) = to_alice {
                busy[0] += time(|| alice.handle_message(&message, now));
            }
            if let Some(message) = to_bob {
                busy[1] += time(|| bob.handle_message(&message, now));
            }
        }
        while alice.poll_event().is_some() {}
        while let Some(event) = bob.poll_event() {
            match event {
                EndEvent::Block { report, .. } => return Some((report, busy)),
                EndEvent::Discarded { .. } => return None,
                _ => {}
            }
        }
    }
    None
}

/// Resets the peak of resident memory, and gives what is resident now, kB. `None` where the system does not tell.
fn reset_peak() -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    resident("VmRSS:")
}

/// The peak of resident memory since, kB.
fn peak() -> Option<u64> {
    resident("VmHWM:")
}

fn resident(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn counted(count: u64) -> f64 {
    count as f64
}
