//! The master's end: draws keys when they are wanted, and gives them as a block once the far end has them.

use std::time::Duration;

use rand::rngs::SysRng;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use vernam_etsi014::{DeliveredKey, KeyIds, KmeClient, Status};
use vernam_key::{KeyId, SecretBytes};

use super::slave::join;
use super::words::{Answer, Ask as Wish, Outcome, Question};
use super::{Ask, Pooled, UpstreamConfig};
use crate::sources::report::{Rate, Reporter, plain, until};
use crate::sources::{MAX_BLOCK_BYTES, MAX_NUMBER, SourceError};
use crate::{KeySource, LinkReport, LinkState, Settled, SourceEvent, SourceFuture};

/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often both KMEs are asked how they are while no key is wanted.
const IDLE: Duration = Duration::from_secs(30);

const FULL: &str = "the pool is full enough, and no key is drawn";

/// Draws keys, and gives blocks.
pub(super) struct Master {
    hands: Option<Box<Hands>>,
    round: Option<Round>,
    pooled: Pooled,
    config: UpstreamConfig,
    vendor: String,
    /// Whether the pools are being filled up to the high mark.
    filling: bool,
    /// Nothing is done before, unless key is wanted and nothing went wrong.
    wake: Instant,
    next_look: Instant,
    failures: u32,
    /// The block that was given, until it is settled.
    offered: Option<(u64, SecretBytes)>,
    rate: Rate,
    reporter: Reporter,
    standing: Standing,
    ended: Option<String>,
}

/// How the last round went, for the report.
struct Standing {
    state: LinkState,
    reason: String,
    link: Option<VendorLink>,
}

/// What the vendor's status says of its link, where that is one of ours.
#[derive(Debug, Clone, Deserialize)]
struct VendorLink {
    state: String,
    #[serde(default)]
    qber: Option<f64>,
    #[serde(default)]
    threshold: f64,
    #[serde(default)]
    reason: String,
}

/// A round under way. Ended with its owner.
struct Round(JoinHandle<(Box<Hands>, Came)>);

impl Drop for Round {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of a round.
enum Came {
    /// The far end has this block.
    Block { number: u64, bits: SecretBytes },
    /// All is well, and no key was drawn, because of this.
    Nothing(&'static str),
    /// What went wrong.
    Failed(String),
}

/// What a round works with.
struct Hands {
    config: UpstreamConfig,
    client: KmeClient,
    ask: Ask,
    session: u64,
    turn: u64,
    /// The lowest number for the next block.
    next: u64,
    /// This end has no block of this number or higher.
    void_from: u64,
    /// The far end has said that it is ready, and all went well since.
    ready: bool,
    far_full: bool,
    /// The vendor's status, unless it is old.
    vendor: Option<(Instant, Status)>,
    /// What it says of the vendor's link.
    link: Option<VendorLink>,
}

impl Master {
    pub(super) fn new(
        config: UpstreamConfig,
        client: KmeClient,
        next_block: u64,
        pooled: Pooled,
        ask: Ask,
    ) -> Result<Self, SourceError> {
        let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| SourceError::Setting {
            setting: "upstream",
            reason: format!("the operating system gives no random bytes: {error}"),
        })?;
        let vendor = client.authority().to_owned();
        let hands = Hands {
            config: config.clone(),
            client,
            ask,
            session: rng.next_u64(),
            turn: 0,
            next: next_block,
            void_from: next_block,
            ready: false,
            far_full: false,
            vendor: None,
            link: None,
        };
        let now = Instant::now();
        Ok(Self {
            hands: Some(Box::new(hands)),
            round: None,
            pooled,
            config,
            vendor,
            filling: false,
            wake: now,
            next_look: now,
            failures: 0,
            offered: None,
            rate: Rate::default(),
            reporter: Reporter::default(),
            standing: Standing { state: LinkState::Down, reason: "no key has been drawn yet".to_owned(), link: None },
            ended: None,
        })
    }

