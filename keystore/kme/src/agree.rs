//! Get key: cuts keys and has every slave's KME reserve them, until all agree on every bit or none is used.
//!
//! ```text
//!  cut (durable) ─► ext_keys to each peer ─┬─ all reserved ──────────► delivered (durable), then the reply
//!                                          ├─ all said no, for certain ─► back to the pool, if there is one peer
//!                                          └─ anything else ──────────► void at every KME
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use vernam_etsi014::{DeliveredKey, KmeId, SaeId};
use vernam_key::KeyId;
use vernam_ledger::{Cut, Fault, Short, Unavailable, Wish};

use crate::api::{free_bits, fullest_link};
use crate::current::Current;
use crate::kme::Shared;
use crate::outbox;
use crate::peer::Outcome;
use crate::reply::{BRIEF, Refusal};
use crate::wish::{Asked, too_old};
use crate::{Denied, KmeEvent, LinkReport, LinkState, PoolView, report};

/// When to ask again at the latest, however slow the link.
const LONG: Duration = Duration::from_mins(1);
/// How often a request is cut anew because a peer has lost the bits of a cut.
const MAX_CUTS: usize = 4;
/// How much longer than the peers may take to answer a cut is good.
const CUT_SLACK: Duration = Duration::from_secs(30);
/// Seconds of a day.
const DAY: u64 = 86_400;

/// Gets keys, if the policy lets `master` have them.
pub(crate) async fn with_policy(
    shared: &Shared,
    current: &Current,
    master: &SaeId,
    asked: Asked,
) -> Result<Vec<DeliveredKey>, Refusal> {
    let Some(link) =
        asked.remote.first().map(|(link, _)| link.clone()).or_else(|| fullest_link(shared, &current.config))
    else {
        return Err(Refusal::unavailable("this KME has no link, and so no key", LONG));
    };
    let used = used_today(shared, current, master).await.map_err(|error| Refusal::no_ledger(&error))?;
    let bits = u64::from(asked.number) * u64::from(asked.bits);
    // Half of what the link makes is ours.
    let rate_bps = shared.report(&link).rate_bps / 2.0;
    let pool = PoolView { link: &link, free_bits: free_bits(shared, &link), rate_bps };
    let admitted = shared.policy().admit(master, bits, pool, used, shared.now());
    let grant = admitted.map_err(denied)?;
    let leave_bits = grant.leave_bits;
    let request = Request { shared, current, master, asked: &asked, link, leave_bits };
    let mut spent = false;
    let keys = request.run(&mut spent).await;
    shared.policy().settle(grant, spent, shared.now());
    keys
}

/// What `master` was given today (UTC), where that counts.
async fn used_today(shared: &Shared, current: &Current, master: &SaeId) -> Result<u64, Unavailable> {
    if current.config.policy.of(master).daily_bits.is_none() {
        return Ok(0);
    }
    let (sae, day) = (master.clone(), day(shared.now()));
    shared.ledger.run(move |book| book.used(&sae, day)).await
}

/// Days since the Unix epoch.
fn day(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / DAY).unwrap_or(u32::MAX)
}

/// The policy's refusal.
pub(crate) fn denied(denied: Denied) -> Refusal {
    Refusal::unavailable(denied.message, denied.retry_after).detail(denied.detail)
}

/// One admitted request.
struct Request<'a> {
    shared: &'a Shared,
    current: &'a Current,
    master: &'a SaeId,
    asked: &'a Asked,
    /// Whose key it is to be.
    link: KmeId,
    leave_bits: u64,
}

/// What the peers said, all together.
enum Verdict {
    /// All of them hold the keys ready.
    Reserved,
    /// None of them does, for certain. The keys that are `gone` there never can be.
    No { gone: Vec<KeyId>, refusal: Refusal },
    /// Some may.
    Unclear(Refusal),
}

