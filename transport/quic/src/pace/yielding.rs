//! The window of a connection that gives way to a voice: as full as the path, with a few milliseconds of queue.
//!
//! It is told of acknowledgements and losses, with the time; it reads no clock and sends nothing. It does not decide when
//! to give way: [`super::controller`] does.
//!
//! ```text
//!                       queue near the target, or a loss
//!        Seeking ───────────────────────────────────────────► Holding ◄──────────────┐
//!   window × 4/3 a round trip                                  │   ▲   the queue went │
//!                                     every 5 s, or the queue  │   │   with ours      │
//!                                     stays above what is ours ▼   │                  │
//!                      ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─► Draining              │
//!                      a call begins                half a window; ▲   │              │
//!                                                  after 2, 4 … s  │   ▼ it did not   │
//!                                                               Competing ────────────┘
//!                                                               as Cubic   nobody's queue is left
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller as _, Cubic, CubicConfig};

use super::delay::Delays;
use super::rate::{Rate, as_bytes, as_f64};

/// How long what we send may wait in queues. LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-01, section 4) takes 60 ms, for
/// transfers that nobody waits for; a voice leaves 10 ms.
pub(super) const TARGET: Duration = Duration::from_millis(4);

/// On a slow link the queue cannot be shorter than the packets in it: at least this many.
const TARGET_PACKETS: f64 = 1.5;

/// Share of the distance to the target that is made good in one round trip, as the step of FAST TCP (Jin, Wei and Low,
/// INFOCOM 2004, section IV): small when we wait for a queue to grow, because what is sent now is felt a round trip later.
const GAIN_UP: f64 = 0.25;

/// As [`GAIN_UP`] when there is too much.
const GAIN_DOWN: f64 = 0.5;

/// Packets that a window grows by in every round trip besides, whatever its size: of two transfers on one path the smaller
/// gains on the larger (LEDBAT++, section 4.2, adds a constant to the same end).
const STEP_PACKETS: f64 = 0.5;

/// Most by which the window grows or shrinks in one round trip, as a share of it.
const STEP_MAX: f64 = 0.25;

/// Round trips with less than three quarters of the target in the queue until each further one doubles the growth (the velocity of
/// Copa, section 2.1).
const CALM_ROUNDS: u32 = 2;

/// The largest velocity.
const VELOCITY_MAX: f64 = 32.0;

/// The largest velocity above half the target: with [`GAIN_UP`], all that is short in one round trip.
const VELOCITY_NEAR: f64 = 4.0;

/// While seeking, a byte of window for this many acknowledged ones; slow start (RFC 9002, section 7.3.1) takes one, and
/// would have a whole round trip of queue before the first of it is felt. Between that and the four of
/// `HyStart++` (RFC 9406, section 4.3) after its first sign of delay.
const SEEK_DIVISOR: u64 = 3;

/// Losses up to this share are not for too much in the queue, which we see by its delay (PCC Allegro, NSDI 2015, section
/// 2.3, tolerates as many).
const LOSS_TOLERATED: f64 = 0.05;

/// What is left of the window where more was lost, or where routers mark packets (ECN): Cubic's (RFC 9438, section 4.6).
const BACKOFF: f64 = 0.7;

/// How often our own queue is drained to see the path without it (BBR, section 4.3.4, does so every 10 s; BBR version 2
/// every 5 s, to half a window: draft-cardwell-iccrg-bbr-congestion-control-02, section 4.3.4.2).
const DRAIN_EVERY: Duration = Duration::from_secs(5);

/// The queue stays long although we shrink: for so many round trips and for so long, until it is held for somebody
/// else's. Copa (section 2.2) takes 5 round trips.
const SUSPECT_ROUNDS: u32 = 8;
/// As [`SUSPECT_ROUNDS`].
const SUSPECT_FOR: Duration = Duration::from_millis(200);

/// First time of competition after which we look whether the other is gone; doubled each time that it is not, up to
/// [`COMPETE_MAX`]. The first is short because most of what comes by is: a page, a picture.
const COMPETE_FIRST: Duration = Duration::from_secs(2);
/// As [`COMPETE_FIRST`].
const COMPETE_MAX: Duration = Duration::from_secs(16);

/// The smallest window, in packets: with fewer no loss is noticed before a timer (RFC 9002, section 6.1.1, wants three
/// packets after it).
const MIN_PACKETS: u64 = 4;

