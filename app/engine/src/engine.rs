//! The engine: who may talk to us, and one task for each conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};
use vernam_quic::{Connection, Endpoint, Lane, QuicError};
use vernam_session::{Role, Suite};

use crate::command::Command;
use crate::event::Event;
use crate::limits::{
    CLOSING, COMMAND_PATIENCE, COMMANDS, CONNECTED_ANEW, CROSSING, DONE, EVENTS, FILES_LANE_PAUSE, GOODBYE,
    HANDSHAKE_DOUBLINGS, HANDSHAKE_PAUSE, ORDERS, PHONE_NOTES, PROBE, PROBES, ROUTE_PAUSE,
};
use crate::peer::transfers::Transfers;
use crate::peer::{self, Channels, News, Order, Outcome, PeerNote, PeerNotes, Shared};
use crate::phone::Policy;
use crate::source::KeySource;
use crate::stocks::{OpenStocks, Stocks};
use crate::switchboard::{Line, MediaNotice, Redials, Switchboard};

/// What is agreed for one contact.
#[derive(Debug, Clone)]
pub struct Contact {
    /// What may protect talk with it, best first.
    pub suites: Vec<Suite>,
    /// What may protect calls with it, and what its person is asked.
    pub policy: Policy,
    /// Up to how many bytes the outbound stock is filled.
    pub outbound_mark: u64,
    /// Whether a running call with it may change its bit rate by itself, with the loss and the stock of pad.
    pub adapts: bool,
}

/// What an engine starts from.
pub struct EngineConfig {
    /// The socket, with our certificate.
    pub endpoint: Endpoint,
    /// Where keys come from.
    pub source: Arc<dyn KeySource>,
    /// Opens a contact's stocks.
    pub stocks: OpenStocks,
    /// Who may talk to us, by name (SAE ID).
    pub contacts: BTreeMap<String, Contact>,
    /// The folder in which what survives a crash of file transfers is kept, a folder a contact; `None` if there is no such
    /// place: then files can be neither sent nor received.
    pub files: Option<PathBuf>,
    /// The start of all times in events and statistics.
    pub epoch: Instant,
}

/// Why a command could not be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

/// A running client. Dropping it ends every conversation.
pub struct Engine {
    commands: mpsc::Sender<Command>,
    endpoint: Endpoint,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts accepting and dialling. Events must be read, or the engine waits.
    pub fn start(config: EngineConfig) -> (Self, mpsc::Receiver<Event>) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (events, event_receiver) = mpsc::channel(EVENTS);
        let endpoint = config.endpoint.clone();
        let shared =
            Arc::new(Shared { name: endpoint.name().to_owned(), source: config.source, events, epoch: config.epoch });
        let (ended, ends) = mpsc::channel(COMMANDS);
        let (dialled, answers) = mpsc::channel(COMMANDS);
        let (probed, verdicts) = mpsc::channel(COMMANDS);
        let (notes, said) = mpsc::channel(PHONE_NOTES);
        let (switchboard, media_said) = Switchboard::new(Arc::clone(&shared));
        let running = Running {
            endpoint: config.endpoint,
            shared,
            switchboard,
            notes,
            lines: 0,
            routes: BTreeMap::new(),
            route_due: None,
            stocks: config.stocks,
            files: config.files,
            transfers: BTreeMap::new(),
            redials: Redials::default(),
            contacts: config.contacts,
            peers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            crossed: BTreeMap::new(),
            ended,
            probed,
            unproven: BTreeMap::new(),
            dialled,
            dialling: BTreeSet::new(),
        };
        let task =
            tokio::spawn(running.run(Receivers { commands: receiver, ends, answers, verdicts, said, media_said }));
        (Self { commands, endpoint, task }, event_receiver)
    }

    /// Gives a command.
    pub async fn command(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).await.map_err(|_ended| EngineError::Ended)
    }

    /// Ends every conversation properly, and waits until they are; for what is left of connections,
    /// [`CLOSING`] at most.
    pub async fn shut_down(self) {
        drop(self.commands);
        let _ended = self.task.await;
        self.endpoint.close(0, "done");
        let _some_are_out_of_reach = timeout(CLOSING, self.endpoint.wait_idle()).await;
    }
}

