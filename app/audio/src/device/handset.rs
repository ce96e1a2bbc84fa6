//! A person's mouth and ear: microphone and loudspeaker of a call, which may be unplugged, changed and come back.
//!
//! It opens nothing itself and never waits: a thread of its own does that (see `manager`) and hands the ends over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::bridge::{Intake, Outlet};
use super::manager;
use super::stand_in::Offers;
use super::{Choice, HandsetEvent, MAX_EVENTS, Part, Ringer, StandIn};
use crate::process::{Fader, Meter, Processing, Processor};
use crate::tone::ToneKind;
use crate::{FrameLength, Result, SAMPLE_RATE, error::DeviceError};

/// The microphone falls silent when for so many samples nobody saw that it is still the right one: 1 s. It is looked
/// at five times a second.
const UNCONFIRMED_SAMPLES: usize = SAMPLE_RATE as usize;

/// What a handset starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandsetSettings {
    /// Where the voice comes from.
    pub microphone: Choice,
    /// Where the contact is heard.
    pub speaker: Choice,
    /// Where it rings.
    pub ringer: Choice,
    /// What is done to the voice.
    pub processing: Processing,
}

/// How the devices are.
#[derive(Debug, Clone, PartialEq)]
pub struct HandsetStatus {
    /// The microphone's name, if one is open.
    pub microphone: Option<String>,
    /// The loudspeaker's name, if one is open.
    pub speaker: Option<String>,
    /// The microphone's level, dB below full scale, after processing.
    pub said_dbfs: f64,
    /// The loudspeaker's level, dB below full scale.
    pub heard_dbfs: f64,
    /// What is done to the voice.
    pub processing: Processing,
}

/// How sound flows between a device and the call, since the device was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFlow {
    /// Sound that waits between the device's thread and the call, at the lowest point of a frame.
    pub waits: Duration,
    /// Times that it ran dry.
    pub gaps: u64,
}

/// The sound of one call at a time, frame by frame.
pub struct Handset {
    shared: Arc<Shared>,
    intake: Taken<Intake>,
    /// Takes the edge off where a microphone is closed.
    edge: Fader,
    outlet: Taken<Outlet>,
    processor: Processor,
    processing: u8,
    said: Meter,
    heard: Meter,
    /// The last confirmation seen, and the samples since.
    confirmed: (u64, usize),
}

impl Handset {
    /// A handset whose devices are opened by a thread of its own: never waits. The microphone is open only while a
    /// `Handset` exists.
    ///
    /// Fails when the processing cannot be set up, or the machine has no thread to give.
    pub fn open(settings: HandsetSettings, frame: FrameLength) -> Result<(Self, HandsetControl)> {
        let processor = Processor::new(settings.processing, frame)?;
        let processing = pack(settings.processing);
        let events = Arc::new(Events::default());
        let shared = Arc::new(Shared {
            choices: Mutex::new(Choices { microphone: settings.microphone, speaker: settings.speaker }),
            names: Mutex::default(),
            offers: Offers::default(),
            ringer: Ringer::telling(settings.ringer, Arc::clone(&events)),
            events,
            microphone: Slot::default(),
            speaker: Slot::default(),
            confirmed: AtomicU64::new(0),
            processing: AtomicU8::new(processing),
            said: Level::default(),
            heard: Level::default(),
            microphone_flow: Flow::default(),
            speaker_flow: Flow::default(),
            closed: AtomicBool::new(false),
            poked: AtomicBool::new(false),
            manager: OnceLock::new(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sound-devices".to_owned());
        let thread = thread
            .spawn(move || manager::run(&own))
            .map_err(|error| DeviceError::Failed { name: "handset".to_owned(), reason: error.to_string() })?;
        let _ = shared.manager.set(thread.thread().clone());
        let control = HandsetControl { shared: Arc::clone(&shared) };
        let handset = Self {
            shared,
            intake: Taken::default(),
            edge: Fader::default(),
            outlet: Taken::default(),
            processor,
            processing,
            said: Meter::new(),
            heard: Meter::new(),
            confirmed: (0, 0),
        };
        Ok((handset, control))
    }

    /// The next frame of the person's voice: silence while no microphone is open. Once a frame's time; never waits.
    pub fn capture(&mut self, pcm: &mut [i16]) {
        let before = self.intake.version;
        let current = self.intake.sync(&self.shared.microphone);
        if self.intake.version != before {
            self.edge.cut();
        }
        let confirmed = self.shared.confirmed.load(Ordering::Acquire);
        let unconfirmed = if confirmed == self.confirmed.0 { self.confirmed.1 + pcm.len() } else { 0 };
        self.confirmed = (confirmed, unconfirmed);
        match &mut self.intake.end {
            Some(intake) => {
                intake.fill(pcm, !current || unconfirmed > UNCONFIRMED_SAMPLES);
                self.shared.microphone_flow.set(intake.waits(), intake.gaps());
            }
            None => pcm.fill(0),
        }
        self.edge.pass(pcm, true);
        let processing = self.shared.processing.load(Ordering::Relaxed);
        if processing != self.processing {
            self.processing = processing;
            self.processor.set(unpack(processing));
        }
        self.processor.capture(pcm);
        self.shared.said.set(self.said.push(pcm));
    }

    /// Plays a frame. Once a frame's time; never waits.
    pub fn play(&mut self, pcm: &[i16]) {
        self.outlet.sync(&self.shared.speaker);
        self.processor.render(pcm);
        if let Some(outlet) = &mut self.outlet.end {
            self.shared.speaker_flow.set(outlet.waits(), outlet.gaps());
            outlet.give(pcm);
        }
        self.shared.heard.set(self.heard.push(pcm));
    }
}

impl Drop for Handset {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.ringer.play(None);
        self.shared.poke();
    }
}

/// Changes a handset and looks at it, from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct HandsetControl {
    shared: Arc<Shared>,
}

impl HandsetControl {
    /// Uses another device from now on.
    pub fn choose(&self, part: Part, choice: Choice) {
        match part {
            Part::Microphone => {
                let mut choices = lock(&self.shared.choices);
                if choices.microphone != choice {
                    choices.microphone = choice;
                    // Silent at once: what was chosen against is not heard a moment longer.
                    self.shared.microphone.put(None);
                }
            }
            Part::Speaker => lock(&self.shared.choices).speaker = choice,
            Part::Ringer => self.shared.ringer.choose(choice),
        }
        self.shared.poke();
    }

