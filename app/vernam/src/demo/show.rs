//! Shows a run while it runs: reads its events, feeds the view that was asked for, and ends as a program ends.
//!
//! [`show`] takes the run as a future, so that a test can show a run that it made up.

use std::{
    future::Future,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    Cancel, EventSink,
    events::{DemoEvent, Stamped},
    json,
    model::Model,
    picture::Film,
    plain::Plain,
    screen,
    summary::Summary,
    table::table,
    terminal::Screen,
    theme::{Depth, Theme},
};
use crate::cli::ViewChoice;

/// Time between two drawings of the screen.
const FRAME: Duration = Duration::from_millis(100);
/// How long the finished screen stays before the table replaces it.
const LINGER: Duration = Duration::from_millis(1500);
/// How long a run that is dropped may take to let go of what it holds.
const DROPPING: Duration = Duration::from_secs(2);

/// Exit status when a person stopped the run and no promise was broken, as shells have it for Ctrl-C.
pub const STOPPED: u8 = 130;

/// How a run is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// What is written to standard output.
    pub view: View,
    /// Where WAVs and the report go.
    pub out: PathBuf,
    /// Where the film goes.
    pub picture: Option<PathBuf>,
}

/// What is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The screen, then the table.
    Screen,
    /// Lines, then the table.
    Plain,
    /// JSON Lines.
    Json,
}

impl View {
    /// The view for a choice: the screen needs a terminal on both ends.
    pub fn choose(choice: ViewChoice) -> Self {
        match choice {
            ViewChoice::Json => Self::Json,
            ViewChoice::Auto if can_draw() => Self::Screen,
            ViewChoice::Plain | ViewChoice::Auto => Self::Plain,
        }
    }
}

/// Whether there is a terminal at both ends that can do more than print.
pub fn can_draw() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// Shows the run that `start` begins; gives the exit status.
///
/// `q`, Ctrl-C or a signal asks the run to end cleanly; asked twice, it is dropped where it stands.
pub async fn show<F, R>(showing: &Showing, start: F) -> anyhow::Result<u8>
where
    F: FnOnce(EventSink, Cancel) -> R,
    R: Future<Output = anyhow::Result<Summary>> + Send + 'static,
{
    let (sink, events) = EventSink::new();
    let cancel = Cancel::default();
    let mut stage = Stage::open(showing)?;
    let mut run = tokio::spawn(start(sink.clone(), cancel.clone()));
    let ended = stage.watch(events, &mut run, &cancel).await;
    let summary = match ended {
        Ok(Some(summary)) => summary,
        Ok(None) => {
            run.abort();
            // Waiting for the drop gives its temporary directories and servers the chance to go.
            let _gone_or_stuck = tokio::time::timeout(DROPPING, run).await;
            stage.close();
            return Ok(STOPPED);
        }
        Err(error) => {
            stage.close();
            return Err(error);
        }
    };
    let mut summary = summary.checked(sink.elapsed());
    summary.cancelled |= cancel.is_cancelled();
    summary.out_dir = showing.out.display().to_string();
    let last = Stamped { at: sink.elapsed(), event: DemoEvent::Summary(Box::new(summary.clone())) };
    stage.take(&last)?;
    stage.linger().await;
    let film = stage.close();
    if showing.view != View::Json {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && depth() != Depth::Mono;
        quietly(stdout.lock().write_all(table(&summary, colour).as_bytes()))?;
    }
    // After the table: a full disk must not take the sums with it.
    write_report(&showing.out, &last)?;
    if let (Some(path), Some(film)) = (&showing.picture, film) {
        std::fs::write(path, film.svg()).with_context(|| format!("cannot write the picture {}", path.display()))?;
    }
    Ok(match (summary.broken().count(), summary.cancelled) {
        (0, false) => 0,
        (0, true) => STOPPED,
        _ => 1,
    })
}

fn write_report(out: &Path, last: &Stamped) -> anyhow::Result<()> {
    let path = out.join("report.json");
    let text = serde_json::to_string_pretty(last).context("the report cannot be written as JSON")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write the report {}", path.display()))
}

/// A reader that has gone away (`| head`, a closed terminal) is no error.
pub(crate) fn quietly(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if has_gone(&error) { Ok(()) } else { Err(error) })
}

pub(crate) fn has_gone(error: &io::Error) -> bool {
    /// EIO, the same number on every Unix: so a terminal answers once it has hung up.
    const HUNG_UP: i32 = 5;
    error.kind() == io::ErrorKind::BrokenPipe || (cfg!(unix) && error.raw_os_error() == Some(HUNG_UP))
}

pub(crate) fn depth() -> Depth {
    let var = |name| std::env::var(name).ok();
    Depth::of(var("NO_COLOR").as_deref(), var("COLORTERM").as_deref(), var("TERM").as_deref())
}

