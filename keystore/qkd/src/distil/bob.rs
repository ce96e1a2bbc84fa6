//! The receiving end.

use std::ops::Range;
use std::time::Duration;

use vernam_key::SecretBytes;

use super::auth::Pads;
use super::cascade::CascadeBob;
use super::limits::{MAX_ASKS, MAX_CONFIRM_REPEATS};
use super::reason::{self, DIFFERENT, MALFORMED, MISSING, TAG, TOO_MANY, UNEXPECTED};
use super::sift::{Sift, Sorted, decode_reply};
use super::talk::{Post, Signed, Talk, Turn, divide, put_counts};
use super::tally::{Passed, Tally, refill_bits};
use super::waiting::{Stretch, Waiting};
use super::wire::{Frame, Kind, Reader};
use super::{AuthKey, EndConfig, EndConfigError, EndEvent, toeplitz, verify};
use crate::bits::BitString;
use crate::block::{BlockReport, DiscardReason, KeyBlock};
use crate::pulse::Detection;

/// The receiving end's post-processing: a state machine without clock or I/O.
///
/// Give it what was detected, Alice's messages and the time; take its messages and events. It leads: a block begins
/// with what it detected, and ends when it has the size that both were set to.
pub struct Bob {
    config: EndConfig,
    waiting: Waiting,
    to_alice: Pads,
    from_alice: Pads,
    post: Post,
    /// The block in the making, or the next.
    number: u64,
    /// The last block that was given out; 0 if there is none.
    finished: u64,
    making: Option<Making>,
}

/// The block in the making.
struct Making {
    talk: Talk,
    tally: Tally,
    /// The sifted key, until error correction takes it.
    key: BitString,
    /// The intensity of each of its bits, as the index of [`crate::Intensity::ALL`].
    intensities: Vec<u8>,
    step: Step,
}

/// What was done last for the block.
enum Step {
    /// All stretches so far are sorted and counted; the next one is needed.
    Gathering,
    /// Alice sorts a stretch.
    Sifting(Stretch),
    /// The block is full; Alice begins error correction.
    Starting,
    /// Alice answers a question.
    Correcting { cascade: Box<CascadeBob>, asks: u32 },
    /// All is corrected; Alice makes a hash.
    Verifying { key: BitString },
    /// The hashes are the same; Alice says how to shorten the key.
    Amplifying { key: BitString },
    /// The final key is made; Alice has the last word.
    Committing(Committing),
}

/// What is given out, once Alice has it too.
struct Committing {
    output: [SecretBytes; 3],
    pads: (u16, u16),
    /// Said again if no answer comes.
    confirm: Vec<u8>,
    repeats: u32,
    /// How likely one of the first two tags was forged.
    forgery: f64,
}

impl Bob {
    /// Before the first block.
    pub fn new(config: EndConfig, auth: AuthKey) -> Result<Self, EndConfigError> {
        config.validate()?;
        let (from_alice, to_alice) = auth.split();
        Ok(Self {
            config,
            waiting: Waiting::default(),
            to_alice,
            from_alice,
            post: Post::default(),
            number: config.first_block,
            finished: 0,
            making: None,
        })
    }

    /// Takes what was detected in one stretch of slots, in rising order of slots. Stretches rise. `bright_light`: the
    /// monitor saw light far brighter than Alice's. While Alice is being waited for, stretches wait, up to
    /// [`super::limits::MAX_STRETCHES`]; then the oldest are lost.
    pub fn detected(&mut self, slots: Range<u64>, detections: Vec<Detection>, bright_light: bool, now: Duration) {
        self.post.set_time(now);
        self.waiting.keep(slots, detections, bright_light);
        self.gather();
    }