impl PeerHandle {
    fn is_established(&self) -> bool {
        self.established.load(Ordering::Relaxed)
    }
}

struct Running {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    stocks: OpenStocks,
    files: Option<PathBuf>,
    /// What earlier conversations left unfinished, where none is under way.
    transfers: BTreeMap<String, Transfers>,
    /// Contacts that files wait for.
    redials: Redials,
    contacts: BTreeMap<String, Contact>,
    /// The telephone and its calls.
    switchboard: Switchboard,
    /// Where conversations talk to the telephone.
    notes: mpsc::Sender<(Arc<str>, u64, PeerNote)>,
    /// Conversations so far.
    lines: u64,
    /// Our own address towards each contact that we talk with.
    routes: BTreeMap<String, IpAddr>,
    /// When to look again whether one of them has changed.
    route_due: Option<Instant>,
    peers: BTreeMap<String, PeerHandle>,
    /// New connections of contacts whose old conversation is still ending.
    waiting: BTreeMap<String, Started>,
    /// Contacts that gave up one of two connections for the other, which is not here yet: until when it is waited for,
    /// and why the one ended.
    crossed: BTreeMap<String, (Instant, Option<String>)>,
    ended: mpsc::Sender<(String, Outcome)>,
    probed: mpsc::Sender<(Started, bool)>,
    /// Contacts whose connections proved no key: how often in a row, and until when no other is taken.
    unproven: BTreeMap<String, (u32, Instant)>,
    dialled: mpsc::Sender<Dialled>,
    dialling: BTreeSet<String>,
}

/// A contact that was dialled, where, and what came of it.
struct Dialled {
    contact: String,
    addr: SocketAddr,
    answer: Result<Connection, QuicError>,
    /// Whether a call waited for it, and not its person.
    again: bool,
}

/// A connection that a conversation is to begin over.
struct Started {
    connection: Connection,
    /// Where we dialled; `None` if the contact did.
    dialled: Option<SocketAddr>,
}

struct PeerHandle {
    connection: Connection,
    /// Whether we dialled.
    ours: bool,
    /// Whether the contact has proved that it holds the key.
    established: Arc<AtomicBool>,
    began: Instant,
    orders: mpsc::Sender<Order>,
    lanes: mpsc::Sender<Connection>,
    task: JoinHandle<()>,
}

/// Everything that the engine's task listens to.
struct Receivers {
    commands: mpsc::Receiver<Command>,
    ends: mpsc::Receiver<(String, Outcome)>,
    answers: mpsc::Receiver<Dialled>,
    verdicts: mpsc::Receiver<(Started, bool)>,
    said: mpsc::Receiver<(Arc<str>, u64, PeerNote)>,
    media_said: mpsc::Receiver<MediaNotice>,
}

impl Contact {
    /// A contact under `policy`, whose outbound stock is filled up to `outbound_mark` bytes: what the policy starts calls
    /// with is also the first choice for everything else.
    pub fn under(policy: Policy, outbound_mark: u64) -> Self {
        let suites = match policy {
            Policy::OtpOnly => vec![Suite::Otp],
            Policy::PreferOtp => vec![Suite::Otp, Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
            Policy::Aes => vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Otp],
        };
        Self { suites, policy, outbound_mark, adapts: true }
    }
}