/// The view, the model behind it, and the film.
struct Stage {
    model: Model,
    view: Running,
    film: Option<Film>,
    began: Instant,
}

enum Running {
    Screen(Box<Screen>, mpsc::Receiver<()>),
    Plain(Box<Plain>),
    Json,
    /// The reader of standard output has gone away.
    Silent,
}

impl Stage {
    fn open(showing: &Showing) -> anyhow::Result<Self> {
        let view = match showing.view {
            View::Screen => {
                let (screen, asked) =
                    Screen::open(Theme { depth: depth() }).context("cannot use this terminal; try --plain")?;
                Running::Screen(Box::new(screen), asked)
            }
            View::Plain => Running::Plain(Box::default()),
            View::Json => {
                quietly(writeln!(io::stdout(), "{}", json::HEADER))?;
                Running::Json
            }
        };
        let film = showing.picture.is_some().then(Film::default);
        Ok(Self { model: Model::default(), view, film, began: Instant::now() })
    }

    /// Feeds the view until the run ends. `None` when a person asked twice for the end.
    async fn watch(
        &mut self,
        mut events: mpsc::Receiver<Stamped>,
        run: &mut tokio::task::JoinHandle<anyhow::Result<Summary>>,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<Summary>> {
        let mut signals = Signals::new()?;
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let result = loop {
            tokio::select! {
                Some(event) = events.recv() => {
                    self.take(&event)?;
                    if matches!(self.view, Running::Silent) {
                        cancel.cancel();
                    }
                }
                ended = &mut *run => break ended,
                _ = frames.tick() => {
                    self.frame()?;
                    if matches!(self.view, Running::Silent) {
                        cancel.cancel();
                    }
                }
                () = ask(&mut self.view, &mut signals) => {
                    if cancel.is_cancelled() {
                        return Ok(None);
                    }
                    cancel.cancel();
                    self.model.stopping = true;
                }
            }
        };
        // What was told before the end and not yet read.
        while let Ok(event) = events.try_recv() {
            self.take(&event)?;
        }
        result.context("the demo failed in an unforeseen way")?.map(Some)
    }

    fn take(&mut self, event: &Stamped) -> anyhow::Result<()> {
        self.model.apply(event);
        let lines = match &mut self.view {
            Running::Screen(..) | Running::Silent => Vec::new(),
            Running::Plain(plain) => plain.lines(event),
            Running::Json => vec![json::line(event)?],
        };
        let mut out = io::stdout().lock();
        let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
        match written {
            Err(error) if has_gone(&error) => self.view = Running::Silent,
            result => result.context("cannot write to standard output")?,
        }
        Ok(())
    }

    fn frame(&mut self) -> io::Result<()> {
        self.model.tick(self.began.elapsed());
        if let Some(film) = &mut self.film {
            film.film(&self.model);
        }
        let model = &self.model;
        let Running::Screen(terminal, _) = &mut self.view else { return Ok(()) };
        match terminal.draw(|frame, theme| screen::draw(frame, model, theme)) {
            Err(error) if has_gone(&error) => self.view = Running::Silent,
            result => result?,
        }
        Ok(())
    }

    /// Leaves the finished screen in sight for a moment, or until a key.
    async fn linger(&mut self) {
        let _drawing_failed = self.frame();
        if let Running::Screen(_, asked) = &mut self.view {
            let _enough = tokio::time::timeout(LINGER, asked.recv()).await;
        }
    }

    /// Gives the terminal back.
    fn close(self) -> Option<Film> {
        self.film
    }
}

/// Ctrl-C, SIGTERM and SIGHUP (the terminal was closed) from outside.
///
/// Each is listened for from the start, without a gap: one that comes while nobody waits in [`Signals::any`] is told by
/// the next wait.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// `None` where it was ignored already, as `nohup` has it.
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let hang_up = if hang_up_is_ignored() { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())?, hang_up })
    }

    #[cfg(windows)]
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c().context("cannot listen for Ctrl-C")? })
    }

    pub(crate) async fn any(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            Some(()) = async { self.hang_up.as_mut()?.recv().await } => {}
            else => std::future::pending().await,
        }
        #[cfg(windows)]
        let _ = self.interrupt.recv().await;
    }
}

/// Whether this program was started with SIGHUP ignored. Where the system does not tell (it does on Linux): no.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Waits until a person asks for the end, by key or by signal.
async fn ask(view: &mut Running, signals: &mut Signals) {
    match view {
        Running::Screen(_, asked) => tokio::select! {
            Some(()) = asked.recv() => {}
            () = signals.any() => {}
        },
        Running::Plain(_) | Running::Json | Running::Silent => signals.any().await,
    }
}
