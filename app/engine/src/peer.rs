//! One conversation: the session with a contact, its stocks, its call and its transfers, in one task.

mod calls;
mod fill;
mod key;
mod lanes;
mod outcome;
mod texts;
pub(crate) mod transfers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vernam_key::{Inbound, Material, Outbound, Purpose};
use vernam_quic::{Connection, Lane, RecvStream, SendStream};
use vernam_session::limits::STREAM_HEADER_LEN;
use vernam_session::{
    CallTerms, Config, Exporter, FlowId, KeyBlock, Message, NoKey, Output, Refusal, Role, Session, StreamHeader, Suite,
};
use vernam_store::StockKey;

use self::calls::Voices;
use self::fill::Fill;
use self::lanes::Lanes;
pub(crate) use self::outcome::{News, Outcome};
use self::texts::Texts;
use self::transfers::{FileInput, Transfers};
use crate::command::Command;
use crate::engine::Contact;
use crate::event::{Account, Event};
use crate::limits::{
    CONTROL_RECORDS, DONE, FAILED, FLOW_KEYS, HANDSHAKE_TIMEOUT, INPUTS, LAST_WORDS, LATE_KEYS, MAX_EARLY_BLOCKS,
    NO_KEY, ORDERS, TICK,
};
use crate::media::MediaInput;
use crate::records::FlowKey;
use crate::source::{KeySource, Room, SourceError};
use crate::stocks::Stocks;

/// What reaches a conversation from its own tasks and streams.
pub(crate) enum Input {
    /// Bytes of the peer's control stream; `None` is its end.
    Control(Option<Bytes>),
    /// The peer opened a stream on one of the two connections.
    Stream(Lane, StreamHeader, RecvStream),
    /// A flow needs its next key.
    WantKey { flow: FlowId, suite: Suite, len: u32, first_seq: u64 },
    /// Keys for the handshake came from the source.
    HandshakeKey(Result<Material<Inbound>, String>),
    /// The source told how it stands.
    Room(Result<Room, SourceError>),
    /// The source gave keys for the outbound stock.
    Fresh(Result<Vec<StockKey>, SourceError>),
    /// The source gave keys that the peer announced.
    Announced { start: u64, keys: Result<Vec<StockKey>, SourceError> },
    /// A record or datagram was refused.
    Refused(Refusal),
    /// A call's own task has something to say to the contact.
    Say(Message),
    /// A text message was opened.
    Text(Vec<u8>),
    /// A text message was sealed and written.
    TextSent { id: u64, suite: Suite },
    /// A text message could not be sent; the next one may be.
    TextUnsent(String),
    /// A text flow failed.
    TextFailed(String),
    /// Something about files on their way.
    Files(FileInput),
}

/// What a conversation is told to do.
pub(crate) enum Order {
    /// What the application wants of it.
    Do(Command),
    /// Say this about a call.
    Send(Message),
    /// Open the voice flows of this number, both ways, and give them and their keys to a call's own task.
    OpenVoice { call: u32, terms: CallTerms, media: mpsc::Sender<MediaInput> },
}

/// What a conversation tells the telephone.
pub(crate) enum PeerNote {
    /// It stands.
    Established {
        /// What both sides allow.
        suites: Vec<Suite>,
        /// What the verification words are made of.
        verification: [u8; 32],
    },
    /// The contact said something about a call; new numbers were checked to be new.
    Message(Message),
    /// Voice flows could not be opened.
    VoiceFailed { call: u32, why: String },
}

/// What all conversations of an engine share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn KeySource>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) epoch: Instant,
}

/// The state of one conversation.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    contact: Arc<str>,
    settings: Contact,
    role: Role,
    connection: Connection,
    lanes: Lanes,
    session: Session,
    stocks: Stocks,
    inputs: mpsc::Sender<Input>,
    control_out: mpsc::Sender<Vec<u8>>,
    /// The peer's control stream is there; another one is not taken.
    control_taken: bool,
    /// The highest numbers that the peer gave a call and a transfer.
    their_last: TheirLast,
    routes_out: BTreeMap<FlowId, mpsc::Sender<FlowKey<Outbound>>>,
    routes_in: BTreeMap<FlowId, mpsc::Sender<FlowKey<Inbound>>>,
    early: VecDeque<KeyBlock<Inbound>>,
    account: Account,
    usable: u64,
    next_number: u32,
    voices: Voices,
    notes: PeerNotes,
    fill: Fill,
    texts: Texts,
    transfers: Transfers,
    closed: Option<End>,
    /// We said goodbye first: the peer has the last word.
    said_bye: bool,
    /// The source did not give the key that the peer named for the handshake.
    no_handshake_key: bool,
}

