//! The terminal: taken over while the screen is shown, and given back whatever happens.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::theme::Theme;

/// Key presses that may wait to be read.
const KEYS: usize = 16;
/// How long a key waits where there is no room for it, before it is tried again.
const FULL: Duration = Duration::from_millis(2);
/// How often the reader of the keyboard looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The terminal while it shows the screen. Dropping it gives the terminal back; so does a panic anywhere.
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    theme: Theme,
    keyboard: Keyboard,
    panicked: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. Gives the screen and the requests to end that a person types: `q`, Esc or Ctrl-C.
    pub(crate) fn open(theme: Theme) -> io::Result<(Self, mpsc::Receiver<()>)> {
        Self::open_for(theme, |typed| match typed {
            Typed::Key(key) => ends(key).then_some(()),
            Typed::Gone => Some(()),
        })
    }

    /// Takes the terminal over. Gives the screen and what `read` makes of what is typed.
    pub(crate) fn open_for<T: Send + 'static>(
        theme: Theme,
        read: fn(Typed) -> Option<T>,
    ) -> io::Result<(Self, mpsc::Receiver<T>)> {
        let panicked = Arc::new(AtomicBool::new(false));
        // `try_init` puts a hook in front of the present one that gives the terminal back before a panic is printed.
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let seen = Arc::clone(&panicked);
        let restoring = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            seen.store(true, Ordering::SeqCst);
            restoring(info);
        }));
        let (keyboard, asked) = Keyboard::read(read);
        Ok((Self { terminal, theme, keyboard, panicked }, asked))
    }

    /// Draws what `paint` paints. After a panic in some task the terminal is no longer ours, and nothing is drawn.
    pub(crate) fn draw(&mut self, paint: impl FnOnce(&mut Frame<'_>, Theme)) -> io::Result<()> {
        if self.panicked.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.draw(|frame| paint(frame, self.theme)).map(|_drawn| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.keyboard.stop();
        if !self.panicked.load(Ordering::SeqCst) {
            ratatui::restore();
        }
    }
}

/// What comes from a keyboard.
pub(crate) enum Typed {
    /// A key.
    Key(KeyEvent),
    /// The terminal was closed.
    Gone,
}

/// A thread that waits for keys, since reading a terminal blocks.
struct Keyboard {
    wanted: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keyboard {
    fn read<T: Send + 'static>(read: fn(Typed) -> Option<T>) -> (Self, mpsc::Receiver<T>) {
        let wanted = Arc::new(AtomicBool::new(true));
        let (ask, asked) = mpsc::channel(KEYS);
        let still_wanted = Arc::clone(&wanted);
        let thread = thread::spawn(move || {
            while still_wanted.load(Ordering::SeqCst) {
                // A window that was closed says nothing of it to who reads from it: reading then never ends.
                let polled = event::poll(LOOK_EVERY);
                let gone = polled.is_err() || !io::stdout().is_terminal();
                let some = !gone && polled.is_ok_and(|some| some);
                let typed = if gone {
                    read(Typed::Gone)
                } else if some && let Ok(Event::Key(key)) = event::read() {
                    read(Typed::Key(key))
                } else {
                    None
                };
                if let Some(typed) = typed {
                    hand_over(&ask, typed, &still_wanted);
                }
                if gone {
                    return;
                }
            }
        });
        (Self { wanted, thread: Some(thread) }, asked)
    }

    fn stop(&mut self) {
        self.wanted.store(false, Ordering::SeqCst);
        // It ends within `LOOK_EVERY`, but for one that reads from a window that was closed meanwhile: that one is left to
        // end with the process.
        let patience = Instant::now() + 3 * LOOK_EVERY;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < patience {
            thread::sleep(LOOK_EVERY / 10);
        }
        if let Some(thread) = self.thread.take().filter(thread::JoinHandle::is_finished) {
            // Had it panicked, the hook has said so.
            let _ = thread.join();
        }
    }
}

/// Hands a key over however long nobody takes one: what is pasted comes at once, and a passphrase without some of its
/// characters opens nothing. Meanwhile the rest waits in the terminal.
fn hand_over<T>(ask: &mpsc::Sender<T>, mut typed: T, wanted: &AtomicBool) {
    while let Err(TrySendError::Full(waiting)) = ask.try_send(typed) {
        if !wanted.load(Ordering::SeqCst) {
            return;
        }
        typed = waiting;
        thread::sleep(FULL);
    }
}

fn ends(key: KeyEvent) -> bool {
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
            KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_lost_while_nobody_takes_one() {
        let (ask, mut asked) = mpsc::channel(KEYS);
        let wanted = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| (0..20 * KEYS).for_each(|key| hand_over(&ask, key, &wanted)));
            // The channel is full before the first is taken.
            while asked.len() < KEYS {
                thread::yield_now();
            }
            for key in 0..20 * KEYS {
                assert_eq!(asked.blocking_recv(), Some(key));
            }
        });
        for key in 0..KEYS {
            hand_over(&ask, key, &wanted);
        }
        wanted.store(false, Ordering::SeqCst);
        // Or this would never end.
        hand_over(&ask, KEYS, &wanted);
    }
}
