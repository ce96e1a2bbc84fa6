//! The voice flows of one call: the one that is sent, the one that is to follow it, and those that are heard.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use vernam_key::{Inbound, Outbound, Voice};
use vernam_quic::Connection;
use vernam_session::{CallTerms, FlowId, KeyBlock, KeyError, Refusal, Suite, VoiceOpener, VoiceSealer, voice_pad_len};

use crate::limits::{
    FIRST_KEY_PATIENCE, FIRST_KEY_RETRY, MAX_HEARD_FLOWS, OLD_FLOW_LINGERS, VOICE_BLOCK_PACKETS, VOICE_REFILL_BELOW,
};
use crate::peer::Input;

/// Voice flows of one number, both ways, as a conversation opened them.
pub(crate) struct VoiceFlow {
    pub(crate) call: u32,
    pub(crate) terms: CallTerms,
    pub(crate) sealer: VoiceSealer,
    pub(crate) opener: VoiceOpener,
    pub(crate) connection: Connection,
    /// Where its keys are asked for.
    pub(crate) inputs: mpsc::Sender<Input>,
}

/// Where a flow's supply of outbound key stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// More can be asked for.
    Open,
    /// The next block has been asked for.
    Asked,
    /// The stock is used up, or the peer has not the key.
    Over,
}

/// A flow that is sent, or will be.
pub(super) struct OutFlow {
    pub(super) call: u32,
    pub(super) terms: CallTerms,
    pub(super) sealer: VoiceSealer,
    inputs: mpsc::Sender<Input>,
    supply: Supply,
    /// It was said that there is no key.
    pub(super) told_over: bool,
    /// Whether it ever had key.
    had_key: bool,
    /// Since when it is without.
    over_since: Option<Duration>,
    /// When the first key was last asked for.
    asked_at: Duration,
}

impl OutFlow {
    pub(super) fn new(call: u32, terms: CallTerms, sealer: VoiceSealer, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            call,
            terms,
            sealer,
            inputs,
            supply: Supply::Open,
            told_over: false,
            had_key: false,
            over_since: None,
            asked_at: Duration::ZERO,
        }
    }

    pub(super) fn install(&mut self, block: KeyBlock<Outbound>) -> Result<(), KeyError> {
        self.supply = Supply::Open;
        self.told_over = false;
        self.had_key = true;
        self.over_since = None;
        self.sealer.install(block)
    }

    pub(super) fn no_key(&mut self) {
        self.supply = Supply::Over;
    }

    /// Stock came: what was used up may not be any more.
    pub(super) fn new_stock(&mut self) {
        if self.supply == Supply::Over && !self.told_over {
            self.supply = Supply::Open;
        }
    }

    /// Whether there is no key and none is to be hoped for. A flow that never had any waits a while: a stock that two
    /// people have only just begun to share is still being filled.
    pub(super) fn gives_up(&mut self, now: Duration) -> bool {
        if self.supply != Supply::Over {
            return false;
        }
        let since = *self.over_since.get_or_insert(now);
        self.had_key || now.saturating_sub(since) >= FIRST_KEY_PATIENCE
    }

    /// Asks for the next key while there is still some. `begin_at` is for a flow that has not begun: the packet that it
    /// could begin with.
    pub(super) fn ask_for_key(&mut self, begin_at: Option<u32>, now: Duration) {
        let left = self.sealer.packets_left(now);
        let wanted = left.is_some_and(|left| left < VOICE_REFILL_BELOW) && (begin_at.is_none() || left == Some(0));
        // A first key is asked for again after a no: what was said of new stock while the no was on its way counts, too.
        if self.supply == Supply::Over && !self.had_key && !self.told_over && now >= self.asked_at + FIRST_KEY_RETRY {
            self.supply = Supply::Open;
        }
        if !wanted || self.supply != Supply::Open {
            return;
        }
        let otp = self.terms.suite == Suite::Otp;
        let frame_len = usize::from(self.terms.packet_len);
        let len = if otp { voice_pad_len(frame_len, VOICE_BLOCK_PACKETS) } else { 32 };
        let next = u64::from(begin_at.unwrap_or_else(|| self.sealer.next_seq())) + left.unwrap_or(0) as u64;
        let want = Input::WantKey {
            flow: FlowId::of::<Voice>(self.call),
            suite: self.terms.suite,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            first_seq: if otp { next } else { 0 },
        };
        if self.inputs.try_send(want).is_ok() {
            (self.supply, self.asked_at) = (Supply::Asked, now);
        }
    }

    /// Tells the conversation something, if it has room.
    pub(super) fn tell(&self, input: Input) -> bool {
        self.inputs.try_send(input).is_ok()
    }
}

struct Heard {
    call: u32,
    suite: Suite,
    opener: VoiceOpener,
    /// Once a newer flow is heard.
    until: Option<Duration>,
}

/// What is heard of a call: the newest flow, and for a while the one before it, whose last packets may come late.
pub(super) struct Ears {
    flows: Vec<Heard>,
    /// Packets accepted in flows that are gone.
    accepted: u64,
    /// Datagrams refused in flows that are gone.
    refused: BTreeMap<Refusal, u64>,
    /// The suite of the newest packet.
    pub(super) suite: Suite,
}

impl Ears {
    pub(super) fn new(suite: Suite) -> Self {
        Self { flows: Vec::new(), accepted: 0, refused: BTreeMap::new(), suite }
    }

