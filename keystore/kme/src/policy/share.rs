//! One link's key, shared out: who asked and who has drawn in the last window, and what that leaves for whom.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_etsi014::SaeId;

use super::denied::ShareNumbers;
use super::window::{self, SLOTS, Slots};
use super::{Denied, PoolView};

/// When to ask again if nothing comes in as far as anybody knows.
const NOTHING_COMES: Duration = Duration::from_mins(1);

/// When and over what time key is shared out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fair {
    pub(super) below: u64,
    pub(super) window: Duration,
    pub(super) slot: Duration,
}

/// What an SAE's asking counts for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) weight: u32,
    pub(super) reserve: bool,
}

/// Out of what an SAE draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is for all.
    Open = 0,
    /// The reserve. Bits are bits: its right to them counts, and the pool is one.
    Reserve = 1,
}

/// The books of one link.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Shares {
    saes: BTreeMap<SaeId, Drawer>,
    /// By part: bits drawn and not settled. The ledger's free bits may still have them in, so that they count twice.
    under_way: [Slots; 2],
}

/// One SAE.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Drawer {
    claim: Claim,
    /// When it last asked.
    asked: u64,
    /// By part, settled or not.
    drawn: [Slots; 2],
}

impl Drawer {
    fn is_active(&self, slot: u64) -> bool {
        slot.saturating_sub(self.asked) < SLOTS
    }

    fn drawn(&self, part: Part, slot: u64) -> u64 {
        self.drawn[part as usize].sum(slot)
    }
}

impl Shares {
    /// Notes that `sae` wants key.
    pub(super) fn claim(&mut self, sae: &SaeId, claim: Claim, slot: u64) {
        if let Some(drawer) = self.saes.get_mut(sae) {
            (drawer.claim, drawer.asked) = (claim, slot);
        } else {
            self.saes.insert(sae.clone(), Drawer { claim, asked: slot, drawn: Default::default() });
        }
    }

    /// Out of what `sae`, which has claimed, may draw `bits`.
    pub(super) fn check(
        &self,
        sae: &SaeId,
        bits: u64,
        pool: PoolView<'_>,
        reserve_bits: u64,
        fair: Fair,
        time: Duration,
    ) -> Result<Part, Denied> {
        let Some(drawer) = self.saes.get(sae) else { return Ok(Part::Open) };
        let wish = Wish { shares: self, drawer, bits, reserve_bits, fair };
        let free = pool.free_bits;
        let slot = window::slot(time, fair.slot);
        if free >= wish.ample(slot) {
            return Ok(Part::Open);
        }
        let sums = wish.sums(slot);
        if let Some(part) = sums.part(bits, free) {
            return Ok(part);
        }
        let plain = sums.leave.saturating_add(bits);
        if sums.needed(bits) == plain {
            if free < bits {
                return Ok(Part::Open); // the ledger will say so, and why
            }
            let wait = time_until(plain - free, pool.rate_bps).unwrap_or(NOTHING_COMES);
            return Err(Denied::reserve(sae, bits, free, reserve_bits, wait));
        }
        let available = most(bits / 8, |bytes| sums.part(bytes * 8, free).is_some()) * 8;
        let numbers = ShareNumbers { drawn: sums.drawn, share: sums.share(free), available, window: fair.window };
        Err(Denied::fair_share(sae, bits, numbers, wish.wait(pool, time)))
    }

    /// Notes that `sae`, which has claimed, draws `bits`.
    pub(super) fn draw(&mut self, sae: &SaeId, bits: u64, part: Part, slot: u64) {
        if let Some(drawer) = self.saes.get_mut(sae) {
            drawer.drawn[part as usize].add(slot, bits);
            self.under_way[part as usize].add(slot, bits);
        }
    }

    /// Ends what was drawn in `slot`.
    pub(super) fn settle(&mut self, sae: &SaeId, bits: u64, delivered: bool, part: Part, slot: u64) {
        self.under_way[part as usize].take(slot, bits);
        if !delivered && let Some(drawer) = self.saes.get_mut(sae) {
            drawer.drawn[part as usize].take(slot, bits);
        }
    }

    fn under_way(&self, slot: u64) -> u64 {
        self.under_way.iter().map(|part| part.sum(slot)).fold(0, u64::saturating_add)
    }

    /// Forgets who has not asked for a window. Whether anybody is left.
    pub(super) fn tidy(&mut self, slot: u64) -> bool {
        self.saes.retain(|_, drawer| drawer.is_active(slot));
        !self.saes.is_empty()
    }
}

/// A request before the rule.
struct Wish<'a> {
    shares: &'a Shares,
    drawer: &'a Drawer,
    bits: u64,
    reserve_bits: u64,
    fair: Fair,
}

/// What the rule needs to know of a moment.
struct Sums {
    /// What must remain for those who may use the reserve.
    leave: u64,
    reserve: u64,
    /// [`super::PolicyConfig::fair_below_bits`]; 0 if there is nobody to share with.
    below: u64,
    /// What it has drawn of what is open, and what all have, without what may still be in the ledger's free bits.
    drawn: u64,
    drawn_by_all: u64,
    under_way: u64,
    weight: u64,
    weight_of_all: u64,
    /// What it may still draw of the reserve in this window.
    of_reserve: u64,
}

