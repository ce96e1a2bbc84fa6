//! What a person, or a script, tells transfers on their way: to pause, to go on, to end. It only listens; what is done
//! about it is the parent's business.
//!
//! On a terminal a line is typed: `p` pauses, and lets go on, `c` cancels, anything else is an answer. Elsewhere, and there
//! too, a signal says it: `SIGUSR1` and `SIGUSR2`. (Ctrl-C is another thing: it ends the program, and keeps what is
//! unfinished.)

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Lines that may wait to be looked at.
const LINES: usize = 16;

/// What was told.
pub(super) enum Told {
    /// To pause what goes, or to go on with what is paused.
    Pause,
    /// To end it for good.
    Cancel,
    /// A line, without spaces around it.
    Line(String),
}

/// Where it is told.
pub(super) struct Controls {
    /// None where nobody types.
    lines: Option<mpsc::Receiver<String>>,
    pause: Signal,
    cancel: Signal,
}

impl Controls {
    /// Begins to listen. Standard input is left alone where it is no terminal, and where programs read what is shown.
    pub(super) fn open(json: bool) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let (pause, cancel) = (listen(SignalKind::user_defined1())?, listen(SignalKind::user_defined2())?);
        let lines = (std::io::stdin().is_terminal() && !json).then(lines);
        Ok(Self { lines, pause, cancel })
    }

    /// Whether somebody can be asked.
    pub(super) fn can_ask(&self) -> bool {
        self.lines.is_some()
    }

    /// What is told next; never, where nobody tells anything.
    pub(super) async fn next(&mut self) -> Told {
        let Self { lines, pause, cancel } = self;
        let line = async {
            if let Some(open) = lines {
                if let Some(line) = open.recv().await {
                    return line;
                }
                // The terminal is gone: from now on nobody can be asked.
                *lines = None;
            }
            std::future::pending().await
        };
        tokio::select! {
            line = line => match line.trim() {
                "p" | "P" => Told::Pause,
                "c" | "C" => Told::Cancel,
                other => Told::Line(other.to_owned()),
            },
            Some(()) = pause.recv() => Told::Pause,
            Some(()) = cancel.recv() => Told::Cancel,
            else => std::future::pending().await,
        }
    }
}

/// Lines of standard input, as they are typed.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES);
    // A thread of its own: reading a terminal cannot be broken off, and must not keep the program from ending.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
