//! Who may have how much: rates, quotas, the reserve, and fair shares when key is short. It decides without clock or I/O:
//! time, the state of the pool and what was used today are passed in.
//!
//! It does not hold key back itself: the ledger has the last word on what is free, within the transaction that cuts.
//! What is counted here lasts as long as the process, and each process of a site counts for itself; only the use of a
//! day comes from the ledger, for all of them.
//!
//! ```text
//!              requests per second         rate, day's quota, reserve, fair share
//!  request ──► may_ask ──────────────────► admit ──► Grant ──► the ledger cuts ──► settle
//!                 └──────► Denied ◄──────────┘        (leave_bits)
//! ```
//!
//! # Fair shares
//!
//! The rule aims at weighted max-min fairness (A. Demers, S. Keshav, S. Shenker, "Analysis and Simulation of a Fair
//! Queueing Algorithm", SIGCOMM 1989; D. Bertsekas, R. Gallager, "Data Networks", 2nd edition 1992, section 6.5.2):
//! nobody gets more than it asks for, and nobody's small wish waits for somebody's big one. Those schedule a queue; here
//! every request is answered at once, so a part of the stock is kept for those who have had little, as telephone
//! exchanges keep circuits for the calls that have no other way (service protection by reservation, ITU-T E.525):
//!
//! - An SAE's share is that part, by weight among all who asked for key of the link in the last
//!   [`PolicyConfig::fair_window`], of what is free and what all have drawn in that time. Those whose request was refused
//!   here count as well: they have a claim. Those whom their own rate or quota holds back do not.
//! - As much as it will have had of its share, so much of [`PolicyConfig::fair_below_bits`] it must leave in the pool: who
//!   has had nothing may take the last bit, who has had half of its share must leave half of them, and who has had all of
//!   it, or more, all of them.
//! - The reserve does not count as free in this. Each of those who may use it may draw, once a window, its share of it on
//!   top.
//!
//! So the key that modest SAEs want is kept for them, and nobody is starved: whoever has drawn least may draw first. What
//! is left over adds up, and beyond `fair_below_bits` it goes to whoever asks first. A lone SAE may take all.

mod bucket;
mod config;
mod denied;
mod share;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_etsi014::{KmeId, SaeId};

use bucket::Bucket;
use share::{Claim, Part, Shares};
use window::Slots;

pub use config::{PolicyConfig, PolicyError, SaePolicy};
pub use denied::Denied;

/// What a clock may jump ahead at once, as far as the policy is concerned: every window and every pause is over by then.
const MAX_STEP: Duration = Duration::from_hours(366 * 24);
/// One day of UTC.
const DAY: Duration = Duration::from_hours(24);

/// A link's pool, as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct PoolView<'a> {
    /// The link: the KME at its far end.
    pub link: &'a KmeId,
    /// Free bits of our half, as the ledger last told.
    pub free_bits: u64,
    /// What comes into our half, bits per second; anything that is not a positive number means that nothing does.
    pub rate_bps: f64,
}

/// The right to draw. Must be settled.
#[derive(Debug)]
#[must_use = "a grant must be settled"]
pub struct Grant {
    /// Who.
    pub sae: SaeId,
    /// The link whose key it is.
    pub link: KmeId,
    /// How much.
    pub bits: u64,
    /// What must remain in the pool (`Wish::leave_bits`).
    pub leave_bits: u64,
    /// Where it was counted.
    slot: u64,
    generation: u64,
    part: Part,
}

/// The policy at work. Its memory is bounded by the SAEs and links that it is asked about, and what is as good as new is
/// forgotten; so ask only about SAEs and links of the configuration.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Policy {
    config: PolicyConfig,
    clock: Clock,
    /// Only SAEs with limits of their own, while they have used something of them.
    meters: BTreeMap<SaeId, Meter>,
    links: BTreeMap<KmeId, Shares>,
    /// Grants of a generation are counted in slots of the same length.
    generation: u64,
    tidied: u64,
}

