//! One of the two: a session, its stocks and flows, and the thin shell that carries out what the session asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use vernam_key::{File, Inbound, KeyId, Outbound, Purpose, SecretBytes, Text, Voice};
use vernam_session::limits::STREAM_HEADER_LEN;
use vernam_session::{
    Alignment, AnnouncedKey, FlowId, NoKey, Output, Refusal, Session, StreamHeader, Suite, TextMessage,
};
use vernam_session::{KeyBlock, Message, SessionError, voice_flow_of};
use vernam_store::{MemoryStock, SpentOn, Stock, StockKey};

use super::flows::{Asking, Call, StreamIn, StreamOut, stray};
use super::wire::{Delivery, Path, Unit};
use super::{Around, CONTROL, Side};

/// What a party saw happen, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The session stands; the control stream is protected so.
    Established(Suite),
    /// A control message.
    Message(Message),
    /// The plaintext of a record of a text or file flow.
    Record(FlowId, Vec<u8>),
    /// A voice packet: call, number, Opus packet.
    Voice(u32, u32, Vec<u8>),
    /// A record or datagram was refused.
    Refused(FlowId, Refusal),
    /// A flow's last record was opened and its stream ended.
    Ended(FlowId),
    /// A stream ended before its last record.
    CutOff(FlowId),
    /// A flow cannot go on.
    Lost(FlowId),
    /// A flow gets no key.
    NoKey(FlowId, NoKey),
    /// The peer has our stock up to here.
    StockReady(u64),
    /// The session is over.
    Closed(Option<SessionError>),
}

/// One party.
pub struct Party {
    /// Which.
    pub side: Side,
    /// The thing under test.
    pub session: Session,
    /// Key for what this side sends.
    pub outbound: MemoryStock<Outbound>,
    /// Key for what this side receives.
    pub inbound: MemoryStock<Inbound>,
    /// What happened.
    pub seen: Vec<Seen>,
    /// Calls by number.
    pub calls: BTreeMap<u32, Call>,
    /// Outgoing text flows.
    pub texts_out: BTreeMap<u32, StreamOut<Text>>,
    /// Incoming text flows.
    pub texts_in: BTreeMap<u32, StreamIn<Text>>,
    /// Outgoing file flows.
    pub files_out: BTreeMap<u32, StreamOut<File>>,
    /// Incoming file flows.
    pub files_in: BTreeMap<u32, StreamIn<File>>,
    control_header: Vec<u8>,
    block_len: u32,
}

impl Party {
    pub(super) fn new(side: Side, session: Session, block_len: u32) -> Self {
        Self {
            side,
            session,
            outbound: MemoryStock::new(),
            inbound: MemoryStock::new(),
            seen: Vec::new(),
            calls: BTreeMap::new(),
            texts_out: BTreeMap::new(),
            texts_in: BTreeMap::new(),
            files_out: BTreeMap::new(),
            files_in: BTreeMap::new(),
            control_header: Vec::new(),
            block_len,
        }
    }