/// The window, and what it is doing.
#[derive(Clone, Debug)]
pub(super) struct Yielding {
    window: u64,
    /// Where the window goes, growing no faster than bytes are acknowledged, so that nothing is sent in bursts.
    goal: u64,
    mtu: u64,
    phase: Phase,
    /// When the queue was last drained.
    drained: Instant,
    /// Until when marks and losses are answered already: those of packets sent before.
    answered: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Phase {
    Seeking,
    Holding(Holding),
    Draining(Draining),
    Competing(Competing),
}

#[derive(Clone, Debug, Default)]
struct Holding {
    calm: u32,
    velocity: f64,
    suspicion: Option<Suspicion>,
}

/// The queue is longer than ours can be.
#[derive(Clone, Debug)]
struct Suspicion {
    since: Instant,
    rounds: u32,
    /// The window before we gave way.
    window: u64,
}

#[derive(Clone, Debug)]
struct Draining {
    /// When our packets had become few.
    few_since: Option<Instant>,
    /// The shortest round-trip time of packets sent since.
    shortest: Duration,
    /// What follows if the queue is still there.
    otherwise: Otherwise,
}

#[derive(Clone, Debug)]
enum Otherwise {
    /// It may be gone soon; go on, and watch.
    Hold,
    /// Somebody else's: compete, from what a window of this size is after a loss.
    Compete(u64),
    /// Still there: go on competing.
    Resume(Competing),
}

#[derive(Clone, Debug)]
struct Competing {
    cubic: Box<Cubic>,
    since: Instant,
    until: Instant,
    turn: Duration,
    /// The round-trip times that were left when ours was drained, the last two.
    left: [Duration; 2],
}

/// What [`Yielding`] is told at the end of a batch of acknowledgements.
pub(super) struct Batch<'a> {
    pub(super) now: Instant,
    /// When the last-sent of the acknowledged packets was sent.
    pub(super) newest: Instant,
    pub(super) in_flight: u64,
    /// A round trip is over.
    pub(super) round: bool,
    /// The application gave less to send than the window took.
    pub(super) app_limited: bool,
    pub(super) delays: &'a mut Delays,
    pub(super) rate: &'a mut Rate,
}

impl Yielding {
    /// For a path of which nothing is known, or that was never full.
    pub(super) fn seeking(now: Instant, mtu: u64, window: u64) -> Self {
        Self { window, goal: window, mtu, phase: Phase::Seeking, drained: now, answered: None }
    }

    /// For a path that may have any queue: it is drained first.
    pub(super) fn draining(now: Instant, mtu: u64, delays: &Delays, rate: &Rate) -> Self {
        let mut new = Self::seeking(now, mtu, mtu * MIN_PACKETS);
        new.drain(delays, rate, Otherwise::Compete(rate.carried_in(delays.standing())));
        new
    }

    pub(super) fn window(&self) -> u64 {
        match &self.phase {
            Phase::Competing(competing) => competing.cubic.window(),
            Phase::Seeking | Phase::Holding(_) | Phase::Draining(_) => self.window,
        }
    }

    /// The same path from now on without giving way.
    pub(super) fn into_cubic(self, now: Instant) -> Cubic {
        match self.phase {
            Phase::Competing(Competing { cubic, .. })
            | Phase::Draining(Draining { otherwise: Otherwise::Resume(Competing { cubic, .. }), .. }) => *cubic,
            Phase::Seeking => {
                let mut config = CubicConfig::default();
                config.initial_window(self.window);
                Cubic::new(Arc::new(config), now, mtu_of(self.mtu))
            }
            Phase::Holding(_) | Phase::Draining(_) => {
                let before_a_loss = as_f64(self.goal.max(self.window)) / BACKOFF;
                cubic_after_loss(now, self.mtu, as_bytes(before_a_loss))
            }
        }
    }

    pub(super) fn on_mtu(&mut self, mtu: u64) {
        self.mtu = mtu;
        self.window = self.window.max(self.smallest());
        self.goal = self.goal.max(self.smallest());
        if let Some(competing) = self.competing_mut() {
            competing.cubic.on_mtu_update(mtu_of(mtu));
        }
    }

    /// Cubic, if it is at work or put aside, wants to hear of each packet by itself.
    pub(super) fn cubic(&mut self) -> Option<&mut Cubic> {
        self.competing_mut().map(|competing| &mut *competing.cubic)
    }

    pub(super) fn on_ack(&mut self, bytes: u64, app_limited: bool) {
        if matches!(self.phase, Phase::Seeking) && !app_limited {
            self.goal = self.goal.saturating_add(bytes / SEEK_DIVISOR);
        }
        if self.window < self.goal && !app_limited {
            self.window = self.goal.min(self.window.saturating_add(bytes));
        }
    }

