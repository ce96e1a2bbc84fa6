//! A link simulated photon by photon, with all of its post-processing, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{CryptoRng, SeedableRng};
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};
use vernam_key::SecretBytes;

use crate::block::{BlockPair, BlockReport, DiscardReason, KeyBlock, LinkEvent, LinkState, Progress};
use crate::distil::{Alice, AuthKey, Bob, EndConfig, EndEvent};
use crate::draw::{system_generator, to_count, to_f64};
use crate::eve::{Eve, EveNotes};
use crate::link::{LinkConfig, LinkError};
use crate::optics::{Receiver, Sent, Transmitter, Trouble};
use crate::pulse::{Basis, Detection};
use crate::tally::{EveTally, Tally};

/// Clicks that one stretch of light should give: few enough to stay in a processor's cache on their way to the key.
const CLICKS_PER_STRETCH: f64 = 10_000.0;
/// Progress is told no more often than this.
const PROGRESS_PACE: Duration = Duration::from_millis(100);
/// No stretch of light is longer, so that there is something to see and an alarm comes soon.
const LONGEST_STRETCH: Duration = Duration::from_millis(500);
/// Bytes of start-up secret that the two ends share: the keys of a thousand messages' tags and more.
const STARTUP_SECRET: usize = 64 * 1024;
/// Messages that the two ends may exchange over one stretch of light. A block of Cascade takes some hundreds.
const MOST_MESSAGES: usize = 100_000;

/// One decoy-state BB84 link with everything that happens on it: pulses, clicks, sifting, error correction, privacy
/// amplification, and Eve.
///
/// A state machine without clock or I/O, and with the same methods as the fast model, [`crate::RateLink`]. Tell it the
/// time with [`Self::advance`], then take what happened with [`Self::poll_event`] until there is nothing left. The light
/// is sent as the events are taken, so that hours of virtual time cost no memory.
///
/// Both ends live in it, and hand each other their messages without delay. To have them in two processes, use
/// [`crate::distil::Alice`] and [`crate::distil::Bob`] themselves.
pub struct PhotonLink {
    config: LinkConfig,
    transmitter: Transmitter,
    receiver: Receiver,
    alice: Alice,
    bob: Bob,
    slots_per_second: f64,
    stretch: u64,
    now: Duration,
    sent_slots: u64,
    state: LinkState,
    tally: Tally,
    tapped: Tapped,
    out: VecDeque<LinkEvent>,
    next_progress: Duration,
    waiting: Waiting,
}

/// What one end has said of a block and the other not yet.
#[derive(Default)]
struct Waiting {
    alice: Option<KeyBlock>,
    bob: Option<(KeyBlock, BlockReport)>,
    discarded: Option<u64>,
}

/// Who and what is on the line, and whether somebody was in the block in the making.
#[derive(Default)]
struct Tapped {
    eve: Option<Eve>,
    trouble: Option<Trouble>,
    block: bool,
}

impl PhotonLink {
    /// A link at virtual time zero. All randomness comes from `rng`: what Alice prepares and Bob measures, the luck of the
    /// photons, and the seeds of the post-processing.
    pub fn new(config: LinkConfig, rng: impl CryptoRng) -> Result<Self, LinkError> {
        config.validate()?;
        let ends = config.ends();
        Self::with_ends(config, ends, rng)
    }

    /// The same with another post-processing than [`LinkConfig::ends`] asks for: another variant of error correction, say,
    /// or block numbers that go on where another link's ended.
    pub fn with_ends(config: LinkConfig, ends: EndConfig, mut rng: impl CryptoRng) -> Result<Self, LinkError> {
        config.validate()?;
        let slots_per_second = config.slots_per_second();
        let mut seed = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        let light = ChaCha8Rng::from_seed(seed());
        let eyes = ChaCha8Rng::from_seed(seed());
        let choices = Box::new(ChaCha20Rng::from_seed(seed()));
        let secret = SecretBytes::random(STARTUP_SECRET, &mut rng);
        let copy = SecretBytes::copy_of(secret.expose("the simulation installs the start-up secret at both ends"));
        let stretch = stretch(&config, slots_per_second);
        Ok(Self {
            transmitter: Transmitter::new(&config.device, config.loss_db(), config.background, light),
            receiver: Receiver::new(&config.device, eyes),
            alice: Alice::new(ends, startup(secret), choices)?,
            bob: Bob::new(ends, startup(copy))?,
            config,
            slots_per_second,
            stretch,
            now: Duration::ZERO,
            sent_slots: 0,
            state: LinkState::Starting,
            tally: Tally::default(),
            tapped: Tapped::default(),
            out: VecDeque::new(),
            next_progress: Duration::ZERO,
            waiting: Waiting::default(),
        })
    }