/// What one SAE has used of its limits.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Meter {
    bits: Bucket,
    requests: Bucket,
    /// Bits granted and not settled, which the ledger's count of the day does not hold yet.
    under_way: Slots,
}

/// Time that never goes back: a clock that is set back stands still for us, and goes on from there.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Clock {
    last: Option<Duration>,
    time: Duration,
}

impl Clock {
    fn tick(&mut self, now: Duration) -> Duration {
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last)).min(MAX_STEP);
        self.last = Some(now);
        self.time = self.time.saturating_add(passed);
        self.time
    }
}

impl Policy {
    /// A policy under which nobody has drawn anything yet. Call [`PolicyConfig::check`] before.
    pub fn new(config: PolicyConfig) -> Self {
        Self {
            config,
            clock: Clock::default(),
            meters: BTreeMap::new(),
            links: BTreeMap::new(),
            generation: 0,
            tidied: 0,
        }
    }

    /// Goes on under another configuration. What was drawn still counts, unless the length of the window changes.
    pub fn reconfigure(&mut self, config: PolicyConfig) {
        if config.slot() != self.config.slot() {
            self.generation += 1;
            self.tidied = 0;
            self.links.clear();
            for meter in self.meters.values_mut() {
                meter.under_way = Slots::default();
            }
        }
        self.config = config;
    }

    /// Whether `sae` may ask for anything at all: its requests per second.
    ///
    /// `now` is the time since the Unix epoch, here and below.
    pub fn may_ask(&mut self, sae: &SaeId, now: Duration) -> Result<(), Denied> {
        let time = self.tick(now);
        let Some(per_second) = self.config.of(sae).requests_per_second else { return Ok(()) };
        let (rate, burst) = (u64::from(per_second), u64::from(per_second).max(1));
        let requests = &mut self.meter(sae, time).requests;
        requests.refill(rate, burst, time);
        match requests.wait_for(1, rate, burst) {
            None => {
                requests.draw(1);
                Ok(())
            }
            Some(wait) => Err(Denied::requests(sae, per_second, wait)),
        }
    }

    /// Whether `sae` may draw `bits` of key from `pool` now, having drawn `used_today` on this day of UTC as the ledger
    /// counts. A pool that simply holds too little is not denied here: the ledger does that, and knows better.
    ///
    /// Of several reasons to deny, the one that holds longest is told.
    pub fn admit(
        &mut self,
        sae: &SaeId,
        bits: u64,
        pool: PoolView<'_>,
        used_today: u64,
        now: Duration,
    ) -> Result<Grant, Denied> {
        let time = self.tick(now);
        let limits = *self.config.of(sae);
        let slot = self.slot(time);
        let own = [self.over_rate(sae, bits, limits, time), self.over_quota(sae, bits, limits, used_today, now, slot)];
        if let Some(denied) = own.into_iter().flatten().max_by_key(|denied| denied.retry_after) {
            return Err(denied);
        }
        let (fair, reserve_bits) = (self.config.fair(), self.config.reserve_bits);
        if !self.links.contains_key(pool.link) {
            self.links.insert(pool.link.clone(), Shares::default());
        }
        let shares = self.links.get_mut(pool.link).expect("it was put there");
        let claim = Claim { weight: limits.weight.max(1), reserve: limits.may_use_reserve };
        shares.claim(sae, claim, slot);
        let part = shares.check(sae, bits, pool, reserve_bits, fair, time)?;
        shares.draw(sae, bits, part, slot);
        if limits.rate_bps.is_some() || limits.daily_bits.is_some() {
            let meter = self.meter(sae, time);
            meter.bits.draw(bits);
            meter.under_way.add(slot, bits);
        }
        Ok(Grant {
            sae: sae.clone(),
            link: pool.link.clone(),
            bits,
            leave_bits: if limits.may_use_reserve { 0 } else { reserve_bits },
            slot,
            generation: self.generation,
            part,
        })
    }

