//! Where the telephone is shown and from where it is told what to do: a screen with keys, lines, or JSON Lines.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::events::{CallEvent, Stamped};
use super::model::Model;
use super::{json, plain, screen};
use crate::cli::ViewChoice;
use crate::demo::show::{can_draw, depth, has_gone, quietly};
use crate::demo::terminal::{Screen, Typed};
use crate::demo::theme::Theme;

/// Keys that may wait.
const KEYS: usize = 64;

/// A key, or the end of whoever presses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressed {
    /// A key.
    Key(KeyEvent),
    /// The terminal was closed.
    Gone,
}

/// What is written to standard output.
enum View {
    Screen(Box<Screen>),
    Plain,
    Json,
    /// The reader of standard output has gone away.
    Silent,
}

/// The view, and the model behind it.
pub(crate) struct Stage {
    pub(crate) model: Model,
    view: View,
    began: Instant,
}

impl Stage {
    /// Opens the view that was asked for; gives the keys that are pressed.
    ///
    /// Without a screen, each character of a line on standard input is a key, so that a person or a script can answer
    /// and hang up there too; its end is no reason to end.
    pub(crate) fn open(choice: ViewChoice) -> anyhow::Result<(Self, mpsc::Receiver<Pressed>)> {
        let (view, keys) = match choice {
            ViewChoice::Auto if can_draw() => {
                let (screen, keys) = Screen::open_for(Theme { depth: depth() }, |typed| {
                    Some(match typed {
                        Typed::Key(key) => Pressed::Key(key),
                        Typed::Gone => Pressed::Gone,
                    })
                })
                .context("cannot use this terminal; try --plain")?;
                (View::Screen(Box::new(screen)), keys)
            }
            ViewChoice::Json => {
                quietly(writeln!(io::stdout(), "{}", json::HEADER))?;
                (View::Json, typed_lines())
            }
            ViewChoice::Plain | ViewChoice::Auto => (View::Plain, typed_lines()),
        };
        Ok((Self { model: Model::default(), view, began: Instant::now() }, keys))
    }

    /// Whether there is a screen.
    pub(crate) fn is_screen(&self) -> bool {
        matches!(self.view, View::Screen(_))
    }

    /// Whether nobody sees it any more.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.view, View::Silent)
    }

    /// Takes an event in, and shows it.
    pub(crate) fn tell(&mut self, event: CallEvent) -> anyhow::Result<()> {
        let stamped = Stamped { at: self.began.elapsed(), event };
        self.model.apply(&stamped);
        let line = match &self.view {
            View::Screen(_) | View::Silent => None,
            View::Plain => plain::line(&stamped),
            View::Json => Some(json::line(&stamped)?),
        };
        let Some(line) = line else { return Ok(()) };
        match writeln!(io::stdout(), "{line}") {
            Err(error) if has_gone(&error) => self.view = View::Silent,
            result => result.context("cannot write to standard output")?,
        }
        Ok(())
    }

    /// Draws the screen, if there is one.
    pub(crate) fn draw(&mut self) -> anyhow::Result<()> {
        self.model.tick(self.began.elapsed());
        let model = &self.model;
        let View::Screen(screen) = &mut self.view else { return Ok(()) };
        match screen.draw(|frame, theme| screen::draw(frame, model, theme)) {
            Err(error) if has_gone(&error) => self.view = View::Silent,
            result => result.context("cannot draw on this terminal")?,
        }
        Ok(())
    }

    /// Gives the terminal back. What happened last stays in sight as lines.
    pub(crate) fn close(self) {
        if let View::Screen(screen) = self.view {
            drop(screen);
            let last = self.model.log.iter().skip(self.model.log.len().saturating_sub(3));
            let mut out = io::stdout().lock();
            // Whoever closed the terminal reads nothing any more.
            let _gone = last.map(|entry| &entry.text).try_for_each(|text| writeln!(out, "{text}"));
        }
    }
}

/// Characters of lines on standard input, as keys. The thread that reads them ends with the process.
fn typed_lines() -> mpsc::Receiver<Pressed> {
    let (press, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            for character in line.chars().take(KEYS) {
                let code = if character == '\t' { KeyCode::Tab } else { KeyCode::Char(character) };
                if press.blocking_send(Pressed::Key(KeyEvent::new(code, KeyModifiers::NONE))).is_err() {
                    return;
                }
            }
        }
        // An open channel without keys is a person who presses none.
        while !press.is_closed() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    keys
}
