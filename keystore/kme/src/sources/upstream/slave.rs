//! The slave's end: collects the keys that the master's end names, and answers for each block once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use vernam_etsi014::{ClientError, DeliveredKey, KmeClient};
use vernam_key::{KeyId, SecretBytes};

use super::words::{Answer, Ask, MAX_KEYS, Outcome, Question};
use super::{Pooled, UpstreamConfig};
use crate::sources::report::{Rate, Reporter, plain, until};
use crate::sources::{MAX_BLOCK_BYTES, MAX_NUMBER};
use crate::{KeySource, LinkState, Settled, SourceEvent, SourceFuture, SourceTalk};

/// How long an answer may take; then it is "ask again". Shorter than a KME waits for its peer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the master's end fell silent.
const TICK: Duration = Duration::from_secs(5);
/// Of the blocks that the master's end may not have, only so many are voided: one is left by a crash, hardly ever two.
const MAX_VOIDS: u8 = 64;

/// What a block is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    block: u64,
    key_bits: u32,
    ids: Vec<KeyId>,
}

/// What both halves know.
struct Desk {
    /// The lowest number that is still taken.
    next: u64,
    /// Session and turn of the latest question.
    latest: (u64, u64),
    /// What is being collected or deposited.
    current: Option<Job>,
    /// The master's end gave the current one up.
    abandoned: bool,
    /// The block before, and what became of it.
    last: Option<(Job, Outcome)>,
    /// What the master's end does not have.
    voids: VecDeque<u64>,
    heard: Option<Instant>,
    ended: bool,
}

struct Shared {
    desk: Mutex<Desk>,
    /// Counts what changed in the desk.
    changes: watch::Sender<u64>,
    pooled: Pooled,
    high_bits: u64,
}

/// Answers the master's end.
struct Talk {
    shared: Arc<Shared>,
}

/// Collects, and gives blocks.
pub(super) struct Slave {
    config: UpstreamConfig,
    client: Arc<KmeClient>,
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    collecting: Option<Collecting>,
    /// The block that was given, until it is settled.
    offered: Option<(u64, SecretBytes)>,
    /// The block is given (again) no sooner.
    wake: Instant,
    rate: Rate,
    reporter: Reporter,
    trouble: Option<String>,
}

