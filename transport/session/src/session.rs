//! One session between two people: the control stream and the key that all flows get from it.
//!
//! [`Session`] is a state machine without sockets, stores or clocks. Its shell hands in what happened and carries out
//! every [`Output`], in order.

mod control;
mod established;
mod handshake;
mod keys;

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Control, Inbound, Material, Outbound, Purpose};

use self::established::Established;
use self::handshake::Handshake;
pub use self::keys::{KeyRequestError, NoKey};
use crate::error::{KeyError, Refusal, SessionError};
use crate::flow::{FlowContext, FlowId, KeyBlock, Role};
use crate::hello::StockReach;
use crate::message::{AnnouncedKey, KeyOffer, Message};
use crate::record::{RecordOpener, RecordSealer};
use crate::suite::{Exporter, Suite};
use crate::voice::{VoiceOpener, VoiceSealer};

/// What a session starts from.
pub struct Config {
    /// Which end of the connection this is.
    pub role: Role,
    /// Our name, as in our certificate.
    pub our_name: String,
    /// The peer's name, as in the certificate that the outer layer verified.
    pub peer_name: String,
    /// 32 fresh random bytes.
    pub nonce: [u8; 32],
    /// What our policy allows for this contact, best first.
    pub suites: Vec<Suite>,
    /// The outer connection's TLS exporter.
    pub exporter: Exporter,
    /// How far our outbound stock for this contact reaches.
    pub outbound: StockReach,
    /// How far our inbound stock for this contact reaches.
    pub inbound: StockReach,
    /// Keys got by `enc_keys` for the handshake, in order.
    pub handshake_keys: Vec<AnnouncedKey>,
    /// Their bytes, one after the other.
    pub handshake_material: Material<Outbound>,
}

/// What the shell must do, in order.
pub enum Output {
    /// Write these bytes to our control stream.
    Send(Vec<u8>),
    /// Get these keys by `dec_keys`, and hand their bytes, one after the other, to [`Session::handle_handshake_key`].
    FetchHandshakeKeys(Vec<AnnouncedKey>),
    /// Both stocks reach differently far at the two sides: bring them together, so that the same positions hold the same
    /// key. Our outbound stock first, then our inbound one. Whole keys at or after `keep_to` of the outbound stock may be
    /// kept, if they are announced again ([`Session::announce`]) before any other.
    Align {
        /// What to keep of our outbound stock.
        outbound: Alignment,
        /// What to keep of our inbound stock.
        inbound: Alignment,
    },
    /// Get these keys by `dec_keys`, append them to the inbound stock at `start`, and say so to
    /// [`Session::handle_stock_fetched`].
    FetchStock {
        /// Position of the first one.
        start: u64,
        /// The keys in order.
        keys: Vec<AnnouncedKey>,
    },
    /// The peer could not get the keys announced from here on: drop them from the outbound stock.
    DropOutbound {
        /// Position of the first one.
        start: u64,
    },
    /// Take `len` bytes from the outbound stock and hand them to [`Session::handle_outbound`].
    TakeOutbound {
        /// For which flow.
        flow: FlowId,
        /// How they will be used.
        suite: Suite,
        /// How many bytes.
        len: u32,
        /// Only positions before this one are at the peer too.
        through: u64,
    },
    /// Take the offered range from the inbound stock and hand it to [`Session::handle_inbound`].
    TakeInbound(KeyOffer),
    /// Give this key to the sealer of its flow.
    InstallOutbound(KeyBlock<Outbound>),
    /// Give this key to the opener of its flow.
    InstallInbound(KeyBlock<Inbound>),
    /// The key asked for is not to be had.
    NoKey {
        /// For which flow.
        flow: FlowId,
        /// Why.
        why: NoKey,
    },
    /// Both sides have proved that they hold the key; flows may be opened.
    Established {
        /// How the control stream is protected.
        suite: Suite,
    },
    /// The peer has all announced stock up to here.
    StockReady {
        /// Position after the last usable byte.
        through: u64,
    },
    /// The peer said something that is not the session's own business.
    Message(Message),
    /// A control record was refused.
    Refused(Refusal),
    /// The session is over; `None` is a proper end.
    Closed(Option<SessionError>),
}

/// What two sides keep of one stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignment {
    /// Everything before is spent or dropped.
    pub cursor: u64,
    /// Everything from here on is dropped, or announced again.
    pub keep_to: u64,
    /// Where the next key is appended at the earliest.
    pub end: u64,
}