/// The highest numbers that the peer gave.
#[derive(Default)]
struct TheirLast {
    call: u32,
    transfer: u32,
}

/// The way to the telephone, with which conversation it is that speaks.
pub(crate) struct PeerNotes {
    pub(crate) line: u64,
    pub(crate) sender: mpsc::Sender<(Arc<str>, u64, PeerNote)>,
    /// Bytes of outbound key that both sides hold, for whoever wants to know.
    pub(crate) usable: Arc<AtomicU64>,
    /// The same of inbound key.
    pub(crate) inbound: Arc<AtomicU64>,
}

/// How a conversation ended.
enum End {
    Properly,
    /// Why, in plain words.
    Badly(String),
}

impl End {
    fn badly(why: impl Into<String>) -> Self {
        Self::Badly(why.into())
    }
}

/// What joins a conversation to its engine.
pub(crate) struct Channels {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) notes: PeerNotes,
    /// Second connections, dialled or accepted.
    pub(crate) lanes: mpsc::Receiver<Connection>,
    /// Set once the contact has proved that it holds the key.
    pub(crate) proved: Arc<AtomicBool>,
    /// What earlier conversations left unfinished.
    pub(crate) transfers: Transfers,
}

/// Starts a conversation over `connection` and runs it to its end.
pub(crate) async fn run(
    shared: Arc<Shared>,
    settings: Contact,
    role: Role,
    connection: Connection,
    stocks: Stocks,
    channels: Channels,
) -> Outcome {
    let Channels { mut orders, notes, mut lanes, proved, transfers } = channels;
    let contact: Arc<str> = connection.peer_name().into();
    let (inputs, mut received) = mpsc::channel(INPUTS);
    let mut early = Vec::new();
    let started = {
        let starting = timeout(HANDSHAKE_TIMEOUT, start(&shared, &contact, role, &connection, &stocks, &settings));
        tokio::pin!(starting);
        // Key for the handshake may take its time: whoever has enough of it may leave.
        loop {
            tokio::select! {
                started = &mut starting => break started.unwrap_or_else(|_late| Err(NotStarted::late())).map_err(Some),
                error = connection.closed() => break Err(Some(NotStarted::failed(&error))),
                order = orders.recv(), if early.len() < ORDERS => match order {
                    Some(Order::Do(Command::Disconnect { .. })) | None => break Err(None),
                    Some(order) => early.push(order),
                },
            }
        }
    };
    let (session, control_out, handshake_bytes) = match started {
        Ok(started) => started,
        Err(failure) => {
            let outcome = Outcome::of(&connection, false, failure.as_ref().map(|failure| failure.why.clone()));
            match failure {
                Some(NotStarted { told, .. }) => connection.close(NO_KEY, told),
                None => connection.close(DONE, "done"),
            }
            return Outcome { transfers: Some(transfers), ..outcome };
        }
    };
    let listening = tokio::spawn(listen(connection.clone(), inputs.clone()));
    let mut peer = Peer {
        contact,
        role,
        lanes: Lanes::default(),
        session,
        stocks,
        inputs,
        control_out,
        control_taken: false,
        their_last: TheirLast::default(),
        routes_out: BTreeMap::new(),
        routes_in: BTreeMap::new(),
        early: VecDeque::new(),
        account: Account { handshake_outbound: handshake_bytes, ..Account::default() },
        usable: 0,
        next_number: u32::from(role.code()) + 2,
        voices: Voices::default(),
        notes,
        fill: Fill::default(),
        texts: Texts::default(),
        transfers,
        closed: None,
        said_bye: false,
        no_handshake_key: false,
        shared,
        settings,
        connection,
    };
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut open = true;
    for order in early {
        peer.order(order).await;
    }
    loop {
        peer.obey().await;
        proved.store(peer.is_proved(), Ordering::Relaxed);
        if let Some(end) = peer.closed.take() {
            listening.abort();
            while let Ok(input) = received.try_recv() {
                peer.late(input).await;
            }
            let (connection, established) = (peer.connection.clone(), peer.is_proved());
            // As the contact or the network ended it: what follows is our own close.
            let outcome = Outcome::of(&connection, established, None);
            let (why, transfers) = peer.end(end, received).await;
            return Outcome { why, transfers: Some(transfers), ..outcome };
        }
        tokio::select! {
            biased;
            order = orders.recv(), if open => match order {
                Some(order) => peer.order(order).await,
                None => {
                    open = false;
                    peer.say_bye();
                }
            },
            Some(input) = received.recv() => peer.input(input).await,
            Some(lane) = lanes.recv() => peer.add_lane(lane),
            _ = clock.tick() => peer.tick().await,
            error = peer.connection.closed() => peer.closed = Some(End::badly(error.to_string())),
        }
        if !peer.is_proved() && peer.closed.is_none() && began.elapsed() > HANDSHAKE_TIMEOUT {
            peer.closed = Some(End::badly("the other side did not confirm its key in time"));
        }
    }
}

