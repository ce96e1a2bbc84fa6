//! A peer without an engine: it has the name and the key, and says whatever a test makes it say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use vernam_engine::KeySource;
use vernam_key::{File, Material, Outbound, SecretBytes};
use vernam_quic::{Connection, Endpoint, Lane, RecvStream, SendStream};
use vernam_session::limits::STREAM_HEADER_LEN;
use vernam_session::{
    AnnouncedKey, Config, EXPORTER_LABEL, Exporter, FILES_LANE_CONTEXT, FlowId, KeyBlock, Message, NoKey, Output,
    RecordSealer, Role, Session, StockReach, StreamHeader, Suite, VoiceSealer,
};
use vernam_store::StockKey;

use super::{Lab, PATIENCE};

/// Bytes of its keys.
const KEY: u32 = 8_192;

/// One end of a conversation, by hand: the initiator's, with the control stream under AES-256-GCM.
pub struct HandMade {
    /// The connection to the engine.
    pub connection: Connection,
    // Kept: with it the socket would go.
    endpoint: Endpoint,
    session: Session,
    control: SendStream,
    theirs: Option<RecvStream>,
    source: Arc<dyn KeySource>,
    contact: String,
    epoch: Instant,
    stock: Vec<u8>,
    stock_taken: usize,
    stock_ready: u64,
    established: bool,
    heard: Vec<Message>,
    keys: Vec<KeyBlock<Outbound>>,
}

impl HandMade {
    /// Dials `contact` with a certificate and keys of `name`, and waits until both have proved their keys.
    pub async fn talking(lab: &Lab, name: &str, contact: &str, addr: SocketAddr) -> Self {
        let endpoint = lab.endpoint(name);
        let connection = endpoint.dial(addr, contact, Lane::Main).await.expect("an engine that accepts");
        let source: Arc<dyn KeySource> = lab.vault.end(name);
        let keys = source.take(contact, 1, KEY).await.expect("a vault that gives");
        let secret = connection.exporter(EXPORTER_LABEL, &[]).expect("a connection that stands");
        let session = Session::new(Config {
            role: Role::Initiator,
            our_name: name.to_owned(),
            peer_name: contact.to_owned(),
            nonce: rand::random(),
            suites: vec![Suite::Aes256Gcm],
            exporter: Exporter::copy_of(&secret).expect("32 bytes"),
            outbound: StockReach::default(),
            inbound: StockReach::default(),
            handshake_keys: announced(&keys),
            handshake_material: Material::from_source(SecretBytes::from_vec(joined(&keys))),
        });
        let control = connection.open_uni().await.expect("a connection that stands");
        let mut peer = Self {
            connection,
            endpoint,
            session,
            control,
            theirs: None,
            source,
            contact: contact.to_owned(),
            epoch: lab.epoch,
            stock: Vec::new(),
            stock_taken: 0,
            stock_ready: 0,
            established: false,
            heard: Vec::new(),
            keys: Vec::new(),
        };
        peer.until("a conversation", |peer| peer.established.then_some(())).await;
        peer
    }

    /// Says `message`. False when the other side is gone.
    pub async fn say(&mut self, message: Message) -> bool {
        let now = self.now();
        self.session.send(message, now);
        self.obey().await
    }

    /// Listens until a message is such, and forgets those up to it.
    pub async fn hear(&mut self, what: &str, is: impl Fn(&Message) -> bool) -> Message {
        let at = self.until(what, |peer| peer.heard.iter().position(&is)).await;
        self.heard.drain(..=at).next_back().expect("it was there")
    }

    /// Announces `number` keys, and waits until the other side has them.
    pub async fn fill(&mut self, number: u32) {
        let keys = self.source.take(&self.contact, number, KEY).await.expect("a vault that gives");
        let start = self.stock.len() as u64;
        self.stock.extend(joined(&keys));
        let (now, end) = (self.now(), self.stock.len() as u64);
        self.session.announce(start, &announced(&keys), now);
        self.until("the announced key at the other side", |peer| (peer.stock_ready >= end).then_some(())).await;
    }

    /// What seals this call's voice under AES-256-GCM, with its key.
    pub async fn voice(&mut self, call: u32, frame_len: usize) -> VoiceSealer {
        let flow = FlowId::of::<vernam_key::Voice>(call);
        self.session.request_key(flow, Suite::Aes256Gcm, 32, 0).expect("no other request is under way");
        let key = self.until("a key for the voice", |peer| peer.keys.pop()).await;
        let sealer = self.session.voice_sealer(call, Suite::Aes256Gcm, frame_len);
        let mut sealer = sealer.expect("a conversation that stands");
        sealer.install(key).expect("a key for this flow");
        sealer
    }

    /// A connection for files, named on the control stream and taken by the other side.
    pub async fn files_lane(&mut self) -> Connection {
        let addr = self.connection.remote_address();
        let lane = self.endpoint.dial(addr, &self.contact, Lane::Files).await.expect("an engine that accepts");
        let secret = lane.exporter(EXPORTER_LABEL, FILES_LANE_CONTEXT).expect("a connection that stands");
        let mut id = [0; 32];
        id.copy_from_slice(secret.expose("names the connection"));
        self.say(Message::FilesLane { id }).await;
        self.hear("the connection for files", |message| *message == Message::FilesLaneReady { id }).await;
        lane
    }