    /// A link whose every bit follows from `seed`: for tests and for pictures that must come out the same. Its key is
    /// worth nothing to anybody who wants a secret.
    pub fn from_seed(config: LinkConfig, seed: u64) -> Result<Self, LinkError> {
        Self::new(config, ChaCha20Rng::seed_from_u64(seed))
    }

    /// A link on randomness of the operating system: `ChaCha20` under 256 bits drawn from it.
    pub fn from_os_randomness(config: LinkConfig) -> Result<Self, LinkError> {
        Self::new(config, system_generator()?)
    }

    /// Lets the virtual time since the start become `to`. An earlier time than before changes nothing.
    pub fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
    }

    /// The next thing that happened up to now, oldest first; `None` once all of it has been told.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Some(event);
            }
            if self.next_event_at() > self.now {
                return None;
            }
            self.shine();
        }
    }

    /// Puts somebody on the line, or takes them off it, from the next stretch of light on.
    pub fn set_eve(&mut self, eve: Option<Eve>) {
        self.transmitter.set_eve(eve);
        self.tapped.eve = eve;
    }

    /// Lets something go wrong with the line, or puts it right, from the next stretch of light on.
    pub fn set_trouble(&mut self, trouble: Option<Trouble>) {
        self.transmitter.set_trouble(trouble);
        self.tapped.trouble = trouble;
    }

    /// Who is on the line now.
    pub fn eve(&self) -> Option<Eve> {
        self.tapped.eve
    }

    /// What is wrong with the line now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.tapped.trouble
    }

    /// How the link is doing, as of the last event made.
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// When the next stretch of light will be over: the next time at which to call [`Self::advance`].
    pub fn next_event_at(&self) -> Duration {
        self.time_of(self.sent_slots + self.stretch)
    }

    /// The virtual time up to which the link has been told to run.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What the link was made from.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What Eve knew of the last finished block's sifted key.
    pub fn eve_tally(&self) -> EveTally {
        self.tally.last()
    }

    fn time_of(&self, slot: u64) -> Duration {
        Duration::try_from_secs_f64(to_f64(slot) / self.slots_per_second).unwrap_or(Duration::MAX)
    }

    fn slot_at(&self, time: Duration) -> u64 {
        to_count((time.as_secs_f64() * self.slots_per_second).round())
    }

    /// One stretch of light, and all that the two ends say to each other over it.
    fn shine(&mut self) {
        let slots = self.sent_slots..self.sent_slots + self.stretch;
        self.sent_slots = slots.end;
        let at = self.time_of(slots.end);
        let (sent, light, notes) = self.transmitter.send(slots.clone());
        let detections = self.receiver.detect(&light);
        if self.tapped.eve.is_some() {
            self.tally.add(known_to_eve(&sent, &detections, notes).into_iter());
        }
        self.tapped.block |= self.tapped.now();
        self.alice.sent(sent);
        self.bob.detected(slots, detections, self.receiver.saw_bright_light(), at);
        self.talk(at);
        // Neither waits for a message that the other will not send; should one be lost all the same, they give up here.
        self.alice.handle_timeout(at);
        self.bob.handle_timeout(at);
        self.talk(at);
    }

    /// Carries messages between the two until neither has anything to say.
    fn talk(&mut self, at: Duration) {
        for _ in 0..MOST_MESSAGES {
            if let Some(message) = self.bob.poll_message() {
                self.alice.handle_message(&message, at);
            } else if let Some(message) = self.alice.poll_message() {
                self.bob.handle_message(&message, at);
            } else {
                break;
            }
            self.listen();
        }
        self.listen();
    }

    /// Takes what the two ends report.
    fn listen(&mut self) {
        while let Some(event) = self.alice.poll_event() {
            match event {
                EndEvent::Block { block, .. } => self.waiting.alice = Some(block),
                // Bob reports the same.
                EndEvent::Progress(_) | EndEvent::Void { .. } => {}
                EndEvent::Discarded { report, reason } => self.discard(report, reason),
            }
            self.join();
        }
        while let Some(event) = self.bob.poll_event() {
            match event {
                EndEvent::Block { block, report } => self.waiting.bob = Some((block, report)),
                EndEvent::Progress(progress) => self.tell(progress),
                EndEvent::Discarded { report, reason } => self.discard(report, reason),
                EndEvent::Void { .. } => {}
            }
            self.join();
        }
    }

    /// Tells of progress, if it was not told of just now.
    fn tell(&mut self, progress: Progress) {
        if progress.at >= self.next_progress {
            self.next_progress = progress.at + PROGRESS_PACE;
            self.out.push_back(LinkEvent::Progress(progress));
        }
    }

    /// Gives out a block that both ends have.
    fn join(&mut self) {
        let numbers = (
            self.waiting.alice.as_ref().map(|block| block.number),
            self.waiting.bob.as_ref().map(|(block, _)| block.number),
        );
        let (Some(ours), Some(theirs)) = numbers else { return };
        if ours < theirs {
            self.waiting.alice = None;
        } else if theirs < ours {
            self.waiting.bob = None;
        } else if let (Some(alice), Some((bob, mut report))) = (self.waiting.alice.take(), self.waiting.bob.take()) {
            report.eve = self.tapped.finish();
            self.tally.close(&report, self.slot_at(report.end), true);
            self.state = LinkState::Up;
            self.out.push_back(LinkEvent::Block(BlockPair { alice, bob, report }));
        }
    }

    /// Both ends say that they threw the block away; it is told once.
    fn discard(&mut self, mut report: BlockReport, reason: DiscardReason) {
        if self.waiting.discarded.replace(report.number) == Some(report.number) {
            return;
        }
        report.eve = self.tapped.finish();
        self.tally.close(&report, self.slot_at(report.end), false);
        let since = if let LinkState::Alarm { since, .. } = self.state { since } else { report.end };
        self.state = LinkState::Alarm { since, reason };
        self.out.push_back(LinkEvent::Discarded { report, reason });
    }
}

