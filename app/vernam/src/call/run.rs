//! The telephone while it runs: reads keys, signals and what the line tells, and ends as a program ends.

mod devices;
mod recording;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use vernam_audio::device::Choice;
use vernam_audio::process::Processing;
use vernam_engine::Event;
use vernam_session::{HangUpReason, Suite};

use self::devices::Listing;
use self::recording::Making;
pub(crate) use self::recording::Recordings;
use super::echo::{self, Envelopes};
use super::events::CallEvent;
use super::keys::{self, Wish};
use super::line::Line;
use super::model::{Phase, Switches};
use super::prompt::{Prompt, Stray};
use super::question::{Refusals, Wanted};
use super::show::{Pressed, Stage};
use super::tape::Troubles;
use super::words;
use crate::complaint;
use crate::demo::show::Signals;

/// Time between two drawings of the screen.
const FRAME: Duration = Duration::from_millis(100);
/// How long a contact may take to be reached and to prove its key.
const REACHING: Duration = Duration::from_secs(40);
/// How long a call under one-time pad waits for the pad to come.
const KEYING: Duration = Duration::from_secs(20);
/// Bytes of one-time pad with which a call may begin: five seconds of talk.
const ENOUGH: u64 = 16_000;
/// How long calls may take to end when the telephone does.
const ENDING: Duration = Duration::from_secs(3);

/// The exit status of a call that took place and ended properly.
pub const TALKED: u8 = 0;
/// Of one that failed.
pub const FAILED: u8 = 1;
/// Of one that was not taken.
pub const NOT_TAKEN: u8 = 3;
/// Of a contact that could not be reached.
pub const UNREACHABLE: u8 = 4;
/// Of a call that was taken, and in which no voice came from the contact.
pub const SILENT: u8 = 5;
/// Of a telephone that was stopped by a signal, as shells have it for Ctrl-C.
pub const STOPPED: u8 = 130;

/// What the telephone is for.
pub(crate) enum Aim {
    /// A call to a contact.
    Call {
        /// Whom.
        contact: String,
        /// Where.
        addr: SocketAddr,
        /// What protects it.
        suite: Suite,
    },
    /// Being reachable.
    Answer {
        /// Whether calls are taken without asking.
        auto: bool,
        /// Whether to end after the first call.
        once: bool,
        /// Whether contacts may record without asking.
        let_record: bool,
    },
}

/// How far a call of ours is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The contact is dialled.
    Reaching(Instant),
    /// It proved its key; the pad for the call is still to come.
    Keying(Instant),
    /// It was called.
    Called,
}

/// A telephone.
pub(crate) struct Telephone {
    pub(crate) stage: Stage,
    pub(crate) line: Line,
    pub(crate) aim: Aim,
    pub(crate) recordings: Recordings,
    /// When to hang up, from the answer.
    pub(crate) duration: Option<Duration>,
    /// Whether a call is recorded from its beginning.
    pub(crate) record_at_once: bool,
    step: Step,
    /// When each call ends for its `--duration`.
    until: BTreeMap<String, Instant>,
    /// The passphrase that is typed in.
    prompt: Option<Prompt>,
    /// Keys that were meant for a prompt which is gone.
    stray: Stray,
    /// The file of a recording that is being made.
    making: Option<Making>,
    /// The list of devices that is being made.
    listing: Option<Listing>,
    troubles: Troubles,
    /// Who was told that it may not record.
    refusals: Refusals,
    /// What is said and heard, for the echo test.
    pub(crate) echo: Option<Arc<Mutex<Envelopes>>>,
    /// What the last call of ours came to.
    outcome: Option<u8>,
    /// Whether the telephone ends once no call is left.
    ending: Option<Instant>,
    stopped: bool,
}

