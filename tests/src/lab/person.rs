//! One client and everything that it told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_audio::CodecSettings;
use vernam_engine::{
    Account, CallProposal, CallRecord, CallStats, Command, Contact, Engine, EngineConfig, Event, FileDone, FileError,
    FileStatus, IfShort, OfferedFiles, PhoneEvent, PreparedFiles, Rules, Shortage, StockPair, TransferId, VoiceIo,
};
use vernam_quic::{Endpoint, QuicIdentity};
use vernam_session::{HangUpReason, Suite};
use vernam_store::{Store, StoreKey};

use super::{Lab, PATIENCE, Setup};

/// Events shown when a wait was in vain.
const TAIL: usize = 25;

/// A running client, and every event it gave.
pub struct Person {
    /// Its name.
    pub name: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    engine: Engine,
    endpoint: Endpoint,
    heard: Arc<Mutex<Vec<Event>>>,
    count: watch::Receiver<usize>,
    from: AtomicUsize,
    listener: JoinHandle<()>,
}

impl Person {
    pub(super) fn start(lab: &Lab, name: &'static str, setup: Setup) -> Self {
        let issued = lab.ca.issue(name).expect("a certificate can be made");
        let identity = QuicIdentity { chain: issued.chain, key: issued.key };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(any, identity, &[lab.ca.root()], setup.wire).expect("a free port on loopback");
        let addr = endpoint.local_addr().expect("a bound socket has an address");
        let home = lab.folder(name);
        let key = StoreKey::load_or_create(home.join("store.key")).expect("a store key in the temporary folder");
        let store = Store::open(home.join("store"), lab.folder("anchors").join(name), key)
            .expect("nobody else has this store open");
        let stocks = Box::new(move |contact: &str| {
            Ok(StockPair { outbound: Box::new(store.outbound(contact)?), inbound: Box::new(store.inbound(contact)?) })
        });
        let files = Some(home.join("files"));
        let settings =
            Contact { suites: setup.suites, policy: setup.policy, outbound_mark: setup.mark, adapts: setup.adapts };
        let others = setup.contacts.into_iter().filter(|contact| contact != name);
        let contacts: BTreeMap<_, _> = others.map(|contact| (contact, settings.clone())).collect();
        let source = setup.source.unwrap_or_else(|| lab.vault.end(name));
        let (engine, mut events) = Engine::start(EngineConfig {
            endpoint: endpoint.clone(),
            source,
            stocks,
            contacts,
            files,
            epoch: lab.epoch,
        });
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (tell, count) = watch::channel(0);
        let log = Arc::clone(&heard);
        let listener = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(event);
                tell.send_replace(log.len());
            }
        });
        Self { name, addr, engine, endpoint, heard, count, from: AtomicUsize::new(0), listener }
    }

    /// Gives a command.
    pub async fn tell(&self, command: Command) {
        let given = timeout(PATIENCE, self.engine.command(command)).await;
        let given = given.unwrap_or_else(|_late| panic!("{} took no command for {PATIENCE:?}", self.name));
        given.unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Connects to `contact` at `addr`.
    pub async fn connect(&self, contact: &str, addr: SocketAddr) {
        self.tell(Command::Connect { contact: contact.to_owned(), addr }).await;
    }

    /// From now on [`Self::wait`] looks only at what comes after this.
    pub fn forget(&self) {
        self.from.store(self.open().len(), Ordering::Relaxed);
    }

    /// Waits until `seen` finds something among the events since [`Self::forget`]. Panics, with the last events, if it
    /// does not come.
    pub async fn wait<T>(&self, what: &str, seen: impl Fn(&[Event]) -> Option<T>) -> T {
        self.wait_from(self.from.load(Ordering::Relaxed), what, seen).await
    }

    async fn wait_from<T>(&self, from: usize, what: &str, seen: impl Fn(&[Event]) -> Option<T>) -> T {
        let mut count = self.count.clone();
        let look = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = seen(self.open().get(from..).unwrap_or_default()) {
                    return Some(found);
                }
                if count.changed().await.is_err() {
                    return None;
                }
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("{} ended before {what}; its last words:\n{}", self.name, self.last_words()),
            Err(error) => {
                panic!("{} waited {PATIENCE:?} for {what} ({error}); its last words:\n{}", self.name, self.last_words())
            }
        }
    }

    /// Waits for a warning that contains `words`.
    pub async fn warned(&self, words: &str) -> String {
        self.wait(&format!("a warning of {words:?}"), |events| {
            events.iter().find_map(|event| match event {
                Event::Warning { text, .. } if text.contains(words) => Some(text.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits for the end of the conversation, and gives the reason.
    pub async fn disconnected(&self) -> Option<String> {
        self.wait("the end of the conversation", |events| {
            events.iter().find_map(|event| match event {
                Event::Disconnected { why, .. } => Some(why.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Offers files under `suite`, and waits for key where the stock is short; the transfer's name.
    pub async fn send_files(&self, contact: &str, paths: &[PathBuf], suite: Suite) -> TransferId {
        self.send_files_or(contact, paths, suite, IfShort::Wait).await
    }

    /// The same, with something else where the stock is short.
    pub async fn send_files_or(&self, contact: &str, paths: &[PathBuf], suite: Suite, if_short: IfShort) -> TransferId {
        let (transfer, contact, paths) = (TransferId(rand::random()), contact.to_owned(), paths.to_vec());
        self.tell(Command::SendFiles { contact, transfer, paths, suite, if_short }).await;
        transfer
    }

    /// Takes offered files.
    pub async fn accept_files(&self, contact: &str, transfer: TransferId, folder: PathBuf) {
        let (contact, names) = (contact.to_owned(), Rules::Portable);
        self.tell(Command::AcceptFiles { contact, transfer, folder, names }).await;
    }

    /// Pauses a transfer, or lets it go on.
    pub async fn pause_files(&self, contact: &str, transfer: TransferId, on: bool) {
        self.tell(Command::PauseFiles { contact: contact.to_owned(), transfer, on }).await;
    }

    /// Cancels or declines a transfer.
    pub async fn cancel_files(&self, contact: &str, transfer: TransferId) {
        self.tell(Command::CancelFiles { contact: contact.to_owned(), transfer }).await;
    }

    /// Waits until a transfer stands like this.
    pub async fn file_stands(&self, what: &str, is: impl Fn(&FileStatus) -> bool) {
        self.saw(what, |event| matches!(event, Event::FileStatus { status, .. } if is(status))).await;
    }

    /// Waits until the source of keys has told so many times, from now on, how it stands.
    pub async fn told_of_source(&self, times: usize) {
        let from = self.open().len();
        self.wait_from(from, "news of the source", |events| {
            let told = events.iter().filter(|event| matches!(event, Event::Source { .. })).count();
            (told >= times).then_some(())
        })
        .await;
    }

    /// What files of ours are and cost, as was told last.
    pub async fn prepared(&self) -> PreparedFiles {
        self.wait("files that are looked at", |events| {
            events.iter().rev().find_map(|event| match event {
                Event::FilePrepared { files, .. } => Some((**files).clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits until the stock cannot cover files: by how much, and what is done about it.
    pub async fn short(&self) -> (Shortage, IfShort) {
        self.wait("a stock that is short", |events| {
            events.iter().find_map(|event| match event {
                Event::FileShort { shortage, choice, .. } => Some((*shortage, *choice)),
                _ => None,
            })
        })
        .await
    }

    /// Waits for the end of one transfer.
    pub async fn ended(&self, transfer: TransferId) -> Result<FileDone, FileError> {
        // Since the beginning: it may have been before what is looked at.
        self.wait_from(0, "the end of a transfer", |events| {
            events.iter().find_map(|event| match event {
                Event::FileEnded { transfer: one, result, .. } if *one == transfer => Some(result.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits for the end of a transfer.
    pub async fn file_ended(&self) -> Result<FileDone, FileError> {
        self.wait("the end of a transfer", |events| {
            events.iter().find_map(|event| match event {
                Event::FileEnded { result, .. } => Some(result.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits for an offer of files.
    pub async fn files_offered(&self) -> (TransferId, OfferedFiles) {
        self.wait("the offer of files", |events| {
            events.iter().find_map(|event| match event {
                Event::FileOffered { transfer, offer, .. } => Some((*transfer, (**offer).clone())),
                _ => None,
            })
        })
        .await
    }

    /// Waits for an offer of files, and gives its name and the first name in it.
    pub async fn file_offered(&self) -> (TransferId, String) {
        self.wait("the offer of a file", |events| {
            events.iter().find_map(|event| match event {
                Event::FileOffered { transfer, offer, .. } => Some((*transfer, offer.name.clone())),
                _ => None,
            })
        })
        .await
    }

    /// Waits for the end of a call.
    pub async fn call_ended(&self) -> (HangUpReason, bool, Option<CallStats>) {
        let (record, stats) = self.call_record().await;
        (record.reason, record.by_contact, stats)
    }

    /// Waits for what the history keeps of a call, and how it went.
    pub async fn call_record(&self) -> (CallRecord, Option<CallStats>) {
        self.wait("the end of the call", |events| {
            events.iter().find_map(|event| match event {
                Event::CallRecord { record, stats } => Some((record.clone(), stats.as_deref().cloned())),
                _ => None,
            })
        })
        .await
    }

    /// Waits for something about a call.
    pub async fn called(&self, what: &str, is: impl Fn(&PhoneEvent) -> bool) {
        self.saw(what, |event| matches!(event, Event::Call { event, .. } if is(event))).await;
    }

    /// Waits until what was asked for about a call is refused, with these words.
    pub async fn refused(&self, words: &str) {
        let is = |event: &PhoneEvent| matches!(event, PhoneEvent::Refused { why } if why.contains(words));
        self.called(&format!("a refusal of {words:?}"), is).await;
    }

    /// Waits for the statistics of a running call that `is` is true of.
    pub async fn ticked(&self, what: &str, is: impl Fn(&CallStats) -> bool) {
        self.saw(what, |event| matches!(event, Event::CallTick { stats, .. } if is(stats))).await;
    }

    /// Waits for a text message.
    pub async fn text(&self) -> String {
        self.wait("a text message", |events| {
            events.iter().find_map(|event| match event {
                Event::TextReceived { body, .. } => Some(body.0.clone()),
                _ => None,
            })
        })
        .await
    }

    /// Waits for `event` of any kind.
    pub async fn saw(&self, what: &str, is: impl Fn(&Event) -> bool) {
        self.wait(what, |events| events.iter().any(&is).then_some(())).await;
    }

    /// Calls `contact` under `suite`, with the codec that goes with it.
    pub async fn call(&self, contact: &str, suite: Suite, io: Box<dyn VoiceIo>) {
        let proposal = CallProposal { suite, codec: codec(suite) };
        self.tell(Command::Call { contact: contact.to_owned(), proposal, io }).await;
    }

    /// Waits for the ringing, and takes the call.
    pub async fn answer(&self, contact: &str, io: Box<dyn VoiceIo>) {
        self.called("an incoming call", |event| matches!(event, PhoneEvent::Incoming { .. })).await;
        self.tell(Command::Answer { contact: contact.to_owned(), io }).await;
    }

    /// Ends, declines or cancels a call.
    pub async fn hang_up(&self, contact: &str, reason: HangUpReason) {
        self.tell(Command::HangUp { contact: contact.to_owned(), reason }).await;
    }

    /// Sends a text message.
    pub async fn write(&self, contact: &str, body: &str) {
        self.tell(Command::SendText { contact: contact.to_owned(), body: body.to_owned() }).await;
    }

    /// What key was spent on.
    pub async fn account(&self, contact: &str) -> Account {
        let (reply, account) = oneshot::channel();
        self.tell(Command::Account { contact: contact.to_owned(), reply }).await;
        let account = timeout(PATIENCE, account).await.expect("an account comes in time");
        account.expect("an engine with a conversation gives an account")
    }

    /// Everything told so far, as `Debug` prints it.
    pub fn told(&self) -> String {
        self.open().iter().fold(String::new(), |told, event| told + &format!("{event:?}\n"))
    }

    /// How many of the events told so far, from the beginning, are such.
    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.open().iter().filter(|event| is(event)).count()
    }

    /// Closes the socket at once, without a word to the engine.
    pub fn cut(&self) {
        self.endpoint.close(99, "pulled out");
    }

    /// Ends the client properly.
    pub async fn stop(self) {
        let Self { engine, listener, name, heard, endpoint, .. } = self;
        drop(endpoint);
        if timeout(PATIENCE, engine.shut_down()).await.is_err() {
            let last = tail_of(&heard.lock().unwrap_or_else(PoisonError::into_inner));
            panic!("{name} did not end within {PATIENCE:?}; its last words:\n{last}");
        }
        timeout(PATIENCE, listener).await.expect("the end of an engine ends its events").expect("no panic");
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told last.
    pub fn last_words(&self) -> String {
        tail_of(&self.open())
    }
}

fn tail_of(events: &[Event]) -> String {
    let gauge = |event: &&Event| matches!(event, Event::Stock { .. } | Event::Source { .. } | Event::CallTick { .. });
    let last_gauges = events.iter().rev().filter(gauge).take(2).map(|event| format!("  ({event:?})"));
    let others: Vec<String> =
        events.iter().rev().filter(|event| !gauge(event)).take(TAIL).map(|event| format!("  {event:?}")).collect();
    others.into_iter().rev().chain(last_gauges).collect::<Vec<_>>().join("\n")
}

/// The codec that calls under `suite` use.
fn codec(suite: Suite) -> CodecSettings {
    if suite == Suite::Otp { CodecSettings::one_time_pad() } else { CodecSettings::standard() }
}
