//! One end of a flow: a quinn-proto endpoint with one connection, and what it sends or reads.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, EcnCodepoint, Endpoint, EndpointConfig, Event,
    ServerConfig, StreamEvent, StreamId, Transmit, TransportConfig, VarInt,
};
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::flow::{FRAME, Traffic};
use super::tls::{Certificates, SERVER};

/// Datagrams of one batch, as quinn asks for: it offers so many to the socket at once.
const BATCH: usize = 10;

/// Bytes given to a stream at once.
const PIECE: usize = 64 * 1024;

/// Addresses matter to nobody here.
const NEAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
const FAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 2);

/// A datagram under way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parcel {
    contents: Vec<u8>,
    /// The two ECN bits.
    ecn: Option<u8>,
}

impl Parcel {
    pub(super) fn len(&self) -> usize {
        self.contents.len()
    }
}

/// One end.
pub(super) struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    /// For the one who is dialled.
    server: Option<Arc<ServerConfig>>,
    peer: SocketAddr,
    connected: bool,
    traffic: Option<Traffic>,
    stream: Option<StreamId>,
    piece: Bytes,
    next_frame: Option<Instant>,
    frames: u64,
    sent: BTreeMap<u64, Instant>,
    heard: BTreeMap<u64, Instant>,
    delivered: u64,
    outgoing: VecDeque<Parcel>,
}

impl End {
    pub(super) fn dialling(tls: &Certificates, transport: Arc<TransportConfig>, seed: u64, now: Instant) -> Self {
        let mut end = Self::new(None, FAR, seed);
        let mut config = ClientConfig::new(tls.client.clone());
        config.transport_config(transport);
        end.connection = Some(end.endpoint.connect(now, config, FAR, SERVER).expect("a valid name and address"));
        end
    }

    pub(super) fn listening(tls: &Certificates, transport: Arc<TransportConfig>, seed: u64) -> Self {
        let mut config = ServerConfig::with_crypto(tls.server.clone());
        config.transport_config(transport);
        Self::new(Some(Arc::new(config)), NEAR, seed)
    }

