//! One person of the demo: a client with its own store, its own KME and its own identity, and what it lived through.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_engine::{
    Account, CallStats, Command, Contact, Engine, EngineConfig, Event, FileDone, FileError, PhoneEvent, Policy,
    StockPair, TransferId,
};
use vernam_etsi014::{KmeClient, KmeId};
use vernam_kme::Kme;
use vernam_quic::{Endpoint, QuicIdentity, WireSettings};
use vernam_session::{HangUpReason, Suite};
use vernam_store::{Store, StoreKey};

use super::network::{Network, sae};
use super::voice::Tape;
use crate::demo::EventSink;
use crate::demo::events::{
    CallTick, DemoEvent, FileProgress, FileState, Kme as KmeName, KmeState, Person as Who, StockLevel,
    Suite as ShownSuite, TextState, Words,
};

/// What both people's listeners need to tell the story.
pub(crate) struct Scene {
    pub(crate) sink: EventSink,
    /// Bytes of one-time pad that a second of talk costs.
    pub(crate) pad_per_second: u64,
    pub(crate) now: Mutex<Now>,
}

/// What is on at the moment.
#[derive(Default)]
pub(crate) struct Now {
    pub(crate) call: u8,
    /// Alice's tape and Bob's.
    pub(crate) tapes: [Tape; 2],
    pub(crate) file: Option<(Words, ShownSuite, Instant)>,
    pub(crate) texts: BTreeMap<(usize, u64), Words>,
}

/// What a person lived through so far.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that happened or did not")]
pub(crate) struct State {
    pub(crate) key_exchange: Option<String>,
    pub(crate) established: bool,
    pub(crate) usable: u64,
    pub(crate) incoming: bool,
    pub(crate) answered: bool,
    pub(crate) ended: Option<Ended>,
    pub(crate) texts: Vec<String>,
    pub(crate) delivered: usize,
    pub(crate) offered: Option<TransferId>,
    pub(crate) files: Vec<(bool, Result<FileDone, FileError>)>,
    pub(crate) refused: u64,
    /// The KME's own words when it gave no key.
    pub(crate) kme_refusal: Option<String>,
    /// Whether the link was in alarm when the KME last told.
    link_alarm: bool,
    /// What the person was told of the link's alarm.
    pub(crate) alarm: Option<String>,
    /// What the person was last told of the key that runs out.
    pub(crate) warned_of_end: Option<String>,
    /// Why the conversation is over; empty for a proper end.
    pub(crate) disconnected: Option<String>,
}

/// How a call ended.
#[derive(Clone)]
pub(crate) struct Ended {
    pub(crate) reason: HangUpReason,
    pub(crate) by_contact: bool,
    pub(crate) stats: Option<Arc<CallStats>>,
}

/// A running client and its listener.
pub(crate) struct Person {
    pub(crate) who: Who,
    pub(crate) addr: SocketAddr,
    engine: Engine,
    state: watch::Receiver<State>,
    change: watch::Sender<State>,
    listener: JoinHandle<()>,
}

/// How a person's client is set up.
pub(crate) struct Setup<'a> {
    pub(crate) who: Who,
    pub(crate) network: &'a Network,
    pub(crate) folder: &'a Path,
    pub(crate) wire: WireSettings,
    pub(crate) mark: u64,
    pub(crate) epoch: Instant,
}

