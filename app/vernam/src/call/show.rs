//! Where the telephone is shown and from where it is told what to do: a screen with keys, lines, or JSON Lines.

mod release;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::Instant;
use vernam_engine::Transmit;

use self::release::Release;
use super::events::{CallEvent, Stamped};
use super::model::{Attended, Model};
use super::question::{Asked, Question};
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
    /// In this order: the terminal's mode is given back before the terminal.
    Screen(Option<Release>, Box<Screen>),
    Plain,
    Json,
    /// The reader of standard output has gone away.
    Silent,
    /// A screen that nobody sees.
    #[cfg(test)]
    Unseen,
}

/// The view, and the model behind it.
pub(crate) struct Stage {
    pub(crate) model: Model,
    view: View,
    began: Instant,
    /// The question that was told last.
    told: Option<Question>,
}

impl Stage {
    /// Opens the view that was asked for; gives the keys that are pressed.
    ///
    /// Without a screen, each character of a line on standard input is a key, so that a person or a script can answer
    /// and hang up there too; its end is no reason to end. Where that is no terminal a program is taken to be there.
    pub(crate) fn open(choice: ViewChoice) -> anyhow::Result<(Self, mpsc::Receiver<Pressed>)> {
        let mut model = Model::default();
        let (view, keys) = match choice {
            ViewChoice::Auto if can_draw() => {
                // Asked before the keys are read, among which the answer comes.
                let release = Release::where_it_is_told();
                model.switches.tells_release = release.is_some();
                let (screen, keys) = Screen::open_for(Theme { depth: depth() }, |typed| {
                    Some(match typed {
                        Typed::Key(key) => Pressed::Key(key),
                        Typed::Gone => Pressed::Gone,
                    })
                })
                .context("cannot use this terminal; try --plain")?;
                (View::Screen(release, Box::new(screen)), keys)
            }
            ViewChoice::Json => {
                quietly(writeln!(io::stdout(), "{}", json::HEADER))?;
                (View::Json, typed_lines())
            }
            ViewChoice::Plain | ViewChoice::Auto => (View::Plain, typed_lines()),
        };
        if !io::stdin().is_terminal() {
            model.attended = Attended::Program;
            model.asked = Asked::without_pause();
        }
        Ok((Self { model, view, began: Instant::now(), told: None }, keys))
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether there is a screen.
    pub(crate) fn is_screen(&self) -> bool {
        #[cfg(test)]
        if matches!(self.view, View::Unseen) {
            return true;
        }
        matches!(self.view, View::Screen(..))
    }

    /// With a screen that nobody sees.
    #[cfg(test)]
    pub(super) fn unseen() -> Self {
        Self { model: Model::default(), view: View::Unseen, began: Instant::now(), told: None }
    }

    /// Whether nobody sees it any more.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.view, View::Silent)
    }

    /// Takes an event in, and shows it; and what is asked since then.
    pub(crate) fn tell(&mut self, event: CallEvent) -> anyhow::Result<()> {
        self.show(event)?;
        self.tell_asked()
    }

    /// Tells what is asked, if that changed.
    pub(crate) fn tell_asked(&mut self) -> anyhow::Result<()> {
        let asked = self.model.question().cloned();
        if asked == self.told {
            return Ok(());
        }
        self.told.clone_from(&asked);
        let asked = asked.as_ref();
        self.show(CallEvent::Asked {
            question: asked.map(|asked| asked.name().to_owned()),
            contact: asked.and_then(Question::contact).map(str::to_owned),
            text: asked.map(Question::words),
        })
    }

    fn show(&mut self, event: CallEvent) -> anyhow::Result<()> {
        let stamped = Stamped { at: self.now(), event };
        self.model.apply(&stamped);
        let line = match &self.view {
            View::Screen(..) | View::Silent => None,
            #[cfg(test)]
            View::Unseen => None,
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
        let View::Screen(release, screen) = &mut self.view else { return Ok(()) };
        if let Some(release) = release {
            // Only while it is of use: a text is typed better without it.
            release.set(model.switches.transmit == Transmit::PushToTalk && model.prompt.is_none());
        }
        match screen.draw(|frame, theme| screen::draw(frame, model, theme)) {
            Err(error) if has_gone(&error) => self.view = View::Silent,
            result => result.context("cannot draw on this terminal")?,
        }
        Ok(())
    }

    /// Gives the terminal back. What happened last stays in sight as lines.
    pub(crate) fn close(self) {
        if let View::Screen(release, screen) = self.view {
            drop(release);
            drop(screen);
            let last = self.model.log.iter().skip(self.model.log.len().saturating_sub(3));
            let mut out = io::stdout().lock();
            // Whoever closed the terminal reads nothing any more.
            // The log's lines hold nothing that a terminal obeys.
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
