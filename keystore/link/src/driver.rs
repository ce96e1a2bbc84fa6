//! What drives one end: connections come and go, a run goes on.
//!
//! ```text
//!            Door ──► greeting ──► conversation ──► Lost, and back to the door
//!                        │              │  ▲
//!                     a new run,        ▼  │ Done: frames, events, time-out
//!                     or the old      Task, one at a time, on a blocking thread: Side
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use vernam_qkd::distil::{EndConfig, EndEvent};
use vernam_qkd::{DiscardReason, LinkConfig};

use crate::conn::{self, Conn};
use crate::door::{Arrival, Caller, Door};
use crate::frame::{Channel, Frame, FrameError};
use crate::hello::{Control, Role, settings, summary};
use crate::lamp::Lamp;
use crate::limits::{EVENTS, GOOD_CONVERSATION, MAX_MALFORMED, MAX_SETTINGS, MESSAGES_OUT};
use crate::side::{Done, Side, Task, Wish};
use crate::tls::Tls;
use crate::{Error, LightSetup, Loss, PeerEvent, StartupSecret};

/// A state machine that wants to be told the time again at once, over and over, gets it at this pace.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// What an end is made of.
pub(crate) struct Parts {
    pub(crate) link: LinkConfig,
    pub(crate) distil: EndConfig,
    /// Alice's only.
    pub(crate) light: Option<LightSetup>,
    pub(crate) secret: StartupSecret,
    pub(crate) seed: Option<u64>,
    pub(crate) tls: Tls,
}

/// One end at work.
pub(crate) struct Driver {
    pub(crate) link: LinkConfig,
    pub(crate) distil: EndConfig,
    pub(crate) light: Option<LightSetup>,
    /// Away for the moment in which a piece is taken out.
    pub(crate) secret: Option<StartupSecret>,
    pub(crate) seed: Option<u64>,
    pub(crate) tls: Tls,
    pub(crate) settings: String,
    pub(crate) summary: String,
    pub(crate) run: Option<Run>,
    /// The run to begin next, its piece struck out already; the far end may not be so far. No pad of it is used yet.
    pub(crate) prepared: Option<Run>,
    /// The latest wish of each kind, for the runs to come.
    wishes: [Option<Wish>; 2],
    /// Frames that wait for their turn to be written.
    pending: VecDeque<Frame>,
    events: mpsc::Sender<PeerEvent>,
    commands: mpsc::Receiver<Wish>,
    stop: watch::Receiver<bool>,
}

/// What lasts from one start of both ends' processes to the end of one of them.
pub(crate) struct Run {
    pub(crate) number: u64,
    /// Away while it works.
    side: Option<Side>,
    /// Alice's only.
    lamp: Option<Lamp>,
    /// The time of the run at [`Self::since`].
    time: Duration,
    /// When the connection came about. The time of a run stands still without one.
    since: Option<Instant>,
    timeout: Option<Duration>,
    /// Whether the owner knows that there is no more light.
    told_end: bool,
    /// Inputs that cannot be, since the last block.
    malformed: u32,
}

/// Why the driver stops, or a conversation.
pub(crate) enum Halt {
    /// The owner wants it so, or is gone.
    Stop,
    /// It cannot go on.
    Failed(Error),
    /// The connection is no more; maybe another one has come.
    Lost(Loss, Option<Caller>),
}

/// What happens next.
enum Next {
    Stop,
    Arrival(Arrival),
    Wish(Option<Wish>),
    Heard(Result<Frame, FrameError>),
    Time,
    Light,
    WritingFailed,
    /// It was done at once.
    Nothing,
}

impl Run {
    pub(crate) fn new(number: u64, side: Side, lamp: Option<Lamp>) -> Self {
        Self {
            number,
            side: Some(side),
            lamp,
            time: Duration::ZERO,
            since: None,
            timeout: None,
            told_end: false,
            malformed: 0,
        }
    }

    /// Slots of light sent, or measured.
    pub(crate) fn slot(&self) -> u64 {
        let measured = self.side.as_ref().map_or(0, Side::measured);
        self.lamp.as_ref().map_or(measured, Lamp::sent)
    }

    /// Alice's light begins at `slot` now: what Bob has not seen before that is lost.
    pub(crate) fn skip_to(&mut self, slot: u64) {
        if let Some(side) = &mut self.side {
            side.skip_to(slot);
        }
    }