    async fn step(&mut self) -> SourceEvent {
        loop {
            let now = Instant::now();
            if let Some(event) = self.report(now) {
                return event;
            }
            if let Some(why) = &self.ended {
                return SourceEvent::Ended(why.clone());
            }
            if let Some((number, bits)) = &self.offered {
                until(self.wake).await;
                let bits = SecretBytes::copy_of(bits.expose("to keep a copy until the ledger has it"));
                return SourceEvent::Block { number: *number, bits };
            }
            if let Some(round) = &mut self.round {
                let came = (&mut round.0).await;
                self.round = None;
                match came {
                    Ok((hands, came)) => {
                        self.take(&hands, came);
                        self.hands = Some(hands);
                    }
                    Err(error) => self.ended = Some(format!("the upstream source failed: {error}")),
                }
                continue;
            }
            until(self.wake).await;
            let wants = self.wants_key();
            if !wants && Instant::now() < self.next_look {
                if self.standing.state == LinkState::Up {
                    FULL.clone_into(&mut self.standing.reason);
                }
                self.wake = Instant::now() + self.config.poll;
                continue;
            }
            let Some(mut hands) = self.hands.take() else {
                self.ended = Some("the upstream source failed before".to_owned());
                continue;
            };
            self.round = Some(Round(tokio::spawn(async move {
                let came = hands.round(wants).await;
                (hands, came)
            })));
        }
    }

    fn wants_key(&mut self) -> bool {
        let pooled = (self.pooled)();
        self.filling = pooled < if self.filling { self.config.high_bits } else { self.config.low_bits };
        self.filling
    }

    fn take(&mut self, hands: &Hands, came: Came) {
        let now = Instant::now();
        self.next_look = now + IDLE;
        self.standing.link.clone_from(&hands.link);
        match came {
            Came::Block { number, bits } => {
                self.offered = Some((number, bits));
                (self.failures, self.wake) = (0, now);
                (self.standing.state, self.standing.reason) =
                    (LinkState::Up, format!("keys come from the KME at {}", self.vendor));
            }
            Came::Nothing(why) => {
                (self.failures, self.wake) = (0, now + self.config.poll);
                (self.standing.state, self.standing.reason) = (LinkState::Up, why.to_owned());
            }
            Came::Failed(why) => {
                let wait = self.config.poll.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
                self.failures = self.failures.saturating_add(1);
                self.wake = now + wait;
                tracing::warn!(%why, "no key comes from upstream");
                (self.standing.state, self.standing.reason) = (LinkState::Down, why);
            }
        }
    }

    fn report(&mut self, now: Instant) -> Option<SourceEvent> {
        let Standing { state, reason, link } = &self.standing;
        let mut report: LinkReport = plain(*state, self.rate.bits_per_second(now), reason.clone());
        if let Some(link) = link {
            (report.qber, report.threshold) = (link.qber, link.threshold);
            if link.state == "alarm" {
                (report.state, report.reason) = (LinkState::Alarm, link.reason.clone());
            }
        }
        self.reporter.news(report, now).map(SourceEvent::Report)
    }
}

impl KeySource for Master {
    fn next(&mut self) -> SourceFuture<'_, SourceEvent> {
        Box::pin(self.step())
    }

    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()> {
        Box::pin(async move {
            let Some((block, bits)) = self.offered.take_if(|(block, _)| *block == number) else { return };
            match settled {
                Settled::Taken => {
                    self.rate.add(bits.len() as u64 * 8, Instant::now());
                    if let Some(hands) = &mut self.hands {
                        hands.void_from = block + 1;
                    }
                }
                Settled::TooLate => {
                    // Two sources feed one link, or the number that this one began with was wrong.
                    self.ended = Some(format!(
                        "the ledger had block {block} before: does another source feed this link? Start this one anew"
                    ));
                }
                Settled::Again => {
                    self.offered = Some((block, bits));
                    self.wake = Instant::now() + self.config.pause();
                }
            }
        })
    }
}

impl Hands {
    /// Looks how both KMEs are, and draws a block if key is wanted.
    async fn round(&mut self, wants: bool) -> Came {
        match self.try_round(wants).await {
            Ok(came) => came,
            Err(why) => {
                // Whatever happened: the next round begins by telling the far end what this one does not have.
                self.ready = false;
                self.vendor = None;
                Came::Failed(why)
            }
        }
    }

    async fn try_round(&mut self, wants: bool) -> Result<Came, String> {
        if !self.ready || !wants || self.far_full {
            let answer = self.ask(Wish::Ready { void_from: self.void_from }).await?;
            self.next = self.next.max(answer.next_block);
            self.void_from = self.next;
            (self.ready, self.far_full) = (true, answer.full);
        }
        let (number, key_bits) = match self.portion(wants).await? {
            Ok(portion) => portion,
            Err(why) => return Ok(Came::Nothing(why)),
        };
        if self.next >= MAX_NUMBER {
            return Err("there are no block numbers left".to_owned());
        }
        let drawn = self.client.enc_keys(&self.config.other, number, key_bits).await;
        let keys = drawn.map_err(|error| format!("no key is drawn: {error}"))?;
        let block = self.next;
        self.next += 1;
        let bits = join(&keys, key_bits)?;
        let ids: Vec<KeyId> = keys.iter().map(|key: &DeliveredKey| key.key_id).collect();
        drop(keys);
        self.have_collected(block, key_bits, &ids).await?;
        Ok(Came::Block { number: block, bits })
    }