/// Why a conversation did not begin: for us, and for the contact, to whom a source's own words may tell too much.
struct NotStarted {
    why: String,
    told: &'static str,
}

impl NotStarted {
    fn failed(error: &impl ToString) -> Self {
        Self { why: error.to_string(), told: "the conversation could not be begun on the other side" }
    }

    fn late() -> Self {
        let why = "the source of keys did not answer in time".to_owned();
        Self { why, told: "the other side's source of keys did not answer in time" }
    }

    /// There is no key for the handshake.
    fn no_key(error: SourceError) -> Self {
        let told = if error.refused {
            "the other side's source of keys has too little for a new conversation just now; try again in a moment"
        } else {
            "the other side's source of keys cannot be asked; try again in a moment"
        };
        let why = if error.refused {
            format!("there is too little quantum key for a new conversation just now ({})", error.reason)
        } else {
            error.reason
        };
        Self { why, told }
    }
}

/// Gets the handshake's keys and starts the session; also how many bytes of key that took.
async fn start(
    shared: &Shared,
    contact: &str,
    role: Role,
    connection: &Connection,
    stocks: &Stocks,
    settings: &Contact,
) -> Result<(Session, mpsc::Sender<Vec<u8>>, u64), NotStarted> {
    let patience = key::Patience::OF_HANDSHAKE;
    let keys = key::for_handshake(shared.source.as_ref(), contact, &shared.events, patience).await;
    let (keys, material) = keys.map_err(NotStarted::no_key)?;
    let secret =
        connection.exporter(vernam_session::EXPORTER_LABEL, &[]).map_err(|error| NotStarted::failed(&error))?;
    let exporter = Exporter::copy_of(&secret).ok_or_else(|| NotStarted::failed(&"the exporter has another length"))?;
    let (outbound, inbound) = stocks.reach();
    let spent = material.len() as u64;
    let session = Session::new(Config {
        role,
        our_name: shared.name.clone(),
        peer_name: contact.to_owned(),
        nonce: rand::random(),
        suites: settings.suites.clone(),
        exporter,
        outbound,
        inbound,
        handshake_keys: keys,
        handshake_material: material,
    });
    let stream = connection.open_uni().await.map_err(|error| NotStarted::failed(&error))?;
    let (control_out, records) = mpsc::channel(CONTROL_RECORDS);
    tokio::spawn(write_control(stream, records));
    Ok((session, control_out, spent))
}

/// Accepts streams and hands them on with their header. A stream without a header in time is dropped.
async fn listen(connection: Connection, inputs: mpsc::Sender<Input>) {
    let lane = connection.lane();
    while let Ok(mut stream) = connection.accept_uni().await {
        let inputs = inputs.clone();
        // Bounded by the connection's own limit on streams.
        tokio::spawn(async move {
            let mut header = [0; STREAM_HEADER_LEN];
            if let Ok(Ok(())) = timeout(HANDSHAKE_TIMEOUT, stream.read_exact(&mut header)).await {
                let _gone = inputs.send(Input::Stream(lane, StreamHeader::parse(header), stream)).await;
            }
        });
    }
}

