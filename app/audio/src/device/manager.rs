//! The thread behind a handset: lists the devices, opens, closes and watches them; it never touches sound.
//!
//! It looks five times a second, and at once when a device reports trouble or a person chooses. What may hang (to
//! open, to close) runs in short threads beside it, so that a loudspeaker which takes seconds to open silences no
//! microphone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::bridge::{Intake, Outlet};
use super::handset::{Shared, lock};
use super::pick::{Pick, pick};
use super::stream::Health;
use super::system::{Listed, Listing, System};
use super::{Choice, HandsetEvent, Part};
use crate::{Error, Result};

/// How often the devices are looked at. No sound system that we know of says it through cpal.
const LOOK: Duration = Duration::from_millis(200);
/// How often where looking costs much: ALSA asks the kernel for every card, and moves no stream.
const SLOW_LOOK: Duration = Duration::from_secs(2);
/// A device that neither takes nor gives sound for this long does not work.
const STALL: Duration = Duration::from_secs(3);
/// Time until the second attempt to open; doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest time between attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A device that worked for this long is tried again at once.
const WORKED: Duration = Duration::from_secs(10);

/// Runs until the handset is gone.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut manager = Manager {
        shared,
        system: Connection::default(),
        microphone: Port::new(Part::Microphone),
        speaker: Port::new(Part::Speaker),
    };
    while !shared.closed.load(Ordering::Acquire) {
        manager.turn(Instant::now());
        if !shared.poked.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(LOOK);
        }
    }
    manager.microphone.close(shared);
    manager.speaker.close(shared);
}

struct Manager<'a> {
    shared: &'a Arc<Shared>,
    system: Connection,
    microphone: Port,
    speaker: Port,
}

impl Manager<'_> {
    fn turn(&mut self, now: Instant) {
        let choices = lock(&self.shared.choices).clone();
        let looked = self.system.look(now);
        let (system, listing) = match looked {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                for port in [&mut self.microphone, &mut self.speaker] {
                    port.no_system(self.shared, &error.to_string());
                }
                return;
            }
        };
        self.microphone.turn(self.shared, &system, &choices.microphone, &listing.microphones, now);
        self.speaker.turn(self.shared, &system, &choices.speaker, &listing.speakers, now);
        if self.microphone.open.is_some() {
            self.shared.confirmed.fetch_add(1, Ordering::Release);
        }
    }
}

/// The way to the sound system, made again after it restarted.
#[derive(Default)]
struct Connection {
    system: Option<Arc<System>>,
    connecting: Option<Receiver<Result<Arc<System>>>>,
    listing: Option<(Instant, Arc<Listing>)>,
    retry: Retry,
}

impl Connection {
    /// The devices as they are, or were a moment ago; none while it is not known. An error once the system is gone.
    fn look(&mut self, now: Instant) -> Result<Option<(Arc<System>, Arc<Listing>)>> {
        if self.system.is_none() && !self.connect(now)? {
            return Ok(None);
        }
        let Some(system) = self.system.clone() else { return Ok(None) };
        if let Some((when, listing)) = &self.listing
            && !system.lists_quickly()
            && now.duration_since(*when) < SLOW_LOOK
        {
            return Ok(Some((system, Arc::clone(listing))));
        }
        match system.list() {
            Ok(listing) => {
                let listing = Arc::new(listing);
                self.listing = Some((now, Arc::clone(&listing)));
                Ok(Some((system, listing)))
            }
            Err(error) => {
                system.broken();
                self.system = None;
                self.listing = None;
                Err(error)
            }
        }
    }

    /// Whether there is a connection now.
    fn connect(&mut self, now: Instant) -> Result<bool> {
        let Some(connecting) = &self.connecting else {
            if self.retry.is_due(now) {
                self.retry.tried(now);
                self.connecting = Some(beside(System::connection));
            }
            return Ok(false);
        };
        let result = match connecting.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => Err(gave_up()),
        };
        self.connecting = None;
        self.system = Some(result?);
        self.retry = Retry::default();
        Ok(true)
    }
}