impl Alignment {
    /// Of our outbound stock, the part that the peer's inbound stock has too. What is new goes behind what either has.
    pub fn of_outbound(ours: StockReach, theirs: StockReach) -> Self {
        let cursor = ours.cursor.max(theirs.cursor);
        Self { cursor, keep_to: ours.end.min(theirs.end).max(cursor), end: ours.end.max(theirs.end) }
    }

    /// Of our inbound stock, the part that the peer's outbound stock has too. Where ours ends the peer may go on: with
    /// key that it has already, or with new key.
    pub fn of_inbound(ours: StockReach, theirs: StockReach) -> Self {
        let cursor = ours.cursor.max(theirs.cursor);
        Self { cursor, keep_to: ours.end.min(theirs.end).max(cursor), end: ours.end.max(cursor) }
    }
}

/// One session, from the first byte to the last.
pub struct Session {
    state: State,
    outputs: VecDeque<Output>,
}

enum State {
    Handshake(Box<Handshake>),
    Established(Box<Established>),
    Closed,
}

impl Session {
    /// Starts a session: the first output is our `Hello`.
    pub fn new(config: Config) -> Self {
        let mut outputs = VecDeque::new();
        let state = State::Handshake(Box::new(Handshake::start(config, &mut outputs)));
        Self { state, outputs }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes came on the peer's control stream, after its stream header.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Duration) {
        let result = match &mut self.state {
            State::Handshake(handshake) => handshake.handle_bytes(bytes, &mut self.outputs),
            State::Established(established) => established.handle_bytes(bytes, now, &mut self.outputs),
            State::Closed => Ok(()),
        };
        self.settle(result, now);
    }

    /// The peer's control stream ended.
    pub fn handle_end(&mut self) {
        let error = match &self.state {
            State::Handshake(_) => Some(SessionError::Truncated),
            State::Established(established) if !established.is_complete() => Some(SessionError::Truncated),
            State::Established(_) => None,
            State::Closed => return,
        };
        self.close(error);
    }

    /// The handshake keys came from the KME, or did not.
    pub fn handle_handshake_key(&mut self, key: Result<Material<Inbound>, String>, now: Duration) {
        let State::Handshake(handshake) = &mut self.state else { return };
        let result = handshake.handle_key(key, &mut self.outputs);
        self.settle(result, now);
    }

    /// The keys of [`Output::FetchStock`] are in the inbound stock, or are not to be had.
    pub fn handle_stock_fetched(&mut self, start: u64, stored: bool, now: Duration) {
        self.with_established(now, |established, now, out| established.handle_stock_fetched(start, stored, now, out));
    }

    /// The bytes of [`Output::TakeOutbound`] and where they began, or why there are none.
    pub fn handle_outbound(&mut self, flow: FlowId, taken: Result<(u64, Material<Outbound>), NoKey>, now: Duration) {
        self.with_established(now, |established, now, out| established.handle_outbound(flow, taken, now, out));
    }

    /// The bytes of [`Output::TakeInbound`], or none.
    pub fn handle_inbound(&mut self, offer: KeyOffer, taken: Option<Material<Inbound>>, now: Duration) {
        self.with_established(now, |established, now, out| established.handle_inbound(offer, taken, now, out));
    }

    /// Time passed: call at least every few seconds, so that keys are replaced when they are due.
    pub fn handle_time(&mut self, now: Duration) {
        self.with_established(now, Established::handle_time);
    }

    /// Announces keys that were appended to the outbound stock from `start` on. One announcement may be under way.
    pub fn announce(&mut self, start: u64, keys: &[AnnouncedKey], now: Duration) {
        self.with_established(now, |established, now, out| established.announce(start, keys, now, out));
    }

    /// Asks for the next key of an outgoing flow; [`Output::InstallOutbound`] or [`Output::NoKey`] answers. One request
    /// a flow may be under way. `first_seq` is for voice under one-time pad: the packet that the block begins with.
    pub fn request_key(&mut self, flow: FlowId, suite: Suite, len: u32, first_seq: u64) -> Result<(), KeyRequestError> {
        match &mut self.state {
            State::Established(established) => established.request_key(flow, suite, len, first_seq, &mut self.outputs),
            State::Handshake(_) | State::Closed => Err(KeyRequestError::NotEstablished),
        }
    }

    /// Sends a control message that the session itself has no part in.
    pub fn send(&mut self, message: Message, now: Duration) {
        self.with_established(now, |established, now, out| established.send(message, now, out));
    }