    /// Ends a grant. `delivered` says whether the bits have left the pool: also if they had to be voided, for they are
    /// gone at the expense of all. If not, it is as if nobody had asked, except that the claim to a share remains.
    ///
    /// A grant that is never settled counts as delivered, and is forgotten after the window.
    pub fn settle(&mut self, grant: Grant, delivered: bool, now: Duration) {
        self.tick(now);
        let Grant { sae, link, bits, slot, generation, part, .. } = grant;
        if let Some(meter) = self.meters.get_mut(&sae) {
            if generation == self.generation {
                meter.under_way.take(slot, bits);
            }
            if !delivered {
                meter.bits.give_back(bits);
            }
        }
        if generation == self.generation
            && let Some(shares) = self.links.get_mut(&link)
        {
            shares.settle(&sae, bits, delivered, part, slot);
        }
    }

    /// Against a burst of more than the bucket holds: such a request needs a full bucket, and leaves it in debt.
    fn over_rate(&mut self, sae: &SaeId, bits: u64, limits: SaePolicy, time: Duration) -> Option<Denied> {
        let rate = limits.rate_bps?.max(1);
        let bucket = &mut self.meter(sae, time).bits;
        bucket.refill(rate, limits.burst_bits, time);
        let wait = bucket.wait_for(bits, rate, limits.burst_bits)?;
        Some(Denied::rate(sae, bits, rate, limits.burst_bits, bucket.level(), wait))
    }

    fn over_quota(
        &self,
        sae: &SaeId,
        bits: u64,
        limits: SaePolicy,
        used_today: u64,
        now: Duration,
        slot: u64,
    ) -> Option<Denied> {
        let quota = limits.daily_bits?;
        let under_way = self.meters.get(sae).map_or(0, |meter| meter.under_way.sum(slot));
        let used = used_today.saturating_add(under_way);
        if used.saturating_add(bits) <= quota {
            return None;
        }
        let midnight = Duration::from_secs(DAY.as_secs() - now.as_secs() % DAY.as_secs());
        let wait =
            if bits > quota { DAY } else { midnight.saturating_sub(Duration::from_nanos(now.subsec_nanos().into())) };
        Some(Denied::quota(sae, bits, quota, used, wait))
    }

    fn meter(&mut self, sae: &SaeId, time: Duration) -> &mut Meter {
        if !self.meters.contains_key(sae) {
            let limits = self.config.of(sae);
            let requests = u64::from(limits.requests_per_second.unwrap_or(1));
            let meter = Meter {
                bits: Bucket::full(limits.burst_bits, time),
                requests: Bucket::full(requests, time),
                under_way: Slots::default(),
            };
            self.meters.insert(sae.clone(), meter);
        }
        self.meters.get_mut(sae).expect("it was put there")
    }

    fn slot(&self, time: Duration) -> u64 {
        window::slot(time, self.config.slot())
    }

    /// Lets time pass, and once a window forgets what no longer matters.
    fn tick(&mut self, now: Duration) -> Duration {
        let time = self.clock.tick(now);
        let slot = self.slot(time);
        if slot < self.tidied.saturating_add(window::SLOTS) {
            return time;
        }
        self.tidied = slot;
        let config = &self.config;
        self.meters.retain(|sae, meter| {
            let limits = config.of(sae);
            let requests = u64::from(limits.requests_per_second.unwrap_or(1));
            meter.requests.refill(requests, requests, time);
            match limits.rate_bps {
                Some(rate) => meter.bits.refill(rate, limits.burst_bits, time),
                None => meter.bits = Bucket::full(limits.burst_bits, time),
            }
            !meter.bits.is_full(limits.burst_bits) || !meter.requests.is_full(requests) || meter.under_way.sum(slot) > 0
        });
        self.links.retain(|_, shares| shares.tidy(slot));
        time
    }
}