    /// Takes one message of Alice's, or of whoever speaks in her name. All that is not about the block in the making is
    /// left aside.
    pub fn handle_message(&mut self, message: &[u8], now: Duration) {
        self.post.set_time(now);
        let Some(frame) = Frame::parse(message).filter(|_| !self.post.is_full()) else { return };
        let Some(mut making) = self.making.take() else { return };
        let block = making.tally.number;
        if frame.block != block {
            self.making = Some(making);
            return;
        }
        if frame.kind == Kind::GiveUp {
            return self.discard(&making, reason::decode(block, frame.payload), false);
        }
        let outcome = match making.talk.hear(&frame) {
            Turn::Copy => {
                self.making = Some(making);
                return;
            }
            Turn::Early => Err(DiscardReason::Tampered { block, what: MISSING }),
            Turn::Next => self.step(&mut making, &frame),
        };
        match outcome {
            Ok(Some(next)) => {
                let idle = matches!(next, Step::Gathering);
                making.step = next;
                self.making = Some(making);
                self.post.wait((!idle).then_some(self.config.timeout));
            }
            Ok(None) => {
                self.post.wait(None);
                self.number += 1;
            }
            Err(reason) => return self.discard(&making, reason, true),
        }
        self.gather();
    }

    /// The next message for Alice, to be delivered in this order.
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
        let Some(mut making) = self.making.take() else { return };
        if let Step::Committing(committing) = &mut making.step
            && committing.repeats < MAX_CONFIRM_REPEATS
        {
            committing.repeats += 1;
            self.post.send(committing.confirm.clone());
            self.post.wait(Some(self.config.timeout));
            self.making = Some(making);
            return;
        }
        let (block, waiting_for) = (making.tally.number, making.step.waits_for());
        self.discard(&making, DiscardReason::TimedOut { block, waiting_for }, true);
    }

    /// When to call [`Self::handle_timeout`] next, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.post.deadline()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EndEvent> {
        self.post.next_event()
    }

    /// Begins a block, or goes on with it, if there is something to sift and nothing is being waited for.
    fn gather(&mut self) {
        if self.making.as_ref().is_some_and(|making| !matches!(making.step, Step::Gathering)) {
            return;
        }
        let pulses = self.making.as_ref().map_or(0, |making| making.tally.pulses);
        let Some(stretch) = self.waiting.next(self.config.block_slots.saturating_sub(pulses)) else { return };
        let (number, to_alice, from_alice) = (self.number, &self.to_alice, &self.from_alice);
        let making = self.making.get_or_insert_with(|| Making {
            talk: Talk::new(number, to_alice, from_alice),
            tally: Tally::new(number, stretch.slots.start),
            key: BitString::new(),
            intensities: Vec::new(),
            step: Step::Gathering,
        });
        let places = stretch.places;
        let sift = Sift { finished: self.finished, slots: stretch.slots.clone(), places };
        making.talk.say(Kind::Sift, &mut self.post, |out| sift.encode(out));
        making.step = Step::Sifting(Stretch { places: sift.places, ..stretch });
        self.post.wait(Some(self.config.timeout));
    }

    /// Does what the next message asks for. `None`: the block is finished.
    fn step(&mut self, making: &mut Making, frame: &Frame<'_>) -> Result<Option<Step>, DiscardReason> {
        let block = making.tally.number;
        let tampered = |what| DiscardReason::Tampered { block, what };
        match (std::mem::replace(&mut making.step, Step::Gathering), frame.kind) {
            (Step::Sifting(stretch), Kind::SiftReply) => self.count(making, &stretch, frame.payload).map(Some),
            (Step::Starting, Kind::Start) => self.start(making, frame.payload).map(Some),
            (Step::Correcting { mut cascade, asks }, Kind::Answer) => {
                cascade.handle_answer(frame.payload).map_err(|_malformed| tampered(MALFORMED))?;
                self.ask(making, cascade, asks).map(Some)
            }
            (Step::Verifying { key }, Kind::Verify) => self.verify(making, key, frame.payload).map(Some),
            (Step::Amplifying { key }, Kind::Amplify) => self.amplify(making, &key, frame.payload).map(Some),
            (Step::Committing(committing), Kind::Commit) => {
                self.commit(making, committing, frame.payload).map(|()| None)
            }
            _ => Err(tampered(UNEXPECTED)),
        }
    }

    fn count(&mut self, making: &mut Making, stretch: &Stretch, payload: &[u8]) -> Result<Step, DiscardReason> {
        let Making { talk, tally, key, intensities, .. } = making;
        let sorted = decode_reply(payload, &stretch.places)
            .ok_or(DiscardReason::Tampered { block: tally.number, what: MALFORMED })?;
        let mut errors = [0; 3];
        for (at, entry) in sorted.iter().enumerate() {
            let bit = stretch.bits.get(at);
            match *entry {
                Sorted::Lost => {}
                Sorted::Key(intensity) => {
                    key.push(bit);
                    intensities.push(u8::try_from(intensity.index()).expect("there are three"));
                }
                Sorted::Test(intensity, hers) => errors[intensity.index()] += u64::from(bit != hers),
            }
        }
        tally.add_stretch(&stretch.slots, &sorted);
        tally.add_errors(errors, stretch.bright_light).expect("errors are counted among the bits of the stretch");
        talk.say(Kind::Errors, &mut self.post, |out| {
            put_counts(errors, out);
            out.push(u8::from(stretch.bright_light));
        });
        self.post.tell(EndEvent::Progress(tally.progress(&self.config)));
        if let Some(reason) = tally.objection(&self.config) {
            return Err(reason);
        }
        Ok(if tally.is_full(&self.config) { Step::Starting } else { Step::Gathering })
    }

    fn start(&mut self, making: &mut Making, payload: &[u8]) -> Result<Step, DiscardReason> {
        let tampered = |what| DiscardReason::Tampered { block: making.tally.number, what };
        let mut reader = Reader(payload);
        let (seed, bits) = (reader.u64(), reader.u64());
        let (Some(seed), Some(bits), Some(())) = (seed, bits, reader.end()) else { return Err(tampered(MALFORMED)) };
        if bits != making.tally.sifted_bits() {
            return Err(tampered(DIFFERENT));
        }
        let cascade = CascadeBob::new(std::mem::take(&mut making.key), making.tally.cascade(&self.config, seed));
        self.ask(making, Box::new(cascade), 0)
    }

    /// Asks the next questions of error correction, or says that all is corrected.
    fn ask(&mut self, making: &mut Making, mut cascade: Box<CascadeBob>, mut asks: u32) -> Result<Step, DiscardReason> {
        let Making { talk, tally, intensities, .. } = making;
        let before = asks;
        while let Some(ask) = cascade.poll_ask() {
            asks += 1;
            if asks > MAX_ASKS {
                return Err(DiscardReason::Tampered { block: tally.number, what: TOO_MANY });
            }
            talk.say(Kind::Ask, &mut self.post, |out| out.extend_from_slice(&ask));
        }
        if asks > before || !cascade.is_done() {
            return Ok(Step::Correcting { cascade, asks });
        }
        let disclosed = cascade.disclosed();
        let (key, flipped) = cascade.into_key();
        let mut errors = [0; 3];
        for place in flipped {
            let intensity = usize::try_from(place).ok().and_then(|place| intensities.get(place));
            errors[usize::from(*intensity.expect("only bits of the key are flipped"))] += 1;
        }
        tally.add_correction(errors, disclosed).expect("errors are counted among the bits of the key");
        talk.say(Kind::Corrected, &mut self.post, |out| put_counts(errors, out));
        match tally.objection_after_correction(&self.config, 0) {
            Some(reason) => Err(reason),
            None => Ok(Step::Verifying { key }),
        }
    }

    fn verify(&mut self, making: &mut Making, key: BitString, payload: &[u8]) -> Result<Step, DiscardReason> {
        let Making { talk, tally, .. } = making;
        let block = tally.number;
        let mut reader = Reader(payload);
        let (hash_key, hash) = (reader.array(), reader.array());
        let (Some(hash_key), Some(hash), Some(())) = (hash_key, hash, reader.end()) else {
            return Err(DiscardReason::Tampered { block, what: MALFORMED });
        };
        tally.add_verification();
        // Not secret: Alice's hash is public, and of Bob's only whether it is the same.
        if verify::hash(&hash_key, &key) != hash {
            return Err(DiscardReason::Unequal { block });
        }
        talk.say(Kind::Verified, &mut self.post, |_| {});
        Ok(Step::Amplifying { key })
    }

    /// Alice said how to shorten the key: checks her tag over all that she said, and shortens it.
    fn amplify(&mut self, making: &mut Making, key: &BitString, payload: &[u8]) -> Result<Step, DiscardReason> {
        let Making { talk, tally, .. } = making;
        let block = tally.number;
        let tampered = |what| DiscardReason::Tampered { block, what };
        let signed = Signed::parse(payload);
        let signed = signed.filter(|signed| self.from_alice.is_right(signed.index, talk.heard(), signed.tag, &[]));
        let signed = signed.ok_or_else(|| tampered(TAG))?;
        self.from_alice.drop_through(signed.index);

        let mut reader = Reader(signed.fields);
        let (output_bits, for_alice, for_bob) = (reader.u64(), reader.u16(), reader.u16());
        let output_bits = output_bits.filter(|bits| *bits == tally.output_bits(&self.config));
        let (Some(output_bits), Some(for_alice), Some(for_bob)) = (output_bits, for_alice, for_bob) else {
            return Err(tampered(DIFFERENT));
        };
        let output_bits = usize::try_from(output_bits).map_err(|_too_long| tampered(DIFFERENT))?;
        let seed: Vec<u64> = reader.0.chunks_exact(8).map(|word| Reader(word).u64().unwrap_or_default()).collect();
        let words = toeplitz::seed_bits(key.len(), output_bits).div_ceil(64);
        let pads = (for_alice, for_bob);
        if reader.0.len() != words * 8 || refill_bits(pads) >= output_bits as u64 {
            return Err(tampered(DIFFERENT));
        }
        let output = divide(toeplitz::hash(key, &seed, output_bits), pads);
        let confirm = talk
            .say_signed(Kind::Confirm, &mut self.post, &mut self.to_alice, |_| {})
            .ok_or(DiscardReason::NoAuthenticationKey { block })?;
        let forgery = talk.heard().forgery_bound() + talk.said().forgery_bound();
        Ok(Step::Committing(Committing { output, pads, confirm, repeats: 0, forgery }))
    }

    /// Alice has given the block out: so does Bob.
    fn commit(&mut self, making: &mut Making, last: Committing, payload: &[u8]) -> Result<(), DiscardReason> {
        let Making { talk, tally, .. } = making;
        let number = tally.number;
        let signed = Signed::parse(payload).filter(|signed| signed.fields.is_empty());
        let signed = signed.filter(|signed| self.from_alice.is_right(signed.index, talk.heard(), signed.tag, &[]));
        let signed = signed.ok_or(DiscardReason::Tampered { block: number, what: TAG })?;
        self.from_alice.drop_through(signed.index);
        let [for_alice, for_bob, bits] = last.output;
        self.from_alice.refill(for_alice);
        self.to_alice.refill(for_bob);
        self.finished = number;
        let forgery = last.forgery + talk.heard().forgery_bound();
        let passed = Passed { auth_bits: refill_bits(last.pads), key_bits: 8 * bits.len() as u64, forgery };
        let report: BlockReport = tally.report(&self.config, Some(passed));
        self.post.tell(EndEvent::Block { block: KeyBlock { number, bits }, report });
        Ok(())
    }

    fn discard(&mut self, making: &Making, reason: DiscardReason, tell_alice: bool) {
        self.post.wait(None);
        if tell_alice {
            self.post.give_up(&reason);
        }
        let report = making.tally.report(&self.config, None);
        self.post.tell(EndEvent::Discarded { report, reason });
        self.number += 1;
        self.gather();
    }
}

impl Step {
    fn waits_for(&self) -> &'static str {
        match self {
            Self::Gathering | Self::Sifting(_) => reason::REPLY,
            Self::Starting => reason::START,
            Self::Correcting { .. } => reason::ANSWER,
            Self::Verifying { .. } => reason::VERIFICATION,
            Self::Amplifying { .. } => reason::AMPLIFICATION,
            Self::Committing(_) => reason::COMMITMENT,
        }
    }
}

impl std::fmt::Debug for Bob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bob")
            .field("number", &self.number)
            .field("finished", &self.finished)
            .field("pads", &(self.to_alice.left(), self.from_alice.left()))
            .finish_non_exhaustive()
    }
}