impl Running {
    async fn run(mut self, receivers: Receivers) {
        let Receivers { mut commands, mut ends, mut answers, mut verdicts, mut said, mut media_said } = receivers;
        let endpoint = self.endpoint.clone();
        loop {
            // Files give way to voices, whoever they are sent to.
            endpoint.call_switch().set(self.switchboard.is_talking());
            let wake = self.wake();
            tokio::select! {
                Some((contact, line, note)) = said.recv() => self.switchboard.peer_note(&contact, line, note).await,
                Some(note) = media_said.recv() => self.switchboard.media_note(note).await,
                () = until(wake) => self.time().await,
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                accepted = endpoint.accept() => match accepted {
                    Some(Ok(connection)) => self.accepted(connection).await,
                    Some(Err(error)) => tracing::info!(%error, "a caller was turned away"),
                    None => break,
                },
                Some(dialled) = answers.recv() => self.answered(dialled).await,
                Some((started, alive)) = verdicts.recv() => {
                    if alive {
                        started.connection.close(CONNECTED_ANEW, "already connected");
                    } else {
                        self.begin_or_replace(started).await;
                    }
                }
                Some((contact, mut outcome)) = ends.recv() => {
                    if let Some(left) = outcome.transfers.take() {
                        self.redials.set(&contact, outcome.lost && left.are_under_way());
                        self.transfers.insert(contact.clone(), left);
                    }
                    // What it still said comes before its end.
                    while let Ok((contact, line, note)) = said.try_recv() {
                        self.switchboard.peer_note(&contact, line, note).await;
                    }
                    let lasted = self.peers.remove(&contact).map_or(CROSSING, |peer| peer.began.elapsed());
                    self.routes.remove(&contact);
                    let replaced = self.waiting.contains_key(&contact);
                    let (proper, waits) = (outcome.why.is_none(), outcome.may_come_back(replaced));
                    self.switchboard.disconnected(&contact, proper, waits).await;
                    self.count_proof(&contact, outcome.established);
                    match outcome.news(replaced, lasted) {
                        News::Now => self.tell(Event::Disconnected { contact: contact.clone(), why: outcome.why }).await,
                        News::Later => drop(self.crossed.insert(contact.clone(), (Instant::now() + CROSSING, outcome.why))),
                        News::Never => {}
                    }
                    if let Some(next) = self.waiting.remove(&contact) {
                        self.begin(next).await;
                    }
                }
            }
        }
        self.switchboard.hang_up_all().await;
        // Without their orders' other end the conversations say goodbye.
        let peers = std::mem::take(&mut self.peers);
        self.switchboard.forget_lines();
        let ending: Vec<_> = peers.into_iter().map(|(contact, peer)| (contact, peer.task, peer.connection)).collect();
        for (contact, mut task, connection) in ending {
            if timeout(GOODBYE, &mut task).await.is_err() {
                task.abort();
                connection.close(DONE, "done");
            }
            self.tell(Event::Disconnected { contact, why: None }).await;
        }
        self.tell_crossed(None).await;
    }

    async fn tell(&self, event: Event) {
        let _gone = self.shared.events.send(event).await;
    }

    async fn command(&mut self, command: Command) {
        if let Command::Connect { contact, addr } = command {
            return self.connect(contact, addr).await;
        }
        let Some(command) = self.switchboard.command(command).await else { return };
        let Some(contact) = command.contact().map(str::to_owned) else { return };
        match self.peers.get(&contact) {
            Some(peer) => {
                let text = match peer.orders.send_timeout(Order::Do(command), COMMAND_PATIENCE).await {
                    Ok(()) => return,
                    Err(SendTimeoutError::Timeout(_)) => {
                        format!("too much is waiting for {contact}: this was not done")
                    }
                    Err(SendTimeoutError::Closed(_)) => format!("the conversation with {contact} is over"),
                };
                self.tell(Event::Warning { contact, text }).await;
            }
            None => {
                let text = format!("{contact} is not connected");
                self.tell(Event::Warning { contact, text }).await;
            }
        }
    }

