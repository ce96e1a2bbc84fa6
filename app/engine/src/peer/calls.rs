//! The call of a conversation: who rings, who answers, and why it ends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use vernam_audio::{CodecSettings, FrameLength};
use vernam_key::{Inbound, Outbound, Voice};
use vernam_session::{CallTerms, FlowId, HangUpReason, KeyBlock, Message, Suite};

use super::Peer;
use super::key::voice_slot;
use crate::event::{CallProposal, CallStats, Event, VoiceIo};
use crate::limits::{FLOW_KEYS, RING_TIMEOUT, TALK_WARNINGS};
use crate::media::{Media, MediaInput, MediaParts};
use crate::records::FlowKey;

/// At most one call a conversation.
#[derive(Default)]
pub(super) enum Call {
    #[default]
    None,
    /// We called; nobody answered yet. (The lock is never contended: it makes the sound's owner shareable by type.)
    Outgoing { call: u32, terms: CallTerms, proposal: CallProposal, io: Mutex<Box<dyn VoiceIo>>, since: Duration },
    /// The contact calls; we did not answer yet.
    Incoming { call: u32, terms: CallTerms, proposal: CallProposal, since: Duration },
    /// Sound flows.
    Active(Active),
}

pub(super) struct Active {
    call: u32,
    terms: CallTerms,
    media: mpsc::Sender<MediaInput>,
    task: JoinHandle<Box<CallStats>>,
    /// Packets that the call can send without another block.
    in_hand: u64,
    /// The shortest talk-time warning given so far, seconds.
    warned: u64,
}

impl Call {
    pub(super) fn is_flow(&self, flow: FlowId) -> bool {
        matches!(self, Self::Active(active) if flow == FlowId::of::<Voice>(active.call))
    }

    pub(super) fn slot_of(&self, flow: FlowId) -> Option<u64> {
        match self {
            Self::Active(active) if self.is_flow(flow) => voice_slot(active.terms.suite, active.terms.packet_len),
            _ => None,
        }
    }

    pub(super) fn key_out(&self, key: FlowKey<Outbound>) {
        let input = match key {
            Ok(block) => MediaInput::Outbound(block),
            Err(_why) => MediaInput::NoKey,
        };
        self.give(input);
    }

    pub(super) fn key_in(&self, block: KeyBlock<Inbound>) {
        self.give(MediaInput::Inbound(block));
    }

    /// Stock came after the call had been told that there was none: it may ask again.
    pub(super) fn stock_came(&self) {
        self.give(MediaInput::NewStock);
    }

    /// What the call's task says that it still has.
    pub(super) fn note_in_hand(&mut self, packets: Option<u64>) {
        if let Self::Active(active) = self {
            active.in_hand = packets.unwrap_or(0);
        }
    }

    fn give(&self, input: MediaInput) {
        if let Self::Active(active) = self {
            // The call's task takes these at every frame, and few are ever under way.
            let _ended = active.media.try_send(input);
        }
    }
}

/// The codec of `terms`, if they make sense.
fn codec_of(terms: CallTerms) -> Option<CodecSettings> {
    let frame = FrameLength::from_millis(u32::from(terms.frame_ms)).ok()?;
    let base = if terms.suite == Suite::Otp { CodecSettings::one_time_pad() } else { CodecSettings::standard() };
    let codec = base.with_frame(frame).with_bit_rate(terms.bit_rate).ok()?;
    (codec.packet_len() == usize::from(terms.packet_len)).then_some(codec)
}

fn terms_of(proposal: &CallProposal) -> Option<CallTerms> {
    Some(CallTerms {
        suite: proposal.suite,
        bit_rate: proposal.codec.bit_rate(),
        frame_ms: u8::try_from(proposal.codec.frame().millis()).ok()?,
        packet_len: u16::try_from(proposal.codec.packet_len()).ok()?,
    })
}

impl Peer {
    pub(super) async fn call_out(&mut self, proposal: CallProposal, io: Box<dyn VoiceIo>) {
        let now = self.now();
        if !self.session.is_established() || !matches!(self.call, Call::None) {
            return self.warn("there is no conversation to call in, or a call is on already").await;
        }
        if !self.session.allows(proposal.suite) {
            let text = format!("{} is not allowed by both sides for this contact", proposal.suite);
            return self.warn(text).await;
        }
        let Some(terms) = terms_of(&proposal) else {
            return self.warn("this codec setting cannot be offered").await;
        };
        let call = self.new_number();
        self.session.send(Message::Ring { call, terms }, now);
        self.call = Call::Outgoing { call, terms, proposal, io: Mutex::new(io), since: now };
    }

    pub(super) async fn rings(&mut self, call: u32, terms: CallTerms) {
        let now = self.now();
        let refuse = |reason| Message::HangUp { call, reason };
        // A number serves once: it names the flows, and with them the keys, of one call.
        if !self.takes_number(call) {
            return self.session.send(refuse(HangUpReason::Failed), now);
        }
        if !matches!(self.call, Call::None) {
            return self.session.send(refuse(HangUpReason::Busy), now);
        }
        match codec_of(terms).filter(|_| self.session.allows(terms.suite)) {
            Some(codec) => {
                let proposal = CallProposal { suite: terms.suite, codec };
                self.call = Call::Incoming { call, terms, proposal, since: now };
                self.session.send(Message::Ringing { call }, now);
                self.tell(Event::IncomingCall { contact: self.name(), terms }).await;
            }
            None => self.session.send(refuse(HangUpReason::Failed), now),
        }
    }

