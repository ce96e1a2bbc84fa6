//! The sending end.

use std::time::Duration;

use rand::{CryptoRng, Rng as _};
use vernam_key::SecretBytes;

use super::auth::Pads;
use super::cascade::CascadeAlice;
use super::limits::{MAX_ASKS, MAX_CONFIRM_REPEATS};
use super::memory::Memory;
use super::reason::{self, MALFORMED, MISSING, SLOTS, STRAY, TAG, TOO_MANY, UNEXPECTED};
use super::sift::{Sift, encode_reply};
use super::talk::{Post, Signed, Talk, Turn, divide, read_counts};
use super::tally::{Passed, Tally, refill, refill_bits};
use super::wire::{Frame, Kind, Reader};
use super::{AuthKey, EndConfig, EndConfigError, EndEvent, toeplitz, verify};
use crate::bits::BitString;
use crate::block::{DiscardReason, KeyBlock};
use crate::optics::Sent;

/// The sending end's post-processing: a state machine without clock or I/O.
///
/// Give it what was sent, Bob's messages and the time; take its messages and events. It follows Bob: he says when a
/// block begins.
pub struct Alice {
    config: EndConfig,
    memory: Memory,
    to_bob: Pads,
    from_bob: Pads,
    rng: Box<dyn CryptoRng + Send>,
    post: Post,
    making: Option<Making>,
    finished: Option<Finished>,
    /// The last block that was given up here, and why.
    given_up: Option<DiscardReason>,
}

/// The block in the making.
struct Making {
    talk: Talk,
    tally: Tally,
    /// The sifted key, until error correction takes it.
    key: BitString,
    /// The last block that Bob finished, as he says.
    bob_finished: u64,
    step: Step,
}

/// What was done last for the block.
enum Step {
    /// All stretches so far are sorted and counted; more follow.
    Sifting,
    /// A stretch is sorted, and Bob counts its errors.
    Counting,
    /// Bob corrects his key.
    Correcting { cascade: Box<CascadeAlice>, asks: u32 },
    /// Bob compares the hash.
    Verifying { key: BitString },
    /// Bob makes the final key.
    Releasing(Releasing),
}

/// What remains to be done once Bob has confirmed.
struct Releasing {
    key: BitString,
    seed: Vec<u64>,
    output_bits: usize,
    pads: (u16, u16),
    /// How likely the tag over what Alice said was forged.
    forgery: f64,
}

/// The last block that was given out.
struct Finished {
    number: u64,
    /// Bob's last message, and the answer to it: he gets it again if it was lost.
    confirm: Vec<u8>,
    commit: Vec<u8>,
    /// Pads out of this block, for Alice's messages and for Bob's, until it is certain that he has them too.
    pads: Option<(SecretBytes, SecretBytes)>,
}

impl Alice {
    /// Before the first block. `rng` gives the seeds of error correction and privacy amplification and the key of the
    /// verification hash; it must be unpredictable.
    pub fn new(config: EndConfig, auth: AuthKey, rng: Box<dyn CryptoRng + Send>) -> Result<Self, EndConfigError> {
        config.validate()?;
        let (to_bob, from_bob) = auth.split();
        Ok(Self {
            config,
            memory: Memory::default(),
            to_bob,
            from_bob,
            rng,
            post: Post::default(),
            making: None,
            finished: None,
            given_up: None,
        })
    }

    /// Remembers what was sent in one stretch of slots. Stretches rise; tell them before Bob's message about them
    /// comes. At most [`super::limits::MAX_STRETCHES`] are kept, the latest.
    pub fn sent(&mut self, sent: Sent) {
        self.memory.keep(sent);
    }

    /// Takes one message of Bob's, or of whoever speaks in his name.
    pub fn handle_message(&mut self, message: &[u8], now: Duration) {
        self.post.set_time(now);
        let Some(frame) = Frame::parse(message).filter(|_| !self.post.is_full()) else { return };
        if let Some(finished) = self.finished.as_ref().filter(|finished| finished.number >= frame.block) {
            if finished.confirm == message {
                self.post.send(finished.commit.clone());
            }
            return;
        }
        match self.making.take() {
            Some(making) if making.tally.number == frame.block => self.continue_block(making, &frame),
            making => {
                self.making = making;
                self.begin_block(&frame);
            }
        }
    }

    /// The next message for Bob, to be delivered in this order.
    pub fn poll_message(&mut self) -> Option<Vec<u8>> {
        self.post.next_message()
    }