    async fn connect(&mut self, contact: String, addr: SocketAddr) {
        if self.peers.contains_key(&contact) {
            return;
        }
        if !self.contacts.contains_key(&contact) {
            let why = Some(format!("{contact} is not among the contacts"));
            return self.tell(Event::Disconnected { contact, why }).await;
        }
        if !self.dialling.insert(contact.clone()) {
            return;
        }
        // Beside the loop: somebody who does not answer must not keep others from calling.
        let (endpoint, dialled) = (self.endpoint.clone(), self.dialled.clone());
        tokio::spawn(async move {
            let answer = endpoint.dial(addr, &contact, Lane::Main).await;
            let _ended = dialled.send(Dialled { contact, addr, answer, again: false }).await;
        });
    }

    async fn answered(&mut self, dialled: Dialled) {
        let Dialled { contact, addr, answer, again } = dialled;
        self.dialling.remove(&contact);
        match answer {
            Ok(connection) => {
                // Both dialled at once: what is proved stands, else the one with the smaller name wins, at both ends.
                // What is taken for lost does not stand.
                let lost = self.switchboard.redials.waits_for(&contact) && self.switchboard.is_lost(&contact);
                let stands = |peer: &PeerHandle| {
                    if peer.is_established() { !lost } else { *self.shared.name > *contact }
                };
                if self.peers.get(&contact).is_some_and(stands) {
                    return connection.close(CONNECTED_ANEW, "already connected");
                }
                self.begin_or_replace(Started { connection, dialled: Some(addr) }).await;
            }
            Err(error) if again => {
                tracing::info!(%contact, %error, "not reached yet");
                self.switchboard.redials.failed(&contact, Instant::now());
                self.redials.failed(&contact, Instant::now());
            }
            Err(error) => {
                self.crossed.remove(&contact);
                self.tell(Event::Disconnected { contact, why: Some(error.to_string()) }).await;
            }
        }
    }

    /// Tells of connections that ended for another that did not come in time, or of all of them.
    async fn tell_crossed(&mut self, now: Option<Instant>) {
        let crossed = std::mem::take(&mut self.crossed);
        for (contact, (until, why)) in crossed {
            if now.is_none_or(|now| until <= now) {
                self.tell(Event::Disconnected { contact, why }).await;
            } else {
                self.crossed.insert(contact, (until, why));
            }
        }
    }

    /// When [`Self::time`] has something to do.
    fn wake(&self) -> Option<Instant> {
        let redials = [self.switchboard.redials.deadline(), self.redials.deadline()];
        let deadlines = [self.switchboard.deadline(), self.route_due].into_iter().chain(redials);
        let route = (self.route_due.is_none() && self.switchboard.is_talking()).then(Instant::now);
        let crossed = self.crossed.values().map(|(until, _)| *until).min();
        deadlines.chain([route, crossed]).flatten().min()
    }

    async fn time(&mut self) {
        self.switchboard.time().await;
        let now = Instant::now();
        self.tell_crossed(Some(now)).await;
        for (contact, addr, longest) in self.switchboard.redials.due(now) {
            // A conversation that is just being made needs no other.
            if self.switchboard.is_lost(&contact) {
                self.redial(contact, addr, longest);
            }
        }
        for (contact, addr, longest) in self.redials.due(now) {
            if !self.peers.contains_key(&contact) {
                self.redial(contact, addr, longest);
            }
        }
        if self.route_due.is_none_or(|due| due <= now) {
            self.watch_routes();
            self.route_due = self.switchboard.is_talking().then(|| now + ROUTE_PAUSE);
        }
    }

    /// Tries to reach a contact again that a call or files wait for.
    fn redial(&mut self, contact: String, addr: SocketAddr, longest: Duration) {
        if !self.dialling.insert(contact.clone()) {
            return;
        }
        let (endpoint, dialled) = (self.endpoint.clone(), self.dialled.clone());
        tokio::spawn(async move {
            let answer = timeout(longest, endpoint.dial(addr, &contact, Lane::Main)).await;
            let answer = answer.unwrap_or(Err(QuicError::TimedOut));
            let _ended = dialled.send(Dialled { contact, addr, answer, again: true }).await;
        });
    }

