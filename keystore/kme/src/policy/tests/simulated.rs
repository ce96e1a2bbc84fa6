//! Greedy and modest SAEs on a simulated link, and requests at random.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Of every random choice here.
const SEED: u64 = 20_261_014;
const STEP: Duration = Duration::from_millis(250);
const WINDOW: u64 = 60;

fn config(cases: u32) -> ProptestConfig {
    println!("seed {SEED}");
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() }
}

/// Asks for `bits` every `every` steps.
#[derive(Debug, Clone)]
struct Modest {
    every: u64,
    bits: u64,
}

/// A site where `greedy` SAEs draw all they can at every step, each before everybody else in turn.
struct Crowd {
    site: Site,
    greedy: Vec<String>,
    drawn: Vec<u64>,
    came: u64,
}

impl Crowd {
    fn new(greedy: usize, rate_bps: u64, below: u64, stock: u64) -> Self {
        let config = PolicyConfig { fair_below_bits: below, fair_window: seconds(WINDOW), ..PolicyConfig::default() };
        let greedy: Vec<_> = (0..greedy).map(|number| format!("greedy-{number}")).collect();
        Self { site: Site::new(config, stock, rate_bps), drawn: vec![0; greedy.len()], greedy, came: stock }
    }

    fn step(&mut self, step: u64) {
        let before = self.site.free;
        self.site.pass(STEP);
        self.came += self.site.free - before;
        for turn in 0..self.greedy.len() {
            // The first one is always the quickest.
            let name = &self.greedy[turn];
            self.drawn[turn] += self.site.draw_all(name, [256, 4096, 1024][usize::try_from(step % 3).unwrap()]);
            self.drawn[turn] += self.site.draw_all(name, 256);
        }
    }
}

