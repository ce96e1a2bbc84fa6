//! Shows a link while it runs: a thread runs it, and what it tells goes to the view that was asked for.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    events::{Event, Stamped},
    live::Live,
    play::play,
    records, screen,
};
use crate::{
    cli::{LinkOptions, LinkView, Speed},
    demo::{
        show::{STOPPED, Signals, can_draw, depth, has_gone, quietly},
        terminal::Screen,
        theme::Theme,
    },
};

/// Events that may wait for a slow view before the link waits too.
const QUEUE: usize = 256;
/// Time between two drawings of the screen.
const FRAME: Duration = Duration::from_millis(100);
/// How often a link that waits for its time looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the screen will be drawn for this choice.
pub fn is_screen(view: LinkView) -> bool {
    view == LinkView::Auto && can_draw()
}

/// What the link's thread and the view share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the link is to end.
    stop: AtomicBool,
    /// Virtual time, microseconds.
    now: AtomicU64,
}

/// Runs and shows the link; gives the exit status.
pub async fn show(options: &LinkOptions) -> anyhow::Result<u8> {
    let mut view = View::open(options.view)?;
    let shared = Arc::new(Shared::default());
    let (queue, mut events) = mpsc::channel(QUEUE);
    let link = {
        let (options, shared) = (options.clone(), Arc::clone(&shared));
        tokio::task::spawn_blocking(move || run(&options, &shared, &queue))
    };
    let mut watched = view.watch(&mut events, &shared).await;
    shared.stop.store(true, Ordering::SeqCst);
    // What it still has to say, its sums above all.
    while let Some(stamped) = events.recv().await {
        if watched.is_ok() {
            watched = view.take(&stamped).and(watched);
        }
    }
    let ran = link.await.context("the link failed in an unforeseen way")?;
    let farewell = view.close();
    let stopped = watched?;
    ran.context("the link cannot be run")?;
    for line in farewell {
        quietly(writeln!(io::stdout(), "{line}"))?;
    }
    Ok(if stopped && options.duration.is_some() { STOPPED } else { 0 })
}

/// Runs the link at its pace until it is told to stop or nobody listens.
fn run(options: &LinkOptions, shared: &Shared, queue: &mpsc::Sender<Stamped>) -> Result<(), vernam_qkd::LinkError> {
    let began = Instant::now();
    let pace = |to: Duration| {
        if let Speed::Times(factor) = options.speed {
            let due = Duration::try_from_secs_f64(to.as_secs_f64() / factor).unwrap_or(Duration::MAX);
            loop {
                let elapsed = began.elapsed();
                let virtual_now = elapsed.as_secs_f64() * factor;
                shared.set_now(virtual_now.min(to.as_secs_f64()));
                if elapsed >= due || shared.stop.load(Ordering::SeqCst) {
                    break;
                }
                thread::sleep(due.saturating_sub(elapsed).min(LOOK_EVERY));
            }
        }
        shared.set_now(to.as_secs_f64());
        if shared.stop.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tell = |stamped| match queue.blocking_send(stamped) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_nobody_listens) => ControlFlow::Break(()),
    };
    play(options, pace, tell).map(|_sums| ())
}

impl Shared {
    fn set_now(&self, seconds: f64) {
        self.now.store(super::events::count(seconds * 1e6), Ordering::Relaxed);
    }

    fn now(&self) -> f64 {
        super::events::float(self.now.load(Ordering::Relaxed)) / 1e6
    }
}

/// Where the events go.
enum View {
    Screen {
        terminal: Box<Screen>,
        asked: mpsc::Receiver<()>,
        live: Box<Live>,
        farewell: Vec<String>,
    },
    Lines(fn(&Stamped) -> anyhow::Result<Vec<String>>),
    /// The reader of standard output has gone away.
    Silent,
}

impl View {
    fn open(choice: LinkView) -> anyhow::Result<Self> {
        if is_screen(choice) {
            let theme = Theme { depth: depth() };
            let (terminal, asked) = Screen::open(theme).context("cannot use this terminal; try --plain")?;
            let (terminal, live) = (Box::new(terminal), Box::default());
            return Ok(Self::Screen { terminal, asked, live, farewell: Vec::new() });
        }
        let header = match choice {
            LinkView::Json => Some(records::JSON_HEADER.to_owned()),
            LinkView::Csv => Some(records::csv_header()),
            LinkView::Auto | LinkView::Plain => None,
        };
        if let Some(header) = header {
            quietly(writeln!(io::stdout(), "{header}"))?;
        }
        Ok(Self::Lines(match choice {
            LinkView::Json => |stamped| Ok(vec![records::json(stamped)?]),
            LinkView::Csv => |stamped| Ok(records::csv(stamped).into_iter().collect()),
            LinkView::Auto | LinkView::Plain => |stamped| Ok(records::plain(stamped)),
        }))
    }

    /// Shows events until the run ends (`false`) or somebody asks for its end (`true`).
    async fn watch(&mut self, events: &mut mpsc::Receiver<Stamped>, shared: &Shared) -> anyhow::Result<bool> {
        let mut signals = Signals::new()?;
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(stamped) => self.take(&stamped)?,
                    None => return Ok(false),
                },
                _ = frames.tick() => self.frame(shared)?,
                () = self.asked(&mut signals) => return Ok(true),
            }
            if matches!(self, Self::Silent) {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, stamped: &Stamped) -> anyhow::Result<()> {
        let lines = match self {
            Self::Screen { live, farewell, .. } => {
                live.apply(stamped);
                if matches!(stamped.event, Event::Started(_) | Event::Ended(_)) {
                    farewell.extend(records::plain(stamped));
                }
                return Ok(());
            }
            Self::Lines(lines) => lines(stamped).context("an event cannot be written")?,
            Self::Silent => return Ok(()),
        };
        let mut out = io::stdout().lock();
        match lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
            Err(error) if has_gone(&error) => *self = Self::Silent,
            result => result.context("cannot write to standard output")?,
        }
        Ok(())
    }

    fn frame(&mut self, shared: &Shared) -> io::Result<()> {
        let Self::Screen { terminal, live, .. } = self else { return Ok(()) };
        live.tick(shared.now());
        match terminal.draw(|frame, theme| screen::draw(frame, live, theme)) {
            Err(error) if has_gone(&error) => *self = Self::Silent,
            result => result?,
        }
        Ok(())
    }

    /// Waits until a person asks for the end, by key or by signal.
    async fn asked(&mut self, signals: &mut Signals) {
        match self {
            Self::Screen { asked, .. } => tokio::select! {
                Some(()) = asked.recv() => {}
                () = signals.any() => {}
            },
            Self::Lines(_) | Self::Silent => signals.any().await,
        }
    }

    /// Gives the terminal back; what is left to be said once it is ours no more.
    fn close(self) -> Vec<String> {
        if let Self::Screen { farewell, .. } = self { farewell } else { Vec::new() }
    }
}