    /// The microphone that could stand in for the chosen one, while that is asked ([`HandsetEvent::Offered`]).
    pub fn offer(&self) -> Option<StandIn> {
        self.shared.offers.standing()
    }

    /// Answers whether the microphone of this id may stand in for the chosen one. The answer holds until the chosen one
    /// is back, which is then used without a question, or until another is chosen. After a no there is silence, and
    /// this one is not offered again meanwhile.
    ///
    /// False where this one is not, or no longer, offered: then nothing changes.
    pub fn confirm_stand_in(&self, id: &str, take: bool) -> bool {
        let offered = self.shared.offers.answer(id, take);
        if offered {
            self.shared.poke();
        }
        offered
    }

    /// Switches the processing of the voice.
    pub fn process(&self, processing: Processing) {
        self.shared.processing.store(pack(processing), Ordering::Relaxed);
    }

    /// Plays a tone where it rings, or none: when somebody else calls during this call.
    pub fn ring(&self, tone: Option<ToneKind>) {
        if !self.shared.closed.load(Ordering::Acquire) {
            self.shared.ringer.play(tone);
        }
    }

    /// How the devices are.
    pub fn status(&self) -> HandsetStatus {
        let names = lock(&self.shared.names).clone();
        HandsetStatus {
            microphone: names.microphone,
            speaker: names.speaker,
            said_dbfs: self.shared.said.get(),
            heard_dbfs: self.shared.heard.get(),
            processing: unpack(self.shared.processing.load(Ordering::Relaxed)),
        }
    }

    /// How the sound flows through the microphone and the loudspeaker.
    pub fn flow(&self) -> (DeviceFlow, DeviceFlow) {
        (self.shared.microphone_flow.get(), self.shared.speaker_flow.get())
    }

    /// What happened since it was last asked; the newest [`MAX_EVENTS`].
    pub fn events(&self) -> Vec<HandsetEvent> {
        self.shared.events.take()
    }
}

/// What the handset, its control and its manager have in common.
pub(super) struct Shared {
    pub(super) choices: Mutex<Choices>,
    pub(super) names: Mutex<Names>,
    /// What is asked about a microphone that could stand in.
    pub(super) offers: Offers,
    pub(super) events: Arc<Events>,
    pub(super) microphone: Slot<Intake>,
    pub(super) speaker: Slot<Outlet>,
    /// Counts how often the open microphone was seen to be the right one.
    pub(super) confirmed: AtomicU64,
    /// The handset is gone.
    pub(super) closed: AtomicBool,
    /// The manager has something to look at.
    pub(super) poked: AtomicBool,
    ringer: Ringer,
    processing: AtomicU8,
    said: Level,
    heard: Level,
    microphone_flow: Flow,
    speaker_flow: Flow,
    manager: OnceLock<Thread>,
}

impl Shared {
    fn poke(&self) {
        self.poked.store(true, Ordering::Release);
        if let Some(manager) = self.manager.get() {
            manager.unpark();
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Choices {
    pub(super) microphone: Choice,
    pub(super) speaker: Choice,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) microphone: Option<String>,
    pub(super) speaker: Option<String>,
}

/// Events for the person, bounded.
#[derive(Default)]
pub(super) struct Events {
    waiting: Mutex<VecDeque<HandsetEvent>>,
}

impl Events {
    pub(super) fn tell(&self, event: HandsetEvent) {
        tracing::debug!(?event, "sound device");
        let mut waiting = lock(&self.waiting);
        if waiting.len() == MAX_EVENTS {
            waiting.pop_front();
        }
        waiting.push_back(event);
    }

    pub(super) fn take(&self) -> Vec<HandsetEvent> {
        lock(&self.waiting).drain(..).collect()
    }
}

/// Hands an end from the manager to the call, which never waits for it.
pub(super) struct Slot<T> {
    version: AtomicU64,
    /// What the newest version is, until it is taken.
    end: Mutex<Option<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), end: Mutex::new(None) }
    }
}