impl Person {
    /// Starts the client.
    pub(crate) fn start(setup: Setup<'_>, scene: &Arc<Scene>) -> anyhow::Result<Self> {
        let Setup { who, network, folder, wire, mark, epoch } = setup;
        let (own, contact) = (who.index(), sae(who.other()));
        let roots = vec![network.ca.root()];
        let identity = network.identity(who);
        let kme = format!("127.0.0.1:{}", network.ports[own]);
        let source = KmeClient::new(&kme, roots.clone(), identity.chain.clone(), identity.key.clone_key())?;
        let quic = QuicIdentity { chain: identity.chain, key: identity.key };
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into(), quic, &roots, wire)?;
        let addr = endpoint.local_addr()?;
        let home = folder.join(sae(who));
        std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let anchors = folder.join("anchors").join(sae(who));
        let store = Store::open(home.join("store"), anchors, StoreKey::load_or_create(home.join("store.key"))?)?;
        let stocks = Box::new(move |contact: &str| {
            Ok(StockPair { outbound: Box::new(store.outbound(contact)?), inbound: Box::new(store.inbound(contact)?) })
        });
        let settings =
            Contact { suites: Suite::ALL.to_vec(), policy: Policy::PreferOtp, outbound_mark: mark, adapts: false };
        let contacts = BTreeMap::from([(contact.to_owned(), settings)]);
        let files = Some(home.join("files"));
        let (engine, events) =
            Engine::start(EngineConfig { endpoint, source: Arc::new(source), stocks, contacts, files, epoch });
        let (change, state) = watch::channel(State::default());
        let listener = Listener {
            who,
            kme: network.kmes[own].clone(),
            link: network.ids[1 - own].clone(),
            scene: Arc::clone(scene),
            change: change.clone(),
            in_hand_s: 0.0,
        };
        let listener = tokio::spawn(listener.listen(events));
        Ok(Self { who, addr, engine, state, change, listener })
    }

    /// The other person's name in commands.
    pub(crate) fn contact(&self) -> String {
        sae(self.who.other()).to_owned()
    }

    pub(crate) async fn tell(&self, command: Command) -> anyhow::Result<()> {
        Ok(self.engine.command(command).await?)
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Begins a new call: what the last one left is forgotten.
    pub(crate) fn forget_call(&self) {
        self.change.send_modify(|state| {
            state.incoming = false;
            state.answered = false;
            state.ended = None;
        });
    }

    /// Waits until `seen`, at most `limit`; `what` says what was waited for if it does not come.
    pub(crate) async fn until(
        &self,
        limit: Duration,
        what: &str,
        seen: impl Fn(&State) -> bool,
    ) -> anyhow::Result<State> {
        let mut state = self.state.clone();
        let who = self.who;
        let waiting = state.wait_for(|state| seen(state) || state.disconnected.is_some());
        let Ok(reached) = timeout(limit, waiting).await else {
            anyhow::bail!("{who} waited {} s in vain: {what}", limit.as_secs());
        };
        let reached = reached.context("the client ended")?.clone();
        match &reached.disconnected {
            Some(why) if !seen(&reached) => {
                let why = if why.is_empty() { "the other side hung up" } else { why };
                anyhow::bail!("{who} was disconnected ({why}) before this: {what}")
            }
            _ => Ok(reached),
        }
    }

    /// Waits until the stock is filled to `mark`, as long as it grows at least once in `patience`.
    pub(crate) async fn filled(&self, patience: Duration, mark: u64) -> anyhow::Result<()> {
        let mut before = 0;
        while before < mark {
            let state = self.until(patience, "the filling of the stock", |state| state.usable > before).await?;
            before = state.usable;
        }
        Ok(())
    }

    /// What key was spent on.
    pub(crate) async fn account(&self) -> anyhow::Result<Account> {
        let (reply, account) = oneshot::channel();
        self.tell(Command::Account { contact: self.contact(), reply }).await?;
        account.await.context("the client gave no account")
    }

    /// Ends the client properly.
    pub(crate) async fn stop(self) {
        self.engine.shut_down().await;
        // The engine's end closes the events, which ends the listener.
        let _ended = self.listener.await;
    }
}

struct Listener {
    who: Who,
    kme: Kme,
    /// Its link: the other KME.
    link: KmeId,
    scene: Arc<Scene>,
    change: watch::Sender<State>,
    /// Seconds of talk that the running call has pad for in hand.
    in_hand_s: f64,
}

