//! What is known of the run so far: plain state, folded from events, that a screen can be drawn from.
//!
//! Nothing here waits, reads a clock or draws. Everything that grows is bounded.

use std::{collections::VecDeque, time::Duration};

use super::{
    events::{
        Act, CallTick, Check, DemoEvent, EndReason, FileProgress, FileState, Kme, KmeState, LinkBlock, LinkLight,
        Person, Plan, Stamped, StockLevel, Suite, TextState, Words,
    },
    plain::Narrator,
    summary::Summary,
};

/// Points kept of each series.
pub const SERIES: usize = 240;
/// Lines kept of the log.
pub const LOG_LINES: usize = 60;
/// Levels kept for each person's voice trace; five a second.
pub const LEVELS: usize = 160;

/// The state of the run.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Time of the last event, or of the last [`Model::tick`].
    pub now: Duration,
    /// What is going to happen.
    pub plan: Option<Plan>,
    /// The act that runs.
    pub act: Option<Act>,
    /// The acts that are over.
    pub acts_done: Vec<Act>,
    /// The outer layer, once connected: key exchange and cipher.
    pub connection: Option<(Words, Words)>,
    /// Who has confirmed the other's key.
    pub confirmed: [bool; 2],
    /// The call that rings or runs, or the last one.
    pub call: Option<Call>,
    /// The quantum link.
    pub link: Link,
    /// The KMEs, A first.
    pub kmes: [KmeView; 2],
    /// The people, Alice first.
    pub people: [PersonView; 2],
    /// The file.
    pub file: Option<FileProgress>,
    /// The last text message.
    pub text: Option<Message>,
    /// The warning that holds now, and since when.
    pub warning: Option<(Duration, Words)>,
    /// The last lines for a reader, oldest first.
    pub log: VecDeque<LogLine>,
    /// The promises checked so far.
    pub checks: Vec<Check>,
    /// The end.
    pub summary: Option<Box<Summary>>,
    /// Whether the end was asked for.
    pub stopping: bool,
    narrator: Narrator,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its number.
    pub number: u8,
    /// Who called.
    pub caller: Person,
    /// What protects it.
    pub suite: Suite,
    /// Where it stands.
    pub state: CallState,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// It rings.
    Ringing,
    /// People talk.
    Talking,
    /// It is over.
    Ended(EndReason),
}

/// The quantum link.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Share of wrong bits, a point for each stretch of light.
    pub qber: Series,
    /// Key rate, bits a second, a point for each block.
    pub rate: Series,
    /// Share above which blocks are discarded.
    pub threshold: Option<f64>,
    /// The block in the making.
    pub light: Option<LinkLight>,
    /// The last good block.
    pub last: Option<LinkBlock>,
    /// Why the last block was discarded; `None` after a good one.
    pub alarm: Option<Words>,
    /// Blocks made and discarded since live time began.
    pub made: u64,
    /// Blocks discarded.
    pub discarded: u64,
    /// Key bits made live.
    pub live_bits: u64,
    /// Whether Eve is on the line, and with what share of the pulses.
    pub eve: Option<f64>,
    /// Time run ahead: hours done, hours in all, key bits.
    pub ahead: Option<(f64, f64, u64)>,
}

/// A KME.
#[derive(Debug, Clone, Default)]
pub struct KmeView {
    /// Its port, once it listens.
    pub port: Option<u16>,
    /// What it does.
    pub state: Option<KmeState>,
    /// Bits in its half of the pool.
    pub pool_bits: u64,
    /// Why it refuses.
    pub reason: Option<Words>,
}

/// A person.
#[derive(Debug, Clone, Default)]
pub struct PersonView {
    /// Key for sending.
    pub send: Option<StockLevel>,
    /// Key for receiving.
    pub receive: Option<StockLevel>,
    /// The most that each held, bytes: the full length of the bars.
    pub most: (u64, u64),
    /// The last tick of the call.
    pub tick: Option<CallTick>,
    /// Loudness of what this person hears, 0 to 1, newest last.
    pub heard: VecDeque<f64>,
}

/// A text message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who wrote it.
    pub from: Person,
    /// How far it got.
    pub state: TextState,
    /// What protects it.
    pub suite: Suite,
    /// The text.
    pub text: Words,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Duration,
    /// How it is to be taken.
    pub mood: Mood,
    /// What.
    pub text: String,
}

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It is so.
    Plain,
    /// Well.
    Good,
    /// Look at this.
    Warn,
    /// Not well.
    Bad,
}

/// The last [`SERIES`] points of something.
#[derive(Debug, Clone, Default)]
pub struct Series(VecDeque<f64>);

impl Series {
    /// Adds a point; a number that is none counts as 0.
    pub fn push(&mut self, value: f64) {
        if self.0.len() == SERIES {
            self.0.pop_front();
        }
        self.0.push_back(if value.is_finite() { value } else { 0.0 });
    }

    /// The points, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
        self.0.iter().copied()
    }

    /// The newest point.
    pub fn last(&self) -> Option<f64> {
        self.0.back().copied()
    }
}

