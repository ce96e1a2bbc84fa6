//! The engine: who may talk to us, and one task for each conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use vernam_quic::{Connection, Endpoint, Lane, QuicError};
use vernam_session::{Role, Suite};

use crate::event::{Command, Event};
use crate::limits::{COMMANDS, EVENTS};
use crate::peer::{self, Shared};
use crate::source::KeySource;
use crate::stocks::{OpenStocks, Stocks};

/// What is agreed for one contact.
#[derive(Debug, Clone)]
pub struct Contact {
    /// What may protect talk with it, best first.
    pub suites: Vec<Suite>,
    /// Up to how many bytes the outbound stock is filled.
    pub outbound_mark: u64,
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
        let running = Running {
            endpoint: config.endpoint,
            shared,
            stocks: config.stocks,
            contacts: config.contacts,
            peers: BTreeMap::new(),
            ended,
            dialled,
            dialling: BTreeSet::new(),
        };
        let task = tokio::spawn(running.run(receiver, ends, answers));
        (Self { commands, endpoint, task }, event_receiver)
    }

    /// Gives a command.
    pub async fn command(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).await.map_err(|_ended| EngineError::Ended)
    }

    /// Ends every conversation properly, and waits until they are.
    pub async fn shut_down(self) {
        drop(self.commands);
        let _ended = self.task.await;
        self.endpoint.close(0, "done");
        self.endpoint.wait_idle().await;
    }
}

struct Running {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    stocks: OpenStocks,
    contacts: BTreeMap<String, Contact>,
    peers: BTreeMap<String, PeerHandle>,
    ended: mpsc::Sender<(String, Option<String>)>,
    dialled: mpsc::Sender<Dialled>,
    dialling: BTreeSet<String>,
}

/// A contact that was dialled, where, and what came of it.
type Dialled = (String, SocketAddr, Result<Connection, QuicError>);

struct PeerHandle {
    commands: mpsc::Sender<Command>,
    lanes: mpsc::Sender<Connection>,
    task: JoinHandle<()>,
}

impl Running {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut ends: mpsc::Receiver<(String, Option<String>)>,
        mut answers: mpsc::Receiver<Dialled>,
    ) {
        let endpoint = self.endpoint.clone();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                accepted = endpoint.accept() => match accepted {
                    Some(Ok(connection)) => self.accepted(connection).await,
                    Some(Err(error)) => tracing::info!(%error, "a caller was turned away"),
                    None => break,
                },
                Some((contact, addr, answer)) = answers.recv() => self.answered(contact, addr, answer).await,
                Some((contact, why)) = ends.recv() => {
                    self.peers.remove(&contact);
                    self.tell(Event::Disconnected { contact, why }).await;
                }
            }
        }
        // Without their commands' other end the conversations say goodbye.
        for (contact, peer) in std::mem::take(&mut self.peers) {
            let PeerHandle { commands, lanes, task } = peer;
            drop((commands, lanes));
            let _ended = task.await;
            self.tell(Event::Disconnected { contact, why: None }).await;
        }
    }

    async fn tell(&self, event: Event) {
        let _gone = self.shared.events.send(event).await;
    }

    async fn command(&mut self, command: Command) {
        if let Command::Connect { contact, addr } = command {
            return self.connect(contact, addr).await;
        }
        let contact = match &command {
            Command::Connect { contact, .. }
            | Command::Call { contact, .. }
            | Command::Answer { contact, .. }
            | Command::HangUp { contact, .. }
            | Command::SendText { contact, .. }
            | Command::SendFile { contact, .. }
            | Command::AcceptFile { contact, .. }
            | Command::DeclineFile { contact, .. }
            | Command::SetMark { contact, .. }
            | Command::Account { contact, .. }
            | Command::Disconnect { contact } => contact.clone(),
        };
        match self.peers.get(&contact) {
            Some(peer) => {
                let _ended = peer.commands.send(command).await;
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
            let _ended = dialled.send((contact, addr, answer)).await;
        });
    }

    async fn answered(&mut self, contact: String, addr: SocketAddr, answer: Result<Connection, QuicError>) {
        self.dialling.remove(&contact);
        match answer {
            Ok(connection) if self.peers.contains_key(&contact) => connection.close(3, "already connected"),
            Ok(connection) => {
                self.begin(connection, Role::Initiator).await;
                self.dial_files_lane(contact, addr);
            }
            Err(error) => self.tell(Event::Disconnected { contact, why: Some(error.to_string()) }).await,
        }
    }

    /// The second connection is made beside the first, and nothing waits for it but files.
    fn dial_files_lane(&self, contact: String, addr: SocketAddr) {
        let Some(peer) = self.peers.get(&contact) else { return };
        let (endpoint, lanes) = (self.endpoint.clone(), peer.lanes.clone());
        tokio::spawn(async move {
            match endpoint.dial(addr, &contact, Lane::Files).await {
                Ok(lane) => {
                    let _ended = lanes.send(lane).await;
                }
                Err(error) => tracing::warn!(%error, "no second connection: files cannot be sent"),
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
            Lane::Main if self.peers.contains_key(&contact) => connection.close(3, "already connected"),
            Lane::Main => self.begin(connection, Role::Responder).await,
            Lane::Files => match self.peers.get(&contact) {
                Some(peer) => {
                    let _ended = peer.lanes.try_send(connection);
                }
                None => connection.close(4, "no conversation"),
            },
        }
    }

    async fn begin(&mut self, connection: Connection, role: Role) {
        let contact = connection.peer_name().to_owned();
        let Some(settings) = self.contacts.get(&contact).cloned() else { return };
        let key_exchange = format!("{:?}", connection.negotiated_key_exchange());
        self.tell(Event::Connected { contact: contact.clone(), key_exchange }).await;
        let stocks = match (self.stocks)(&contact) {
            Ok(pair) => Stocks::new(pair),
            Err(error) => {
                connection.close(1, "no store");
                return self.tell(Event::Disconnected { contact, why: Some(error.to_string()) }).await;
            }
        };
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (lanes, lane_receiver) = mpsc::channel(2);
        let (shared, ended, name) = (Arc::clone(&self.shared), self.ended.clone(), contact.clone());
        let task = tokio::spawn(async move {
            let why = peer::run(shared, settings, role, connection, stocks, receiver, lane_receiver).await;
            let _gone = ended.send((name, why)).await;
        });
        self.peers.insert(contact, PeerHandle { commands, lanes, task });
    }
}
