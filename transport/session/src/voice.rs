//! Voice: one Opus packet a QUIC datagram, all of one size.
//!
//! Under one-time pad a datagram's place in the pad follows from its number, so that a lost or reordered one costs
//! nothing but its own bytes of pad. Under an AEAD suite a sliding window refuses what was accepted before.

use std::collections::VecDeque;
use std::time::Duration;

use vernam_key::{Inbound, Outbound, Voice};

use crate::counters::Counters;
use crate::error::{KeyError, Refusal};
use crate::flow::{FlowContext, FlowId, KeyBlock};
use crate::limits::{
    HASH_KEY_LEN, MAX_GENERATIONS, MAX_REFUSALS, MAX_VOICE_FRAME, MAX_WAITING_BLOCKS, REPLAY_WINDOW, VOICE_HEADER_LEN,
    VOICE_OTP_TAG_LEN,
};
use crate::suite::{Exporter, Left, SealKey, Suite, VoiceOpenKey};

/// The first byte of every voice datagram.
pub const VOICE_KIND: u8 = b'V';

/// Bytes of one-time pad that `packets` voice packets of `frame_len` bytes need, the block's hash key included.
pub const fn voice_pad_len(frame_len: usize, packets: usize) -> usize {
    HASH_KEY_LEN + packets * (frame_len + VOICE_OTP_TAG_LEN)
}

/// Bytes of a voice datagram that carries `frame_len` bytes of Opus.
pub const fn voice_datagram_len(suite: Suite, frame_len: usize) -> usize {
    VOICE_HEADER_LEN + frame_len + suite.voice_tag_len()
}

/// The flow that a datagram claims to belong to, to choose its opener by. `None` if it is no voice datagram.
pub fn voice_flow_of(datagram: &[u8]) -> Option<FlowId> {
    match datagram {
        [VOICE_KIND, a, b, c, d, ..] => Some(FlowId::of::<Voice>(u32::from_be_bytes([*a, *b, *c, *d]))),
        _ => None,
    }
}

/// Seals the voice packets of one call in one direction.
pub struct VoiceSealer {
    context: FlowContext,
    exporter: Exporter,
    suite: Suite,
    frame_len: usize,
    next_seq: u32,
    next_generation: u32,
    current: Option<(u32, SealKey<Voice>)>,
    waiting: VecDeque<KeyBlock<Outbound>>,
    counters: Counters,
}