impl Request<'_> {
    /// `spent`: the bits have left the pool, delivered or void.
    async fn run(&self, spent: &mut bool) -> Result<Vec<DeliveredKey>, Refusal> {
        for _ in 0..MAX_CUTS {
            self.check_alarms()?;
            self.settle_doubts().await?;
            let cut = self.cut().await?;
            match self.reserve(&cut).await {
                Verdict::Reserved => {
                    *spent = true;
                    return self.deliver(cut).await;
                }
                Verdict::No { gone, refusal } => {
                    let (id, lost) = (cut.reservation, gone.clone());
                    self.change(move |book| book.restore(id, &lost)).await?;
                    if !cut.relays.is_empty() {
                        // A relayed key never goes back: a peer may have seen it. Nor may it cost a key each time.
                        *spent = true;
                        self.doubt();
                        self.voided(cut.keys.len() as u64, "not every peer KME can hold them");
                        return Err(refusal);
                    }
                    if gone.is_empty() {
                        return Err(refusal);
                    }
                    self.voided(gone.len() as u64, "the peer KME has lost their bits");
                }
                Verdict::Unclear(refusal) => {
                    *spent = true;
                    let id = cut.reservation;
                    let voided = self.change(move |book| book.void_cut(id)).await;
                    self.doubt();
                    self.voided(cut.keys.len() as u64, "a peer KME may or may not hold them");
                    return Err(voided.err().unwrap_or(refusal));
                }
            }
        }
        Err(Refusal::unavailable("the KMEs are out of step and catching up; ask again", BRIEF))
    }

    fn links(&self) -> impl Iterator<Item = &KmeId> {
        let own = self.asked.remote.is_empty().then_some(&self.link);
        self.asked.remote.iter().map(|(link, _)| link).chain(own)
    }

    /// Before more keys are cut, every peer has to hear that these are void.
    fn doubt(&self) {
        for (link, _) in &self.asked.remote {
            self.shared.desk(link).doubt();
        }
    }

    fn check_alarms(&self) -> Result<(), Refusal> {
        for link in self.links() {
            let report = self.shared.report(link);
            if report.state == LinkState::Alarm {
                return Err(alarmed(&report));
            }
        }
        Ok(())
    }

    /// Where keys were voided that a peer may hold, it must have heard so before more are cut: else a peer that hears us
    /// but is not heard would cost a key with every request.
    async fn settle_doubts(&self) -> Result<(), Refusal> {
        for (link, slaves) in &self.asked.remote {
            let desk = self.shared.desk(link);
            let doubts = desk.doubts();
            if !desk.in_doubt() {
                continue;
            }
            let of = link.clone();
            if self.change(move |book| book.has_voids(&of)).await? {
                let peer = self.current.peers.get(link).ok_or_else(|| away(&slaves[0], "it is not configured"))?;
                let sending = outbox::empty(self.shared, link, peer, &desk);
                match timeout(self.current.config.limits.peer_turn_timeout, sending).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(away(&slaves[0], &error.to_string())),
                    Err(_late) => return Err(away(&slaves[0], "it is slow to answer")),
                }
            }
            desk.settle(doubts);
        }
        Ok(())
    }

    async fn cut(&self) -> Result<Cut, Refusal> {
        match self.try_cut(self.asked.age.strictest()).await? {
            Ok(cut) => Ok(cut),
            Err(short) if short.young < short.wanted && short.wanted <= short.pooled => self.cut_older().await,
            Err(short) => Err(self.short(&short)),
        }
    }

    /// The bits are there, but not young enough.
    async fn cut_older(&self) -> Result<Cut, Refusal> {
        let age = self.asked.age;
        let only_wished = age.strictest() != age.mandatory;
        if !only_wished {
            return Err(too_old(true));
        }
        if !self.current.config.choices.ignore_unhandled_optional {
            return Err(too_old(false));
        }
        match self.try_cut(age.mandatory).await? {
            Ok(cut) => Ok(cut),
            Err(short) if short.young < short.wanted && short.wanted <= short.pooled => Err(too_old(true)),
            Err(short) => Err(self.short(&short)),
        }
    }

    async fn try_cut(&self, max_age: Option<u64>) -> Result<Result<Cut, Short>, Refusal> {
        let (now, limits) = (self.shared.now(), &self.current.config.limits);
        let wish = Wish {
            link: self.link.clone(),
            master: self.master.clone(),
            remote: self.asked.remote.first().map_or_else(Vec::new, |(_, slaves)| slaves.clone()),
            local: self.asked.local.clone(),
            relays: self.asked.remote.iter().skip(1).map(|(link, _)| link.clone()).collect(),
            number: self.asked.number,
            bytes: self.asked.bits / 8,
            not_before: max_age.map(|age| now.saturating_sub(Duration::from_secs(age))),
            leave_bits: self.leave_bits,
            deadline: now + limits.peer_connect_timeout + limits.peer_timeout + CUT_SLACK,
        };
        let mut rng = self.shared.rng();
        let is_shared = self.shared.ledger.is_shared();
        let cut = self.change(move |book| {
            if is_shared {
                // Another process of this site may have been told of an alarm since our last look.
                for link in std::iter::once(&wish.link).chain(&wish.relays) {
                    if let Some(alarm) = report::stored_alarm(book, link)? {
                        return Ok(Err(alarm));
                    }
                }
            }
            book.cut(&wish, now, &mut rng).map(Ok)
        });
        cut.await?.map_err(|alarm| alarmed(&alarm))
    }

    fn short(&self, short: &Short) -> Refusal {
        let Short { link, wanted, pooled, .. } = short;
        let usable = if *link == self.link { pooled.saturating_sub(self.leave_bits) } else { *pooled };
        let wanted = if *link == self.link { wanted.saturating_sub(self.leave_bits) } else { *wanted };
        let report = self.shared.report(link);
        let text = format!("not enough key: {wanted} bits were asked for and {usable} are in store");
        let detail = serde_json::json!({ "wanted_bits": wanted, "stored_bits": usable, "link": link.as_str() });
        Refusal::unavailable(text, time_to_make(wanted.saturating_sub(usable), report.rate_bps))
            .detail(report.to_extension())
            .detail_of("vernam_store", detail)
    }

    /// Asks every peer at once.
    async fn reserve(&self, cut: &Cut) -> Verdict {
        let mut asking = JoinSet::new();
        let main = self.asked.remote.first().map(|(link, _)| (link, &cut.keys));
        for (link, keys) in main.into_iter().chain(cut.relays.iter().map(|(link, keys)| (link, keys))) {
            let slaves = self.asked.remote.iter().find(|(known, _)| known == link);
            let slaves = slaves.map_or_else(Vec::new, |(_, slaves)| slaves.clone());
            let (master, keys, link) = (self.master.clone(), keys.clone(), link.clone());
            let peer = self.current.peers.get(&link).map(Arc::clone);
            asking.spawn(async move {
                let outcome = match peer {
                    Some(peer) => peer.reserve(&master, slaves.clone(), keys).await,
                    None => Outcome::NotSent("it is not configured".to_owned()),
                };
                (slaves, outcome)
            });
        }
        let mut said = Said::default();
        while let Some(done) = asking.join_next().await {
            match done {
                Ok((slaves, outcome)) => said.take(slaves.first(), outcome),
                Err(panicked) => {
                    tracing::error!(%panicked, "a request to a peer KME ended badly");
                    said.take(None, Outcome::Unclear("this KME has a fault".to_owned()));
                }
            }
        }
        said.verdict()
    }

    async fn deliver(&self, cut: Cut) -> Result<Vec<DeliveredKey>, Refusal> {
        let (id, now, sae) = (cut.reservation, self.shared.now(), self.master.clone());
        let bits = u64::from(self.asked.number) * u64::from(self.asked.bits);
        let is_counted = self.current.config.policy.of(self.master).daily_bits.is_some();
        let delivered = self.change(move |book| {
            let keys = book.deliver(id, now)?;
            if is_counted && keys.is_some() {
                book.charge(&sae, day(now), bits)?;
            }
            Ok(keys)
        });
        let Some(keys) = delivered.await? else {
            return Err(Refusal::unavailable(
                "the keys were void before all KMEs had agreed on them; ask again",
                BRIEF,
            ));
        };
        for link in self.links() {
            self.shared.desk(link).news.notify_one();
        }
        let ids: Vec<KeyId> = keys.iter().map(|key| key.key_id).collect();
        self.shared.tell(&KmeEvent::Delivered {
            master: self.master,
            slaves: &self.asked.slaves,
            link: &self.link,
            keys: &ids,
            bits: self.asked.bits,
        });
        Ok(keys)
    }

    fn voided(&self, keys: u64, why: &str) {
        for link in self.links() {
            self.shared.desk(link).news.notify_one();
        }
        let link = (self.asked.remote.len() < 2).then_some(&self.link);
        self.shared.tell(&KmeEvent::Voided { link, keys, why });
    }

    /// An operation of the ledger. What it could not settle, it voids when its time is over.
    async fn change<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut vernam_ledger::Book<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.shared.ledger.run(operation).await.map_err(|error| Refusal::no_ledger(&error))
    }
}