    /// Everything but the stocks is gone, as after a crash.
    pub(super) fn restart(&mut self, session: Session) {
        let fresh = Self::new(self.side, session, self.block_len);
        let old = std::mem::replace(self, fresh);
        (self.outbound, self.inbound) = (old.outbound, old.inbound);
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, around: &mut Around) {
        let now = around.now;
        match delivery {
            Delivery::Bytes(_, CONTROL, bytes) => {
                let bytes = self.after_header(&bytes);
                self.session.handle_bytes(bytes, now);
            }
            Delivery::Bytes(_, flow, bytes) => self.read_stream(flow, &bytes),
            Delivery::End(_, CONTROL) => self.session.handle_end(),
            Delivery::End(_, flow) => {
                if let Some(stream) = self.texts_in.get(&flow.number).filter(|_| flow.purpose == Text::CODE) {
                    stream.end(&mut self.seen);
                }
                if let Some(stream) = self.files_in.get(&flow.number).filter(|_| flow.purpose == File::CODE) {
                    stream.end(&mut self.seen);
                }
            }
            Delivery::Datagram(_, mut bytes) => {
                let flow = voice_flow_of(&bytes).unwrap_or(FlowId::of::<Voice>(u32::MAX));
                let call = self.calls.get_mut(&flow.number);
                self.seen.push(call.map_or_else(|| stray(flow), |call| call.open(&mut bytes)));
            }
            Delivery::HandshakeKeys(_, keys) => {
                let keys = around.source.dec_keys(self.side.other(), &keys);
                let key = keys.map(|keys| vernam_key::Material::from_source(joined(&keys)));
                self.session.handle_handshake_key(key, now);
            }
            Delivery::Stock(_, start, keys) => {
                let stored = around
                    .source
                    .dec_keys(self.side.other(), &keys)
                    .is_ok_and(|keys| self.inbound.advance_end_to(start).is_ok() && self.inbound.append(keys).is_ok());
                self.session.handle_stock_fetched(start, stored, now);
            }
        }
    }

    /// Carries out what the session asks for and lets the flows work. Whether there was anything to do.
    pub(super) fn work(&mut self, around: &mut Around) -> bool {
        let mut busy = self.drain(around);
        for call in self.calls.values_mut() {
            call.pump(&mut self.session, around.now);
        }
        let mut records = Vec::new();
        for (number, out) in &mut self.texts_out {
            let sealed = out.pump(&mut self.session, self.block_len, around.now);
            records.extend(sealed.into_iter().map(|record| (FlowId::of::<Text>(*number), record)));
        }
        for (number, out) in &mut self.files_out {
            let sealed = out.pump(&mut self.session, self.block_len, around.now);
            records.extend(sealed.into_iter().map(|record| (FlowId::of::<File>(*number), record)));
        }
        for (flow, bytes) in records {
            busy = true;
            self.send(Path::Stream(flow), bytes, around);
        }
        self.drain(around) | busy
    }

    fn drain(&mut self, around: &mut Around) -> bool {
        let mut busy = false;
        while let Some(output) = self.session.poll_output() {
            busy = true;
            self.carry_out(output, around);
        }
        busy
    }

    fn carry_out(&mut self, output: Output, around: &mut Around) {
        let now = around.now;
        match output {
            Output::Send(bytes) => self.send(Path::Stream(CONTROL), bytes, around),
            Output::FetchHandshakeKeys(keys) => {
                around.wire.ask_kme(Delivery::HandshakeKeys(self.side, keys), now);
            }
            Output::Align { outbound, inbound } => {
                align(&mut self.outbound, outbound);
                align(&mut self.inbound, inbound);
            }
            Output::FetchStock { start, keys } => around.wire.ask_kme(Delivery::Stock(self.side, start, keys), now),
            Output::DropOutbound { start } => {
                self.outbound.discard_from(start).expect("memory does not fail");
            }
            Output::TakeOutbound { flow, len, through, .. } => {
                let taken = self.take_outbound(flow, len, through);
                if let Ok((start, _)) = &taken {
                    around.audit.note(self.side, true, flow, *start, u64::from(len));
                }
                self.session.handle_outbound(flow, taken, now);
            }
            Output::TakeInbound(offer) => {
                let taken =
                    self.inbound.take_at(offer.start, u64::from(offer.len), SpentOn::of_code(offer.flow.purpose)).ok();
                if taken.is_some() {
                    around.audit.note(self.side, false, offer.flow, offer.start, u64::from(offer.len));
                }
                self.session.handle_inbound(offer, taken, now);
            }
            Output::InstallOutbound(block) => self.install_outbound(block),
            Output::InstallInbound(block) => self.install_inbound(block),
            Output::NoKey { flow, why } => {
                self.set_asking(Some(flow), Asking::Starved);
                self.seen.push(Seen::NoKey(flow, why));
            }
            Output::StockReady { through } => {
                self.set_asking(None, Asking::Idle);
                self.seen.push(Seen::StockReady(through));
            }
            Output::Established { suite } => self.seen.push(Seen::Established(suite)),
            Output::Message(message) => self.seen.push(Seen::Message(message)),
            Output::Refused(why) => self.seen.push(Seen::Refused(CONTROL, why)),
            Output::Closed(error) => {
                if error.is_none() {
                    around.wire.end_stream(self.side, CONTROL, now);
                }
                self.seen.push(Seen::Closed(error));
            }
        }
    }