impl VoiceSealer {
    /// For packets of exactly `frame_len` bytes, without key yet.
    pub fn new(context: FlowContext, suite: Suite, frame_len: usize, exporter: &Exporter) -> Result<Self, KeyError> {
        if frame_len > MAX_VOICE_FRAME {
            return Err(KeyError::TooLong { len: frame_len });
        }
        Ok(Self {
            context,
            exporter: exporter.duplicate(),
            suite,
            frame_len,
            next_seq: 0,
            next_generation: 0,
            current: None,
            waiting: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// Adds the next key block. Under one-time pad its first slot must follow the last slot of the block before.
    pub fn install(&mut self, block: KeyBlock<Outbound>) -> Result<(), KeyError> {
        let in_turn = block.flow == self.context.flow && block.generation == self.next_generation;
        if !in_turn || block.suite != self.suite || self.waiting.len() >= MAX_WAITING_BLOCKS {
            return Err(KeyError::WrongBlock);
        }
        self.next_generation += 1;
        self.waiting.push_back(block);
        Ok(())
    }

    /// Packets that can still be sealed with the pad at hand; `None` under a fresh AEAD key, 0 if it is worn or missing.
    pub fn packets_left(&self, now: Duration) -> Option<usize> {
        let slot = self.frame_len + VOICE_OTP_TAG_LEN;
        let waiting: usize =
            self.waiting.iter().map(|block| block.material.len().saturating_sub(HASH_KEY_LEN) / slot).sum();
        match self.current.as_ref().map(|(_, key)| key.left(now)) {
            Some(Left::Pad(left)) => Some(left / slot + waiting),
            Some(Left::Aead { worn: false }) => None,
            Some(Left::Aead { worn: true }) | None if self.waiting.is_empty() => Some(0),
            Some(Left::Aead { worn: true }) | None => (self.suite == Suite::Otp).then_some(waiting),
        }
    }

    /// The number that the next packet will have, which is also how many were sealed.
    pub fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// Makes `seq`, which is not before [`Self::next_seq`], the number of the next packet, and says whether there is key
    /// for it: a flow goes on with the numbers of another one, or after a pause. Pad for the packets in between is
    /// forfeited: what ends before `seq` is wiped now, the rest with the next packet.
    pub fn skip_to(&mut self, seq: u32) -> bool {
        if seq < self.next_seq {
            return false;
        }
        let skipped = std::mem::replace(&mut self.next_seq, seq);
        if self.suite != Suite::Otp {
            return self.current.is_some() || !self.waiting.is_empty();
        }
        let slot = self.frame_len + VOICE_OTP_TAG_LEN;
        if let Some((_, key)) = &mut self.current {
            let skipped = usize::try_from(seq - skipped).unwrap_or(usize::MAX).saturating_mul(slot);
            let goes_on = matches!(key.left(Duration::ZERO), Left::Pad(left) if left >= skipped.saturating_add(slot));
            if goes_on && key.forfeit(skipped).is_ok() {
                return true;
            }
            self.current = None;
        }
        let end = |block: &KeyBlock<Outbound>| {
            block.first_seq.saturating_add((block.material.len().saturating_sub(HASH_KEY_LEN) / slot) as u64)
        };
        while self.waiting.front().is_some_and(|block| end(block) <= u64::from(seq)) {
            self.waiting.pop_front();
        }
        self.waiting.front().is_some_and(|block| block.first_seq <= u64::from(seq))
    }

    /// Bytes of every datagram of this flow.
    pub fn datagram_len(&self) -> usize {
        voice_datagram_len(self.suite, self.frame_len)
    }

    /// Seals `frame` and writes the datagram to `out`, which is cleared first. Returns the packet's number.
    pub fn seal(&mut self, frame: &[u8], out: &mut Vec<u8>, now: Duration) -> Result<u32, KeyError> {
        if frame.len() != self.frame_len {
            return Err(KeyError::TooLong { len: frame.len() });
        }
        self.advance(now)?;
        let seq = self.next_seq;
        let next = seq.checked_add(1).ok_or(KeyError::NumbersUsedUp)?;
        let (generation, key) = self.current.as_mut().ok_or(KeyError::NeedKey)?;
        out.clear();
        out.push(VOICE_KIND);
        out.extend_from_slice(&self.context.flow.number.to_be_bytes());
        out.extend_from_slice(&generation.to_be_bytes());
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(frame);
        out.resize(VOICE_HEADER_LEN + frame.len() + self.suite.voice_tag_len(), 0);
        let (data, tag) = out[VOICE_HEADER_LEN..].split_at_mut(frame.len());
        let len = u32::try_from(frame.len()).map_err(|_checked| KeyError::TooLong { len: frame.len() })?;
        let aad = self.context.aad(*generation, self.suite, u64::from(seq), len, 0);
        if let Err(error) = key.seal(&aad, u64::from(seq), data, tag) {
            zeroize::zeroize_bytes(out);
            out.clear();
            return Err(error);
        }
        self.next_seq = next;
        self.counters.accept(frame.len());
        Ok(seq)
    }

    /// What was sealed.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn advance(&mut self, now: Duration) -> Result<(), KeyError> {
        loop {
            let keep = self.current.as_ref().is_some_and(|(_, key)| match key.left(now) {
                Left::Pad(left) => left >= self.frame_len + VOICE_OTP_TAG_LEN,
                Left::Aead { .. } => self.waiting.is_empty(),
            });
            if keep {
                return Ok(());
            }
            let block = self.waiting.pop_front().ok_or(KeyError::NeedKey)?;
            let (generation, first_seq, otp) = (block.generation, block.first_seq, block.suite == Suite::Otp);
            // Only what is begun with, at first or after a pause, may begin before the packet.
            let forfeited =
                u64::from(self.next_seq).checked_sub(first_seq).and_then(|slots| usize::try_from(slots).ok());
            let forfeited = forfeited.filter(|slots| *slots == 0 || self.current.is_none());
            let forfeited = if otp { forfeited.ok_or(KeyError::WrongBlock)? } else { 0 };
            let mut key = SealKey::new(&self.context, block, &self.exporter, self.suite.voice_tag_len(), now)?;
            key.forfeit(forfeited.saturating_mul(self.frame_len + VOICE_OTP_TAG_LEN))?;
            self.current = Some((generation, key));
        }
    }
}

/// Opens the voice datagrams of one call in one direction, in whatever order they come.
pub struct VoiceOpener {
    context: FlowContext,
    exporter: Exporter,
    suite: Suite,
    frame_len: usize,
    next_generation: u32,
    keys: VecDeque<(u32, VoiceOpenKey<Voice>)>,
    window: ReplayWindow,
    counters: Counters,
}

impl VoiceOpener {
    /// For packets of exactly `frame_len` bytes, without key yet.
    pub fn new(context: FlowContext, suite: Suite, frame_len: usize, exporter: &Exporter) -> Result<Self, KeyError> {
        if frame_len > MAX_VOICE_FRAME {
            return Err(KeyError::TooLong { len: frame_len });
        }
        Ok(Self {
            context,
            exporter: exporter.duplicate(),
            suite,
            frame_len,
            next_generation: 0,
            keys: VecDeque::new(),
            window: ReplayWindow::default(),
            counters: Counters::default(),
        })
    }

    /// Adds the next key block; the oldest goes, and is wiped, when there are more than a few.
    pub fn install(&mut self, block: KeyBlock<Inbound>) -> Result<(), KeyError> {
        let in_turn = block.flow == self.context.flow && block.generation == self.next_generation;
        if !in_turn || block.suite != self.suite {
            return Err(KeyError::WrongBlock);
        }
        let generation = block.generation;
        let key = VoiceOpenKey::new(&self.context, block, &self.exporter, self.frame_len)?;
        self.next_generation += 1;
        self.keys.push_back((generation, key));
        if self.keys.len() > MAX_GENERATIONS {
            self.keys.pop_front();
        }
        Ok(())
    }

    /// Opens `datagram` in place and returns the packet's number and the Opus packet.
    pub fn open<'data>(&mut self, datagram: &'data mut [u8]) -> Result<(u32, &'data mut [u8]), Refusal> {
        match self.try_open(datagram) {
            Ok(seq) => {
                self.counters.accept(self.frame_len);
                Ok((seq, &mut datagram[VOICE_HEADER_LEN..VOICE_HEADER_LEN + self.frame_len]))
            }
            Err(why) => {
                self.counters.refuse(why);
                Err(why)
            }
        }
    }

    /// Whether so many datagrams were refused as forged that the flow must be given up. Late and repeated ones, which
    /// an honest network makes, do not count.
    pub fn is_closed(&self) -> bool {
        let harmless = [Refusal::Replayed, Refusal::TooLate, Refusal::UnknownKey];
        let honest: u64 = harmless.iter().filter_map(|why| self.counters.refused.get(why)).sum();
        self.counters.refused_total() - honest >= MAX_REFUSALS
    }

    /// What was opened and refused.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn try_open(&mut self, datagram: &mut [u8]) -> Result<u32, Refusal> {
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        if datagram.len() != voice_datagram_len(self.suite, self.frame_len) {
            return Err(Refusal::Malformed);
        }
        let (header, body) = datagram.split_at_mut(VOICE_HEADER_LEN);
        let (&mut [kind, f0, f1, f2, f3, g0, g1, g2, g3, s0, s1, s2, s3], (data, tag)) =
            (&mut *header, body.split_at_mut(self.frame_len))
        else {
            return Err(Refusal::Malformed);
        };
        if kind != VOICE_KIND {
            return Err(Refusal::Malformed);
        }
        if u32::from_be_bytes([f0, f1, f2, f3]) != self.context.flow.number {
            return Err(Refusal::WrongFlow);
        }
        let generation = u32::from_be_bytes([g0, g1, g2, g3]);
        let seq = u32::from_be_bytes([s0, s1, s2, s3]);
        let key = self.keys.iter_mut().find(|(known, _)| *known == generation).map(|(_, key)| key);
        let key = key.ok_or(Refusal::UnknownKey)?;
        let len = u32::try_from(self.frame_len).map_err(|_checked| Refusal::Malformed)?;
        let aad = self.context.aad(generation, self.suite, u64::from(seq), len, 0);
        if !key.suite_is_otp() {
            self.window.check(u64::from(seq))?;
        }
        key.open(&aad, u64::from(seq), data, tag)?;
        self.window.mark(u64::from(seq));
        Ok(seq)
    }
}