/// When to try again.
#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

impl Retry {
    fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at)
    }

    fn tried(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(FIRST_RETRY, LONGEST_RETRY);
        self.at = Some(now + self.pause);
    }
}

/// The call's end of a device.
enum End {
    Microphone(Box<Intake>),
    Speaker(Box<Outlet>),
}

struct Opened {
    end: End,
    health: Arc<Health>,
    keep: Box<dyn Send>,
}

struct Opening {
    device: Listed,
    stands_in: bool,
    result: Receiver<Result<Opened>>,
}

struct Open {
    device: Listed,
    health: Arc<Health>,
    keep: Box<dyn Send>,
    since: Instant,
    /// The device's turns when they last rose, and when.
    turns: (u64, Instant),
}

impl Open {
    /// Why it does not work any more, if so.
    fn trouble(&mut self, devices: &[Listed], now: Instant) -> Option<String> {
        let there = |device: &&Listed| device.info.id == self.device.info.id && device.index == self.device.index;
        if !devices.iter().any(|device| there(&device)) {
            return Some("it was unplugged".to_owned());
        }
        if let Some(kind) = self.health.failed() {
            return Some(kind.to_string());
        }
        let turns = self.health.turns();
        if turns != self.turns.0 {
            self.turns = (turns, now);
        }
        (now.duration_since(self.turns.1) > STALL).then(|| "it has stopped".to_owned())
    }
}

/// Microphone or loudspeaker: what is open, and what is being opened.
struct Port {
    part: Part,
    choice: Option<Choice>,
    open: Option<Open>,
    opening: Option<Opening>,
    retry: Retry,
    /// Whether the person knows that it does not work.
    told: bool,
}

impl Port {
    fn new(part: Part) -> Self {
        Self { part, choice: None, open: None, opening: None, retry: Retry::default(), told: false }
    }

    fn turn(&mut self, shared: &Arc<Shared>, system: &Arc<System>, choice: &Choice, devices: &[Listed], now: Instant) {
        if self.choice.as_ref() != Some(choice) {
            self.choice = Some(choice.clone());
            self.opening = None;
            self.retry = Retry::default();
            self.told = false;
            if self.part == Part::Microphone {
                self.close(shared);
            }
        }
        if let Some(open) = &mut self.open
            && let Some(why) = open.trouble(devices, now)
        {
            if now.duration_since(open.since) > WORKED {
                self.retry = Retry::default();
            }
            self.lose(shared, why);
        }
        match pick(choice, devices) {
            Pick::Off => {
                self.opening = None;
                self.close(shared);
            }
            Pick::Missing if self.open.is_none() => {
                let why = match self.part {
                    Part::Microphone => "there is no microphone; what a loudspeaker plays is taken only if chosen",
                    Part::Speaker | Part::Ringer => "there is no loudspeaker",
                };
                self.tell_lost(shared, "default", why.to_owned());
            }
            Pick::Missing => {}
            Pick::Device { device, stands_in } => self.want(shared, system, device, stands_in, now),
        }
        self.take_opened(shared, now);
    }

    /// Sees to it that this device is open.
    fn want(&mut self, shared: &Arc<Shared>, system: &Arc<System>, device: &Listed, stands_in: bool, now: Instant) {
        if self.open.as_ref().is_some_and(|open| open.device.info.id == device.info.id) {
            self.opening = None;
            return;
        }
        if self.opening.as_ref().is_some_and(|opening| opening.device.info.id == device.info.id) {
            return;
        }
        if !self.retry.is_due(now) {
            return;
        }
        if self.part == Part::Microphone {
            self.close(shared);
        }
        self.retry.tried(now);
        let (system, part, wanted) = (Arc::clone(system), self.part, device.clone());
        let health = Arc::new(Health::watched_by(std::thread::current()));
        let result = beside(move || open(&system, part, &wanted, health));
        self.opening = Some(Opening { device: device.clone(), stands_in, result });
    }