impl Model {
    /// Takes one event in; gives the line that it added to the log, if it did.
    pub fn apply(&mut self, stamped: &Stamped) -> Option<&LogLine> {
        self.tick(stamped.at);
        self.fold(stamped);
        let (mood, text) = self.narrator.tell(&stamped.event)?;
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { at: stamped.at, mood, text });
        self.log.back()
    }

    fn fold(&mut self, stamped: &Stamped) {
        match &stamped.event {
            DemoEvent::Started(plan) => self.plan = Some(plan.clone()),
            DemoEvent::ActBegan { act } => self.act = Some(*act),
            DemoEvent::ActEnded { act } => {
                if !self.acts_done.contains(act) {
                    self.acts_done.push(*act);
                }
                self.act = self.act.filter(|running| running != act);
            }
            DemoEvent::Connected { key_exchange, cipher } => {
                self.connection = Some((key_exchange.clone(), cipher.clone()));
            }
            DemoEvent::KeysConfirmed { who } => self.confirmed[who.index()] = true,
            DemoEvent::File(progress) => self.file = Some(progress.clone()),
            DemoEvent::Text { from, state, suite, text } => {
                self.text = Some(Message { from: *from, state: *state, suite: *suite, text: text.clone() });
            }
            DemoEvent::Warning { text, .. } => self.warning = Some((stamped.at, text.clone())),
            DemoEvent::Check(check) => self.checks.push(check.clone()),
            DemoEvent::Summary(summary) => {
                self.checks.clone_from(&summary.promises);
                self.summary = Some(summary.clone());
            }
            event => {
                self.apply_call(event);
                self.apply_key(event);
            }
        }
    }

    /// Lets time pass without an event.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    fn apply_call(&mut self, event: &DemoEvent) {
        match event {
            DemoEvent::Ringing { call, caller, suite } => {
                self.call = Some(Call { number: *call, caller: *caller, suite: *suite, state: CallState::Ringing });
                for person in &mut self.people {
                    person.tick = None;
                    person.heard.clear();
                }
            }
            DemoEvent::Answered { call, suite } => {
                let caller = self.call.as_ref().map_or(Person::Alice, |call| call.caller);
                self.call = Some(Call { number: *call, caller, suite: *suite, state: CallState::Talking });
            }
            DemoEvent::CallEnded { reason, .. } => {
                if let Some(call) = &mut self.call {
                    call.state = CallState::Ended(*reason);
                }
                self.warning = None;
            }
            DemoEvent::CallTick(tick) => {
                let person = &mut self.people[tick.who.index()];
                if person.heard.len() == LEVELS {
                    person.heard.pop_front();
                }
                person.heard.push_back(loudness(tick.heard_dbfs));
                person.tick = Some(*tick);
            }
            _ => {}
        }
    }

    fn apply_key(&mut self, event: &DemoEvent) {
        match event {
            DemoEvent::KmeUp { kme, port } => self.kme(*kme).port = Some(*port),
            DemoEvent::KmeStatus { kme, state, pool_bits, reason } => {
                let view = self.kme(*kme);
                (view.state, view.pool_bits) = (Some(*state), *pool_bits);
                view.reason.clone_from(reason);
            }
            DemoEvent::RunAhead { hours, of_hours, key_bits, .. } => {
                self.link.ahead = Some((*hours, *of_hours, *key_bits));
            }
            DemoEvent::LinkLight(light) => {
                self.link.qber.push(light.qber);
                self.link.threshold = Some(light.threshold);
                self.link.light = Some(*light);
            }
            DemoEvent::LinkBlock(block) => {
                self.link.rate.push(block.rate_bps);
                self.link.threshold = Some(block.threshold);
                self.link.last = Some(*block);
                self.link.alarm = None;
                self.link.made += 1;
                self.link.live_bits = self.link.live_bits.saturating_add(block.key_bits);
            }
            DemoEvent::BlockDiscarded { threshold, reason, .. } => {
                self.link.rate.push(0.0);
                self.link.threshold = Some(*threshold);
                self.link.alarm = Some(reason.clone());
                self.link.discarded += 1;
            }
            DemoEvent::Eavesdropper { on, share } => self.link.eve = on.then_some(*share),
            DemoEvent::Stock { who, send, receive } => {
                let person = &mut self.people[who.index()];
                person.send = Some(*send);
                person.receive = Some(*receive);
                person.most = (person.most.0.max(send.bytes), person.most.1.max(receive.bytes));
            }
            _ => {}
        }
    }

    fn kme(&mut self, kme: Kme) -> &mut KmeView {
        &mut self.kmes[kme.index()]
    }

    /// The person of that name.
    pub fn person(&self, who: Person) -> &PersonView {
        &self.people[who.index()]
    }

    /// The call, if people talk in it now.
    pub fn talking(&self) -> Option<&Call> {
        self.call.as_ref().filter(|call| call.state == CallState::Talking)
    }

    /// Whether the link throws key away or a KME refuses to deliver.
    pub fn alarmed(&self) -> bool {
        self.link.alarm.is_some()
    }

    /// How many of `who`'s bytes of sending stock there are for every byte of a full bar, 0 to 1.
    pub fn stock_share(&self, who: Person) -> (f64, f64) {
        let person = self.person(who);
        let share = |level: Option<StockLevel>, most: u64| {
            // Against the mark, which the run lowers once the file has its key: the most that ever was would leave an
            // empty bar beside a stock that is enough.
            level.map_or(0.0, |level| ratio(level.bytes, if level.mark_bytes > 0 { level.mark_bytes } else { most }))
        };
        (share(person.send, person.most.0), share(person.receive, person.most.1))
    }

    /// Whether a file is on its way.
    pub fn file_moving(&self) -> bool {
        self.file.as_ref().is_some_and(|file| matches!(file.state, FileState::Offered | FileState::Moving))
    }
}

/// `part` of `whole`, 0 to 1; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for the eye")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

/// Loudness for the eye: -54 dBFS and less is 0, -6 and more is 1.
pub fn loudness(dbfs: f64) -> f64 {
    if dbfs.is_nan() { 0.0 } else { ((dbfs + 54.0) / 48.0).clamp(0.0, 1.0) }
}