impl Wish<'_> {
    /// So much free that it need not be shared out.
    fn ample(&self, slot: u64) -> u64 {
        let under_way = self.shares.under_way(slot);
        self.bits.saturating_add(self.fair.below).saturating_add(self.reserve_bits).saturating_add(under_way)
    }

    /// At a time in `slot`, if nobody else draws or asks until then.
    fn sums(&self, slot: u64) -> Sums {
        let (me, reserve) = (self.drawer, self.reserve_bits);
        let (mut all, mut of_reserve) = ((0_u64, 0_u64), 0_u64);
        let mut shared = false;
        for drawer in self.shares.saes.values() {
            let own = std::ptr::eq(drawer, me);
            if own || drawer.is_active(slot) {
                shared |= !own;
                let weight = u64::from(drawer.claim.weight);
                all = (all.0.saturating_add(weight), all.1.saturating_add(drawer.drawn(Part::Open, slot)));
                of_reserve = of_reserve.saturating_add(if drawer.claim.reserve { weight } else { 0 });
            }
        }
        let share_of_reserve = u128::from(reserve) * u128::from(me.claim.weight) / u128::from(of_reserve.max(1));
        let share_of_reserve = u64::try_from(share_of_reserve).unwrap_or(u64::MAX);
        let under_way = self.shares.under_way(slot);
        Sums {
            leave: if me.claim.reserve { 0 } else { reserve },
            reserve,
            below: if shared { self.fair.below } else { 0 },
            drawn: me.drawn(Part::Open, slot),
            drawn_by_all: all.1,
            under_way: if shared { under_way } else { 0 },
            weight: me.claim.weight.into(),
            weight_of_all: all.0,
            of_reserve: if me.claim.reserve {
                share_of_reserve.saturating_sub(me.drawn(Part::Reserve, slot))
            } else {
                0
            },
        }
    }

    /// How long until it is granted if nobody else draws or asks until then: what comes in adds up, and what was drawn
    /// leaves the window slot by slot.
    fn wait(&self, pool: PoolView<'_>, time: Duration) -> Duration {
        let first = window::slot(time, self.fair.slot);
        for slot in (0..=SLOTS).map(|ahead| first.saturating_add(ahead)) {
            let begins = window::start(slot, self.fair.slot).saturating_sub(time);
            let ends = window::start(slot.saturating_add(1), self.fair.slot).saturating_sub(time);
            let sums = Sums { under_way: 0, ..self.sums(slot) };
            let missing = sums.needed(self.bits).saturating_sub(pool.free_bits);
            let Some(comes) = time_until(missing, pool.rate_bps) else { continue };
            // In the last slot nothing is left in the window.
            if comes < ends || slot == first.saturating_add(SLOTS) {
                return comes.max(begins);
            }
        }
        NOTHING_COMES
    }
}

impl Sums {
    /// Out of what it may draw `bits` when `free` are free, if at all.
    fn part(&self, bits: u64, free: u64) -> Option<Part> {
        if free >= self.needed_open(bits) {
            return Some(Part::Open);
        }
        (bits <= self.of_reserve && free >= self.needed(bits)).then_some(Part::Reserve)
    }

    /// How many bits must be free for it.
    fn needed(&self, bits: u64) -> u64 {
        let of_reserve = if bits <= self.of_reserve { self.leave.saturating_add(bits) } else { u64::MAX };
        self.needed_open(bits).min(of_reserve)
    }

    /// How many bits must be free so that it may draw out of what is open.
    fn needed_open(&self, bits: u64) -> u64 {
        if self.below == 0 {
            return self.leave.saturating_add(bits); // nobody to share with
        }
        // What must remain, at most all of `below`; the more is free, the larger its share.
        let too_little = most(self.below, |remain| !self.may_leave(bits, remain));
        let remain = if self.may_leave(bits, 0) { 0 } else { (too_little + 1).min(self.below) };
        bits.saturating_add(remain).saturating_add(self.reserve).saturating_add(self.under_way)
    }

    /// Whether `remain` is at least that part of `below` which, of its share, it will have had:
    /// remain / below >= (drawn + bits) / share, where share = (remain + bits + drawn by all) * weight / weight of all.
    /// Of a pool that is smaller than `below`, it is that part of the pool.
    fn may_leave(&self, bits: u64, remain: u64) -> bool {
        let all = u128::from(remain) + u128::from(bits) + u128::from(self.drawn_by_all);
        let share = all.saturating_mul(self.weight.into());
        let had = (u128::from(self.drawn) + u128::from(bits)).saturating_mul(self.weight_of_all.into());
        share.saturating_mul(remain.into()) >= had.saturating_mul(all.min(self.below.into()))
    }

    /// Its share of what is open and what was drawn of it.
    fn share(&self, free: u64) -> u64 {
        let open = free.saturating_sub(self.reserve).saturating_sub(self.under_way);
        let all = u128::from(open) + u128::from(self.drawn_by_all);
        u64::try_from(all * u128::from(self.weight) / u128::from(self.weight_of_all.max(1))).unwrap_or(u64::MAX)
    }
}

/// The largest number up to `max` for which `fits` holds, which it does up to some number and not beyond; 0 if for none.
fn most(max: u64, fits: impl Fn(u64) -> bool) -> u64 {
    if fits(max) {
        return max;
    }
    let (mut fit, mut too_much) = (0, max);
    while too_much - fit > 1 {
        let middle = fit.midpoint(too_much);
        if fits(middle) { fit = middle } else { too_much = middle }
    }
    fit
}

/// How long until `bits` have come in; `None`: nothing comes in.
fn time_until(bits: u64, rate_bps: f64) -> Option<Duration> {
    if bits == 0 {
        return Some(Duration::ZERO);
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate, and rounded up to whole seconds in the end")]
    let seconds = bits as f64 / rate_bps;
    let comes = rate_bps.is_finite() && rate_bps > 0.0;
    comes.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(super::DAY).min(super::DAY))
}

#[cfg(test)]
impl Shares {
    pub(super) fn len(&self) -> usize {
        self.saes.len()
    }
}