    /// Opens the socket anew where our own address has changed: QUIC then migrates the connections that we dialled (RFC
    /// 9000, section 9).
    fn watch_routes(&mut self) {
        let mut changed = false;
        for (contact, peer) in self.peers.iter().filter(|(_, peer)| peer.ours) {
            // No way to it at the moment: what comes next is a change.
            let Some(route) = vernam_quic::source_address(peer.connection.remote_address()) else { continue };
            let before = self.routes.insert(contact.clone(), route);
            changed |= before.is_some_and(|before| before != route);
        }
        if changed {
            match self.endpoint.rebind() {
                Ok(()) => tracing::info!("this machine has another address; the connections go on from there"),
                Err(error) => tracing::warn!(%error, "no socket at this machine's new address"),
            }
        }
    }

    /// The second connection is made beside the first, and nothing waits for it but files.
    fn dial_files_lane(&self, contact: String, addr: SocketAddr) {
        let Some(peer) = self.peers.get(&contact) else { return };
        let (endpoint, lanes, main) = (self.endpoint.clone(), peer.lanes.clone(), peer.connection.clone());
        tokio::spawn(async move {
            // As long as the conversation lives, the second connection is made again whenever it is lost.
            while !lanes.is_closed() {
                match endpoint.dial(addr, &contact, Lane::Files).await {
                    Ok(lane) => {
                        let _ended = lanes.send(lane.clone()).await;
                        tokio::select! {
                            why = lane.closed() => {
                                tracing::debug!(%why, "the files' connection is lost");
                                // A peer that was started anew says so to whatever comes for its old connections: so the
                                // loss of the other one is known now, not when it has been idle for long.
                                let _lost_too = main.send_voice(Bytes::from_static(&[0]));
                            }
                            () = lanes.closed() => lane.close(0, "done"),
                        }
                    }
                    Err(error) => tracing::debug!(%error, "no second connection yet: files wait"),
                }
                tokio::select! {
                    () = sleep(FILES_LANE_PAUSE) => {}
                    () = lanes.closed() => {}
                }
            }
        });
    }

    async fn accepted(&mut self, connection: Connection) {
        let contact = connection.peer_name().to_owned();
        match connection.lane() {
            Lane::Main if !self.contacts.contains_key(&contact) => {
                tracing::info!(%contact, "not among the contacts");
                connection.close(2, "not among the contacts");
            }
            Lane::Main => {
                let started = Started { connection, dialled: None };
                match self.peers.get(&contact) {
                    // Both dialled at once: the one with the smaller name wins, at both ends.
                    Some(peer) if peer.ours && !peer.is_established() && peer.began.elapsed() < CROSSING => {
                        if *self.shared.name < *contact {
                            return started.connection.close(CONNECTED_ANEW, "already connected");
                        }
                        self.begin_or_replace(started).await;
                    }
                    // A certificate proves no key: it must not end a conversation that lives.
                    Some(peer) => {
                        let (old, probed) = (peer.connection.clone(), self.probed.clone());
                        tokio::spawn(async move {
                            let alive = is_alive(&old).await;
                            let _ended = probed.send((started, alive)).await;
                        });
                    }
                    None => self.begin(started).await,
                }
            }
            Lane::Files => match self.peers.get(&contact) {
                Some(peer) => {
                    let _ended = peer.lanes.try_send(connection);
                }
                None => connection.close(4, "no conversation"),
            },
        }
    }

    /// Each handshake costs key, so one who never proves that he holds it has to wait.
    fn count_proof(&mut self, contact: &str, proved: bool) {
        if proved {
            self.unproven.remove(contact);
            return;
        }
        let (times, until) = self.unproven.entry(contact.to_owned()).or_insert((0, Instant::now()));
        // Once may be a KME that had no key; who comes again has to wait.
        if *times > 0 {
            *until = Instant::now() + HANDSHAKE_PAUSE * 2_u32.pow((*times).min(HANDSHAKE_DOUBLINGS));
        }
        *times = times.saturating_add(1);
    }