    /// The next bytes of the outbound stock, if the peer has them too and they lie in one run.
    fn take_outbound(
        &mut self,
        flow: FlowId,
        len: u32,
        through: u64,
    ) -> Result<(u64, vernam_key::Material<Outbound>), NoKey> {
        let cursor = self.outbound.status().cursor;
        let start = self.outbound.keys_from(cursor).first().map_or(cursor, |key| key.start.max(cursor));
        if self.outbound.contiguous() < u64::from(len) || start + u64::from(len) > through {
            return Err(NoKey::StockUsedUp);
        }
        let taken =
            self.outbound.take(u64::from(len), SpentOn::of_code(flow.purpose)).map_err(|_error| NoKey::Store)?;
        assert!(taken.start + u64::from(len) <= through, "the first run of stock begins at its first key");
        Ok((taken.start, taken.material))
    }

    pub(super) fn send(&mut self, path: Path, bytes: Vec<u8>, around: &mut Around) {
        around.wire.send(Unit { from: self.side, path, bytes }, around.now);
    }

    /// Opens an outgoing stream: its header goes first.
    pub(super) fn open_stream(&mut self, flow: FlowId, around: &mut Around) {
        self.send(Path::Stream(flow), StreamHeader(flow).to_bytes().to_vec(), around);
    }

    fn install_outbound(&mut self, block: KeyBlock<Outbound>) {
        let number = block.flow.number;
        match block.flow.purpose {
            Voice::CODE => self.calls.get_mut(&number).expect("it asked").install(block),
            Text::CODE => self.texts_out.get_mut(&number).expect("it asked").install(block),
            File::CODE => self.files_out.get_mut(&number).expect("it asked").install(block),
            other => panic!("nobody asked for key of purpose {other}"),
        }
    }

    fn read_stream(&mut self, flow: FlowId, bytes: &[u8]) {
        let mut seen = Vec::new();
        match flow.purpose {
            Text::CODE => self.text_in(flow.number).into_iter().for_each(|stream| stream.push(bytes, &mut seen)),
            File::CODE => self.file_in(flow.number).into_iter().for_each(|stream| stream.push(bytes, &mut seen)),
            _ => seen.push(Seen::Lost(flow)),
        }
        self.seen.append(&mut seen);
    }

    /// An incoming flow begins with its stream or with its first key, whichever comes first.
    fn text_in(&mut self, number: u32) -> Option<&mut StreamIn<Text>> {
        let opener = self.session.record_opener(number).ok()?;
        let stream = StreamIn::new(opener, FlowId::of::<Text>(number));
        Some(self.texts_in.entry(number).or_insert(stream))
    }

    fn file_in(&mut self, number: u32) -> Option<&mut StreamIn<File>> {
        let opener = self.session.record_opener(number).ok()?;
        let stream = StreamIn::new(opener, FlowId::of::<File>(number));
        Some(self.files_in.entry(number).or_insert(stream))
    }

    fn install_inbound(&mut self, block: KeyBlock<Inbound>) {
        let (flow, number) = (block.flow, block.flow.number);
        let installed = match flow.purpose {
            Voice::CODE => self.calls.get_mut(&number).map(|call| call.opener.install(block)),
            Text::CODE => self.text_in(number).map(|stream| stream.install(block)),
            File::CODE => self.file_in(number).map(|stream| stream.install(block)),
            _ => None,
        };
        if installed.is_some_and(|installed| installed.is_err()) {
            self.seen.push(Seen::Lost(flow));
        }
    }