/// The last [`REPLAY_WINDOW`] packet numbers, one bit each (as RFC 4303, section 3.4.3, does for ESP).
#[derive(Default)]
struct ReplayWindow {
    /// The number after the highest accepted one.
    end: u64,
    seen: [u64; (REPLAY_WINDOW / 64) as usize],
}

impl ReplayWindow {
    fn check(&self, seq: u64) -> Result<(), Refusal> {
        if seq >= self.end {
            return Ok(());
        }
        if self.end - seq > REPLAY_WINDOW {
            return Err(Refusal::TooLate);
        }
        let (word, bit) = Self::place(seq);
        if self.seen[word] & bit == 0 { Ok(()) } else { Err(Refusal::Replayed) }
    }

    fn mark(&mut self, seq: u64) {
        if seq >= self.end {
            for passed in self.end.max(seq.saturating_sub(REPLAY_WINDOW - 1))..=seq {
                let (word, bit) = Self::place(passed);
                self.seen[word] &= !bit;
            }
            self.end = seq + 1;
        }
        let (word, bit) = Self::place(seq);
        self.seen[word] |= bit;
    }

    fn place(seq: u64) -> (usize, u64) {
        let slot = seq % REPLAY_WINDOW;
        (usize::try_from(slot / 64).unwrap_or(0), 1 << (slot % 64))
    }
}