    /// A contact that connects anew has lost the old connection, whatever we still think of it.
    async fn begin_or_replace(&mut self, started: Started) {
        let contact = started.connection.peer_name();
        let Some(peer) = self.peers.get(contact) else { return self.begin(started).await };
        peer.connection.close(CONNECTED_ANEW, "connected anew");
        if let Some(older) = self.waiting.insert(contact.to_owned(), started) {
            older.connection.close(CONNECTED_ANEW, "connected anew");
        }
    }

    async fn begin(&mut self, started: Started) {
        let Started { connection, dialled } = started;
        let role = if dialled.is_some() { Role::Initiator } else { Role::Responder };
        let contact = connection.peer_name().to_owned();
        let Some(settings) = self.contacts.get(&contact).cloned() else { return };
        if dialled.is_none() && self.unproven.get(&contact).is_some_and(|(_, until)| Instant::now() < *until) {
            tracing::info!(%contact, "connects too often without proving a key");
            return connection.close(5, "too soon: try again in a moment");
        }
        let key_exchange = format!("{:?}", connection.negotiated_key_exchange());
        self.crossed.remove(&contact);
        self.tell(Event::Connected { contact: contact.clone(), key_exchange }).await;
        let stocks = match (self.stocks)(&contact) {
            Ok(pair) => Stocks::new(pair),
            Err(error) => {
                connection.close(1, "no store");
                return self.tell(Event::Disconnected { contact, why: Some(error.to_string()) }).await;
            }
        };
        for text in stocks.notices() {
            self.tell(Event::Warning { contact: contact.clone(), text }).await;
        }
        let (orders, receiver) = mpsc::channel(ORDERS);
        self.lines += 1;
        let (line, usable, inbound) = (self.lines, Arc::default(), Arc::default());
        let (sender, stock) = (self.notes.clone(), [Arc::clone(&usable), Arc::clone(&inbound)]);
        let notes = PeerNotes { line, sender, usable, inbound };
        self.switchboard.redials.reached(&contact, dialled);
        self.redials.reached(&contact, dialled);
        self.redials.set(&contact, false);
        self.switchboard.set_policy(&contact, settings.policy, settings.adapts).await;
        self.switchboard.connected(&contact, Line::new(line, role, orders.clone(), connection.clone(), stock));
        let (lanes, lane_receiver) = mpsc::channel(2);
        let (shared, ended, name) = (Arc::clone(&self.shared), self.ended.clone(), contact.clone());
        let left = self.transfers.remove(&contact);
        let transfers = left.unwrap_or_else(|| Transfers::of(self.files.as_deref(), &contact));
        let handle = connection.clone();
        let established = Arc::new(AtomicBool::new(false));
        let proved = Arc::clone(&established);
        let task = tokio::spawn(async move {
            let channels = Channels { orders: receiver, notes, lanes: lane_receiver, proved, transfers };
            let outcome = peer::run(shared, settings, role, connection, stocks, channels).await;
            let _gone = ended.send((name, outcome)).await;
        });
        let (ours, began) = (dialled.is_some(), Instant::now());
        let peer = PeerHandle { connection: handle, ours, established, began, orders, lanes, task };
        self.peers.insert(contact.clone(), peer);
        if let Some(addr) = dialled {
            self.dial_files_lane(contact, addr);
        }
    }
}

/// Waits until then; for ever without a time.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether the other end of a connection still acknowledges what it is sent.
async fn is_alive(connection: &Connection) -> bool {
    let before = connection.stats().received_bytes;
    for _probe in 0..PROBES {
        // One byte that is no voice: it is passed over, but QUIC acknowledges it.
        if connection.send_voice(Bytes::from_static(&[0])).is_err() {
            return false;
        }
        sleep(PROBE / PROBES).await;
    }
    connection.close_reason().is_none() && connection.stats().received_bytes > before
}