impl Tapped {
    fn now(&self) -> bool {
        self.eve.is_some()
    }

    /// Whether the block that ends now was touched. What is left of the stretch of light belongs to the next.
    fn finish(&mut self) -> bool {
        let now = self.now();
        std::mem::replace(&mut self.block, now)
    }
}

/// The slots of the bits of the key basis that Eve knows for certain once both bases are public.
fn known_to_eve(sent: &Sent, detections: &[Detection], mut notes: EveNotes) -> Vec<u64> {
    let mut prepared = sent.candidates().peekable();
    let mut knows = |slot: u64| {
        while prepared.next_if(|(earlier, _)| *earlier < slot).is_some() {}
        let in_x = prepared.peek().is_some_and(|(at, pulse)| *at == slot && pulse.basis == Basis::X);
        in_x && notes.knows(slot, Basis::X).is_some()
    };
    let in_x = detections.iter().filter(|detection| detection.basis == Basis::X);
    in_x.map(|detection| detection.slot).filter(|slot| knows(*slot)).collect()
}

fn startup(secret: SecretBytes) -> AuthKey {
    AuthKey::new(secret).expect("STARTUP_SECRET is long enough")
}

/// Slots in one stretch of light.
fn stretch(config: &LinkConfig, slots_per_second: f64) -> u64 {
    let clicks = config.clicks_per_slot();
    let by_clicks = if clicks > 0.0 { CLICKS_PER_STRETCH / clicks } else { f64::INFINITY };
    to_count(by_clicks.min(slots_per_second * LONGEST_STRETCH.as_secs_f64())).max(1)
}

impl std::fmt::Debug for PhotonLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhotonLink")
            .field("device", &self.config.device.name)
            .field("loss_db", &self.config.loss_db())
            .field("now", &self.now)
            .field("sent_slots", &self.sent_slots)
            .field("state", &self.state)
            .field("eve", &self.tapped.eve)
            .field("trouble", &self.tapped.trouble)
            .finish_non_exhaustive()
    }
}