/// The peers' outcomes, as they come.
#[derive(Default)]
struct Said {
    reserved: bool,
    no: Option<Refusal>,
    unclear: Option<Refusal>,
    gone: Vec<KeyId>,
}

impl Said {
    fn take(&mut self, slave: Option<&SaeId>, outcome: Outcome) {
        let whom = slave.map_or("a slave", SaeId::as_str);
        match outcome {
            Outcome::Reserved => self.reserved = true,
            Outcome::Refused { message, gone, details, retry_after } => {
                let text = format!("the KME of {whom} cannot hold its keys ready: {message}");
                let refusal = Refusal::unavailable(text, retry_after.unwrap_or(BRIEF).min(LONG));
                self.no = Some(details.into_iter().fold(refusal, Refusal::detail));
                self.gone.extend(gone.into_iter().filter(|id| !self.gone.contains(id)).collect::<Vec<_>>());
            }
            Outcome::NotSent(reason) => self.no = Some(no_answer(whom, &reason)),
            Outcome::Unclear(reason) => {
                let text = format!("the KME of {whom} did not answer clearly; the keys were erased: {reason}");
                self.unclear = Some(Refusal::unavailable(text, BRIEF));
            }
        }
    }

    fn verdict(self) -> Verdict {
        match (self.unclear, self.no, self.reserved) {
            (Some(refusal), _, _) | (None, Some(refusal), true) => Verdict::Unclear(refusal),
            (None, Some(refusal), false) => Verdict::No { gone: self.gone, refusal },
            (None, None, _) => Verdict::Reserved,
        }
    }
}

fn alarmed(report: &LinkReport) -> Refusal {
    let text = format!("no key is delivered while the quantum link is in alarm: {}", report.reason);
    Refusal::unavailable(text, LONG).detail(report.to_extension())
}

fn away(slave: &SaeId, reason: &str) -> Refusal {
    no_answer(slave.as_str(), reason)
}

fn no_answer(whom: &str, reason: &str) -> Refusal {
    let text = format!("the KME of {whom} cannot be reached, so no key is handed out: {reason}");
    Refusal::unavailable(text, BRIEF)
}

/// Half of the link's rate is ours.
#[expect(clippy::cast_precision_loss, reason = "a few bits in 2^53 do not matter for a hint")]
fn time_to_make(bits: u64, rate_bps: f64) -> Duration {
    let seconds = (bits as f64 * 2.0 / rate_bps).ceil();
    Duration::try_from_secs_f64(seconds).unwrap_or(LONG).clamp(BRIEF, LONG)
}