impl Listener {
    async fn listen(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.take(event).await;
        }
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        self.change.send_modify(change);
    }

    async fn take(&mut self, event: Event) {
        let who = self.who;
        let sink = self.scene.sink.clone();
        match event {
            Event::Connected { key_exchange, .. } => self.note(|state| state.key_exchange = Some(key_exchange)),
            Event::Established { .. } => {
                sink.emit(DemoEvent::KeysConfirmed { who }).await;
                self.note(|state| state.established = true);
            }
            Event::Disconnected { why, .. } => {
                self.note(|state| state.disconnected = Some(why.unwrap_or_default()));
            }
            Event::Stock { outbound, inbound, usable, mark, .. } => {
                let level = |bytes: u64, mark_bytes| {
                    // To a tenth of a second, which is more than a gauge shows.
                    let tenths = u32::try_from(bytes * 10 / self.scene.pad_per_second.max(1)).unwrap_or(u32::MAX);
                    let talk_s = f64::from(tenths) / 10.0;
                    StockLevel { bytes, mark_bytes, talk_s }
                };
                let (mut send, receive) = (level(outbound.available, mark), level(inbound.available, mark));
                send.talk_s += self.in_hand_s;
                sink.offer(DemoEvent::Stock { who, send, receive });
                self.note(|state| state.usable = usable);
            }
            Event::Source { refusal, link, .. } => {
                let kme = [KmeName::A, KmeName::B][who.index()];
                let known = link.as_ref().map(|link| link.state == "alarm");
                let alarm = known == Some(true);
                let state = if refusal.is_some() || alarm { KmeState::Refusing } else { KmeState::Delivering };
                let said = refusal.clone().or_else(|| link.filter(|_| alarm).and_then(|link| link.reason));
                let pool_bits = self.kme.accounting(&self.link).pooled_own;
                sink.offer(DemoEvent::KmeStatus { kme, state, pool_bits, reason: said.as_deref().map(Words::from) });
                // A refusal and the link's state are told apart: what counts is that it is refused while the alarm stands.
                self.note(|state| {
                    if let Some(link) = known {
                        state.link_alarm = link;
                    }
                    if state.link_alarm && refusal.is_some() {
                        state.kme_refusal = refusal;
                    }
                });
            }
            Event::Call { event, .. } => self.call(event).await,
            Event::CallTick { stats, .. } => {
                let packets = u32::try_from(stats.packets_in_hand.unwrap_or(0)).unwrap_or(u32::MAX);
                self.in_hand_s = f64::from(packets) * f64::from(stats.terms.frame_ms) / 1_000.0;
                self.scene.sink.offer(DemoEvent::CallTick(self.tick(&stats)));
            }
            Event::CallRecord { record, stats } => {
                self.in_hand_s = 0.0;
                let (reason, by_contact) = (record.reason, record.by_contact);
                let stats = stats.map(|stats| Arc::new(*stats));
                self.note(|state| state.ended = Some(Ended { reason, by_contact, stats }));
            }
            Event::TextReceived { body, .. } => self.note(|state| state.texts.push(body.0)),
            Event::TextSent { id, suite, .. } => self.text(id, TextState::Sent, shown(suite)).await,
            Event::TextDelivered { id, .. } => {
                self.text(id, TextState::Delivered, ShownSuite::Otp).await;
                self.note(|state| state.delivered += 1);
            }
            Event::FileOffered { transfer, .. } => self.note(|state| state.offered = Some(transfer)),
            // The receiver's view is the true one: opened, checked and written.
            Event::FileProgress { sending: false, done, size, .. } => self.file(FileState::Moving, done, size).await,
            Event::FileEnded { sending, result, .. } => {
                if !sending {
                    let (state, size) = match &result {
                        Ok(done) => (FileState::Done, done.bytes),
                        Err(_) => (FileState::Failed, 0),
                    };
                    self.file(state, size, size).await;
                }
                self.note(|state| state.files.push((sending, result)));
            }
            Event::Refused { .. } => self.note(|state| state.refused += 1),
            Event::Warning { text, .. } => {
                let alarm = text.starts_with("no new key comes");
                sink.emit(DemoEvent::Warning { who: Some(who), text: text.as_str().into() }).await;
                self.note(|state| {
                    if alarm {
                        state.alarm = Some(text);
                    }
                });
            }
            _ => {}
        }
    }

    async fn call(&self, event: PhoneEvent) {
        match event {
            PhoneEvent::Incoming { .. } => self.note(|state| state.incoming = true),
            PhoneEvent::Answered { .. } => self.note(|state| state.answered = true),
            PhoneEvent::TalkLeft { seconds } => {
                let text = format!("key for about {seconds} seconds of talk under one-time pad is left");
                self.scene.sink.emit(DemoEvent::Warning { who: Some(self.who), text: text.as_str().into() }).await;
                self.note(|state| state.warned_of_end = Some(text));
            }
            _ => {}
        }
    }

    async fn text(&self, id: u64, state: TextState, suite: ShownSuite) {
        let text = {
            let now = self.scene.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.texts.get(&(self.who.index(), id)).cloned().unwrap_or_default()
        };
        self.scene.sink.emit(DemoEvent::Text { from: self.who, state, suite, text }).await;
    }

    async fn file(&self, state: FileState, done_bytes: u64, total_bytes: u64) {
        let file = self.scene.now.lock().unwrap_or_else(PoisonError::into_inner).file.clone();
        let Some((name, suite, began)) = file else { return };
        let (from, elapsed_s) = (self.who.other(), began.elapsed().as_secs_f64());
        let event = FileProgress { from, name, state, suite, done_bytes, total_bytes, elapsed_s };
        self.scene.sink.emit(DemoEvent::File(event)).await;
    }

    fn tick(&self, stats: &CallStats) -> CallTick {
        let now = self.scene.now.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = Duration::from_millis(u64::from(stats.terms.frame_ms));
        let (own, other) = (self.who.index(), self.who.other().index());
        let delay = super::voice::recent_delay(&now.tapes[other], &now.tapes[own], frame);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
        CallTick {
            who: self.who,
            call: now.call,
            time_s: stats.lasted.as_secs_f64(),
            suite: shown(stats.terms.suite),
            bit_rate_bps: stats.terms.bit_rate,
            sent: stats.sent,
            received: stats.received,
            lost: stats.missing,
            rejected: stats.refused.values().sum(),
            concealed: stats.playout.concealed + stats.playout.recovered,
            delay_p50_ms: delay.p50_ms,
            delay_p95_ms: delay.p95_ms,
            jitter_ms: milliseconds(stats.jitter),
            buffer_ms: milliseconds(stats.buffered),
            heard_dbfs: stats.heard_dbfs,
            key_used_bytes: stats.key_outbound,
        }
    }
}

/// The suite as the demo's events name it.
pub(crate) fn shown(suite: Suite) -> ShownSuite {
    match suite {
        Suite::Otp => ShownSuite::Otp,
        Suite::Aes256Gcm => ShownSuite::Aes256Gcm,
        Suite::ChaCha20Poly1305 => ShownSuite::ChaCha20Poly1305,
    }
}

/// Where a person's files are put.
pub(crate) fn inbox(folder: &Path, who: Who) -> PathBuf {
    folder.join(sae(who)).join("inbox")
}