    fn unsettled(&self) -> Option<u64> {
        self.side.as_ref()?.unsettled()
    }

    fn now(&self) -> Duration {
        self.time + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The time goes on, and light may be sent.
    fn go_on(&mut self) {
        self.since = Some(Instant::now());
        // What was waited for is lost, or so little away that it does not matter: it is waited for no more.
        self.time = self.time.max(self.timeout.unwrap_or_default());
        if let Some(lamp) = &mut self.lamp {
            lamp.light_up(self.time);
        }
    }

    /// The time stands still.
    fn stand_still(&mut self) {
        (self.time, self.since) = (self.now(), None);
        if let Some(lamp) = &mut self.lamp {
            lamp.put_out();
        }
    }

    /// When on the clock it will be so late in the run.
    fn on_the_clock(&self, then: Duration) -> Option<Instant> {
        self.since?.checked_add(then.saturating_sub(self.time))
    }
}

impl Driver {
    pub(crate) fn new(
        parts: Parts,
        events: mpsc::Sender<PeerEvent>,
        commands: mpsc::Receiver<Wish>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let settings = settings(&parts.link, &parts.distil);
        if settings.len() > MAX_SETTINGS {
            return Err(Error::Setting {
                what: "the device's name",
                value: format!("{} bytes long", parts.link.device.name.len()),
                rule: "give it a short one",
            });
        }
        Ok(Self {
            settings,
            summary: summary(&parts.link),
            link: parts.link,
            distil: parts.distil,
            light: parts.light,
            secret: Some(parts.secret),
            seed: parts.seed,
            tls: parts.tls,
            run: None,
            prepared: None,
            wishes: [None, None],
            pending: VecDeque::new(),
            events,
            commands,
            stop,
        })
    }

    pub(crate) fn role(&self) -> Role {
        if self.light.is_some() { Role::Alice } else { Role::Bob }
    }

    /// Runs until the owner stops it or it cannot go on. Returns the block that is unsettled then, if it was not told.
    pub(crate) async fn run(mut self, mut door: Door) -> Option<u64> {
        let mut caller = None;
        let why = loop {
            caller = match self.once(&mut door, caller).await {
                Ok(()) => None,
                Err(Halt::Lost(loss, next)) => match self.tell(PeerEvent::Lost(loss)).await {
                    Ok(()) => next,
                    Err(halt) => break halt,
                },
                Err(halt) => break halt,
            };
        };
        door.close().await;
        if let Halt::Failed(error) = why
            && self.end_run().await.is_ok()
        {
            let _owner_gone = self.events.send(PeerEvent::Failed(error)).await;
        }
        self.run.as_ref().and_then(Run::unsettled)
    }

    /// The run is over. Says which block that leaves unsettled.
    pub(crate) async fn end_run(&mut self) -> Result<(), Halt> {
        if let Some(number) = self.run.as_ref().and_then(Run::unsettled) {
            // If the owner is gone, the run stays, and with it the answer to what is unsettled.
            self.tell(PeerEvent::Unsettled { number }).await?;
        }
        self.run = None;
        Ok(())
    }

    /// One connection, from the door to its end.
    async fn once(&mut self, door: &mut Door, caller: Option<Caller>) -> Result<(), Halt> {
        let arrival = match caller {
            Some(caller) => Ok(caller),
            None => self.wait_at(door).await?,
        };
        let mut stop = self.stop.clone();
        let caller = match arrival {
            Ok(caller) => caller,
            Err(refusal) => {
                self.mention(PeerEvent::Refused(refusal));
                return Ok(());
            }
        };
        let peer = caller.peer.clone();
        let greeted = tokio::select! {
            () = stopped(&mut stop) => return Err(Halt::Stop),
            greeted = self.greet(caller) => greeted?,
        };
        let (mut conn, resumed) = match greeted {
            Ok(greeted) => greeted,
            Err(refusal) => {
                self.mention(PeerEvent::Refused(refusal));
                return Ok(());
            }
        };
        let run = self.run.as_ref().map_or(0, |run| run.number);
        self.tell(PeerEvent::Connected { run, resumed, peer }).await?;
        for wish in self.wishes.into_iter().flatten().filter(|_any| !resumed) {
            self.work(Task::Grant(wish)).await?;
        }
        let since = Instant::now();
        if let Some(run) = &mut self.run {
            run.go_on();
        }
        let ended = self.converse(&mut conn, door).await;
        if let Some(run) = &mut self.run {
            run.stand_still();
        }
        self.pending.clear();
        if since.elapsed() >= GOOD_CONVERSATION {
            door.went_well();
        }
        match &ended {
            Err(Halt::Stop) => conn.say_goodbye("it was stopped").await,
            Err(Halt::Failed(error)) => conn.say_goodbye(&error.to_string()).await,
            Err(Halt::Lost(loss @ (Loss::Malformed(_) | Loss::NoAuthenticationKey), _)) => {
                conn.say_goodbye(&loss.to_string()).await;
            }
            _ => {}
        }
        if let Err(Halt::Lost(Loss::Malformed(_), _)) = &ended
            && self.is_hopeless()
        {
            self.end_run().await?;
        }
        ended
    }

