//! The thread behind a handset: lists the devices, opens, closes and watches them; it never touches sound.
//!
//! It looks five times a second, and at once when a device reports trouble or a person chooses. What may hang (to
//! open, to close) runs in short threads beside it, so that a loudspeaker which takes seconds to open silences no
//! microphone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::bridge::{Intake, Outlet};
use super::connection::{Connection, Retry, beside, gave_up};
use super::handset::{Shared, lock};
use super::pick::{Pick, pick};
use super::stand_in::{Absence, Instead};
use super::stream::Health;
use super::system::{Listed, System};
use super::{Choice, DeviceInfo, HandsetEvent, Part, StandIn};
use crate::Result;

/// How often the devices are looked at. No sound system that we know of says it through cpal.
const LOOK: Duration = Duration::from_millis(200);
/// A device that neither takes nor gives sound for this long does not work.
const STALL: Duration = Duration::from_secs(3);
/// A loudspeaker that is closed plays on for so long: what it has, then the fade to silence instead of a click.
const LINGER: Duration = Duration::from_millis(100);
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
    shared.offers.withdraw(&shared.events);
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
    /// What the chosen one is called, once it was seen.
    chosen_name: Option<String>,
    /// The chosen microphone is away.
    absence: Absence,
    /// With no choice made: the id of the one that was in use and is gone.
    gone: Option<String>,
}

/// What a port is to do now.
enum Way<'a> {
    Use { device: &'a Listed, stands_in: bool },
    Ask(&'a Listed),
    Silence,
    Off,
    Missing,
}

impl Port {
    fn new(part: Part) -> Self {
        Self {
            part,
            choice: None,
            open: None,
            opening: None,
            retry: Retry::default(),
            told: false,
            chosen_name: None,
            absence: Absence::default(),
            gone: None,
        }
    }

    fn turn(&mut self, shared: &Arc<Shared>, system: &Arc<System>, choice: &Choice, devices: &[Listed], now: Instant) {
        if self.choice.as_ref() != Some(choice) {
            self.choose(shared, choice);
        }
        if let Some(open) = &mut self.open
            && let Some(why) = open.trouble(devices, now)
        {
            if now.duration_since(open.since) > WORKED {
                self.retry = Retry::default();
            }
            self.lose(shared, why);
        }
        let way = self.way(shared, choice, devices, now);
        if self.part == Part::Microphone && !matches!(way, Way::Ask(_)) {
            shared.offers.withdraw(&shared.events);
        }
        match way {
            Way::Off => {
                self.opening = None;
                self.close(shared);
            }
            Way::Missing if self.open.is_none() => {
                let why = match self.part {
                    Part::Microphone => "there is no microphone; what a loudspeaker plays is taken only if chosen",
                    Part::Speaker | Part::Ringer => "there is no loudspeaker",
                };
                self.tell_lost(shared, "default", why.to_owned());
            }
            Way::Missing => {}
            Way::Use { device, stands_in } => self.want(shared, system, device, stands_in, now),
            Way::Ask(_) | Way::Silence => {
                let name = self.chosen_name.clone().unwrap_or_else(|| id_of(choice).to_owned());
                self.opening = None;
                self.close(shared);
                self.tell_lost(shared, &name, "it is not there".to_owned());
                if let Way::Ask(Listed { info, .. }) = way {
                    let stand_in = StandIn { id: info.id.clone(), name: info.name.clone(), instead_of: name };
                    shared.offers.offer(stand_in, &shared.events);
                }
            }
        }
        self.take_opened(shared, now);
    }

    /// Begins anew with another choice.
    fn choose(&mut self, shared: &Shared, choice: &Choice) {
        self.choice = Some(choice.clone());
        self.opening = None;
        self.retry = Retry::default();
        self.told = false;
        self.chosen_name = None;
        self.gone = None;
        if self.part == Part::Microphone {
            self.absence.over();
            shared.offers.withdraw(&shared.events);
            self.close(shared);
        }
    }

    fn way<'a>(&mut self, shared: &Shared, choice: &Choice, devices: &'a [Listed], now: Instant) -> Way<'a> {
        self.gone = self.gone.take().filter(|gone| devices.iter().all(|device| device.info.id != *gone));
        match pick(choice, devices) {
            Pick::Off => Way::Off,
            Pick::Missing => Way::Missing,
            Pick::Default(device) => Way::Use { device, stands_in: self.gone.is_some() },
            Pick::Chosen(device) => {
                self.absence.over();
                self.chosen_name = Some(device.info.name.clone());
                Way::Use { device, stands_in: false }
            }
            Pick::Away { other } if self.part == Part::Microphone => {
                if let Some((id, take)) = shared.offers.take_answer() {
                    self.absence.answer(id, take);
                }
                match self.absence.look(other, devices, now) {
                    Instead::Use(device) => Way::Use { device, stands_in: true },
                    Instead::Ask(device) => Way::Ask(device),
                    Instead::Wait => Way::Silence,
                }
            }
            Pick::Away { other } => other.map_or(Way::Missing, |device| Way::Use { device, stands_in: true }),
        }
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
        self.absence.system_lost();
        if self.part == Part::Microphone {
            shared.offers.withdraw(&shared.events);
        }
        if self.choice == Some(Choice::Off) {
            return;
        }
        match self.open {
            Some(_) => self.lose(shared, why.to_owned()),
            None => self.tell_lost(shared, "default", why.to_owned()),
        }
    }

    fn lose(&mut self, shared: &Shared, why: String) {
        let Some(DeviceInfo { id, name, .. }) = self.open.as_ref().map(|open| open.device.info.clone()) else { return };
        if self.choice == Some(Choice::Default) {
            self.gone.get_or_insert(id);
        }
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
        let lingers = if self.part == Part::Microphone { Duration::ZERO } else { LINGER };
        // A sound system that hangs may not let go of a stream for long.
        drop(beside(move || {
            std::thread::sleep(lingers);
            drop(keep);
        }));
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

fn id_of(choice: &Choice) -> &str {
    match choice {
        Choice::Id(id) => id,
        Choice::Default | Choice::Off => "default",
    }
}