/// A task that ends with this value.
struct Collecting {
    block: u64,
    task: JoinHandle<Result<SecretBytes, String>>,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slave {
    pub(super) fn pair(
        config: UpstreamConfig,
        client: KmeClient,
        next_block: u64,
        pooled: Pooled,
    ) -> (Self, Arc<dyn SourceTalk>) {
        let (changes, receiver) = watch::channel(0);
        let desk = Desk {
            next: next_block,
            latest: (0, 0),
            current: None,
            abandoned: false,
            last: None,
            voids: VecDeque::new(),
            heard: None,
            ended: false,
        };
        let shared = Arc::new(Shared { desk: Mutex::new(desk), changes, pooled, high_bits: config.high_bits });
        let talk = Arc::new(Talk { shared: Arc::clone(&shared) });
        let source = Self {
            config,
            client: Arc::new(client),
            shared,
            changed: receiver,
            collecting: None,
            offered: None,
            wake: Instant::now(),
            rate: Rate::default(),
            reporter: Reporter::default(),
            trouble: None,
        };
        (source, talk)
    }

    async fn step(&mut self) -> SourceEvent {
        loop {
            let now = Instant::now();
            self.give_up_if_abandoned();
            if let Some(event) = self.void().or_else(|| self.report(now)) {
                return event;
            }
            if let Some((number, bits)) = &self.offered {
                until(self.wake).await;
                let bits = SecretBytes::copy_of(bits.expose("to keep a copy until the ledger has it"));
                return SourceEvent::Block { number: *number, bits };
            }
            if let Some(collecting) = &mut self.collecting {
                let block = collecting.block;
                tokio::select! {
                    collected = &mut collecting.task => {
                        self.collecting = None;
                        let collected = collected.unwrap_or_else(|error| Err(format!("collecting failed: {error}")));
                        match collected {
                            Ok(bits) => self.offered = Some((block, bits)),
                            Err(why) => self.finish(Outcome::Burned { block, why }),
                        }
                    }
                    _changed = self.changed.changed() => {}
                    () = sleep(TICK) => {}
                }
                continue;
            }
            self.changed.mark_unchanged();
            let job = self.shared.desk().current.clone();
            if let Some(job) = job {
                self.wake = now;
                let (block, client, config) = (job.block, Arc::clone(&self.client), self.config.clone());
                let task = tokio::spawn(async move { collect(&client, &config, &job).await });
                self.collecting = Some(Collecting { block, task });
                continue;
            }
            tokio::select! {
                _changed = self.changed.changed() => {}
                () = sleep(TICK) => {}
            }
        }
    }

    fn give_up_if_abandoned(&mut self) {
        let abandoned = {
            let desk = self.shared.desk();
            desk.current.as_ref().filter(|_any| desk.abandoned).map(|job| job.block)
        };
        if let Some(block) = abandoned {
            (self.collecting, self.offered) = (None, None);
            self.finish(Outcome::Burned { block, why: "the master's end gave the block up".to_owned() });
        }
    }

    fn void(&mut self) -> Option<SourceEvent> {
        let number = self.shared.desk().voids.pop_front()?;
        tracing::info!(number, "a block is void: the far end never had it");
        Some(SourceEvent::Void { number })
    }

    fn report(&mut self, now: Instant) -> Option<SourceEvent> {
        let heard = self.shared.desk().heard;
        let silent = heard.is_none_or(|heard| now.saturating_duration_since(heard) >= self.config.down_after);
        let (state, reason) = match &self.trouble {
            _ if heard.is_none() => (LinkState::Down, "the master's end has not asked yet".to_owned()),
            _ if silent => {
                let seconds = self.config.down_after.as_secs();
                (LinkState::Down, format!("the master's end has not asked for {seconds} s"))
            }
            Some(trouble) => (LinkState::Down, trouble.clone()),
            None => (LinkState::Up, format!("keys come from the KME at {}", self.client.authority())),
        };
        let report = plain(state, self.rate.bits_per_second(now), reason);
        self.reporter.news(report, now).map(SourceEvent::Report)
    }

    /// The block under way is dealt with.
    fn finish(&mut self, outcome: Outcome) {
        self.trouble = match &outcome {
            Outcome::Burned { block, why } => {
                tracing::warn!(block, %why, "the keys of a block are given up");
                Some(why.clone())
            }
            _ => None,
        };
        let mut desk = self.shared.desk();
        desk.abandoned = false;
        if let Some(job) = desk.current.take() {
            desk.last = Some((job, outcome));
        }
        drop(desk);
        self.shared.tell();
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.shared.desk().ended = true;
        self.shared.tell();
    }
}

impl KeySource for Slave {
    fn next(&mut self) -> SourceFuture<'_, SourceEvent> {
        Box::pin(self.step())
    }

    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()> {
        Box::pin(async move {
            let Some((block, bits)) = self.offered.take_if(|(block, _)| *block == number) else { return };
            match settled {
                Settled::Taken => {
                    self.rate.add(bits.len() as u64 * 8, Instant::now());
                    self.finish(Outcome::Taken { block });
                }
                Settled::TooLate => {
                    let why = format!("the ledger at the slave's end had block {block} before");
                    self.finish(Outcome::Burned { block, why });
                }
                Settled::Again => {
                    self.offered = Some((block, bits));
                    self.wake = Instant::now() + self.config.pause();
                }
            }
        })
    }
}

/// Collects the keys of `job`, all of them or none. The vendor's KMEs may need a while to know them at this end.
async fn collect(client: &KmeClient, config: &UpstreamConfig, job: &Job) -> Result<SecretBytes, String> {
    let until = Instant::now() + config.patience;
    loop {
        let why = match client.dec_keys(&config.other, &job.ids).await {
            Ok(keys) => return join(&keys, job.key_bits),
            // Keys that came with it are lost, and asking again would not bring them back.
            Err(error @ ClientError::BadReply { .. }) => return Err(error.to_string()),
            Err(error) => error.to_string(),
        };
        if Instant::now() + config.pause() >= until {
            return Err(why);
        }
        sleep(config.pause()).await;
    }
}