impl<T> Slot<T> {
    /// Uses this end from now on, or none.
    pub(super) fn put(&self, end: Option<T>) {
        let mut place = lock(&self.end);
        *place = end;
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// The call's side of a [`Slot`].
struct Taken<T> {
    version: u64,
    end: Option<T>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self { version: 0, end: None }
    }
}

impl<T> Taken<T> {
    /// Takes what is new. False where there is something new that cannot be had at this moment.
    fn sync(&mut self, slot: &Slot<T>) -> bool {
        if slot.version.load(Ordering::Acquire) == self.version {
            return true;
        }
        let Ok(mut place) = slot.end.try_lock() else { return false };
        self.version = slot.version.load(Ordering::Acquire);
        self.end = place.take();
        true
    }
}

/// A level in dB that is written by the call and read by anyone.
struct Level(AtomicU64);

impl Default for Level {
    fn default() -> Self {
        Self(AtomicU64::new(Meter::new().dbfs().to_bits()))
    }
}

impl Level {
    fn set(&self, dbfs: f64) {
        self.0.store(dbfs.to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Flow {
    waits_micros: AtomicUsize,
    gaps: AtomicU64,
}

impl Flow {
    fn set(&self, waits: Duration, gaps: u64) {
        self.waits_micros.store(usize::try_from(waits.as_micros()).unwrap_or(usize::MAX), Ordering::Relaxed);
        self.gaps.store(gaps, Ordering::Relaxed);
    }

    fn get(&self) -> DeviceFlow {
        DeviceFlow {
            waits: Duration::from_micros(self.waits_micros.load(Ordering::Relaxed) as u64),
            gaps: self.gaps.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave what it guards half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pack(processing: Processing) -> u8 {
    u8::from(processing.echo_cancelling)
        | u8::from(processing.high_pass) << 1
        | u8::from(processing.gain_control) << 2
        | u8::from(processing.noise_suppression) << 3
}

fn unpack(bits: u8) -> Processing {
    Processing {
        echo_cancelling: bits & 1 != 0,
        high_pass: bits & 2 != 0,
        gain_control: bits & 4 != 0,
        noise_suppression: bits & 8 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_keeps_its_place() {
        for bits in 0..16 {
            assert_eq!(pack(unpack(bits)), bits);
        }
    }

    #[test]
    fn a_slot_hands_over_the_newest_and_never_waits() {
        let slot = Slot::default();
        let mut taken = Taken::default();
        assert!(taken.sync(&slot) && taken.end.is_none());
        slot.put(Some(1));
        slot.put(Some(2));
        assert!(taken.sync(&slot) && taken.end == Some(2));
        let held = slot.end.lock().unwrap();
        assert!(taken.sync(&slot), "nothing is new, so the lock is not asked for");
        drop(held);
        slot.put(None);
        let held = slot.end.lock().unwrap();
        assert!(!taken.sync(&slot) && taken.end == Some(2), "the old one, and said to be so");
        drop(held);
        assert!(taken.sync(&slot) && taken.end.is_none());
    }

    #[test]
    fn events_that_nobody_asks_for_do_not_pile_up() {
        let events = Events::default();
        for number in 0..2 * MAX_EVENTS {
            events.tell(HandsetEvent::Opened { part: Part::Speaker, name: number.to_string(), stands_in: false });
        }
        let told = events.take();
        assert_eq!(told.len(), MAX_EVENTS);
        assert!(matches!(&told[0], HandsetEvent::Opened { name, .. } if *name == MAX_EVENTS.to_string()));
        assert!(events.take().is_empty());
    }
}