    pub(super) fn on_end_of_batch(&mut self, mut batch: Batch<'_>) {
        match &mut self.phase {
            Phase::Seeking => self.seek(&batch),
            Phase::Holding(_) => {
                if batch.round {
                    self.hold(&mut batch);
                }
            }
            Phase::Draining(draining) => {
                let few = self.window.saturating_add(self.mtu);
                if let Some(shortest) = draining.look(&batch, few) {
                    self.drained(&mut batch, shortest);
                }
            }
            Phase::Competing(competing) => {
                let gone = batch.delays.queueing() < TARGET / 2 && batch.newest > competing.since;
                let due = batch.now >= competing.until;
                if gone {
                    let window = competing.cubic.window();
                    self.hold_at(window);
                } else if due {
                    let resumed = competing.clone();
                    self.drain(batch.delays, batch.rate, Otherwise::Resume(resumed));
                }
            }
        }
    }

    /// `sent`: when the last of the lost, or marked, packets was sent.
    pub(super) fn on_congestion(&mut self, now: Instant, sent: Instant, persistent: bool, marked: bool) {
        if persistent {
            self.settle(self.smallest());
            self.phase = Phase::Seeking;
            return;
        }
        if self.answered.is_some_and(|answered| sent <= answered) {
            return;
        }
        let seeking = matches!(self.phase, Phase::Seeking);
        if seeking || marked {
            self.answered = Some(now);
            self.back_off();
        }
    }

    fn seek(&mut self, batch: &Batch<'_>) {
        let (standing, base) = (batch.delays.standing(), batch.delays.base());
        if batch.delays.known() && batch.delays.queueing() >= self.target(batch.rate) * 3 / 4 {
            // What is on the way now was allowed by acknowledgements a round trip ago: a share of SEEK_DIVISOR more.
            let filled = as_f64(self.window) * base.as_secs_f64() / standing.as_secs_f64().max(1e-6);
            self.hold_at(as_bytes(filled / (1.0 + 1.0 / as_f64(SEEK_DIVISOR))));
        }
    }

    /// Once a round trip: the window goes to where the queue is as long as it should be.
    fn hold(&mut self, batch: &mut Batch<'_>) {
        let target = self.target(batch.rate);
        let Phase::Holding(holding) = &mut self.phase else { return };
        let (standing, queue) = (batch.delays.standing(), batch.delays.queueing());

        holding.watch(batch.now, queue > suspect(target, batch.delays.base()), self.window);
        if let Some(window) = holding.convinced(batch.now) {
            return self.drain(batch.delays, batch.rate, Otherwise::Compete(window));
        }
        if batch.now.saturating_duration_since(self.drained) >= DRAIN_EVERY && !batch.app_limited {
            return self.drain(batch.delays, batch.rate, Otherwise::Hold);
        }

        holding.calm = if queue < target * 3 / 4 { holding.calm.saturating_add(1) } else { 0 };
        holding.velocity = if holding.calm > CALM_ROUNDS { (holding.velocity * 2.0).min(VELOCITY_MAX) } else { 1.0 };
        let short = (target.as_secs_f64() - queue.as_secs_f64()) / standing.as_secs_f64().max(1e-6);
        let fastest = if queue < target / 2 { VELOCITY_MAX } else { VELOCITY_NEAR };
        let gain = if short > 0.0 { GAIN_UP * holding.velocity.min(fastest) } else { GAIN_DOWN };
        let (window, most) = (as_f64(self.window), STEP_MAX * as_f64(self.window));
        let change = (gain * short * window + STEP_PACKETS * as_f64(self.mtu)).clamp(-most, most);

        let lossy = batch.rate.judge_loss(self.mtu).is_some_and(|share| share > LOSS_TOLERATED);
        if lossy {
            self.answered = Some(batch.now);
            self.back_off();
        } else if change < 0.0 {
            self.settle(as_bytes(window + change));
        } else if !batch.app_limited {
            self.goal = as_bytes(window + change).max(self.smallest());
        }
    }

    fn drain(&mut self, delays: &Delays, rate: &Rate, otherwise: Otherwise) {
        let full = rate.carried_in(delays.base()).max(self.smallest());
        self.goal = full;
        self.window = (full / 2).max(self.smallest());
        self.phase = Phase::Draining(Draining { few_since: None, shortest: Duration::MAX, otherwise });
    }