    pub(super) fn add(&mut self, call: u32, suite: Suite, opener: VoiceOpener) {
        if self.flows.len() >= MAX_HEARD_FLOWS {
            let oldest = self.flows.remove(0);
            self.count(&oldest);
        }
        self.flows.push(Heard { call, suite, opener, until: None });
    }

    /// Forgets every flow: their session is over.
    pub(super) fn clear(&mut self) {
        for flow in std::mem::take(&mut self.flows) {
            self.count(&flow);
        }
    }

    /// Forgets flows whose time is over.
    pub(super) fn retire(&mut self, now: Duration) {
        let (gone, kept) =
            std::mem::take(&mut self.flows).into_iter().partition(|flow| flow.until.is_some_and(|until| until <= now));
        self.flows = kept;
        let gone: Vec<Heard> = gone;
        for flow in &gone {
            self.count(flow);
        }
    }

    fn count(&mut self, flow: &Heard) {
        let counters = flow.opener.counters();
        self.accepted += counters.accepted;
        for (why, times) in &counters.refused {
            *self.refused.entry(*why).or_default() += times;
        }
    }

    pub(super) fn knows(&self, flow: FlowId) -> bool {
        self.flows.iter().any(|known| FlowId::of::<Voice>(known.call) == flow)
    }

    /// Installs a key in its flow.
    pub(super) fn install(&mut self, block: KeyBlock<Inbound>) -> Result<(), KeyError> {
        let flow = self.flows.iter_mut().find(|known| FlowId::of::<Voice>(known.call) == block.flow);
        flow.ok_or(KeyError::WrongBlock)?.opener.install(block)
    }

    /// Opens a datagram of `flow` in place.
    pub(super) fn open<'data>(
        &mut self,
        flow: FlowId,
        datagram: &'data mut [u8],
        now: Duration,
    ) -> Result<(u32, &'data [u8]), Refusal> {
        let at = self.flows.iter().position(|known| FlowId::of::<Voice>(known.call) == flow);
        let at = at.ok_or(Refusal::WrongFlow)?;
        let (seq, packet) = self.flows[at].opener.open(datagram)?;
        self.suite = self.flows[at].suite;
        for older in &mut self.flows[..at] {
            older.until.get_or_insert(now + OLD_FLOW_LINGERS);
        }
        Ok((seq, packet))
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted + self.flows.iter().map(|flow| flow.opener.counters().accepted).sum::<u64>()
    }

    pub(super) fn refused(&self) -> BTreeMap<Refusal, u64> {
        let mut all = self.refused.clone();
        for flow in &self.flows {
            for (why, times) in &flow.opener.counters().refused {
                *all.entry(*why).or_default() += times;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use vernam_key::{Material, SecretBytes};
    use vernam_session::{Exporter, FlowContext, Role};

    use super::*;

    const FRAME: u16 = 40;

    fn flow() -> (OutFlow, mpsc::Receiver<Input>) {
        let terms = CallTerms { suite: Suite::Otp, bit_rate: 16_000, frame_ms: 20, packet_len: FRAME };
        let context = FlowContext { session_id: [1; 16], sender: Role::Initiator, flow: FlowId::of::<Voice>(2) };
        let sealer = VoiceSealer::new(context, terms.suite, usize::from(FRAME), &Exporter::new([2; 32])).unwrap();
        let (inputs, received) = mpsc::channel(8);
        (OutFlow::new(2, terms, sealer, inputs), received)
    }

    fn block() -> KeyBlock<Outbound> {
        let pad = SecretBytes::from_vec(vec![7; voice_pad_len(usize::from(FRAME), 1)]);
        let flow = FlowId::of::<Voice>(2);
        KeyBlock { flow, generation: 0, suite: Suite::Otp, first_seq: 0, material: Material::from_source(pad) }
    }

    #[test]
    fn the_first_key_is_waited_for_while_a_stock_is_being_filled() {
        let (mut flow, _received) = flow();
        let start = Duration::from_secs(100);
        assert!(!flow.gives_up(start), "it has been asked for");
        flow.no_key();
        assert!(!flow.gives_up(start));
        assert!(!flow.gives_up(start + FIRST_KEY_PATIENCE.saturating_sub(Duration::from_millis(1))));
        assert!(flow.gives_up(start + FIRST_KEY_PATIENCE));
        // Stock came: it is asked for anew, and the first no counts on.
        flow.new_stock();
        assert!(!flow.gives_up(start + FIRST_KEY_PATIENCE));
    }

    #[test]
    fn the_first_key_is_asked_for_again_though_nobody_says_that_stock_came() {
        let (mut flow, mut received) = flow();
        let start = Duration::from_secs(100);
        for round in 0..3 {
            let now = start + FIRST_KEY_RETRY * round;
            flow.ask_for_key(Some(0), now);
            assert!(received.try_recv().is_ok(), "asked in round {round}");
            flow.no_key();
            flow.ask_for_key(Some(0), now + FIRST_KEY_RETRY / 2);
            assert!(received.try_recv().is_err(), "not at every frame");
        }
    }

    #[test]
    fn a_call_whose_key_is_used_up_does_not_wait() {
        let (mut flow, _received) = flow();
        flow.install(block()).unwrap();
        flow.no_key();
        assert!(flow.gives_up(Duration::from_secs(100)));
    }
}