/// The keys end to end.
pub(super) fn join(keys: &[DeliveredKey], key_bits: u32) -> Result<SecretBytes, String> {
    let bytes = key_bits as usize / 8;
    if keys.iter().any(|key| key.key.len() != bytes) {
        return Err(format!("the vendor's KME gave keys of another size than the {key_bits} bits asked for"));
    }
    let mut all = SecretBytes::from_vec(vec![0; bytes * keys.len()]);
    let places = all.expose_mut("to put keys end to end").chunks_exact_mut(bytes.max(1));
    for (place, key) in places.zip(keys) {
        place.copy_from_slice(key.key.expose("to put keys end to end"));
    }
    Ok(all)
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing in it is half-done at any point where its holder could panic.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn answer(&self, outcome: Option<Outcome>) -> Answer {
        Answer { next_block: self.desk().next, full: (self.pooled)() >= self.high_bits, outcome }
    }

    /// Takes note of a question; what became of its block, if that is known already.
    fn hear(&self, question: Question) -> Result<Heard, String> {
        let mut desk = self.desk();
        if desk.ended {
            return Err("the source at the slave's end has ended".to_owned());
        }
        let (session, turn) = desk.latest;
        if question.session == session && question.turn <= turn {
            return Err("this question was overtaken by a later one".to_owned());
        }
        desk.latest = (question.session, question.turn);
        desk.heard = Some(Instant::now());
        let heard = match question.ask {
            Ask::Ready { void_from } => {
                // The block under way, if any, is void as well: the master's end gave it up.
                desk.abandoned = desk.current.is_some();
                let first = void_from.max(desk.next.saturating_sub(u64::from(MAX_VOIDS)));
                for number in first..desk.next {
                    if !desk.voids.contains(&number) {
                        desk.voids.push_back(number);
                    }
                }
                let beyond = desk.voids.len().saturating_sub(usize::from(MAX_VOIDS));
                desk.voids.drain(..beyond);
                Heard::Answer(None)
            }
            Ask::Collect { block, key_bits, keys } => {
                let ids = keys.key_ids.iter().map(|entry| entry.key_id).collect();
                desk.collect(Job { block, key_bits, ids })?
            }
        };
        drop(desk);
        self.tell();
        Ok(heard)
    }
}

enum Heard {
    /// This is the answer.
    Answer(Option<Outcome>),
    /// The answer comes when this block is dealt with.
    Wait(Job),
}

impl Desk {
    fn collect(&mut self, job: Job) -> Result<Heard, String> {
        let block = job.block;
        let bytes = u64::from(job.key_bits) / 8 * job.ids.len() as u64;
        if job.key_bits == 0
            || !job.key_bits.is_multiple_of(8)
            || !(1..=MAX_KEYS as usize).contains(&job.ids.len())
            || bytes > MAX_BLOCK_BYTES
            || block >= MAX_NUMBER
        {
            return Err("such a block cannot be".to_owned());
        }
        if let Some((_, outcome)) = self.last.as_ref().filter(|(last, _)| *last == job) {
            return Ok(Heard::Answer(Some(outcome.clone())));
        }
        if self.current.as_ref() == Some(&job) {
            return Ok(Heard::Wait(job));
        }
        if block < self.next {
            let why = format!("block {block} comes too late at the slave's end");
            return Ok(Heard::Answer(Some(Outcome::Burned { block, why })));
        }
        if self.current.is_some() {
            return Ok(Heard::Answer(Some(Outcome::Working { block })));
        }
        self.next = block + 1;
        self.current = Some(job.clone());
        Ok(Heard::Wait(job))
    }
}

impl SourceTalk for Talk {
    fn answer(&self, message: Value) -> SourceFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let question: Question =
                serde_json::from_value(message).map_err(|error| format!("it is no upstream source's word: {error}"))?;
            let mut changed = self.shared.changes.subscribe();
            let outcome = match self.shared.hear(question)? {
                Heard::Answer(outcome) => outcome,
                Heard::Wait(job) => {
                    let dealt_with = changed.wait_for(|_| self.shared.desk().current.as_ref() != Some(&job));
                    let _late_or_not = timeout(ANSWER_WITHIN, dealt_with).await;
                    let desk = self.shared.desk();
                    let outcome = desk.last.as_ref().filter(|(last, _)| *last == job).map(|(_, outcome)| outcome);
                    Some(outcome.cloned().unwrap_or(Outcome::Working { block: job.block }))
                }
            };
            serde_json::to_value(self.shared.answer(outcome)).map_err(|error| error.to_string())
        })
    }
}