    /// Our queue is gone: what round-trip time is left?
    fn drained(&mut self, batch: &mut Batch<'_>, shortest: Duration) {
        let queue = shortest.saturating_sub(batch.delays.base());
        let busy = queue > suspect(self.target(batch.rate), batch.delays.base());
        let full = batch.rate.carried_in(batch.delays.base());
        self.drained = batch.now;
        let Phase::Draining(draining) = std::mem::replace(&mut self.phase, Phase::Seeking) else { return };
        match draining.otherwise {
            Otherwise::Compete(window) if busy => {
                let cubic = Box::new(cubic_after_loss(batch.now, self.mtu, window));
                self.compete(batch.now, cubic, COMPETE_FIRST, [shortest, Duration::MAX]);
            }
            Otherwise::Resume(Competing { left, .. }) if busy && left.iter().all(|old| alike(*old, shortest)) => {
                batch.delays.rebase(batch.now, shortest);
                self.hold_at(batch.rate.carried_in(shortest));
            }
            Otherwise::Resume(Competing { cubic, turn, left, .. }) if busy => {
                self.compete(batch.now, cubic, (turn * 2).min(COMPETE_MAX), [shortest, left[0]]);
            }
            Otherwise::Hold | Otherwise::Compete(_) | Otherwise::Resume(_) => {
                let small = self.window;
                self.hold_at(full);
                self.window = small.min(self.goal);
            }
        }
    }

    fn compete(&mut self, now: Instant, cubic: Box<Cubic>, turn: Duration, left: [Duration; 2]) {
        self.phase = Phase::Competing(Competing { cubic, since: now, until: now + turn, turn, left });
    }

    fn hold_at(&mut self, window: u64) {
        self.settle(window);
        self.phase = Phase::Holding(Holding { velocity: 1.0, ..Holding::default() });
    }

    /// The window is this from now on.
    fn settle(&mut self, window: u64) {
        self.window = window.max(self.smallest());
        self.goal = self.window;
    }

    fn back_off(&mut self) {
        let window = as_bytes(as_f64(self.window) * BACKOFF);
        match &mut self.phase {
            Phase::Seeking => self.hold_at(window),
            Phase::Holding(holding) => {
                (holding.calm, holding.velocity) = (0, 1.0);
                self.settle(window);
            }
            Phase::Draining(_) | Phase::Competing(_) => {}
        }
    }

    fn target(&self, rate: &Rate) -> Duration {
        let packets = TARGET_PACKETS * as_f64(self.mtu) / rate.best().max(1.0);
        TARGET.max(Duration::try_from_secs_f64(packets).unwrap_or(TARGET).min(20 * TARGET))
    }

    fn smallest(&self) -> u64 {
        MIN_PACKETS * self.mtu
    }

    fn competing_mut(&mut self) -> Option<&mut Competing> {
        match &mut self.phase {
            Phase::Competing(competing) | Phase::Draining(Draining { otherwise: Otherwise::Resume(competing), .. }) => {
                Some(competing)
            }
            Phase::Seeking | Phase::Holding(_) | Phase::Draining(_) => None,
        }
    }
}

impl Holding {
    fn watch(&mut self, now: Instant, long: bool, window: u64) {
        match &mut self.suspicion {
            _ if !long => self.suspicion = None,
            Some(suspicion) => suspicion.rounds = suspicion.rounds.saturating_add(1),
            None => self.suspicion = Some(Suspicion { since: now, rounds: 1, window }),
        }
    }

    fn convinced(&self, now: Instant) -> Option<u64> {
        let suspicion = self.suspicion.as_ref()?;
        let long = suspicion.rounds >= SUSPECT_ROUNDS && now.saturating_duration_since(suspicion.since) >= SUSPECT_FOR;
        long.then_some(suspicion.window)
    }
}

impl Draining {
    /// The shortest round-trip time of the packets that were sent when there were `few` of ours, once that is known.
    fn look(&mut self, batch: &Batch<'_>, few: u64) -> Option<Duration> {
        let Some(since) = self.few_since else {
            if batch.in_flight <= few {
                self.few_since = Some(batch.now);
            }
            return None;
        };
        if batch.newest < since {
            return None;
        }
        self.shortest = self.shortest.min(batch.now.saturating_duration_since(batch.newest));
        (batch.newest >= since + batch.delays.base() / 2).then_some(self.shortest)
    }
}

/// More than this is not our queue any more: the target, and as much again as slow start takes for a sign of delay
/// (`HyStart++`, RFC 9406, section 4.2: an eighth of the round-trip time, at most 16 ms).
fn suspect(target: Duration, base: Duration) -> Duration {
    target + (base / 8).min(Duration::from_millis(16)).max(target)
}

/// Whether two round-trip times are of a path with the same queue. A queue that somebody keeps full comes and goes by
/// much more; a path that is longer than it was does not.
fn alike(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) < TARGET / 2
}

/// Cubic in congestion avoidance, as if it had just lost a packet at this window.
fn cubic_after_loss(now: Instant, mtu: u64, window: u64) -> Cubic {
    let mut config = CubicConfig::default();
    config.initial_window(window.max(MIN_PACKETS * mtu));
    let mut cubic = Cubic::new(Arc::new(config), now, mtu_of(mtu));
    cubic.on_congestion_event(now, now, false, 0);
    cubic
}

fn mtu_of(mtu: u64) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}
