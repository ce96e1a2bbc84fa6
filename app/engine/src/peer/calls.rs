//! What a conversation does for calls: forwards what is said about them, opens their voice flows, and routes their keys.
//! Who rings and what is agreed is the telephone's business.

use std::time::Duration;

use tokio::sync::mpsc;
use vernam_key::{Inbound, Outbound, Voice};
use vernam_session::{CallTerms, FlowId, HangUpReason, KeyBlock, Message};

use super::key::voice_slot;
use super::{End, Peer, PeerNote};
use crate::limits::{CALL_MESSAGE_PAUSE, CALL_MESSAGES, MAX_HEARD_FLOWS};
use crate::media::{MediaInput, VoiceFlow};
use crate::records::FlowKey;

/// The voice flows of a conversation, and how much its contact says about calls.
#[derive(Default)]
pub(super) struct Voices {
    /// The newest last.
    flows: Vec<VoiceRoute>,
    said: Allowance,
}

/// One number's voice flows.
struct VoiceRoute {
    call: u32,
    terms: CallTerms,
    media: mpsc::Sender<MediaInput>,
}

/// How many messages of a kind a contact may still say.
pub(super) struct Allowance {
    most: u32,
    pause: Duration,
    left: u32,
    since: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new(CALL_MESSAGES, CALL_MESSAGE_PAUSE)
    }
}

impl Allowance {
    /// `most` at once, and one more after every `pause`.
    pub(super) fn new(most: u32, pause: Duration) -> Self {
        Self { most, pause, left: most, since: Duration::ZERO }
    }

    /// Whether one more may be said; it counts.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.since).as_nanos() / self.pause.as_nanos().max(1);
        if let Ok(earned) = u32::try_from(earned)
            && earned < self.most
        {
            self.left = (self.left + earned).min(self.most);
            self.since += self.pause * earned;
        } else {
            (self.left, self.since) = (self.most, now);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Voices {
    fn find(&self, flow: FlowId) -> Option<&VoiceRoute> {
        self.flows.iter().find(|known| FlowId::of::<Voice>(known.call) == flow)
    }

    pub(super) fn knows(&self, flow: FlowId) -> bool {
        self.find(flow).is_some()
    }

    /// Bytes of pad that one packet of this flow needs, under one-time pad.
    pub(super) fn slot_of(&self, flow: FlowId) -> Option<u64> {
        self.find(flow).and_then(|known| voice_slot(known.terms.suite, known.terms.packet_len))
    }

    pub(super) fn key_out(&self, flow: FlowId, key: FlowKey<Outbound>) {
        let input = match key {
            Ok(block) => MediaInput::Outbound(block),
            Err(_why) => MediaInput::NoKey { flow },
        };
        self.give(flow, input);
    }

    pub(super) fn key_in(&self, block: KeyBlock<Inbound>) {
        self.give(block.flow, MediaInput::Inbound(block));
    }

    /// Stock came after a call had been told that there was none: it may ask again.
    pub(super) fn stock_came(&self) {
        for known in &self.flows {
            let _ended = known.media.try_send(MediaInput::NewStock);
        }
    }

    fn give(&self, flow: FlowId, input: MediaInput) {
        if let Some(known) = self.find(flow) {
            // The call's task takes these at every frame, and few are ever under way.
            let _ended = known.media.try_send(input);
        }
    }
}

impl Peer {
    /// The contact said something about a call.
    pub(super) async fn call_message(&mut self, message: Message) {
        let now = self.now();
        // A number serves once: it names the flows, and with them the keys, of one call.
        let refusal = match &message {
            Message::Ring { call, .. } | Message::Resume { call, .. } if !self.takes_call(*call) => {
                Some(Message::HangUp { call: *call, reason: HangUpReason::Failed })
            }
            Message::ChangeAsk { new, .. } if !self.takes_call(*new) => {
                Some(Message::ChangeAnswer { new: *new, yes: false })
            }
            other if other.call().is_none() => return,
            _ => None,
        };
        if let Some(refusal) = refusal {
            return self.session.send(refusal, now);
        }
        if !self.voices.said.take(now) {
            let why = "the other side said too much about calls";
            self.closed = Some(End::badly(why));
            return;
        }
        self.note(PeerNote::Message(message)).await;
    }

    /// Opens voice flows for a call's own task.
    pub(super) async fn open_voice(&mut self, call: u32, terms: CallTerms, media: mpsc::Sender<MediaInput>) {
        let frame_len = usize::from(terms.packet_len);
        let sealer = self.session.voice_sealer(call, terms.suite, frame_len);
        let opener = self.session.voice_opener(call, terms.suite, frame_len);
        let (sealer, opener) = match sealer.and_then(|sealer| Ok((sealer, opener?))) {
            Ok(both) => both,
            Err(error) => return self.note(PeerNote::VoiceFailed { call, why: error.to_string() }).await,
        };
        let (connection, inputs) = (self.connection.clone(), self.inputs.clone());
        let flow = VoiceFlow { call, terms, sealer, opener, connection, inputs };
        if media.try_send(MediaInput::Flow(Box::new(flow))).is_err() {
            let why = "its own task takes nothing".to_owned();
            return self.note(PeerNote::VoiceFailed { call, why }).await;
        }
        self.voices.flows.retain(|known| !known.media.is_closed());
        if self.voices.flows.len() >= MAX_HEARD_FLOWS {
            self.voices.flows.remove(0);
        }
        self.voices.flows.push(VoiceRoute { call, terms, media });
        // Keys that came before the call was taken here.
        let (mine, others) =
            std::mem::take(&mut self.early).into_iter().partition(|block| block.flow == FlowId::of::<Voice>(call));
        self.early = others;
        let mine: std::collections::VecDeque<KeyBlock<Inbound>> = mine;
        for block in mine {
            self.voices.key_in(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_too_much_is_stopped_and_who_waits_may_go_on() {
        let mut said = Allowance::default();
        let start = Duration::from_secs(7);
        for _ in 0..CALL_MESSAGES {
            assert!(said.take(start));
        }
        assert!(!said.take(start));
        assert!(said.take(start + CALL_MESSAGE_PAUSE), "one more after the pause");
        assert!(!said.take(start + CALL_MESSAGE_PAUSE));
        for tick in 2..1_000 {
            assert!(said.take(start + CALL_MESSAGE_PAUSE * tick), "at that pace for ever");
        }
        assert!(said.take(Duration::from_hours(100)));
    }
}