#[cfg(test)]
mod tests {
    use vernam_key::{Material, SecretBytes};

    use super::*;
    use crate::flow::Role;

    const FRAME: usize = 40;

    /// A flow's both ends.
    fn flow(suite: Suite) -> (VoiceSealer, VoiceOpener) {
        let flow = FlowId::of::<Voice>(6);
        let context = || FlowContext { session_id: [3; 16], sender: Role::Initiator, flow };
        let exporter = Exporter::new([9; 32]);
        let sealer = VoiceSealer::new(context(), suite, FRAME, &exporter).unwrap();
        (sealer, VoiceOpener::new(context(), suite, FRAME, &exporter).unwrap())
    }

    /// Gives both ends a block of `packets` slots from `first_seq` on.
    fn give((sealer, opener): &mut (VoiceSealer, VoiceOpener), suite: Suite, first_seq: u64, packets: usize) {
        let generation = sealer.next_generation;
        let len = if suite == Suite::Otp { voice_pad_len(FRAME, packets) } else { 32 };
        let bytes: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(31) ^ generation as usize).to_le_bytes()[0]).collect();
        let first_seq = if suite == Suite::Otp { first_seq } else { 0 };
        let flow = FlowId::of::<Voice>(6);
        let material = Material::from_source(SecretBytes::from_vec(bytes.clone()));
        sealer.install(KeyBlock { flow, generation, suite, first_seq, material }).unwrap();
        let material = Material::from_source(SecretBytes::from_vec(bytes));
        opener.install(KeyBlock { flow, generation, suite, first_seq, material }).unwrap();
    }

    /// The number of the next packet, once it went from one end to the other.
    fn pass((sealer, opener): &mut (VoiceSealer, VoiceOpener)) -> Result<u32, KeyError> {
        let mut datagram = Vec::new();
        let seq = sealer.seal(&[7; FRAME], &mut datagram, Duration::ZERO)?;
        assert_eq!(opener.open(&mut datagram), Ok((seq, &mut [7; FRAME][..])));
        Ok(seq)
    }

    #[test]
    fn a_flow_begins_with_the_number_that_another_one_ended_with() {
        for suite in Suite::ALL {
            let mut both = flow(suite);
            assert!(!both.0.skip_to(500), "{suite}: there is no key yet");
            give(&mut both, suite, 500, 20);
            // The key took its time: seven frames were sent in the old flow meanwhile.
            assert!(both.0.skip_to(507), "{suite}");
            assert_eq!(pass(&mut both), Ok(507));
            if suite == Suite::Otp {
                assert_eq!(both.0.packets_left(Duration::ZERO), Some(12), "seven are forfeited");
            }
            assert!(!both.0.skip_to(506), "{suite}: not back");
            assert_eq!(pass(&mut both), Ok(508));
        }
    }

    #[test]
    fn a_key_that_comes_too_late_for_its_slots_is_given_up_for_the_next() {
        let mut both = flow(Suite::Otp);
        give(&mut both, Suite::Otp, 500, 20);
        assert!(!both.0.skip_to(520));
        assert_eq!(both.0.packets_left(Duration::ZERO), Some(0));
        assert_eq!(pass(&mut both), Err(KeyError::NeedKey));
        give(&mut both, Suite::Otp, 520, 20);
        assert!(both.0.skip_to(521));
        assert_eq!(pass(&mut both), Ok(521));
    }

    #[test]
    fn a_pause_skips_slots_of_this_block_and_of_those_that_wait() {
        let mut both = flow(Suite::Otp);
        give(&mut both, Suite::Otp, 0, 10);
        give(&mut both, Suite::Otp, 10, 10);
        give(&mut both, Suite::Otp, 20, 10);
        assert_eq!(pass(&mut both), Ok(0));
        assert!(both.0.skip_to(5), "in this block");
        assert_eq!(pass(&mut both), Ok(5));
        assert!(both.0.skip_to(23), "in the last one");
        assert_eq!(pass(&mut both), Ok(23));
        assert_eq!(both.0.packets_left(Duration::ZERO), Some(6));
        assert!(!both.0.skip_to(100), "beyond all");
        give(&mut both, Suite::Otp, 100, 10);
        assert_eq!(pass(&mut both), Ok(100));
        // Without a pause a block that does not follow is refused.
        for expected in 101..110 {
            assert_eq!(pass(&mut both), Ok(expected));
        }
        give(&mut both, Suite::Otp, 109, 10);
        assert_eq!(pass(&mut both), Err(KeyError::WrongBlock));
    }

    #[test]
    fn the_window_takes_each_number_once() {
        let mut window = ReplayWindow::default();
        for seq in [5, 3, 4, 1_500, 1_499, 600, 1_501] {
            assert_eq!(window.check(seq), Ok(()), "{seq}");
            window.mark(seq);
            assert_eq!(window.check(seq), Err(Refusal::Replayed), "{seq}");
        }
        assert_eq!(window.check(4), Err(Refusal::TooLate));
        assert_eq!(window.check(477), Err(Refusal::TooLate));
        assert_eq!(window.check(478), Ok(()));
        window.mark(10_000);
        assert_eq!(window.check(9_999), Ok(()));
    }
}