proptest! {
    #![proptest_config(config(48))]

    /// Whoever asks for less than half of its share, and all of them for less than half of the stock at a time, gets it
    /// at once, however greedy the others are, and each of these gets nearly its share. Nothing is given that is not there, and what comes in is used.
    #[test]
    fn nobody_is_starved(
        greedy in 1..5_usize,
        modest in prop::collection::vec((1..80_u64, 1..=1000_u64), 1..6),
        rate in 20_000..200_000_u64,
        stock in 0..20_000_000_u64,
    ) {
        let per_window = rate * WINDOW / (greedy + modest.len()) as u64;
        let modest: Vec<_> = modest.into_iter().map(|(every, permille)| {
            let asks = WINDOW * 4 / every + 1;
            Modest { every, bits: (per_window / 2 * permille / 1000 / asks).max(8) / 8 * 8 }
        }).collect();
        let below = 65_536 + 2 * modest.iter().map(|modest| modest.bits).sum::<u64>();
        let mut crowd = Crowd::new(greedy, rate, below, stock);
        let (warm, steps) = (2 * WINDOW * 4, 6 * WINDOW * 4);
        let mut given = 0;
        let mut greedy_at_warm = Vec::new();
        for step in 0..steps {
            if step == warm {
                greedy_at_warm.clone_from(&crowd.drawn);
            }
            crowd.step(step);
            for (number, modest) in modest.iter().enumerate().filter(|(_, modest)| step % modest.every == 0) {
                let answer = crowd.site.draw(&format!("modest-{number}"), modest.bits);
                given += if answer == Ok(true) { modest.bits } else { 0 };
                prop_assert!(answer == Ok(true) || step < warm, "step {step}: {modest:?}: {answer:?}");
            }
        }
        prop_assert_eq!(crowd.drawn.iter().sum::<u64>() + given + crowd.site.free, crowd.came);
        prop_assert!(crowd.site.free <= below + 4096 + rate, "{} bits lie idle", crowd.site.free);
        let share = per_window * 4;
        for (now, then) in crowd.drawn.iter().zip(&greedy_at_warm) {
            prop_assert!(now - then >= share * 3 / 4, "a greedy one got {} of its share of {share}", now - then);
        }
    }

    /// `Retry-After` is the time at which it pays to ask again, if nobody else comes: a second earlier is in vain.
    #[test]
    fn retry_after_is_the_truth(
        history in prop::collection::vec((0..4_usize, 1..2000_u64, 0..8000_u64), 1..60),
        reserve in prop::sample::select(vec![0, 30_000_u64]),
        below in prop::sample::select(vec![0, 20_000, 200_000_u64]),
        rate in 1..10_000_u64,
        stock in 0..300_000_u64,
        wish in 1..5000_u64,
    ) {
        let limited = SaePolicy { rate_bps: Some(2000), burst_bits: 40_000, weight: 3, ..SaePolicy::default() };
        let chief = SaePolicy { may_use_reserve: true, weight: 2, ..SaePolicy::default() };
        let config = PolicyConfig {
            saes: [(sae("limited"), limited), (sae("chief"), chief)].into(),
            reserve_bits: reserve,
            fair_below_bits: below,
            fair_window: seconds(WINDOW),
            ..PolicyConfig::default()
        };
        let names = ["limited", "chief", "alice", "carol"];
        let mut site = Site::new(config, stock, rate);
        for (who, bytes, millis) in history {
            site.pass(Duration::from_millis(millis));
            let _answer = site.draw(names[who], bytes * 8);
        }
        for name in names {
            let mut site = site.clone();
            let Err(denied) = site.draw(name, wish * 8) else { continue };
            prop_assert!(denied.retry_after >= seconds(1));
            let available = number(&denied, "available_bits");
            prop_assert!(available < wish * 8, "{denied:?}");
            prop_assert!(available == 0 || site.clone().draw(name, available) == Ok(true), "{name}: {denied:?}");
            prop_assert!(site.clone().draw(name, available + 8) != Ok(true), "{name}: {denied:?}");
            let mut early = site.clone();
            early.pass(denied.retry_after);
            let again = early.draw(name, wish * 8);
            // A full bucket and a fair share may come one after the other.
            let other = again.as_ref().err().is_some_and(|again| reason(again) != reason(&denied));
            prop_assert!(again == Ok(true) || other, "{name}: {denied:?}, then {again:?}");
            if denied.retry_after > seconds(1) {
                site.pass(denied.retry_after.checked_sub(seconds(1)).unwrap());
                prop_assert!(site.draw(name, wish * 8) != Ok(true), "{denied:?} was too late");
            }
        }
    }

    /// Whatever happens, in whatever order and at whatever time: no panic, and no more than the rate allows.
    #[test]
    fn nothing_at_random_breaks_it(
        events in prop::collection::vec((0..6_usize, any::<u64>(), any::<u64>(), 0..5_u8), 1..200),
    ) {
        let limits = SaePolicy {
            rate_bps: Some(1000), burst_bits: 5000, requests_per_second: Some(2), daily_bits: Some(1 << 40),
            may_use_reserve: false, weight: u32::MAX,
        };
        let config = PolicyConfig {
            default: limits, saes: [(sae("free"), SaePolicy { weight: 1, ..SaePolicy::default() })].into(),
            reserve_bits: 100, fair_below_bits: 10_000, fair_window: seconds(WINDOW),
        };
        let mut policy = Policy::new(config);
        let links: [KmeId; 2] = ["kme-b".parse().unwrap(), "kme-c".parse().unwrap()];
        let (mut now, mut ahead, mut drawn) = (Duration::ZERO, Duration::ZERO, 0_u128);
        let mut grants = Vec::new();
        for (who, a, b, what) in events {
            let name = sae(["free", "alice", "bob", "carol", "dave", "erin"][who]);
            match what {
                0 => {
                    let next = if a % 3 == 0 { Duration::from_nanos(b) } else { now + Duration::from_millis(b % 5000) };
                    ahead += next.saturating_sub(now);
                    now = next;
                }
                1 => { let _answer = policy.may_ask(&name, now); }
                2 => if let Some(grant) = grants.pop() { policy.settle(grant, true, now) },
                _ => {
                    let bits = if a % 16 == 0 { a } else { a % 3000 };
                    let rate_bps = [f64::NAN, 0.0, -1.0, f64::INFINITY, f64::MIN_POSITIVE, 1e300][who];
                    let pool = PoolView { link: &links[who % 2], free_bits: b, rate_bps };
                    match policy.admit(&name, bits, pool, a, now) {
                        Ok(grant) => {
                            if name.as_str() == "alice" { drawn += u128::from(bits) }
                            prop_assert_eq!(grant.leave_bits, 100);
                            grants.push(grant);
                        }
                        Err(denied) => prop_assert!((seconds(1)..=DAY).contains(&denied.retry_after)),
                    }
                }
            }
        }
        // A last request above the burst may leave a debt.
        let most = 5000 + ahead.as_nanos() / 1_000_000;
        prop_assert!(drawn <= most + u128::from(u64::MAX));
    }
}
