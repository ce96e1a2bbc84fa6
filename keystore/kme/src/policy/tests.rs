//! Stories of the policy: one pool, a few SAEs, and a clock of the test's own.

mod simulated;

use super::*;

/// A link with its pool, as the ledger would keep it.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) policy: Policy,
    pub(super) link: KmeId,
    pub(super) free: u64,
    pub(super) rate_bps: u64,
    pub(super) now: Duration,
    /// Parts of a bit that have come in, in billionths.
    part: u64,
}

pub(super) fn sae(name: &str) -> SaeId {
    name.parse().unwrap()
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Site {
    /// At noon of some day.
    pub(super) fn new(config: PolicyConfig, free: u64, rate_bps: u64) -> Self {
        config.check().unwrap();
        let now = seconds(20_000 * 86_400 + 43_200);
        Self { policy: Policy::new(config), link: "kme-b".parse().unwrap(), free, rate_bps, now, part: 0 }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        let parts = time.as_nanos() * u128::from(self.rate_bps) + u128::from(self.part);
        self.free += u64::try_from(parts / 1_000_000_000).unwrap();
        self.part = u64::try_from(parts % 1_000_000_000).unwrap();
    }

    #[expect(clippy::cast_precision_loss, reason = "rates in tests are small")]
    pub(super) fn admit(&mut self, name: &str, bits: u64, used_today: u64) -> Result<Grant, Denied> {
        let pool = PoolView { link: &self.link, free_bits: self.free, rate_bps: self.rate_bps as f64 };
        self.policy.admit(&sae(name), bits, pool, used_today, self.now)
    }

    /// Asks, and cuts and settles as the KME does; whether it was granted and there was enough.
    pub(super) fn draw(&mut self, name: &str, bits: u64) -> Result<bool, Denied> {
        let grant = self.admit(name, bits, 0)?;
        let enough = self.free >= bits + grant.leave_bits;
        assert!(enough || self.free < bits, "what the reserve forbids is denied, not left to the ledger");
        if enough {
            self.free -= bits;
        }
        self.policy.settle(grant, enough, self.now);
        Ok(enough)
    }

    /// Draws until there is no more for it; how much that was.
    pub(super) fn draw_all(&mut self, name: &str, bits: u64) -> u64 {
        let mut drawn = 0;
        while self.draw(name, bits) == Ok(true) {
            drawn += bits;
        }
        drawn
    }

    fn denied(&mut self, name: &str, bits: u64) -> Denied {
        self.draw(name, bits).unwrap_err()
    }
}

fn of_one(name: &str, policy: SaePolicy) -> PolicyConfig {
    PolicyConfig { saes: [(sae(name), policy)].into(), ..PolicyConfig::default() }
}

fn reason(denied: &Denied) -> &str {
    denied.detail["vernam_policy"]["reason"].as_str().unwrap()
}

fn number(denied: &Denied, name: &str) -> u64 {
    denied.detail["vernam_policy"][name].as_u64().unwrap()
}

#[test]
fn without_limits_nobody_is_held_back_while_there_is_plenty() {
    let mut site = Site::new(PolicyConfig::default(), 1 << 30, 0);
    for round in 0..1000 {
        let name = ["alice", "carol"][round % 2];
        site.policy.may_ask(&sae(name), site.now).unwrap();
        assert_eq!(site.draw(name, 65_536), Ok(true));
    }
    assert!(site.policy.meters.is_empty(), "nothing to remember of those without limits");
}

#[test]
fn requests_per_second() {
    let limits = SaePolicy { requests_per_second: Some(3), ..SaePolicy::default() };
    let mut policy = Policy::new(of_one("alice", limits));
    let (alice, now) = (sae("alice"), seconds(1));
    for _ in 0..3 {
        policy.may_ask(&alice, now).unwrap();
    }
    let denied = policy.may_ask(&alice, now).unwrap_err();
    assert_eq!((reason(&denied), denied.retry_after), ("requests", seconds(1)));
    assert_eq!(denied.message, "alice may make 3 requests per second; ask again in 1 s");
    policy.may_ask(&sae("carol"), now).unwrap();
    policy.may_ask(&alice, now + Duration::from_millis(334)).unwrap();
    policy.may_ask(&alice, now + Duration::from_millis(335)).unwrap_err();
    for _ in 0..3 {
        policy.may_ask(&alice, now + seconds(60)).unwrap();
    }
    policy.may_ask(&alice, now + seconds(60)).unwrap_err();
}

#[test]
fn a_rate_holds_in_the_long_run() {
    let limits = SaePolicy { rate_bps: Some(100), burst_bits: 1000, ..SaePolicy::default() };
    let mut site = Site::new(of_one("alice", limits), 1 << 30, 0);
    assert_eq!(site.draw_all("alice", 200), 1000);
    let denied = site.denied("alice", 600);
    assert_eq!((reason(&denied), denied.retry_after, number(&denied, "available_bits")), ("rate", seconds(6), 0));
    site.pass(denied.retry_after.saturating_sub(Duration::from_millis(1)));
    site.denied("alice", 600);
    site.pass(Duration::from_millis(1));
    assert_eq!(site.draw("alice", 600), Ok(true));
    assert_eq!(site.draw("carol", 1 << 20), Ok(true), "others have no such limit");
    let drawn: u64 = (0..1000).map(|_| (site.pass(seconds(1)), site.draw_all("alice", 8)).1).sum();
    assert_eq!(drawn, 99_992 + 8);
}

#[test]
fn a_daily_quota_ends_at_midnight_utc() {
    let limits = SaePolicy { daily_bits: Some(1000), ..SaePolicy::default() };
    let mut site = Site::new(of_one("alice", limits), 1 << 30, 0);
    let under_way = site.admit("alice", 600, 200).unwrap();
    let denied = site.admit("alice", 208, 200).unwrap_err();
    assert_eq!((reason(&denied), denied.retry_after), ("daily_quota", seconds(43_200)));
    assert_eq!(
        denied.message,
        "alice may draw 1000 bits of key a day, and has had 800; ask for at most 200 bits now, or again after 00:00 UTC"
    );
    site.policy.settle(under_way, true, site.now);
    site.pass(Duration::from_millis(100));
    assert_eq!(site.admit("alice", 208, 800).unwrap_err().retry_after, seconds(43_200), "rounded up");
    let too_much = site.admit("alice", 1008, 0).unwrap_err();
    assert_eq!(too_much.retry_after, seconds(86_400), "no midnight helps");
    let grant = site.admit("alice", 200, 800).unwrap();
    site.policy.settle(grant, true, site.now);
    site.pass(seconds(43_200));
    let grant = site.admit("alice", 1000, 0).unwrap();
    site.policy.settle(grant, false, site.now);
    let grant = site.admit("alice", 1000, 0).unwrap();
    site.policy.settle(grant, true, site.now);
}

#[test]
fn the_reserve_is_for_those_who_may() {
    let chief = SaePolicy { may_use_reserve: true, ..SaePolicy::default() };
    let config = PolicyConfig { reserve_bits: 10_000, fair_below_bits: 0, ..of_one("chief", chief) };
    let mut site = Site::new(config, 12_000, 100);
    let denied = site.denied("alice", 2008);
    assert_eq!((reason(&denied), denied.retry_after), ("reserve", seconds(1)));
    assert_eq!(number(&denied, "available_bits"), 2000);
    assert_eq!(site.draw("alice", 2000), Ok(true));
    assert_eq!(site.denied("alice", 1000).retry_after, seconds(10));
    assert_eq!(site.draw("chief", 10_000), Ok(true));
    assert_eq!(site.draw("alice", 8), Ok(false), "the pool is empty: that is for the ledger to say");
    site.pass(seconds(1));
    assert_eq!(site.denied("alice", 80).retry_after, seconds(100), "the reserve fills up first");
}

#[test]
fn a_lone_sae_may_take_everything_above_the_reserve() {
    let config = PolicyConfig { reserve_bits: 1000, fair_below_bits: 50_000, ..PolicyConfig::default() };
    let mut site = Site::new(config, 101_000, 10);
    assert_eq!(site.draw_all("alice", 256), 100_000 / 256 * 256);
    site.pass(seconds(1000));
    assert_eq!(site.draw_all("alice", 8), 10_000 + 100_000 % 256);
}

#[test]
fn the_greedy_leave_a_stock_to_the_modest() {
    let config = PolicyConfig { fair_below_bits: 40_000, ..PolicyConfig::default() };
    let mut site = Site::new(config, 120_000, 0);
    assert_eq!(site.draw("modest", 80), Ok(true));
    assert_eq!(site.draw_all("greedy", 80), 80_000 - 80, "more than its share, as there is plenty");
    assert_eq!(site.free, 40_000);
    let denied = site.denied("greedy", 80);
    assert_eq!(reason(&denied), "fair_share");
    assert_eq!(
        denied.message,
        "key is short, and shared out: of 60000 bits that are greedy's share it has had 79920 in the last 60 s; \
         there is nothing for it now, or again in 60 s"
    );
    assert_eq!(site.clone().draw("modest", 20_000), Ok(true), "a third of its share, which leaves half of the stock");
    assert_eq!(site.draw("newcomer", 20_000), Ok(true), "half of its share, which leaves half of the stock");
    site.denied("newcomer", 80);
    assert_eq!(site.draw_all("modest", 80), 9_920, "a quarter of its share, and of the stock");
    site.pass(denied.retry_after);
    assert_eq!(site.draw_all("greedy", 80), 40_000 - 20_000 - 9_920, "the others are gone");
}

#[test]
fn a_newcomer_gets_what_comes_in_until_it_has_its_share() {
    let config = PolicyConfig { fair_below_bits: 10_000, ..PolicyConfig::default() };
    let mut site = Site::new(config, 100_000, 1000);
    assert_eq!(site.draw_all("greedy", 1000), 100_000);
    assert_ne!(site.draw("late", 1000), Ok(true), "there is nothing, and its claim stands");
    let mut late = 0;
    for _ in 0..20 {
        site.pass(seconds(1));
        assert_eq!(site.draw_all("greedy", 1000), 0);
        late += site.draw_all("late", 200);
    }
    assert!((16_000..20_000).contains(&late), "{late} and {} are what came in", site.free);
}

#[test]
fn weights_weigh() {
    let heavy = SaePolicy { weight: 3, ..SaePolicy::default() };
    let config = PolicyConfig { fair_below_bits: 10_000, ..of_one("heavy", heavy) };
    let mut site = Site::new(config, 0, 1000);
    let mut drawn = [0; 2];
    for _ in 0..600 {
        site.pass(seconds(1));
        drawn[0] += site.draw_all("light", 80);
        drawn[1] += site.draw_all("heavy", 80);
    }
    let [light, heavy] = drawn.map(|bits| bits / 6_000);
    assert!((23..27).contains(&light) && (70..77).contains(&heavy), "{light} % and {heavy} % of what came in");
}

#[test]
fn those_who_may_use_the_reserve_share_it_among_themselves() {
    let chief = SaePolicy { may_use_reserve: true, ..SaePolicy::default() };
    let config = PolicyConfig {
        reserve_bits: 60_000,
        fair_below_bits: 10_000,
        saes: [(sae("chief"), chief), (sae("deputy"), chief)].into(),
        ..PolicyConfig::default()
    };
    let mut site = Site::new(config, 60_000 + 30_000, 0);
    for name in ["alice", "carol", "chief", "deputy"] {
        assert_eq!(site.draw(name, 80), Ok(true));
    }
    assert_eq!(site.draw_all("alice", 80), 30_000 - 10_000 - 320);
    assert_eq!(site.free, 70_000);
    let open = site.draw_all("chief", 80) - 30_000 / 80 * 80;
    assert!((2_000..6_000).contains(&open), "its share of the reserve, and {open} of what is open");
    assert_eq!(
        site.draw_all("deputy", 80),
        30_000,
        "the other half of the reserve; of the rest, the chief had its part"
    );
    assert_eq!(reason(&site.denied("carol", 80)), "fair_share", "and what comes in must first fill the reserve");
}

#[test]
fn who_is_over_its_own_limits_has_no_claim() {
    let limited = SaePolicy { rate_bps: Some(1), burst_bits: 80, ..SaePolicy::default() };
    let config = PolicyConfig { fair_below_bits: 1 << 20, ..of_one("limited", limited) };
    let mut site = Site::new(config, 80_000, 0);
    assert_eq!(site.draw("limited", 80), Ok(true));
    site.pass(seconds(60));
    assert_eq!(reason(&site.denied("limited", 80)), "rate");
    assert_eq!(site.draw_all("greedy", 80), 80_000 - 80);
}

#[test]
fn what_was_not_delivered_was_not_drawn() {
    let limits = SaePolicy { rate_bps: Some(8), burst_bits: 4096, daily_bits: Some(4096), ..SaePolicy::default() };
    let mut site = Site::new(PolicyConfig { fair_below_bits: 4096, ..of_one("alice", limits) }, 16_384, 0);
    assert_eq!(site.draw("carol", 8), Ok(true));
    for _ in 0..100 {
        let grant = site.admit("alice", 4000, 0).unwrap();
        site.policy.settle(grant, false, site.now);
    }
    assert_eq!(site.draw("alice", 4000), Ok(true));
    site.denied("alice", 4000);
}

#[test]
fn requests_at_once_see_the_same_pool_and_get_no_more_than_a_share() {
    let config = PolicyConfig { fair_below_bits: 20_000, ..PolicyConfig::default() };
    let mut site = Site::new(config, 80_000, 0);
    assert_eq!(site.draw("modest", 80), Ok(true));
    let fresh = site.clone();
    // The ledger has cut none of them yet.
    let mut grants = Vec::new();
    while let Ok(grant) = site.admit("greedy", 80, 0) {
        grants.push(grant);
    }
    let (at_once, mut apart) = (grants.len() as u64, fresh);
    let one_by_one = apart.draw_all("greedy", 80) / 80;
    assert!(at_once <= one_by_one && at_once > one_by_one / 3, "{at_once}, {one_by_one}");
    // A grant that is never settled is held against the others for a window, and no longer.
    drop(grants);
    site.pass(seconds(60));
    assert_eq!(site.draw_all("modest", 80), 80_000 - 80);
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let limits = SaePolicy { rate_bps: Some(100), burst_bits: 1000, ..SaePolicy::default() };
    let config = PolicyConfig { fair_below_bits: 1 << 20, ..of_one("alice", limits) };
    let mut site = Site::new(config, 1 << 30, 0);
    assert_eq!(site.draw_all("alice", 200), 1000);
    site.now -= seconds(1_000_000);
    assert_eq!(site.draw_all("alice", 200), 0, "going back gives nothing");
    site.pass(seconds(2));
    assert_eq!(site.draw_all("alice", 200), 200, "and takes nothing: time goes on from there");
    let noon = site.now;
    for far in [seconds(1 << 40), Duration::MAX] {
        site.now = far;
        assert_eq!(site.draw_all("alice", 200), 1000, "no more than a burst");
        site.draw("carol", 200).unwrap();
    }
    site.now = noon;
    assert_eq!(site.draw_all("alice", 200), 0);
    site.pass(seconds(2));
    assert_eq!(site.draw_all("alice", 200), 200);
    site.now = Duration::ZERO;
    assert_eq!(site.denied("alice", 200).retry_after, seconds(2));
}

#[test]
fn what_is_as_good_as_new_is_forgotten() {
    let limits = SaePolicy { rate_bps: Some(1000), burst_bits: 1000, ..SaePolicy::default() };
    let config = PolicyConfig { default: limits, ..PolicyConfig::default() };
    let mut site = Site::new(config, 1 << 30, 0);
    for number in 0..10_000 {
        site.draw(&format!("sae-{number}"), 256).unwrap();
        site.pass(Duration::from_millis(10));
    }
    let (meters, drawers) = (site.policy.meters.len(), site.policy.links[&site.link].len());
    assert!(meters <= 12_200 && drawers <= 12_200, "two windows' worth, not {meters} and {drawers}");
    site.pass(seconds(120));
    site.policy.may_ask(&sae("alice"), site.now).unwrap();
    assert!(site.policy.meters.is_empty() && site.policy.links.is_empty());
}

#[test]
fn another_configuration_does_not_forget_what_was_drawn() {
    let limits = SaePolicy { rate_bps: Some(1), burst_bits: 1000, ..SaePolicy::default() };
    let config = of_one("alice", limits);
    let mut site = Site::new(config.clone(), 1 << 20, 0);
    assert_eq!(site.draw_all("alice", 1000), 1000);
    let under_way = site.admit("carol", 8, 0).unwrap();
    site.policy.reconfigure(PolicyConfig { reserve_bits: 8, ..config.clone() });
    site.denied("alice", 1000);
    site.policy.reconfigure(PolicyConfig { fair_window: seconds(600), ..config });
    site.policy.settle(under_way, false, site.now);
    assert_eq!(site.denied("alice", 1000).retry_after, seconds(1000));
}