    /// Tells the time. Does nothing before [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Duration) {
        self.post.set_time(now);
        if !self.post.is_late() {
            return;
        }
        if self.post.is_full() {
            return self.post.wait(Some(self.config.timeout));
        }
        self.post.wait(None);
        if let Some(making) = self.making.take() {
            let waiting_for = making.step.waits_for();
            let block = making.tally.number;
            self.discard(&making, DiscardReason::TimedOut { block, waiting_for }, true);
        }
    }

    /// When to call [`Self::handle_timeout`] next, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.post.deadline()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EndEvent> {
        self.post.next_event()
    }

    /// The last block that this end gave out, until Bob's next valid tag has shown that he has it too. If the two ends
    /// part before that, nobody knows whether he does.
    pub fn unsettled(&self) -> Option<u64> {
        self.finished.as_ref().filter(|finished| finished.pads.is_some()).map(|finished| finished.number)
    }

    /// A message about a block that is not in the making. It begins one if it is Bob's first about slots that are free;
    /// the block before is then over. Numbers are not compared, but for those of blocks that were given out: an
    /// invented number is forgotten as soon as a true one comes.
    fn begin_block(&mut self, frame: &Frame<'_>) {
        let sift = if frame.kind == Kind::Sift && frame.sequence == 0 { Sift::decode(frame.payload) } else { None };
        let Some(sift) = sift.filter(|sift| self.memory.covers(&sift.slots)) else {
            if frame.kind != Kind::GiveUp {
                let known = self.given_up.filter(|reason| reason.block() == frame.block);
                let stray = DiscardReason::Tampered { block: frame.block, what: STRAY };
                self.post.give_up(&known.unwrap_or(stray));
            }
            return;
        };
        if let Some(before) = self.making.take() {
            self.discard(&before, DiscardReason::PeerGaveUp { block: before.tally.number }, false);
        }
        let making = Making {
            talk: Talk::new(frame.block, &self.to_bob, &self.from_bob),
            tally: Tally::new(frame.block, sift.slots.start),
            key: BitString::new(),
            bob_finished: sift.finished,
            step: Step::Sifting,
        };
        self.continue_block(making, frame);
    }

    fn continue_block(&mut self, mut making: Making, frame: &Frame<'_>) {
        let block = making.tally.number;
        if frame.kind == Kind::GiveUp {
            return self.discard(&making, reason::decode(block, frame.payload), false);
        }
        let outcome = match making.talk.hear(frame) {
            Turn::Copy => {
                self.making = Some(making);
                return;
            }
            Turn::Early => Err(DiscardReason::Tampered { block, what: MISSING }),
            Turn::Next => self.step(&mut making, frame),
        };
        match outcome {
            Ok(Some(next)) => {
                let waits = if matches!(next, Step::Releasing(_)) { MAX_CONFIRM_REPEATS + 1 } else { 1 };
                making.step = next;
                self.making = Some(making);
                self.post.wait(Some(self.config.timeout.saturating_mul(waits)));
            }
            Ok(None) => self.post.wait(None),
            Err(reason) => self.discard(&making, reason, true),
        }
    }

    /// Does what the next message asks for. `None`: the block is finished.
    fn step(&mut self, making: &mut Making, frame: &Frame<'_>) -> Result<Option<Step>, DiscardReason> {
        let block = making.tally.number;
        let tampered = |what| DiscardReason::Tampered { block, what };
        let malformed = || tampered(MALFORMED);
        match (std::mem::replace(&mut making.step, Step::Sifting), frame.kind) {
            (Step::Sifting, Kind::Sift) => {
                let sift = Sift::decode(frame.payload).ok_or_else(malformed)?;
                self.sort(making, &sift).map(Some)
            }
            (Step::Counting, Kind::Errors) => self.count(making, frame.payload).map(Some),
            (Step::Correcting { mut cascade, asks }, Kind::Ask) => {
                let answer = cascade.answer(frame.payload).map_err(|_malformed| malformed())?;
                if asks >= MAX_ASKS || cascade.disclosed() > making.tally.sifted_bits() {
                    return Err(tampered(TOO_MANY));
                }
                making.talk.say(Kind::Answer, &mut self.post, |out| out.extend_from_slice(&answer));
                Ok(Some(Step::Correcting { cascade, asks: asks + 1 }))
            }
            (Step::Correcting { cascade, .. }, Kind::Corrected) => {
                self.verify(making, *cascade, frame.payload).map(Some)
            }
            (Step::Verifying { key }, Kind::Verified) if frame.payload.is_empty() => {
                self.amplify(making, key).map(Some)
            }
            (Step::Releasing(releasing), Kind::Confirm) => self.release(making, &releasing, frame).map(|()| None),
            _ => Err(tampered(UNEXPECTED)),
        }
    }

    fn sort(&mut self, making: &mut Making, sift: &Sift) -> Result<Step, DiscardReason> {
        let tampered = |what| DiscardReason::Tampered { block: making.tally.number, what };
        let room = self.config.block_slots.saturating_sub(making.tally.pulses);
        if sift.finished != making.bob_finished {
            return Err(tampered(MALFORMED));
        }
        if !self.memory.covers(&sift.slots) || sift.slots.end - sift.slots.start > room {
            return Err(tampered(SLOTS));
        }
        let sorted = self.memory.sort(sift, &mut making.key);
        making.tally.add_stretch(&sift.slots, &sorted);
        making.talk.say(Kind::SiftReply, &mut self.post, |out| encode_reply(&sorted, out));
        Ok(Step::Counting)
    }

    fn count(&mut self, making: &mut Making, payload: &[u8]) -> Result<Step, DiscardReason> {
        let Making { talk, tally, key, .. } = making;
        let read = |payload| {
            let mut reader = Reader(payload);
            let counted = (read_counts(&mut reader)?, reader.u8().filter(|bright| *bright <= 1)? == 1);
            reader.end().map(|()| counted)
        };
        read(payload)
            .and_then(|(errors, bright_light)| tally.add_errors(errors, bright_light))
            .ok_or(DiscardReason::Tampered { block: tally.number, what: MALFORMED })?;
        self.post.tell(EndEvent::Progress(tally.progress(&self.config)));
        if let Some(reason) = tally.objection(&self.config) {
            return Err(reason);
        }
        if !tally.is_full(&self.config) {
            return Ok(Step::Sifting);
        }
        let seed = self.rng.next_u64();
        talk.say(Kind::Start, &mut self.post, |out| {
            out.extend_from_slice(&seed.to_le_bytes());
            out.extend_from_slice(&tally.sifted_bits().to_le_bytes());
        });
        let cascade = CascadeAlice::new(std::mem::take(key), tally.cascade(&self.config, seed));
        Ok(Step::Correcting { cascade: Box::new(cascade), asks: 0 })
    }

    fn verify(&mut self, making: &mut Making, cascade: CascadeAlice, payload: &[u8]) -> Result<Step, DiscardReason> {
        let Making { talk, tally, .. } = making;
        let mut reader = Reader(payload);
        let errors = read_counts(&mut reader).filter(|_| reader.end().is_some());
        errors
            .and_then(|errors| tally.add_correction(errors, cascade.disclosed()))
            .ok_or(DiscardReason::Tampered { block: tally.number, what: MALFORMED })?;
        let pads = self.pads_wanted(tally);
        if let Some(reason) = tally.objection_after_correction(&self.config, refill_bits(pads)) {
            return Err(reason);
        }
        let key = cascade.into_key();
        let mut hash_key = [0; verify::HASH_BYTES];
        self.rng.fill_bytes(&mut hash_key);
        tally.add_verification();
        talk.say(Kind::Verify, &mut self.post, |out| {
            out.extend_from_slice(&hash_key);
            out.extend_from_slice(&verify::hash(&hash_key, &key));
        });
        Ok(Step::Verifying { key })
    }

    /// How many pads the block's output must give, for each direction: what the stocks lack after its three tags.
    fn pads_wanted(&self, tally: &Tally) -> (u16, u16) {
        let coming = self.finished.as_ref().and_then(|finished| finished.pads.as_ref());
        let pads = |bytes: &SecretBytes| bytes.len() / super::auth::TAG_BYTES;
        let (for_alice, for_bob) = coming.map_or((0, 0), |(alice, bob)| (pads(alice), pads(bob)));
        let missing = (self.to_bob.missing(2, for_alice), self.from_bob.missing(1, for_bob));
        refill(tally.output_bits(&self.config), missing)
    }

    fn amplify(&mut self, making: &mut Making, key: BitString) -> Result<Step, DiscardReason> {
        let Making { talk, tally, .. } = making;
        let no_pads = DiscardReason::NoAuthenticationKey { block: tally.number };
        if self.to_bob.left() < 2 {
            return Err(no_pads);
        }
        let pads = self.pads_wanted(tally);
        let output_bits = usize::try_from(tally.output_bits(&self.config)).unwrap_or(usize::MAX).min(key.len());
        let seed_bits = toeplitz::seed_bits(key.len(), output_bits);
        let seed: Vec<u64> = (0..seed_bits.div_ceil(64)).map(|_| self.rng.next_u64()).collect();
        talk.say_signed(Kind::Amplify, &mut self.post, &mut self.to_bob, |out| {
            out.extend_from_slice(&(output_bits as u64).to_le_bytes());
            out.extend_from_slice(&pads.0.to_le_bytes());
            out.extend_from_slice(&pads.1.to_le_bytes());
            out.extend(seed.iter().flat_map(|word| word.to_le_bytes()));
        })
        .ok_or(no_pads)?;
        let forgery = talk.said().forgery_bound();
        Ok(Step::Releasing(Releasing { key, seed, output_bits, pads, forgery }))
    }

    /// Bob has the final key: checks his tag over all that he said, and gives the block out.
    fn release(&mut self, making: &mut Making, last: &Releasing, frame: &Frame<'_>) -> Result<(), DiscardReason> {
        let Making { talk, tally, bob_finished, .. } = making;
        let block = tally.number;
        let bob_has = |finished: &&mut Finished| finished.number == *bob_finished;
        let coming = self.finished.as_mut().filter(bob_has).and_then(|finished| finished.pads.as_ref());
        let coming = coming.map_or(&[][..], |(_, for_bob)| for_bob.expose("a pad checks a tag"));
        let signed = Signed::parse(frame.payload).filter(|signed| signed.fields.is_empty());
        let signed = signed.filter(|signed| self.from_bob.is_right(signed.index, talk.heard(), signed.tag, coming));
        let signed = signed.ok_or(DiscardReason::Tampered { block, what: TAG })?;

        // From here on all that Bob said is known to be his.
        if let Some((for_alice, for_bob)) = self.finished.as_mut().and_then(|finished| finished.pads.take()) {
            let number = self.finished.as_ref().map_or(0, |finished| finished.number);
            if number == *bob_finished {
                self.to_bob.refill(for_alice);
                self.from_bob.refill(for_bob);
            } else {
                self.post.tell(EndEvent::Void { number });
            }
        }
        self.from_bob.drop_through(signed.index);
        let commit = talk
            .say_signed(Kind::Commit, &mut self.post, &mut self.to_bob, |_| {})
            .ok_or(DiscardReason::NoAuthenticationKey { block })?;

        let output = toeplitz::hash(&last.key, &last.seed, last.output_bits);
        let [for_alice, for_bob, bits] = divide(output, last.pads);
        let forgery = last.forgery + talk.heard().forgery_bound() + talk.said().forgery_bound();
        let passed = Passed { auth_bits: refill_bits(last.pads), key_bits: 8 * bits.len() as u64, forgery };
        let report = tally.report(&self.config, Some(passed));
        self.post.tell(EndEvent::Block { block: KeyBlock { number: block, bits }, report });
        let confirm = frame.bytes.to_vec();
        self.finished = Some(Finished { number: block, confirm, commit, pads: Some((for_alice, for_bob)) });
        Ok(())
    }

    fn discard(&mut self, making: &Making, reason: DiscardReason, tell_bob: bool) {
        self.post.wait(None);
        self.given_up = Some(reason);
        if tell_bob {
            self.post.give_up(&reason);
        }
        let report = making.tally.report(&self.config, None);
        self.post.tell(EndEvent::Discarded { report, reason });
    }
}

impl Step {
    fn waits_for(&self) -> &'static str {
        match self {
            Self::Sifting => reason::SIFT,
            Self::Counting => reason::ERRORS,
            Self::Correcting { .. } => reason::QUESTION,
            Self::Verifying { .. } => reason::VERIFICATION,
            Self::Releasing(_) => reason::CONFIRMATION,
        }
    }
}

impl std::fmt::Debug for Alice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alice")
            .field("making", &self.making.as_ref().map(|making| making.tally.number))
            .field("finished", &self.finished.as_ref().map(|finished| finished.number))
            .field("pads", &(self.to_bob.left(), self.from_bob.left()))
            .finish_non_exhaustive()
    }
}