impl Telephone {
    pub(crate) fn new(stage: Stage, line: Line, aim: Aim, recordings: Recordings, duration: Option<Duration>) -> Self {
        let record_at_once = recordings.file.is_some();
        Self {
            stage,
            line,
            aim,
            recordings,
            duration,
            record_at_once,
            step: Step::Reaching(Instant::now() + REACHING),
            until: BTreeMap::new(),
            prompt: None,
            stray: Stray::default(),
            making: None,
            listing: None,
            troubles: Troubles::default(),
            refusals: Refusals::default(),
            echo: None,
            outcome: None,
            ending: None,
            stopped: false,
        }
    }

    /// Runs until it is over; gives the exit status.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut keys: mpsc::Receiver<Pressed>,
    ) -> anyhow::Result<u8> {
        let mut signals = Signals::new()?;
        let ran = self.watch(&mut events, &mut keys, &mut signals).await;
        let status = match &ran {
            _ if self.stopped => STOPPED,
            Err(_) => FAILED,
            Ok(()) => self.outcome.unwrap_or(TALKED),
        };
        let Self { mut stage, line, troubles, making, .. } = self;
        stage.model.stopping = true;
        let drawn = stage.draw();
        Self::leave_making(making).await;
        let sound = line.sound.clone();
        let mut told = line.end(events).await;
        let files = sound.news().1.into_iter().chain(troubles.take());
        told.extend(files.map(|text| CallEvent::Warning { contact: None, text }));
        told.push(CallEvent::Stopped { status });
        let told = told.into_iter().try_for_each(|event| stage.tell(event));
        stage.close();
        ran.and(drawn).and(told).map(|()| status)
    }

    async fn watch(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        keys: &mut mpsc::Receiver<Pressed>,
        signals: &mut Signals,
    ) -> anyhow::Result<()> {
        if let Aim::Call { contact, addr, .. } = &self.aim {
            let told = CallEvent::Dialling { contact: contact.clone(), address: addr.to_string() };
            self.line.connect(contact, *addr).await?;
            self.stage.tell(told)?;
        }
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !self.is_over() {
            let next = self.deadline();
            tokio::select! {
                event = events.recv() => {
                    let event = event.context("the telephone's engine ended by itself")?;
                    for told in self.line.told(event) {
                        self.take(told).await?;
                    }
                }
                Some(pressed) = keys.recv() => self.pressed(pressed).await?,
                () = signals.any() => {
                    if self.stopped {
                        return Ok(());
                    }
                    self.stopped = true;
                    self.quit().await?;
                }
                _ = frames.tick() => {
                    self.look().await?;
                    self.stage.draw()?;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.time().await?,
            }
        }
        Ok(())
    }

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool {
        let no_call = self.stage.model.calls.is_empty();
        let late = self.ending.is_some_and(|ending| ending <= Instant::now());
        let done = matches!(self.aim, Aim::Call { .. }) && self.outcome.is_some();
        late || no_call && (done || self.ending.is_some())
    }

    fn deadline(&self) -> Option<Instant> {
        let step = match (self.step, &self.aim) {
            (Step::Reaching(until) | Step::Keying(until), Aim::Call { .. }) => Some(until),
            _ => None,
        };
        self.until.values().copied().chain(step).chain(self.ending).min()
    }

    /// A time has come.
    async fn time(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<String> =
            self.until.iter().filter(|(_, until)| **until <= now).map(|(contact, _)| contact.clone()).collect();
        for contact in due {
            self.until.remove(&contact);
            self.line.carry_out(Wish::HangUp(contact)).await?;
        }
        let Aim::Call { contact, suite, .. } = &self.aim else { return Ok(()) };
        match self.step {
            Step::Reaching(until) if until <= now => {
                let why = format!("it did not answer within {} s", REACHING.as_secs());
                let event = CallEvent::Disconnected { contact: contact.clone(), why: Some(why) };
                self.stage.tell(event)?;
                if self.outcome.is_none() {
                    self.outcome = Some(UNREACHABLE);
                    let (contact, why) = (contact.clone(), self.line.why_unreached(contact));
                    self.note_unmade(&contact, why)?;
                }
            }
            Step::Keying(until) if until <= now => {
                let why = format!(
                    "there is no one-time pad with {contact} yet: wait until the link has made some, or call with \
                     --suite aes-256-gcm, which is not {}",
                    words::protected_by(*suite)
                );
                let event = CallEvent::Refused { contact: contact.clone(), why };
                let contact = contact.clone();
                self.stage.tell(event)?;
                if self.outcome.is_none() {
                    self.outcome = Some(FAILED);
                    self.note_unmade(&contact, words::NO_KEY)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes a call of ours into the history that never was.
    fn note_unmade(&mut self, contact: &str, why: &'static str) -> anyhow::Result<()> {
        self.line.note_unmade(contact, why).map_or(Ok(()), |event| self.stage.tell(event))
    }

    /// Ten times a second: what nobody tells by itself.
    async fn look(&mut self) -> anyhow::Result<()> {
        if self.stage.is_silent() && self.ending.is_none() && matches!(self.aim, Aim::Call { .. }) {
            self.quit().await?;
        }
        let (devices, troubles) = self.line.sound.news();
        for event in devices {
            self.device(event)?;
        }
        for text in troubles.into_iter().chain(self.troubles.take()) {
            self.stage.tell(CallEvent::Warning { contact: None, text })?;
        }
        self.look_at_making().await?;
        self.look_at_list().await?;
        if let Some(wish) = keys::lost_release(&mut self.stage.model) {
            self.wish(wish).await?;
            let text = format!("no sign of space for {} s: the microphone is closed", keys::NO_SIGN.as_secs());
            self.stage.tell(CallEvent::Warning { contact: None, text })?;
        }
        if self.troubles.take_stopped() {
            let recorded = self.stage.model.calls.iter().filter(|call| call.recording);
            let recorded: Vec<String> = recorded.map(|call| call.contact.clone()).collect();
            for contact in recorded {
                // The contact must not go on believing that it is recorded.
                self.wish(Wish::StopRecording(contact)).await?;
            }
        }
        let Aim::Call { contact, suite, .. } = &self.aim else { return Ok(()) };
        let ready = *suite != Suite::Otp || self.line.usable(contact) >= ENOUGH;
        if matches!(self.step, Step::Keying(_)) && ready && self.ending.is_none() {
            let (contact, suite) = (contact.clone(), *suite);
            self.step = Step::Called;
            let event = self.line.call(&contact, suite).await?;
            self.stage.tell(event)?;
        }
        Ok(())
    }

    /// Something happened on the line.
    async fn take(&mut self, event: CallEvent) -> anyhow::Result<()> {
        if self.is_unwanted(&event).await? {
            return Ok(());
        }
        let ours = |contact: &str| matches!(&self.aim, Aim::Call { contact: whom, .. } if whom == contact);
        let (mut wishes, mut more, mut declined) = (Vec::new(), None, None);
        match &event {
            CallEvent::Confirmed { contact } if ours(contact) && matches!(self.step, Step::Reaching(_)) => {
                self.step = Step::Keying(Instant::now() + KEYING);
            }
            CallEvent::Disconnected { contact, .. }
                if ours(contact) && self.step != Step::Called && self.outcome.is_none() =>
            {
                self.outcome = Some(UNREACHABLE);
                more = self.line.note_unmade(contact, self.line.why_unreached(contact));
            }
            // While nothing was heard of the call nothing else will come of it.
            CallEvent::Refused { contact, .. } if ours(contact) && !self.was_heard(contact) => {
                self.outcome.get_or_insert(FAILED);
                self.stage.model.calls.retain(|call| call.contact != *contact);
            }
            CallEvent::Incoming { contact, terms, weaker, .. } => {
                if matches!(self.aim, Aim::Answer { auto: true, .. }) {
                    // Less than the contact's policy asks for takes a yes, and nobody is there to say it.
                    if *weaker {
                        declined = Some(contact.clone());
                        let text = format!(
                            "declined without asking: {} is less than the policy for {contact} asks for, and nobody is \
                             there to say yes",
                            words::protection(terms.suite)
                        );
                        more = Some(CallEvent::Warning { contact: Some(contact.clone()), text });
                    } else {
                        wishes.push(Wish::Answer(contact.clone()));
                    }
                }
            }
            CallEvent::Answered { contact, .. } => {
                if ours(contact) {
                    self.step = Step::Called;
                }
                if let Some(duration) = self.duration {
                    self.until.entry(contact.clone()).or_insert_with(|| Instant::now() + duration);
                }
                if std::mem::take(&mut self.record_at_once) {
                    wishes.push(Wish::Record(contact.clone()));
                }
            }
            CallEvent::RecordAsked { contact } => {
                if let Aim::Answer { auto: true, let_record, .. } = self.aim {
                    wishes.push(Wish::AllowRecord(contact.clone(), let_record));
                }
            }
            CallEvent::Lapsed { contact, question } if question == "record" => {
                self.refusals.taken_back(contact, self.stage.now());
            }
            CallEvent::Reconnecting { contact } => {
                self.refusals.went_away(contact);
            }
            CallEvent::ChangeAsked { contact, .. } => {
                // Nobody is there to say yes.
                if matches!(self.aim, Aim::Answer { auto: true, .. }) {
                    wishes.push(Wish::AllowChange(contact.clone(), false));
                }
            }
            CallEvent::Ended { contact, reason, lasted_s, received, .. } => {
                self.until.remove(contact);
                let status = status(*reason, lasted_s.map(|_talked| received.unwrap_or(0)));
                // A call of the contact's that came to nothing before ours was made is not what this is about.
                if ours(contact) && (self.step == Step::Called || lasted_s.is_some()) {
                    self.outcome = Some(status);
                    more = lasted_s.and_then(|_talked| self.echo_heard(contact));
                }
                if matches!(self.aim, Aim::Answer { once: true, .. }) {
                    self.outcome = Some(status).filter(|status| *status == SILENT);
                    self.ending.get_or_insert(Instant::now() + ENDING);
                }
            }
            _ => {}
        }
        self.stage.tell(event)?;
        if let Some(more) = more {
            self.stage.tell(more)?;
        }
        for wish in wishes {
            self.wish(wish).await?;
        }
        self.leave_prompt_of_no_call()?;
        if self.stage.model.calls.is_empty() {
            // Whoever talked in this call must not still be talking when the next one is taken.
            self.stop_talking().await?;
        }
        if let Some(contact) = declined {
            self.line.decline_weaker(contact).await?;
        }
        Ok(())
    }

    /// The person talks no longer, under push-to-talk.
    async fn stop_talking(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.stage.model.switches.talking) {
            return Ok(());
        }
        self.line.carry_out(Wish::Talk(false)).await
    }

    /// Whether an event is nothing to the person, because it is about a wish to record that comes too soon after a no.
    /// Such a wish is declined here.
    async fn is_unwanted(&mut self, event: &CallEvent) -> anyhow::Result<bool> {
        let now = self.stage.now();
        match event {
            CallEvent::RecordAsked { contact } => {
                let wanted = self.refusals.wanted(contact, now);
                if wanted == Wanted::Ask {
                    return Ok(false);
                }
                self.line.carry_out(Wish::AllowRecord(contact.clone(), false)).await?;
                if wanted == Wanted::DeclineAndSay {
                    let text = format!(
                        "{contact} asks to record again. For a minute after a no that is declined without asking you"
                    );
                    self.stage.tell(CallEvent::Warning { contact: Some(contact.clone()), text })?;
                }
                Ok(true)
            }
            CallEvent::Lapsed { contact, question } if question == "record" => {
                let mut calls = self.stage.model.calls.iter();
                Ok(!calls.any(|call| call.contact == *contact && call.record_asked))
            }
            _ => Ok(false),
        }
    }

    /// What the echo test found, if it is one.
    fn echo_heard(&self, contact: &str) -> Option<CallEvent> {
        let envelopes = self.echo.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.stage.model.calls.iter().find(|call| call.contact == contact);
        let lost = call.and_then(|call| call.tick.as_ref()).map_or(0, |tick| tick.lost);
        Some(CallEvent::EchoHeard(envelopes.found(echo::PAUSE, lost)))
    }

    /// Whether there is a call of which the contact has heard.
    fn was_heard(&self, contact: &str) -> bool {
        let mut calls = self.stage.model.calls.iter();
        calls.any(|call| call.contact == contact && call.phase != Phase::Calling)
    }

    async fn pressed(&mut self, pressed: Pressed) -> anyhow::Result<()> {
        let Pressed::Key(key) = pressed else {
            // The terminal was closed.
            self.stopped = true;
            return self.quit().await;
        };
        if self.prompt.is_some() {
            return self.typed(key).await;
        }
        let now = self.stage.now();
        if self.stray.drops(key, now) && !keys::quits(key) {
            return Ok(());
        }
        let wish = keys::pressed(key, &mut self.stage.model, now);
        self.stage.tell_asked()?;
        match wish {
            Some(wish) => self.wish(wish).await,
            None => Ok(()),
        }
    }

    async fn wish(&mut self, wish: Wish) -> anyhow::Result<()> {
        if let Wish::AllowRecord(contact, false) = &wish {
            self.refusals.refused(contact, self.stage.now());
        }
        match wish {
            Wish::Quit => self.quit().await,
            Wish::Process => {
                self.line.sound.process(processing(self.stage.model.switches));
                Ok(())
            }
            Wish::OpenMenu(part) => {
                self.open_menu(part);
                Ok(())
            }
            Wish::EndWithPad(contact) => {
                let text = format!("the call with {contact} ends with its one-time pad, and is not protected by less");
                self.stage.tell(CallEvent::Warning { contact: Some(contact), text })
            }
            Wish::Choose(part, id) => {
                self.choose(part, id.map_or(Choice::Default, Choice::Id));
                Ok(())
            }
            Wish::StandIn(id, take) => {
                self.line.sound.stand_in(&id, take);
                Ok(())
            }
            Wish::Record(contact) => self.record(contact).await,
            other => match self.line.carry_out(other).await {
                Ok(()) => Ok(()),
                // What cannot be done does not end the telephone.
                Err(error) => self.stage.tell(CallEvent::Warning { contact: None, text: complaint::said(&error) }),
            },
        }
    }

    /// Ends every call, then the telephone.
    async fn quit(&mut self) -> anyhow::Result<()> {
        if self.ending.is_some() {
            // Asked twice: at once.
            self.ending = Some(Instant::now());
            return Ok(());
        }
        self.ending = Some(Instant::now() + ENDING);
        let calls: Vec<_> = self.stage.model.calls.iter().map(|call| (call.contact.clone(), call.phase)).collect();
        for (contact, phase) in calls {
            let rings = phase == Phase::Incoming;
            let wish = if rings { Wish::Decline(contact) } else { Wish::HangUp(contact) };
            self.line.carry_out(wish).await?;
        }
        // A call of ours that never was.
        if matches!(self.aim, Aim::Call { .. }) && self.stage.model.calls.is_empty() {
            self.outcome.get_or_insert(NOT_TAKEN);
        }
        Ok(())
    }
}

/// The exit status of a call that ended so; `received` is how many voice packets came, if it was taken.
pub fn status(reason: HangUpReason, received: Option<u64>) -> u8 {
    match (reason, received) {
        (HangUpReason::Failed | HangUpReason::Lost, _) | (HangUpReason::KeyUsedUp, None) => FAILED,
        (_, Some(0)) => SILENT,
        (_, Some(_)) => TALKED,
        (_, None) => NOT_TAKEN,
    }
}

/// What is done to the voice, as the switches have it.
pub(crate) fn processing(switches: Switches) -> Processing {
    Processing {
        echo_cancelling: switches.echo_cancelling,
        high_pass: switches.high_pass,
        gain_control: switches.gain_control,
        noise_suppression: switches.noise_suppression,
    }
}