    fn set_asking(&mut self, only: Option<FlowId>, asking: Asking) {
        let meant = |flow: FlowId, now: Asking| only.map_or(now == Asking::Starved, |only| only == flow);
        for (number, call) in &mut self.calls {
            if meant(FlowId::of::<Voice>(*number), call.asking) {
                call.asking = asking;
            }
        }
        for (number, out) in &mut self.texts_out {
            if meant(FlowId::of::<Text>(*number), out.asking) {
                out.asking = asking;
            }
        }
        for (number, out) in &mut self.files_out {
            if meant(FlowId::of::<File>(*number), out.asking) {
                out.asking = asking;
            }
        }
    }

    /// The session's own stream comes to it without its header.
    fn after_header<'bytes>(&mut self, bytes: &'bytes [u8]) -> &'bytes [u8] {
        let missing = (STREAM_HEADER_LEN - self.control_header.len()).min(bytes.len());
        let (header, rest) = bytes.split_at(missing);
        self.control_header.extend_from_slice(header);
        rest
    }

    /// The texts that were received, in order.
    pub fn texts(&self) -> Vec<String> {
        self.records::<Text>()
            .map(|bytes| TextMessage::decode(bytes).expect("what is accepted is what was sent").body)
            .collect()
    }

    /// The plaintext of all accepted records of purpose `P`, in order.
    pub fn records<P: Purpose>(&self) -> impl Iterator<Item = &[u8]> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Record(flow, bytes) if flow.purpose == P::CODE => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The numbers of the voice packets heard, in the order in which they came.
    pub fn heard(&self) -> Vec<u32> {
        self.seen.iter().filter_map(|seen| if let Seen::Voice(_, seq, _) = seen { Some(*seq) } else { None }).collect()
    }

    /// How many records or datagrams of `purpose` were refused so.
    pub fn refused(&self, purpose: u8, why: Refusal) -> usize {
        let refused = |seen: &&Seen| matches!(seen, Seen::Refused(flow, w) if flow.purpose == purpose && *w == why);
        self.seen.iter().filter(refused).count()
    }

    /// How the session ended, if it did.
    pub fn closed(&self) -> Option<&Option<SessionError>> {
        self.seen.iter().find_map(|seen| if let Seen::Closed(error) = seen { Some(error) } else { None })
    }

    /// The control messages that came, in order.
    pub fn messages(&self) -> Vec<&Message> {
        self.seen
            .iter()
            .filter_map(|seen| if let Seen::Message(message) = seen { Some(message) } else { None })
            .collect()
    }
}

/// What a shell does at [`Output::Align`].
fn align<D: vernam_key::Direction>(stock: &mut MemoryStock<D>, to: Alignment) {
    stock.advance_end_to(to.end).expect("the peer is honest here");
    stock.discard_before(to.cursor).expect("the cursor is not beyond the end");
    stock.discard_from(to.keep_to).expect("memory does not fail");
}

/// Keys as an announcement names them.
pub(super) fn announced(keys: &[StockKey]) -> Vec<AnnouncedKey> {
    let name = |key: &StockKey| (key.id, u32::try_from(key.bytes.len()).expect("keys are short"));
    keys.iter().map(name).map(|(id, len): (KeyId, u32)| AnnouncedKey { id, len }).collect()
}

/// The bytes of all keys, one after the other.
pub(super) fn joined(keys: &[StockKey]) -> SecretBytes {
    let bytes = keys.iter().flat_map(|key| key.bytes.expose("the handshake's keys become one piece").iter().copied());
    SecretBytes::from_vec(bytes.collect())
}

/// Time for the session.
pub(super) fn tick(party: &mut Party, now: Duration) {
    party.session.handle_time(now);
}