    /// Ends the session properly: `Bye` is the control stream's last record.
    pub fn bye(&mut self, now: Duration) {
        self.with_established(now, Established::bye);
    }

    /// Whether flows can be opened.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Which suites both sides allow for calls and files.
    pub fn allows(&self, suite: Suite) -> bool {
        matches!(&self.state, State::Established(established) if established.common.suites.contains(&suite))
    }

    /// The suites that both sides allow, in our order of preference; none before the session is established.
    pub fn allowed(&self) -> &[Suite] {
        self.common().map_or(&[], |common| common.suites.as_slice())
    }

    /// What both people compare by [verification words](https://www.rfc-editor.org/rfc/rfc6189#section-4.4): a hash of the
    /// whole transcript, the same at both ends and another for every session. `None` before it is established.
    pub fn verification(&self) -> Option<[u8; 32]> {
        self.common().ok().map(|common| common.verification)
    }

    /// A sealer for voice flow `number`.
    pub fn voice_sealer(&self, number: u32, suite: Suite, frame_len: usize) -> Result<VoiceSealer, KeyError> {
        let common = self.common()?;
        VoiceSealer::new(common.ours(FlowId::of::<vernam_key::Voice>(number)), suite, frame_len, &common.exporter)
    }

    /// An opener for voice flow `number`.
    pub fn voice_opener(&self, number: u32, suite: Suite, frame_len: usize) -> Result<VoiceOpener, KeyError> {
        let common = self.common()?;
        VoiceOpener::new(common.theirs(FlowId::of::<vernam_key::Voice>(number)), suite, frame_len, &common.exporter)
    }

    /// A sealer for stream flow `number` of purpose `P`.
    pub fn record_sealer<P: Purpose>(&self, number: u32) -> Result<RecordSealer<P>, KeyError> {
        let common = self.common()?;
        Ok(RecordSealer::new(common.ours(FlowId::of::<P>(number)), &common.exporter))
    }

    /// An opener for stream flow `number` of purpose `P`.
    pub fn record_opener<P: Purpose>(&self, number: u32) -> Result<RecordOpener<P>, KeyError> {
        let common = self.common()?;
        Ok(RecordOpener::new(common.theirs(FlowId::of::<P>(number)), &common.exporter))
    }

    /// The session's public name, the same at both ends: the first half of the transcript's SHA-256.
    pub fn session_id(&self) -> Option<[u8; 16]> {
        self.common().ok().map(|common| common.session_id)
    }

    fn common(&self) -> Result<&Common, KeyError> {
        match &self.state {
            State::Established(established) => Ok(&established.common),
            State::Handshake(_) | State::Closed => Err(KeyError::NeedKey),
        }
    }

    fn with_established(
        &mut self,
        now: Duration,
        act: impl FnOnce(&mut Established, Duration, &mut VecDeque<Output>) -> Result<(), SessionError>,
    ) {
        if let State::Established(established) = &mut self.state {
            let result = act(established, now, &mut self.outputs);
            self.settle(result, now);
        }
    }

    /// Moves on where a handshake is done, and closes on an error.
    fn settle(&mut self, result: Result<(), SessionError>, now: Duration) {
        if let Err(error) = result {
            self.close(Some(error));
            return;
        }
        if matches!(&self.state, State::Established(established) if established.is_over()) {
            self.close(None);
        }
        if matches!(&self.state, State::Handshake(handshake) if handshake.is_done()) {
            let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Closed) else { return };
            match handshake.finish(now, &mut self.outputs) {
                Ok((established, early)) => {
                    self.state = State::Established(Box::new(established));
                    self.handle_bytes(&early, now);
                }
                Err(error) => self.close(Some(error)),
            }
        }
    }

    fn close(&mut self, error: Option<SessionError>) {
        self.state = State::Closed;
        self.outputs.push_back(Output::Closed(error));
    }
}

/// What all flows of an established session share.
struct Common {
    role: Role,
    session_id: [u8; 16],
    verification: [u8; 32],
    suites: Vec<Suite>,
    control_suite: Suite,
    exporter: Exporter,
}

impl Common {
    fn ours(&self, flow: FlowId) -> FlowContext {
        FlowContext { session_id: self.session_id, sender: self.role, flow }
    }

    fn theirs(&self, flow: FlowId) -> FlowContext {
        FlowContext { session_id: self.session_id, sender: self.role.other(), flow }
    }

    fn control() -> FlowId {
        FlowId::of::<Control>(0)
    }
}
