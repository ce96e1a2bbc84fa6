//! After the confirmation: control messages, announcements of stock, and key for every flow.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Control, Inbound, Material, Outbound};

use super::control::{ControlIn, ControlOut};
use super::keys::{KeyRequestError, NoKey, Requests};
use super::{Alignment, Common, Output};
use crate::error::SessionError;
use crate::flow::{FlowId, KeyBlock};
use crate::limits::{
    AEAD_BLOCK_LEN, CONTROL_BLOCK_LEN, CONTROL_LEAST_BLOCK_LEN, MAX_BLOCK_LEN, MAX_NAMED_BYTES, MAX_PENDING_OFFERS,
};
use crate::message::{AnnouncedKey, KeyOffer, Message};
use crate::record::{RecordOpener, RecordSealer};
use crate::suite::Suite;

pub(super) struct Established {
    pub(super) common: Common,
    control_out: ControlOut,
    control_in: ControlIn,
    requests: Requests,
    /// Positions of our outbound stock before this are at the peer too.
    usable_through: u64,
    /// Where the peer's next announcement must begin.
    inbound_end: u64,
    fetching: VecDeque<(u64, u64)>,
    inbound_offers: usize,
    /// The stock was empty when the control stream last asked; it asks again when stock comes.
    control_starved: bool,
    /// Bytes that the control stream asks for next: less where the stock is low.
    control_ask: u32,
    over: bool,
}

type Outputs = VecDeque<Output>;