/// Writes our control stream in its own time: a peer that does not read must not stop the conversation's task.
async fn write_control(mut stream: SendStream, mut records: mpsc::Receiver<Vec<u8>>) {
    while let Some(record) = records.recv().await {
        if stream.write_all(&record).await.is_err() {
            return;
        }
    }
    let _closed = stream.finish();
}

/// Hands on the bytes of the control stream.
async fn pump_control(mut stream: RecvStream, inputs: mpsc::Sender<Input>) {
    while let Ok(Some(chunk)) = stream.read_chunk(64 * 1024, true).await {
        if inputs.send(Input::Control(Some(chunk.bytes))).await.is_err() {
            return;
        }
    }
    let _gone = inputs.send(Input::Control(None)).await;
}

impl Peer {
    fn now(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    async fn tell(&self, event: Event) {
        // The application is gone only when the engine is.
        let _gone = self.shared.events.send(event).await;
    }

    async fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning { contact: self.contact.to_string(), text: text.into() }).await;
    }

    fn name(&self) -> String {
        self.contact.to_string()
    }

    /// Numbers that the other side never uses.
    fn new_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(2);
        number
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Do(command) => self.command(command).await,
            Order::Send(message) => {
                let now = self.now();
                self.session.send(message, now);
            }
            Order::OpenVoice { call, terms, media } => self.open_voice(call, terms, media).await,
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::SendText { body, .. } => self.send_text(body).await,
            Command::SetMark { bytes, .. } => self.settings.outbound_mark = bytes,
            Command::Account { reply, .. } => {
                let (outbound, inbound) = self.stocks.status();
                let mut account = self.account.clone();
                account.outbound_stock = Some(outbound);
                account.inbound_stock = Some(inbound);
                let _nobody_waits = reply.send(account);
            }
            Command::Disconnect { .. } => self.say_bye(),
            // About files, or the engine's own business, or the telephone's.
            other => self.file_command(other).await,
        }
    }

    async fn input(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Control(Some(bytes)) => self.session.handle_bytes(&bytes, now),
            Input::Control(None) => self.session.handle_end(),
            Input::Stream(lane, header, stream) => self.stream(lane, header, stream),
            Input::WantKey { flow, suite, len, first_seq } => {
                if self.session.request_key(flow, suite, len, first_seq).is_err() {
                    self.route_out(flow, Err(NoKey::Store));
                }
            }
            Input::HandshakeKey(key) => {
                match &key {
                    Ok(material) => self.account.handshake_inbound += material.len() as u64,
                    Err(_why) => self.no_handshake_key = true,
                }
                self.session.handle_handshake_key(key, now);
            }
            Input::Room(room) => self.handle_room(room).await,
            Input::Fresh(keys) => self.handle_fresh(keys).await,
            Input::Announced { start, keys } => self.handle_announced(start, keys).await,
            Input::Refused(why) => self.tell(Event::Refused { contact: self.name(), why }).await,
            Input::Say(message) => self.session.send(message, now),
            Input::Text(record) => self.text_opened(&record).await,
            Input::TextSent { id, suite } => {
                self.tell(Event::TextSent { contact: self.name(), id, suite }).await;
            }
            Input::TextUnsent(why) => self.warn(format!("a message was not sent: {why}")).await,
            Input::TextFailed(why) => self.warn(format!("text messages stopped: {why}")).await,
            Input::Files(input) => self.file_input(input).await,
        }
    }

    /// Carries out what the session asks for.
    async fn obey(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => {
                    if self.control_out.try_send(bytes).is_err() {
                        self.closed = Some(End::badly("the other side takes nothing any more"));
                    }
                }
                Output::FetchHandshakeKeys(keys) => self.fetch_handshake_keys(keys),
                Output::Align { outbound, inbound } => {
                    match self.stocks.align(outbound, inbound).await {
                        Ok(unmatched) => self.fill.unmatched = unmatched,
                        Err(error) => self.closed = Some(End::badly(error.to_string())),
                    }
                    self.usable = outbound.keep_to;
                }
                Output::FetchStock { start, keys } => self.fetch_stock(start, keys),
                Output::DropOutbound { start } => self.drop_outbound(start).await,
                Output::TakeOutbound { flow, suite, len, through } => {
                    self.take_outbound(flow, suite, len, through).await;
                }
                Output::TakeInbound(offer) => self.take_inbound(offer).await,
                Output::InstallOutbound(block) => self.route_out(block.flow, Ok(block)),
                Output::InstallInbound(block) => self.route_in(block),
                Output::NoKey { flow, why } => self.route_out(flow, Err(why)),
                Output::Established { suite } => self.established(suite).await,
                Output::StockReady { through } => self.stock_ready(through).await,
                Output::Message(message) => self.message(message).await,
                Output::Refused(why) => self.tell(Event::Refused { contact: self.name(), why }).await,
                Output::Closed(why) => {
                    self.closed = Some(why.map_or(End::Properly, |why| End::badly(why.to_string())));
                }
            }
            if self.closed.is_some() {
                return;
            }
        }
    }

    /// Whether the peer may give this number to a transfer; from then on it is taken.
    fn takes_transfer(&mut self, number: u32) -> bool {
        takes(&mut self.their_last.transfer, number, self.role.other())
    }

    /// The same for a call, or for its voice flows after a change of terms.
    fn takes_call(&mut self, number: u32) -> bool {
        takes(&mut self.their_last.call, number, self.role.other())
    }

    async fn established(&mut self, suite: Suite) {
        self.texts.suite = Some(suite);
        self.announce_again();
        self.open_text_flow();
        if let Some(stream) = self.texts.early.take() {
            self.text_stream(stream);
        }
        self.name_lanes();
        self.tell(Event::Established { contact: self.name(), suite }).await;
        // Before the telephone goes on: what is left to talk with is known, and nobody is asked for less for want of it.
        self.tell_stock();
        if let Some(verification) = self.session.verification() {
            let suites = self.session.allowed().to_vec();
            self.note(PeerNote::Established { suites, verification }).await;
        }
        self.begin_transfers().await;
    }

    /// Tells the telephone.
    async fn note(&self, note: PeerNote) {
        let _gone = self.notes.sender.send((Arc::clone(&self.contact), self.notes.line, note)).await;
    }

    async fn message(&mut self, message: Message) {
        match message {
            Message::FilesLane { id } => self.lane_named(id),
            Message::FilesLaneReady { id } => self.lane_ready(id),
            Message::TextDelivered { id } => {
                self.tell(Event::TextDelivered { contact: self.name(), id }).await;
            }
            about if about.is_about_files() => self.file_message(about).await,
            // The session's own business never comes here.
            other => self.call_message(other).await,
        }
    }

    /// A stream from the peer, by its purpose; what nobody waits for is dropped, which stops it.
    fn stream(&mut self, lane: Lane, header: StreamHeader, stream: RecvStream) {
        let control = FlowId::of::<vernam_key::Control>(0);
        match lane {
            Lane::Main if header.0 == control && !self.control_taken => {
                self.control_taken = true;
                tokio::spawn(pump_control(stream, self.inputs.clone()));
            }
            Lane::Main if header.0 == Texts::flow() => self.text_stream(stream),
            Lane::Files => self.file_stream(header.0, stream),
            Lane::Main => tracing::debug!(flow = %header.0, "a stream that nobody waits for was dropped"),
        }
    }

    /// Opens the way by which a flow of ours gets its keys.
    fn open_route_out(&mut self, flow: FlowId) -> mpsc::Receiver<FlowKey<Outbound>> {
        let (sender, receiver) = mpsc::channel(FLOW_KEYS);
        self.routes_out.insert(flow, sender);
        receiver
    }

    /// The same for a flow of the peer, with what came before it was there.
    fn open_route_in(&mut self, flow: FlowId) -> mpsc::Receiver<FlowKey<Inbound>> {
        let (sender, receiver) = mpsc::channel(FLOW_KEYS + MAX_EARLY_BLOCKS);
        let (mine, others): (VecDeque<_>, _) = self.early.drain(..).partition(|block| block.flow == flow);
        self.early = others;
        for block in mine {
            let _fits = sender.try_send(Ok(block));
        }
        self.routes_in.insert(flow, sender);
        receiver
    }

    fn route_out(&mut self, flow: FlowId, key: FlowKey<Outbound>) {
        if self.voices.knows(flow) {
            self.voices.key_out(flow, key);
        } else if let Some(route) = self.routes_out.get(&flow) {
            // One request is under way, so there is room; a flow that has ended wipes the key.
            let _ended = route.try_send(key);
        }
    }

    fn route_in(&mut self, block: KeyBlock<Inbound>) {
        if self.voices.knows(block.flow) {
            self.voices.key_in(block);
        } else if let Some(route) = self.routes_in.get(&block.flow) {
            let _ended = route.try_send(Ok(block));
        } else if block.flow.purpose != vernam_key::File::CODE && self.early.len() < MAX_EARLY_BLOCKS {
            // Files wait for an answer of ours, so their way is open before their key; what has none is over.
            self.early.push_back(block);
        }
    }

    async fn tick(&mut self) {
        let now = self.now();
        self.session.handle_time(now);
        if self.session.is_established() {
            self.fill_stock();
        }
        self.transfers_tick().await;
        self.tell_stock();
    }

    /// Bytes of the outbound stock that both sides hold.
    fn usable_now(&self) -> u64 {
        let (outbound, _) = self.stocks.status();
        self.usable.saturating_sub(outbound.cursor).min(outbound.available)
    }

    fn tell_stock(&self) {
        let (outbound, inbound) = self.stocks.status();
        let (contact, usable) = (self.name(), self.usable.saturating_sub(outbound.cursor).min(outbound.available));
        // What is reserved for files is not there to talk with.
        let reserved = self.transfers.reserved().min(usable);
        self.notes.usable.store(usable - reserved, Ordering::Relaxed);
        self.notes.inbound.store(inbound.available, Ordering::Relaxed);
        let event = Event::Stock { contact, outbound, inbound, usable, reserved, mark: self.settings.outbound_mark };
        let _missed = self.shared.events.try_send(event);
    }

    /// Whether the contact has ever proved that it holds the key.
    fn is_proved(&self) -> bool {
        self.texts.suite.is_some()
    }

    fn say_bye(&mut self) {
        let now = self.now();
        self.said_bye = self.session.is_established();
        self.session.bye(now);
        if !self.said_bye && self.closed.is_none() {
            // There is nobody yet to say it to.
            self.closed = Some(End::Properly);
        }
    }

    /// Ends everything that runs, lets the last bytes out, and closes the connection.
    ///
    /// The end of a QUIC connection takes what the peer has received and not yet read with it. So whoever said goodbye
    /// waits for the other side to read it and to close.
    async fn end(mut self, end: End, mut received: mpsc::Receiver<Input>) -> (Option<String>, Transfers) {
        let why = match end {
            End::Properly => None,
            // What ended the connection says more than what broke for want of it.
            End::Badly(why) => Some(self.connection.close_reason().map_or(why, |reason| reason.to_string())),
        };
        self.end_transfers().await;
        if why.is_none() && self.said_bye {
            // Without its other end the writer ends the stream.
            self.control_out = mpsc::channel(1).0;
            let _late = timeout(LAST_WORDS, self.connection.closed()).await;
        }
        // Not before: the end of a text stream must not overtake the goodbye.
        self.texts.abort();
        self.lanes.close();
        match why {
            None => self.connection.close(DONE, "done"),
            Some(_) if self.no_handshake_key => {
                self.connection.close(NO_KEY, "the other side's source of keys did not give the key that ours named");
            }
            Some(_) => self.connection.close(FAILED, "the conversation failed on the other side"),
        }
        // The next conversation begins after this one, with the stocks as they are then.
        let late = async {
            while self.fill.is_under_way() {
                let Some(input) = received.recv().await else { return };
                self.late(input).await;
            }
        };
        let _some_are_later = timeout(LATE_KEYS, late).await;
        (why, self.transfers)
    }

    /// What comes when the conversation is over: key that a source gave.
    async fn late(&mut self, input: Input) {
        match input {
            Input::Announced { start, keys } => self.late_announced(start, keys).await,
            Input::Fresh(keys) => self.late_fresh(keys).await,
            _ => {}
        }
    }
}

/// Whether `number` is new, and one of those that `role` gives out.
fn takes(last: &mut u32, number: u32, role: Role) -> bool {
    let new = number % 2 == u32::from(role.code()) && number > *last;
    if new {
        *last = number;
    }
    new
}
