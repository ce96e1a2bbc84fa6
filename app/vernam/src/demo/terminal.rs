//! The terminal: taken over while the screen is shown, and given back whatever happens.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc;

use super::{model::Model, screen, theme::Theme};

/// Key presses that may wait to be read.
const KEYS: usize = 16;
/// How often the reader of the keyboard looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The terminal while it shows the screen. Dropping it gives the terminal back; so does a panic anywhere.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    theme: Theme,
    keyboard: Keyboard,
    panicked: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. Gives the screen and the requests to end that a person types: `q`, Esc or Ctrl-C.
    pub(super) fn open(theme: Theme) -> io::Result<(Self, mpsc::Receiver<()>)> {
        let panicked = Arc::new(AtomicBool::new(false));
        // `try_init` puts a hook in front of the present one that gives the terminal back before a panic is printed.
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let seen = Arc::clone(&panicked);
        let restoring = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            seen.store(true, Ordering::SeqCst);
            restoring(info);
        }));
        let (keyboard, asked) = Keyboard::read();
        Ok((Self { terminal, theme, keyboard, panicked }, asked))
    }

    /// Draws the model. After a panic in some task the terminal is no longer ours, and nothing is drawn.
    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        if self.panicked.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.draw(|frame| screen::draw(frame, model, self.theme)).map(|_drawn| ())
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

/// A thread that waits for keys, since reading a terminal blocks.
struct Keyboard {
    wanted: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keyboard {
    fn read() -> (Self, mpsc::Receiver<()>) {
        let wanted = Arc::new(AtomicBool::new(true));
        let (ask, asked) = mpsc::channel(KEYS);
        let still_wanted = Arc::clone(&wanted);
        let thread = thread::spawn(move || {
            while still_wanted.load(Ordering::SeqCst) {
                match event::poll(LOOK_EVERY) {
                    Ok(false) => {}
                    Ok(true) => {
                        if event::read().is_ok_and(|event| ends(&event)) {
                            // Full: the end was asked for sixteen times already.
                            let _ = ask.try_send(());
                        }
                    }
                    Err(_terminal_gone) => return,
                }
            }
        });
        (Self { wanted, thread: Some(thread) }, asked)
    }

    fn stop(&mut self) {
        self.wanted.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It ends within `LOOK_EVERY`; had it panicked, the hook has said so.
            let _ = thread.join();
        }
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
            KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        }
}