    /// A stream for the files of this number under AES-256-GCM, with its key; the number has been offered.
    pub async fn file_flow(&mut self, lane: &Connection, number: u32) -> FileFlow {
        let flow = FlowId::of::<File>(number);
        self.session.request_key(flow, Suite::Aes256Gcm, 32, 0).expect("no other request is under way");
        let key = self.until("a key for the files", |peer| peer.keys.pop()).await;
        let mut sealer = self.session.record_sealer::<File>(number).expect("a conversation that stands");
        sealer.install(key).expect("a key for this flow");
        let mut stream = lane.open_uni().await.expect("a connection that stands");
        stream.write_all(&StreamHeader(flow).to_bytes()).await.expect("a connection that stands");
        FileFlow { stream, sealer, epoch: self.epoch }
    }

    /// Time since the lab's epoch.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    async fn until<T>(&mut self, what: &str, seen: impl Fn(&mut Self) -> Option<T>) -> T {
        let look = async {
            loop {
                self.obey().await;
                if let Some(found) = seen(self) {
                    return Some(found);
                }
                if !self.listen().await {
                    return None;
                }
            }
        };
        let found = timeout(PATIENCE, look).await.unwrap_or_else(|_late| panic!("waited {PATIENCE:?} for {what}"));
        found.unwrap_or_else(|| panic!("the end came before {what}; heard: {:?}", self.heard))
    }

    /// Takes in what comes next; false at the end.
    async fn listen(&mut self) -> bool {
        let Some(theirs) = &mut self.theirs else {
            let Ok(mut stream) = self.connection.accept_uni().await else { return false };
            let mut header = [0; STREAM_HEADER_LEN];
            if stream.read_exact(&mut header).await.is_err() {
                return false;
            }
            if StreamHeader::parse(header).0 == FlowId::of::<vernam_key::Control>(0) {
                self.theirs = Some(stream);
            }
            return true;
        };
        let Ok(Some(chunk)) = theirs.read_chunk(64 * 1024, true).await else { return false };
        let now = self.epoch.elapsed();
        self.session.handle_bytes(&chunk.bytes, now);
        true
    }

    /// Carries out what the session asks for. False when the other side is gone.
    async fn obey(&mut self) -> bool {
        while let Some(output) = self.session.poll_output() {
            let now = self.now();
            match output {
                Output::Send(bytes) => {
                    let written = timeout(PATIENCE, self.control.write_all(&bytes)).await;
                    if written.expect("the other side takes what it is sent, or goes").is_err() {
                        return false;
                    }
                }
                Output::FetchHandshakeKeys(keys) => {
                    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
                    let got = self.source.collect(&self.contact, &ids).await.map_err(|error| error.reason);
                    let got = got.map(|keys| Material::from_source(SecretBytes::from_vec(joined(&keys))));
                    self.session.handle_handshake_key(got, now);
                }
                // It needs no key of the other side but the handshake's.
                Output::FetchStock { start, .. } => self.session.handle_stock_fetched(start, false, now),
                Output::TakeInbound(offer) => self.session.handle_inbound(offer, None, now),
                Output::TakeOutbound { flow, len, .. } => {
                    let taken = self.take(len as usize);
                    self.session.handle_outbound(flow, taken, now);
                }
                Output::InstallOutbound(block) => self.keys.push(block),
                Output::StockReady { through } => self.stock_ready = through,
                Output::Established { .. } => self.established = true,
                Output::Message(message) => self.heard.push(message),
                Output::Closed(_) => return false,
                _ => {}
            }
        }
        true
    }

    fn take(&mut self, len: usize) -> Result<(u64, Material<Outbound>), NoKey> {
        let start = self.stock_taken;
        let bytes = self.stock.get(start..start + len).ok_or(NoKey::StockUsedUp)?.to_vec();
        self.stock_taken += len;
        Ok((start as u64, Material::from_source(SecretBytes::from_vec(bytes))))
    }
}

/// A stream of sealed records.
pub struct FileFlow {
    stream: SendStream,
    sealer: RecordSealer<File>,
    epoch: Instant,
}

impl FileFlow {
    /// Seals and sends `bytes`, in records; the end of the flow with `last`.
    pub async fn carry(&mut self, bytes: &[u8], last: bool) {
        let pieces: Vec<&[u8]> = bytes.chunks(32 << 10).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let mut record = Vec::new();
            let is_last = last && number + 1 == pieces.len();
            let sealed = self.sealer.seal(piece, is_last, &mut record, self.epoch.elapsed());
            sealed.expect("a key that lasts");
            self.stream.write_all(&record).await.expect("a connection that stands");
        }
        if last {
            self.stream.finish().expect("it is open");
        }
    }
}

fn announced(keys: &[StockKey]) -> Vec<AnnouncedKey> {
    keys.iter().map(|key| AnnouncedKey { id: key.id, len: KEY }).collect()
}

fn joined(keys: &[StockKey]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.bytes.expose("a hand-made peer joins its keys").to_vec()).collect()
}
