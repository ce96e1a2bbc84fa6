//! Two ends that are fed by an upstream source, with ledgers that keep everything, and a line that loses what a test says.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_etsi014::KmeClient;
use vernam_kme::sources::{Ask, Pooled, Upstream, UpstreamConfig, UpstreamRole};
use vernam_kme::{KeySource, LinkReport, Settled, SourceEvent, SourceTalk};

use crate::world::sae;

/// A test that waits for so long will wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it comes soon")
}

/// What comes at once, if anything.
pub(crate) async fn briefly<T>(what: impl Future<Output = T>) -> Option<T> {
    timeout(Duration::from_millis(40), what).await.ok()
}

/// What a source said besides blocks.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) reports: Vec<LinkReport>,
    pub(crate) voids: Vec<u64>,
    pub(crate) ended: Option<String>,
}

/// A ledger that keeps all and takes each number once, as the real one does.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) next: u64,
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    pub(crate) seen: Seen,
    /// Bits that were used up.
    pub(crate) used: u64,
    /// The next so many deposits cannot be written.
    pub(crate) broken: u32,
}

pub(crate) type Shared = Arc<Mutex<Books>>;

pub(crate) fn books(shared: &Shared) -> MutexGuard<'_, Books> {
    shared.lock().unwrap()
}

impl Books {
    fn deposit(&mut self, number: u64, bits: &[u8]) -> Settled {
        if self.broken > 0 {
            self.broken -= 1;
            return Settled::Again;
        }
        if number < self.next {
            return Settled::TooLate;
        }
        self.next = number + 1;
        if !self.seen.voids.contains(&number) {
            self.blocks.insert(number, bits.to_vec());
        }
        Settled::Taken
    }

    pub(crate) fn bits(&self) -> u64 {
        self.blocks.values().map(|block| block.len() as u64 * 8).sum()
    }
}

/// Feeds a ledger until it is dropped, as a process that dies.
pub(crate) struct Feed(JoinHandle<()>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Feed {
    /// `dies`: before this number of a block is settled, having deposited it or not, as the second says.
    pub(crate) fn start(mut source: Box<dyn KeySource>, ledger: Shared, dies: Option<(u32, bool)>) -> Self {
        Self(tokio::spawn(async move {
            let mut count = 0;
            loop {
                match source.next().await {
                    SourceEvent::Block { number, bits } => {
                        count += 1;
                        let dies = dies.filter(|(at, _)| *at == count);
                        if let Some((_, false)) = dies {
                            return;
                        }
                        let settled = books(&ledger).deposit(number, bits.expose("test"));
                        if dies.is_some() {
                            return;
                        }
                        source.settled(number, settled).await;
                    }
                    SourceEvent::Void { number } => {
                        let mut ledger = books(&ledger);
                        ledger.blocks.remove(&number);
                        ledger.seen.voids.push(number);
                    }
                    SourceEvent::Report(report) => books(&ledger).seen.reports.push(report),
                    SourceEvent::Ended(why) => {
                        books(&ledger).seen.ended = Some(why);
                        return;
                    }
                }
            }
        }))
    }
}

/// What becomes of a question on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It never arrives.
    Question,
    /// Its answer never arrives.
    Answer,
}

/// Decides over each question.
pub(crate) type Line = Arc<dyn Fn(&Value) -> Fault + Send + Sync>;

/// Both ends' ledgers, and where the slave's source is heard just now.
#[derive(Clone, Default)]
pub(crate) struct Pair {
    pub(crate) master: Shared,
    pub(crate) slave: Shared,
    talk: Arc<Mutex<Option<Arc<dyn SourceTalk>>>>,
}

impl Pair {
    pub(crate) fn config(role: UpstreamRole) -> UpstreamConfig {
        let mut config = UpstreamConfig::new(role, sae(if role == UpstreamRole::Master { "bob" } else { "alice" }));
        (config.low_bits, config.high_bits) = (1 << 15, 1 << 16);
        (config.keys_per_block, config.key_bits) = (16, Some(512));
        (config.poll, config.patience) = (Duration::from_millis(5), Duration::from_millis(200));
        config
    }

    pub(crate) fn source(&self, config: UpstreamConfig, client: KmeClient, line: Line) -> Box<dyn KeySource> {
        let ledger = if config.role == UpstreamRole::Master { &self.master } else { &self.slave };
        let (next, shared) = (books(ledger).next, Arc::clone(ledger));
        let pooled: Pooled = Arc::new(move || {
            let ledger = books(&shared);
            ledger.bits().saturating_sub(ledger.used)
        });
        let talk = Arc::clone(&self.talk);
        let ask: Ask = Arc::new(move |question| {
            let (talk, line) = (Arc::clone(&talk), Arc::clone(&line));
            Box::pin(async move {
                let fault = line(&question);
                if fault == Fault::Question {
                    return Err("the question was lost".to_owned());
                }
                let talk = talk.lock().unwrap().clone();
                let answer = talk.ok_or("nobody is there")?.answer(question).await;
                if fault == Fault::Answer { Err("the answer was lost".to_owned()) } else { answer }
            })
        });
        let (source, talk) = Upstream::pair(config, client, next, pooled, ask).unwrap();
        if talk.is_some() {
            *self.talk.lock().unwrap() = talk;
        }
        source
    }

    /// Waits until both ends are as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Books, &Books) -> bool) {
        let waiting = async {
            while !wanted(&books(&self.master), &books(&self.slave)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let (master, slave) = (books(&self.master), books(&self.slave));
            panic!(
                "still not: {what}; blocks {:?} and {:?}; last said: {:?}, {:?}; ended: {:?}, {:?}",
                master.blocks.keys(),
                slave.blocks.keys(),
                master.seen.reports.last(),
                slave.seen.reports.last(),
                master.seen.ended,
                slave.seen.ended
            );
        }
    }
}

/// A line that is bad in a way that follows from `seed`.
pub(crate) fn bad_line(seed: u64, percent: u32) -> Line {
    let rng = Mutex::new(StdRng::seed_from_u64(seed));
    Arc::new(move |_question| {
        let mut rng = rng.lock().unwrap();
        match (rng.next_u32() % 100 < percent, rng.next_u32() % 2) {
            (false, _) => Fault::None,
            (true, 0) => Fault::Question,
            (true, _) => Fault::Answer,
        }
    })
}

pub(crate) fn good_line() -> Line {
    Arc::new(|_question| Fault::None)
}