    /// Counts one more input that cannot be. Whether there were too many: then this run would not get any further.
    fn is_hopeless(&mut self) -> bool {
        self.run.as_mut().is_some_and(|run| {
            run.malformed += 1;
            run.malformed >= MAX_MALFORMED
        })
    }

    /// Waits for a connection, and hears wishes meanwhile.
    async fn wait_at(&mut self, door: &mut Door) -> Result<Arrival, Halt> {
        let mut arrival = std::pin::pin!(door.next());
        loop {
            let wish = tokio::select! {
                () = stopped(&mut self.stop) => return Err(Halt::Stop),
                arrival = &mut arrival => return Ok(arrival),
                wish = self.commands.recv() => wish,
            };
            self.grant(wish).await?;
        }
    }

    /// Carries on the conversation until it ends.
    async fn converse(&mut self, conn: &mut Conn, door: &mut Door) -> Result<(), Halt> {
        loop {
            let (timer, light) = (self.timer(), self.light_due());
            let may_read = self.pending.len() < MESSAGES_OUT;
            let next = tokio::select! {
                () = stopped(&mut self.stop) => Next::Stop,
                arrival = door.unasked() => Next::Arrival(arrival),
                wish = self.commands.recv() => Next::Wish(wish),
                room = conn.out.reserve(), if !self.pending.is_empty() => match room {
                    Ok(room) => {
                        if let Some(frame) = self.pending.pop_front() {
                            room.send(frame);
                        }
                        Next::Nothing
                    }
                    Err(_closed) => Next::WritingFailed,
                },
                frame = conn.frames.recv(), if may_read => Next::Heard(frame.unwrap_or(Err(FrameError::Closed))),
                () = at(timer) => Next::Time,
                () = at(light) => Next::Light,
            };
            if let Next::WritingFailed = next {
                return Err(Halt::Lost(conn.writing_failed(&self.tls).await, None));
            }
            self.follow(next).await?;
        }
    }

    async fn follow(&mut self, next: Next) -> Result<(), Halt> {
        match next {
            Next::Stop => Err(Halt::Stop),
            Next::Arrival(Ok(caller)) => Err(Halt::Lost(Loss::Replaced, Some(caller))),
            Next::Arrival(Err(refusal)) => {
                self.mention(PeerEvent::Refused(refusal));
                Ok(())
            }
            Next::Wish(wish) => self.grant(wish).await,
            Next::Heard(Ok(frame)) => self.hear(frame).await,
            Next::Heard(Err(error)) => Err(Halt::Lost(conn::loss(error, &self.tls), None)),
            Next::Time => self.work(Task::Time).await,
            Next::Light => self.shine().await,
            Next::WritingFailed | Next::Nothing => Ok(()),
        }
    }

    async fn hear(&mut self, frame: Frame) -> Result<(), Halt> {
        match frame.channel {
            Channel::Classical => self.work(Task::Message(frame.payload)).await,
            Channel::Optical => self.work(Task::Measure(frame.payload)).await,
            Channel::Control => match Control::decode(&frame.payload) {
                Ok(Control::Taken(slot)) => {
                    self.with_lamp(|lamp, _now| lamp.answer(slot));
                    Ok(())
                }
                Ok(Control::Alive) => Ok(()),
                Ok(Control::Goodbye(why)) => Err(Halt::Lost(Loss::Goodbye(why), None)),
                Ok(Control::Proof { .. } | Control::Hello(_) | Control::Ready(_)) => {
                    Err(Halt::Lost(Loss::Malformed("a second greeting".to_owned()), None))
                }
                Err(what) => Err(Halt::Lost(Loss::Malformed(what), None)),
            },
        }
    }