    fn take_opened(&mut self, shared: &Shared, now: Instant) {
        let Some(opening) = &self.opening else { return };
        let result = match opening.result.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(gave_up()),
        };
        let Some(Opening { device, stands_in, .. }) = self.opening.take() else { return };
        let name = device.info.name.clone();
        match result {
            Ok(Opened { end, health, keep }) => {
                self.close(shared);
                // Held to the end, so that no choice comes between the question and the answer.
                let choices = lock(&shared.choices);
                if self.part == Part::Microphone && self.choice.as_ref() != Some(&choices.microphone) {
                    return;
                }
                self.told = false;
                self.open = Some(Open { device, health, keep, since: now, turns: (0, now) });
                // Said first: no microphone is heard before the person is told which.
                shared.events.tell(HandsetEvent::Opened { part: self.part, name: name.clone(), stands_in });
                match end {
                    End::Microphone(intake) => {
                        shared.confirmed.fetch_add(1, Ordering::Release);
                        shared.microphone.put(Some(*intake));
                        lock(&shared.names).microphone = Some(name);
                    }
                    End::Speaker(outlet) => {
                        shared.speaker.put(Some(*outlet));
                        lock(&shared.names).speaker = Some(name);
                    }
                }
            }
            Err(error) => self.tell_lost(shared, &name, error.to_string()),
        }
    }

    /// The sound system is gone, and every device with it.
    fn no_system(&mut self, shared: &Shared, why: &str) {
        self.opening = None;
        self.retry = Retry::default();
        if self.choice == Some(Choice::Off) {
            return;
        }
        match self.open {
            Some(_) => self.lose(shared, why.to_owned()),
            None => self.tell_lost(shared, "default", why.to_owned()),
        }
    }

    fn lose(&mut self, shared: &Shared, why: String) {
        let Some(name) = self.open.as_ref().map(|open| open.device.info.name.clone()) else { return };
        self.close(shared);
        self.tell_lost(shared, &name, why);
    }

    fn tell_lost(&mut self, shared: &Shared, name: &str, why: String) {
        if !std::mem::replace(&mut self.told, true) {
            shared.events.tell(HandsetEvent::Lost { part: self.part, name: name.to_owned(), why });
        }
    }

    fn close(&mut self, shared: &Shared) {
        let Some(Open { keep, .. }) = self.open.take() else { return };
        match self.part {
            Part::Microphone => {
                shared.microphone.put(None);
                lock(&shared.names).microphone = None;
            }
            Part::Speaker | Part::Ringer => {
                shared.speaker.put(None);
                lock(&shared.names).speaker = None;
            }
        }
        // A sound system that hangs may not let go of a stream for long.
        drop(beside(move || drop(keep)));
    }
}

fn open(system: &Arc<System>, part: Part, device: &Listed, health: Arc<Health>) -> Result<Opened> {
    if part == Part::Microphone {
        let input = system.record(device, health)?;
        let end = End::Microphone(Box::new(Intake::new(input.ring, input.rate)?));
        return Ok(Opened { end, health: input.health, keep: input.keep });
    }
    let output = system.play(device, health)?;
    let end = End::Speaker(Box::new(Outlet::new(output.ring, output.rate)?));
    Ok(Opened { end, health: output.health, keep: output.keep })
}

/// Runs something in a thread of its own, which wakes this one when it is done.
fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, result) = sync_channel(1);
    let asking = std::thread::current();
    let run = move || {
        let _ = done.send(work());
        asking.unpark();
    };
    if let Err(error) = std::thread::Builder::new().name("sound-open".to_owned()).spawn(run) {
        // Then nothing is ever received, which the one who waits takes for a failure.
        tracing::warn!(%error, "no thread for a sound device");
    }
    result
}

fn gave_up() -> Error {
    crate::error::DeviceError::NoSoundSystem { reason: "its library gave up".to_owned() }.into()
}
