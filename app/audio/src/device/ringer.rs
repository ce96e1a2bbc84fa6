//! Rings: plays a telephone's tones on one loudspeaker, also outside of calls.
//!
//! It holds no device while it is silent, and neither waits nor fails: where nothing can ring the events say so.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::handset::{Events, lock};
use super::{Choice, HandsetEvent, Part, Speaker};
use crate::tone::{ToneKind, ToneSource};
use crate::{Error, Result, SAMPLE_RATE, error::DeviceError};

/// Sound that is kept waiting in the loudspeaker: 60 ms, so that a busy machine rings without a gap.
const AHEAD: usize = SAMPLE_RATE as usize * 60 / 1_000;
/// Samples that are made at a time: 10 ms.
const PIECE: usize = SAMPLE_RATE as usize / 100;
/// How often the loudspeaker is filled up.
const TURN: Duration = Duration::from_millis(10);
/// Time between attempts to open the loudspeaker.
const RETRY: Duration = Duration::from_secs(1);

/// Plays tones where it should ring, also outside of calls. Opens the device only while a tone plays.
pub struct Ringer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    events: Arc<Events>,
}

struct State {
    choice: Choice,
    tone: Option<ToneKind>,
    /// Counts what was asked for, so that the same tone can begin anew.
    turn: u64,
    has_thread: bool,
    dropped: bool,
}

impl Ringer {
    /// A silent one. Calls never wait.
    pub fn new(choice: Choice) -> Self {
        Self::telling(choice, Arc::default())
    }

    /// A silent one that tells others' events too.
    pub(super) fn telling(choice: Choice, events: Arc<Events>) -> Self {
        let state = State { choice, tone: None, turn: 0, has_thread: false, dropped: false };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), events }) }
    }

    /// Plays a tone from its beginning, or none.
    pub fn play(&self, tone: Option<ToneKind>) {
        self.change(|state| state.tone = tone);
    }

    /// Rings elsewhere from now on.
    pub fn choose(&self, choice: Choice) {
        self.change(|state| state.choice = choice);
    }

    /// What happened to its loudspeaker since it was last asked.
    pub fn events(&self) -> Vec<HandsetEvent> {
        self.shared.events.take()
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        let mut state = lock(&self.shared.state);
        how(&mut state);
        state.turn += 1;
        if state.tone.is_some() && !state.has_thread {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("ringer".to_owned());
            match thread.spawn(move || run(&shared)) {
                Ok(_) => state.has_thread = true,
                Err(error) => tracing::warn!(%error, "no thread for the ringer"),
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.change(|state| {
            state.tone = None;
            state.dropped = true;
        });
    }
}

/// Plays what is asked for; ends with the tone, so that a silent ringer is nothing but a few bytes.
fn run(shared: &Shared) {
    let mut ringing = Ringing { turn: u64::MAX, choice: Choice::Off, speaker: None, source: None, told: false };
    let mut retry = Instant::now();
    loop {
        let mut state = lock(&shared.state);
        if state.dropped || state.tone.is_none() {
            state.has_thread = false;
            return;
        }
        if state.turn != ringing.turn {
            ringing.turn = state.turn;
            ringing.source = state.tone.map(ToneSource::new);
            if state.choice != ringing.choice {
                ringing.choice = state.choice.clone();
                ringing.speaker = None;
                ringing.told = false;
            }
            retry = Instant::now();
        }
        drop(state);

        if ringing.speaker.is_none() && Instant::now() >= retry {
            retry = Instant::now() + RETRY;
            ringing.open(&shared.events);
        }
        if ringing.fill(&shared.events) {
            let mut state = lock(&shared.state);
            if state.turn == ringing.turn {
                state.tone = None;
            }
            continue;
        }
        let state = lock(&shared.state);
        if state.turn == ringing.turn {
            drop(shared.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

struct Ringing {
    turn: u64,
    choice: Choice,
    speaker: Option<Speaker>,
    /// None once it has ended by itself.
    source: Option<ToneSource>,
    /// Whether the person knows that it cannot ring.
    told: bool,
}

impl Ringing {
    fn open(&mut self, events: &Events) {
        let (opened, stands_in) = match &self.choice {
            Choice::Off => return,
            Choice::Default => (Speaker::open(None), false),
            Choice::Id(id) => match Speaker::open(Some(id)) {
                Err(Error::Device(DeviceError::NotFound { .. })) => (Speaker::open(None), true),
                opened => (opened, false),
            },
        };
        match opened {
            Ok(speaker) => {
                self.told = false;
                let name = speaker.name().to_owned();
                self.speaker = Some(speaker);
                events.tell(HandsetEvent::Opened { part: Part::Ringer, name, stands_in });
            }
            Err(error) => self.lose(events, "default", &error),
        }
    }

    /// Fills the loudspeaker up. True once the tone has ended and was heard.
    fn fill(&mut self, events: &Events) -> bool {
        let Some(speaker) = &mut self.speaker else { return false };
        match top_up(speaker, &mut self.source) {
            Ok(()) => self.source.is_none() && speaker.queued() == 0,
            Err(error) => {
                let name = speaker.name().to_owned();
                self.speaker = None;
                self.lose(events, &name, &error);
                false
            }
        }
    }

    fn lose(&mut self, events: &Events, name: &str, error: &Error) {
        if !std::mem::replace(&mut self.told, true) {
            let why = error.to_string();
            events.tell(HandsetEvent::Lost { part: Part::Ringer, name: name.to_owned(), why });
        }
    }
}

fn top_up(speaker: &mut Speaker, source: &mut Option<ToneSource>) -> Result<()> {
    while speaker.queued() < AHEAD
        && let Some(tone) = source
    {
        let mut piece = [0; PIECE];
        let goes_on = tone.mix_into(&mut piece);
        speaker.write(&piece)?;
        if !goes_on {
            *source = None;
        }
    }
    Ok(())
}