    async fn shine(&mut self) -> Result<(), Halt> {
        let slots = self.run.as_mut().and_then(|run| {
            let now = run.now();
            run.lamp.as_mut()?.next(now)
        });
        if let Some(slots) = slots {
            self.work(Task::Shine(slots)).await?;
        }
        let ended = self.run.as_mut().filter(|run| !run.told_end && run.lamp.as_ref().is_some_and(Lamp::has_ended));
        let Some(run) = ended else { return Ok(()) };
        run.told_end = true;
        let event = PeerEvent::LightEnded { run: run.number };
        self.tell(event).await
    }

    async fn grant(&mut self, wish: Option<Wish>) -> Result<(), Halt> {
        let wish = wish.ok_or(Halt::Stop)?;
        let kind = usize::from(matches!(wish, Wish::Trouble(_)));
        self.wishes[kind] = Some(wish);
        self.work(Task::Grant(wish)).await
    }

    /// Does one task on a blocking thread, and passes on what comes of it. Must not be cancelled half-way.
    async fn work(&mut self, task: Task) -> Result<(), Halt> {
        let room = MESSAGES_OUT.saturating_sub(self.pending.len());
        let Some(run) = self.run.as_mut() else { return Ok(()) };
        let Some(mut side) = run.side.take() else { return Ok(()) };
        let now = run.now();
        let working = spawn_blocking(move || {
            let done = side.work(task, room, now);
            (side, done)
        });
        let (side, done) = working.await.map_err(|error| Halt::Failed(Error::Fault(error.to_string())))?;
        run.side = Some(side);
        let Done { light, measured, messages, events, timeout } =
            done.map_err(|what| Halt::Lost(Loss::Malformed(what), None))?;
        run.timeout = timeout.map(|due| due.max(now + LEAST_WAIT));
        self.pending.extend(light.map(|payload| Frame::new(Channel::Optical, payload)));
        self.pending.extend(messages.into_iter().map(|payload| Frame::new(Channel::Classical, payload)));
        self.pending.extend(measured.map(|slot| Frame::new(Channel::Control, Control::Taken(slot).encode())));
        for event in events {
            self.pass_on(event).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, event: EndEvent) -> Result<(), Halt> {
        let number = self.run.as_ref().map_or(0, |run| run.number);
        self.with_lamp(|lamp, now| match &event {
            EndEvent::Progress(progress) => lamp.progress(progress.at, now),
            EndEvent::Block { .. } | EndEvent::Discarded { .. } => lamp.block_over(now),
            _ => {}
        });
        if let (EndEvent::Block { .. }, Some(run)) = (&event, &mut self.run) {
            run.malformed = 0;
        }
        // Only what this end found by itself: a far end that has no key left is believed when it greets anew.
        let no_key = matches!(&event, EndEvent::Discarded { reason: DiscardReason::NoAuthenticationKey { .. }, .. });
        let is_progress = matches!(event, EndEvent::Progress(_));
        let event = PeerEvent::Distil { run: number, event };
        if is_progress {
            self.mention(event);
        } else {
            self.tell(event).await?;
        }
        if no_key {
            self.end_run().await?;
            return Err(Halt::Lost(Loss::NoAuthenticationKey, None));
        }
        Ok(())
    }

    /// Tells the owner, however long that takes.
    async fn tell(&mut self, event: PeerEvent) -> Result<(), Halt> {
        self.events.send(event).await.map_err(|_owner_gone| Halt::Stop)
    }

    /// Tells the owner unless he is behind.
    fn mention(&self, event: PeerEvent) {
        if self.events.capacity() > EVENTS / 2 {
            let _owner_gone = self.events.try_send(event);
        }
    }

    fn timer(&self) -> Option<Instant> {
        let run = self.run.as_ref()?;
        run.on_the_clock(run.timeout?)
    }

    fn light_due(&self) -> Option<Instant> {
        let run = self.run.as_ref().filter(|_any| self.pending.len() < MESSAGES_OUT)?;
        run.on_the_clock(run.lamp.as_ref()?.due()?)
    }

    fn with_lamp(&mut self, then: impl FnOnce(&mut Lamp, Duration)) {
        let Some(run) = &mut self.run else { return };
        let now = run.now();
        if let Some(lamp) = &mut run.lamp {
            then(lamp, now);
        }
    }
}

/// Waits until the owner wants no more, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _either = stop.wait_for(|stop| *stop).await;
}

/// Waits until then; for ever, if there is no then.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