    fn new(server: Option<Arc<ServerConfig>>, peer: SocketAddr, seed: u64) -> Self {
        let mut bytes = [0; 32];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let config = EndpointConfig::default();
        Self {
            endpoint: Endpoint::new(Arc::new(config), server.clone(), true, Some(bytes)),
            connection: None,
            server,
            peer,
            connected: false,
            traffic: None,
            stream: None,
            piece: Bytes::from(vec![0; PIECE]),
            next_frame: None,
            frames: 0,
            sent: BTreeMap::new(),
            heard: BTreeMap::new(),
            delivered: 0,
            outgoing: VecDeque::new(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn take_sent(&mut self) -> BTreeMap<u64, Instant> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn take_heard(&mut self) -> BTreeMap<u64, Instant> {
        std::mem::take(&mut self.heard)
    }

    pub(super) fn window(&self) -> u64 {
        self.connection.as_ref().map_or(0, |(_, connection)| connection.congestion_state().window())
    }

    pub(super) fn rtt(&self) -> Duration {
        self.connection.as_ref().map_or(Duration::ZERO, |(_, connection)| connection.rtt())
    }

    pub(super) fn set_send_window(&mut self, window: u64) {
        if let Some((_, connection)) = &mut self.connection {
            connection.set_send_window(window);
        }
    }

    pub(super) fn set_receive_window(&mut self, window: u32) {
        if let Some((_, connection)) = &mut self.connection {
            connection.set_receive_window(VarInt::from_u32(window));
        }
    }

    /// Says what was sent before.
    pub(super) fn set_traffic(&mut self, traffic: Option<Traffic>, now: Instant) -> Option<Traffic> {
        self.next_frame = matches!(traffic, Some(Traffic::Voice(_))).then_some(now);
        std::mem::replace(&mut self.traffic, traffic)
    }

    /// When the next timer is due.
    pub(super) fn due(&mut self) -> Option<Instant> {
        let timer = self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
        [timer, self.next_frame].into_iter().flatten().min()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection
            && connection.poll_timeout().is_some_and(|due| due <= now)
        {
            connection.handle_timeout(now);
        }
    }

    pub(super) fn arrive(&mut self, now: Instant, parcel: &Parcel) {
        let mut answer = Vec::new();
        let contents = BytesMut::from(parcel.contents.as_slice());
        let ecn = parcel.ecn.and_then(EcnCodepoint::from_bits);
        match self.endpoint.handle(now, self.peer, None, ecn, contents, &mut answer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) if self.connection.is_none() => {
                let server = self.server.clone();
                match self.endpoint.accept(incoming, now, &mut answer, server) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(error) => panic!("the handshake failed: {}", error.cause),
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.endpoint.ignore(incoming),
            Some(DatagramEvent::Response(transmit)) => self.outgoing.extend(parcels(&transmit, &answer)),
            None => {}
        }
    }

    /// Does what can be done at the moment. What it sends comes back, in order.
    pub(super) fn work(&mut self, now: Instant) -> VecDeque<Parcel> {
        self.speak(now);
        let mut outgoing = std::mem::take(&mut self.outgoing);
        if let Some((handle, mut connection)) = self.connection.take() {
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                }
            }
            while let Some(event) = connection.poll() {
                self.on_event(&mut connection, event, now);
            }
            self.fill(&mut connection);
            let mut buffer = Vec::new();
            while let Some(transmit) = connection.poll_transmit(now, BATCH, &mut buffer) {
                outgoing.extend(parcels(&transmit, &buffer));
                buffer.clear();
                self.fill(&mut connection);
            }
            self.connection = Some((handle, connection));
        }
        outgoing
    }

    fn on_event(&mut self, connection: &mut Connection, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::ConnectionLost { reason } => panic!("a connection was lost: {reason}"),
            Event::DatagramReceived => {
                while let Some(frame) = connection.datagrams().recv() {
                    let number = frame.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
                    self.heard.insert(number.expect("a frame begins with its number"), now);
                }
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(stream) = connection.streams().accept(Dir::Uni) {
                    self.read(connection, stream);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(connection, id),
            Event::Stream(_) | Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
        }
    }

    fn read(&mut self, connection: &mut Connection, stream: StreamId) {
        let mut receiving = connection.recv_stream(stream);
        let mut chunks = receiving.read(true).expect("nobody reads twice");
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.delivered += chunk.bytes.len() as u64;
        }
        let _ = chunks.finalize();
    }

    /// Gives the stream as much as it takes.
    fn fill(&mut self, connection: &mut Connection) {
        if self.traffic != Some(Traffic::Bulk) || !self.connected {
            return;
        }
        let stream = *self
            .stream
            .get_or_insert_with(|| connection.streams().open(Dir::Uni).expect("the peer lets a stream be opened"));
        while connection.send_stream(stream).write_chunks(&mut [self.piece.clone()]).is_ok() {}
    }

    /// Says the next frame of voice, if it is time.
    fn speak(&mut self, now: Instant) {
        let (Some(Traffic::Voice(len)), Some((_, connection))) = (self.traffic, &mut self.connection) else { return };
        if let Some(due) = self.next_frame.filter(|due| *due <= now) {
            let mut frame = self.frames.to_be_bytes().to_vec();
            frame.resize(len.max(frame.len()), 0);
            connection.datagrams().send(frame.into(), true).expect("the frame fits a packet");
            self.sent.insert(self.frames, now);
            self.frames += 1;
            self.next_frame = Some(due + FRAME);
        }
    }
}

fn parcels(transmit: &Transmit, buffer: &[u8]) -> Vec<Parcel> {
    let ecn = transmit.ecn.map(|ecn| ecn as u8);
    let contents = &buffer[..transmit.size];
    let size = transmit.segment_size.unwrap_or(transmit.size).max(1);
    contents.chunks(size).map(|datagram| Parcel { contents: datagram.to_vec(), ecn }).collect()
}