    /// How many keys to draw, and their size in bits; or why none, though all is well.
    async fn portion(&mut self, wants: bool) -> Result<Result<(u32, u32), &'static str>, String> {
        let is_old = |since: &Instant| since.elapsed() >= IDLE;
        let status = match self.vendor.take().filter(|(since, _)| wants && !is_old(since)) {
            Some((since, status)) => (since, status),
            None => {
                self.link = None;
                let status = self.client.status(&self.config.other).await;
                let status = status.map_err(|error| format!("the vendor's KME gives no status: {error}"))?;
                self.link = vendor_link(&status);
                (Instant::now(), status)
            }
        };
        let (_, status) = self.vendor.insert(status);
        if !wants {
            return Ok(Err(FULL));
        }
        if self.far_full {
            return Ok(Err("the far end's pool is full enough, and no key is drawn"));
        }
        let key_bits = self.config.key_bits.unwrap_or(status.key_size);
        let (least, most) = (status.min_key_size, status.max_key_size);
        let size_fits = key_bits > 0 && key_bits.is_multiple_of(8) && (least..=most).contains(&key_bits);
        if !size_fits || u64::from(key_bits) / 8 > MAX_BLOCK_BYTES {
            return Err(format!("keys of {key_bits} bits cannot be had: the vendor's KME grants {least} to {most}"));
        }
        let fit = u32::try_from(MAX_BLOCK_BYTES * 8 / u64::from(key_bits)).unwrap_or(u32::MAX);
        let number = self.config.keys_per_block.min(status.max_key_per_request).min(fit);
        // What is in store is counted in keys of the default size.
        let stored = status.stored_key_count.saturating_mul(u64::from(status.key_size)) / u64::from(key_bits);
        let number = number.min(u32::try_from(stored).unwrap_or(u32::MAX));
        if number == 0 {
            self.vendor = None;
            return Err("the vendor's KME has no key in store".to_owned());
        }
        status.stored_key_count = stored.saturating_sub(u64::from(number)).saturating_mul(u64::from(key_bits))
            / u64::from(status.key_size.max(1));
        Ok(Ok((number, key_bits)))
    }

    /// Returns once the far end has the block for certain; an error means that it is given up here.
    async fn have_collected(&mut self, block: u64, key_bits: u32, ids: &[KeyId]) -> Result<(), String> {
        let until = Instant::now() + self.config.patience;
        loop {
            let why = match self.ask(Wish::Collect { block, key_bits, keys: KeyIds::of(ids) }).await {
                Ok(Answer { outcome: Some(Outcome::Taken { block: taken }), full, .. }) if taken == block => {
                    self.far_full = full;
                    return Ok(());
                }
                Ok(Answer { outcome: Some(Outcome::Burned { why, .. }), .. }) => {
                    return Err(format!("the far end did not get block {block}: {why}"));
                }
                Ok(_) => "it is still at it".to_owned(),
                Err(why) => why,
            };
            if Instant::now() + self.config.pause() >= until {
                return Err(format!("the far end did not get block {block} in time: {why}"));
            }
            sleep(self.config.pause()).await;
        }
    }

    async fn ask(&mut self, ask: Wish) -> Result<Answer, String> {
        self.turn += 1;
        let question = Question { session: self.session, turn: self.turn, ask };
        let question = serde_json::to_value(&question).map_err(|error| error.to_string())?;
        let answer = (self.ask)(question).await.map_err(|why| format!("the far end does not answer: {why}"))?;
        serde_json::from_value(answer).map_err(|error| format!("the far end's answer is not understood: {error}"))
    }
}

/// What a status of one of our own KMEs says of its link.
fn vendor_link(status: &Status) -> Option<VendorLink> {
    let link = status.status_extension.as_ref()?.get("vernam_link")?;
    let parsed: VendorLink = serde_json::from_value(link.clone()).ok()?;
    let share = 0.0..=1.0;
    (share.contains(&parsed.threshold) && parsed.qber.is_none_or(|qber| share.contains(&qber))).then_some(parsed)
}