    pub(super) async fn ringing(&mut self, call: u32) {
        if matches!(&self.call, Call::Outgoing { call: ours, .. } if *ours == call) {
            self.tell(Event::Ringing { contact: self.name() }).await;
        }
    }

    pub(super) async fn answer(&mut self, io: Box<dyn VoiceIo>) {
        let now = self.now();
        match std::mem::take(&mut self.call) {
            Call::Incoming { call, terms, proposal, .. } => {
                if self.start_media(call, terms, proposal, io).await {
                    self.session.send(Message::Answer { call }, now);
                    self.tell(Event::Answered { contact: self.name(), terms }).await;
                }
            }
            other => {
                self.call = other;
                self.warn("nobody is calling").await;
            }
        }
    }

    pub(super) async fn answered(&mut self, answered: u32) {
        match std::mem::take(&mut self.call) {
            Call::Outgoing { call, terms, proposal, io, .. } if call == answered => {
                let io = io.into_inner().unwrap_or_else(PoisonError::into_inner);
                if self.start_media(call, terms, proposal, io).await {
                    self.tell(Event::Answered { contact: self.name(), terms }).await;
                }
            }
            other => self.call = other,
        }
    }

    /// Whether it started; if not, the call is over.
    async fn start_media(&mut self, call: u32, terms: CallTerms, proposal: CallProposal, io: Box<dyn VoiceIo>) -> bool {
        let frame_len = usize::from(terms.packet_len);
        let sealer = self.session.voice_sealer(call, terms.suite, frame_len);
        let opener = self.session.voice_opener(call, terms.suite, frame_len);
        let media = sealer.and_then(|sealer| Ok((sealer, opener?))).map_err(|error| error.to_string());
        let media = media.and_then(|(sealer, opener)| {
            let (connection, inputs) = (self.connection.clone(), self.inputs.clone());
            let epoch = self.shared.epoch;
            Media::new(MediaParts { call, terms, codec: proposal, sealer, opener, connection, io, inputs, epoch })
                .map_err(|error| error.to_string())
        });
        match media {
            Ok(media) => {
                let (sender, receiver) = mpsc::channel(4 * FLOW_KEYS);
                let task = tokio::spawn(media.run(receiver));
                self.call = Call::Active(Active { call, terms, media: sender, task, in_hand: 0, warned: u64::MAX });
                true
            }
            Err(why) => {
                let now = self.now();
                self.session.send(Message::HangUp { call, reason: HangUpReason::Failed }, now);
                self.warn(format!("the call could not be started: {why}")).await;
                self.tell_ended(HangUpReason::Failed, false, None).await;
                false
            }
        }
    }

    /// Ends, declines or cancels, whatever there is.
    pub(super) async fn hang_up(&mut self, reason: HangUpReason) {
        let call = match &self.call {
            Call::None => return,
            Call::Outgoing { call, .. } | Call::Incoming { call, .. } => *call,
            Call::Active(active) => active.call,
        };
        let now = self.now();
        self.session.send(Message::HangUp { call, reason }, now);
        self.end_call(reason, false).await;
    }

    pub(super) async fn hung_up(&mut self, over: u32, reason: HangUpReason) {
        let ours = match &self.call {
            Call::None => return,
            Call::Outgoing { call, .. } | Call::Incoming { call, .. } => *call,
            Call::Active(active) => active.call,
        };
        if ours == over {
            self.end_call(reason, true).await;
        }
    }

    async fn end_call(&mut self, reason: HangUpReason, by_contact: bool) {
        let stats = match std::mem::take(&mut self.call) {
            Call::Active(active) => {
                let _ended = active.media.send(MediaInput::Stop).await;
                active.task.await.ok()
            }
            _ => None,
        };
        self.tell_ended(reason, by_contact, stats).await;
    }

    async fn tell_ended(&self, reason: HangUpReason, by_contact: bool, stats: Option<Box<CallStats>>) {
        self.tell(Event::CallEnded { contact: self.name(), reason, by_contact, stats }).await;
    }

    /// The connection is gone: nobody can be told but the person.
    pub(super) async fn end_call_at_once(&mut self) {
        if !matches!(self.call, Call::None) {
            self.end_call(HangUpReason::Failed, false).await;
        }
    }

    pub(super) async fn call_tick(&mut self) {
        let now = self.now();
        match &mut self.call {
            Call::Outgoing { since, .. } if now.saturating_sub(*since) > RING_TIMEOUT => {
                self.hang_up(HangUpReason::NoAnswer).await;
            }
            // A caller that vanished without a word must not ring for ever.
            Call::Incoming { since, .. } if now.saturating_sub(*since) > RING_TIMEOUT * 2 => {
                self.hang_up(HangUpReason::NoAnswer).await;
            }
            Call::Active(active) if active.terms.suite == Suite::Otp => {
                let frames = 1_000 / u64::from(active.terms.frame_ms.max(1));
                let slot = voice_slot(active.terms.suite, active.terms.packet_len).unwrap_or(1);
                let status = self.stocks.status().0;
                let usable = self.usable.saturating_sub(status.cursor).min(status.available);
                let left = (usable / slot + active.in_hand) / frames.max(1);
                let due = TALK_WARNINGS.into_iter().filter(|limit| left < *limit).min();
                if let Some(due) = due.filter(|due| *due < active.warned) {
                    active.warned = due;
                    let text = format!("key for about {left} seconds of talk under one-time pad is left");
                    self.warn(text).await;
                }
            }
            _ => {}
        }
    }
}