impl Established {
    pub(super) fn new(
        common: Common,
        sealer: RecordSealer<Control>,
        opener: RecordOpener<Control>,
        outbound: Alignment,
        inbound: Alignment,
        _now: Duration,
    ) -> Self {
        Self {
            common,
            control_out: ControlOut::new(sealer),
            control_in: ControlIn::new(opener),
            requests: Requests::new(Common::control()),
            usable_through: outbound.keep_to,
            inbound_end: inbound.end,
            fetching: VecDeque::new(),
            inbound_offers: 0,
            control_starved: false,
            control_ask: CONTROL_BLOCK_LEN,
            over: false,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.control_in.is_complete()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn handle_bytes(&mut self, bytes: &[u8], now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        self.control_in.push(bytes);
        while let Some(message) = self.control_in.next(out)? {
            self.handle_message(message, now, out)?;
            if self.over {
                break;
            }
        }
        self.refill_control(now, out);
        Ok(())
    }

    pub(super) fn handle_time(&mut self, now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        self.refill_control(now, out);
        self.control_out.flush(now, out)
    }

    pub(super) fn send(&mut self, message: Message, now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        self.control_out.send(message, now, out)?;
        self.refill_control(now, out);
        Ok(())
    }

    pub(super) fn bye(&mut self, now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        self.control_out.send(Message::Bye, now, out)?;
        self.over = true;
        Ok(())
    }

    pub(super) fn announce(
        &mut self,
        start: u64,
        keys: &[AnnouncedKey],
        now: Duration,
        out: &mut Outputs,
    ) -> Result<(), SessionError> {
        let (mut start, mut rest) = (start, keys);
        while !rest.is_empty() {
            let fits = rest.iter().scan(0, |sum, key| {
                *sum += u64::from(key.len);
                Some(*sum)
            });
            let named = fits.take_while(|sum| *sum <= MAX_NAMED_BYTES).count().max(1);
            let (keys, later) = rest.split_at(self.control_out.announceable(now).min(named).min(rest.len()));
            self.send(Message::StockAnnounce { start, keys: keys.to_vec() }, now, out)?;
            start += keys.iter().map(|key| u64::from(key.len)).sum::<u64>();
            rest = later;
        }
        Ok(())
    }

    pub(super) fn handle_stock_fetched(
        &mut self,
        start: u64,
        stored: bool,
        now: Duration,
        out: &mut Outputs,
    ) -> Result<(), SessionError> {
        let Some(at) = self.fetching.iter().position(|(known, _)| *known == start) else { return Ok(()) };
        let Some((_, end)) = self.fetching.remove(at) else { return Ok(()) };
        let answer = if stored { Message::StockReady { through: end } } else { Message::StockRefused { start } };
        self.send(answer, now, out)
    }

    pub(super) fn request_key(
        &mut self,
        flow: FlowId,
        suite: Suite,
        len: u32,
        first_seq: u64,
        out: &mut Outputs,
    ) -> Result<(), KeyRequestError> {
        if !block_fits(suite, len) {
            return Err(KeyRequestError::Length { len });
        }
        self.requests.begin(flow, suite, first_seq)?;
        out.push_back(Output::TakeOutbound { flow, suite, len, through: self.usable_through });
        Ok(())
    }

    pub(super) fn handle_outbound(
        &mut self,
        flow: FlowId,
        taken: Result<(u64, Material<Outbound>), NoKey>,
        now: Duration,
        out: &mut Outputs,
    ) -> Result<(), SessionError> {
        let Some(request) = self.requests.pending_mut(flow) else { return Ok(()) };
        match taken {
            Ok((start, material)) => {
                let offer = KeyOffer {
                    flow,
                    generation: request.generation,
                    suite: request.suite,
                    start,
                    len: u32::try_from(material.len()).unwrap_or(u32::MAX),
                    first_seq: request.first_seq,
                };
                request.offered = Some(KeyBlock {
                    flow,
                    generation: offer.generation,
                    suite: offer.suite,
                    first_seq: offer.first_seq,
                    material,
                });
                self.control_out.send(Message::KeyOffer(offer), now, out)
            }
            Err(why) => {
                self.give_up(flow, why, out);
                self.refill_control(now, out);
                Ok(())
            }
        }
    }

    pub(super) fn handle_inbound(
        &mut self,
        offer: KeyOffer,
        taken: Option<Material<Inbound>>,
        now: Duration,
        out: &mut Outputs,
    ) -> Result<(), SessionError> {
        self.inbound_offers = self.inbound_offers.saturating_sub(1);
        let KeyOffer { flow, generation, suite, first_seq, .. } = offer;
        let block = taken.map(|material| KeyBlock { flow, generation, suite, first_seq, material });
        let installed = match block {
            Some(block) if flow == Common::control() => self.control_in.install(block),
            Some(block) => {
                out.push_back(Output::InstallInbound(block));
                true
            }
            None => false,
        };
        let answer =
            if installed { Message::KeyReady { flow, generation } } else { Message::KeyRefused { flow, generation } };
        self.send(answer, now, out)
    }

    fn handle_message(&mut self, message: Message, now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        match message {
            Message::StockAnnounce { start, keys } => self.handle_announce(start, keys, out),
            Message::StockReady { through } => {
                self.usable_through = self.usable_through.max(through);
                self.control_starved = false;
                self.control_ask = CONTROL_BLOCK_LEN;
                out.push_back(Output::StockReady { through });
                Ok(())
            }
            Message::StockRefused { start } => {
                out.push_back(Output::DropOutbound { start });
                Ok(())
            }
            Message::KeyOffer(offer) => self.handle_offer(offer, now, out),
            Message::KeyReady { flow, generation } => self.handle_ready(flow, generation, now, out),
            Message::KeyRefused { flow, .. } => {
                self.give_up(flow, NoKey::PeerRefused, out);
                Ok(())
            }
            Message::Bye => {
                self.over = true;
                Ok(())
            }
            other => {
                out.push_back(Output::Message(other));
                Ok(())
            }
        }
    }

    fn handle_announce(&mut self, start: u64, keys: Vec<AnnouncedKey>, out: &mut Outputs) -> Result<(), SessionError> {
        let len: u64 = keys.iter().map(|key| u64::from(key.len)).sum();
        let end = start.checked_add(len).filter(|_| start >= self.inbound_end);
        let end = end.ok_or(SessionError::Protocol { what: "an announcement of stock is out of order" })?;
        if self.fetching.len() >= MAX_PENDING_OFFERS {
            return Err(SessionError::Protocol { what: "too many announcements of stock at once" });
        }
        self.inbound_end = end;
        self.fetching.push_back((start, end));
        out.push_back(Output::FetchStock { start, keys });
        Ok(())
    }

    fn handle_offer(&mut self, offer: KeyOffer, now: Duration, out: &mut Outputs) -> Result<(), SessionError> {
        // The control stream keeps the suite of the handshake: no later offer can weaken it.
        let allowed = if offer.flow == Common::control() {
            offer.suite == self.common.control_suite
        } else {
            self.common.suites.contains(&offer.suite)
        };
        if !block_fits(offer.suite, offer.len) || !allowed || offer.start.checked_add(u64::from(offer.len)).is_none() {
            let refused = Message::KeyRefused { flow: offer.flow, generation: offer.generation };
            return self.send(refused, now, out);
        }
        if self.inbound_offers >= MAX_PENDING_OFFERS {
            return Err(SessionError::Protocol { what: "too many offers of key at once" });
        }
        self.inbound_offers += 1;
        out.push_back(Output::TakeInbound(offer));
        Ok(())
    }

    fn handle_ready(
        &mut self,
        flow: FlowId,
        generation: u32,
        now: Duration,
        out: &mut Outputs,
    ) -> Result<(), SessionError> {
        let Some(block) = self.requests.ready(flow, generation) else {
            return Err(SessionError::Protocol { what: "a key was said to be in place that was not offered" });
        };
        if flow == Common::control() {
            self.control_ask = CONTROL_BLOCK_LEN;
            self.control_out.install(block)?;
            return self.control_out.flush(now, out);
        }
        out.push_back(Output::InstallOutbound(block));
        Ok(())
    }

    fn give_up(&mut self, flow: FlowId, why: NoKey, out: &mut Outputs) {
        if self.requests.abandon(flow) {
            if flow == Common::control() {
                self.control_ask /= 2;
                let too_little = why != NoKey::StockUsedUp || self.control_ask < CONTROL_LEAST_BLOCK_LEN;
                self.control_starved = too_little || self.common.control_suite != Suite::Otp;
            } else {
                out.push_back(Output::NoKey { flow, why });
            }
        }
    }

    fn refill_control(&mut self, now: Duration, out: &mut Outputs) {
        let flow = Common::control();
        if self.over || self.control_starved || self.requests.is_pending(flow) || !self.control_out.wants_key(now) {
            return;
        }
        let suite = self.common.control_suite;
        let len = if suite == Suite::Otp { self.control_ask } else { AEAD_BLOCK_LEN };
        // Not pending, as just checked; if too many others are, the next message tries again.
        let _busy = self.request_key(flow, suite, len, 0, out);
    }
}

/// Whether a key block of `len` bytes makes sense under `suite`.
fn block_fits(suite: Suite, len: u32) -> bool {
    (1..=MAX_BLOCK_LEN).contains(&len) && (suite == Suite::Otp || len == AEAD_BLOCK_LEN)
}
