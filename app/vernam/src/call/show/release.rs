//! Has the terminal tell when a key is let go, where it can: for push-to-talk.
//!
//! Terminals send characters, and a character has no end. Those that speak the kitty keyboard protocol
//! (<https://sw.kovidgoyal.net/kitty/keyboard-protocol/>) tell of presses, repetitions and releases when they are asked
//! to. Characters that take several keys (dead keys, compose) are then not told as they are, so they are asked only
//! while it is needed. It reads no keys.

use std::io;

use ratatui::crossterm::event::{KeyboardEnhancementFlags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::supports_keyboard_enhancement;

/// What the terminal is asked for: keys with their kinds, also those that make text, and the character that Shift makes
/// of them ("progressive enhancement" 1, 2, 4 and 8).
const FLAGS: KeyboardEnhancementFlags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
    .union(KeyboardEnhancementFlags::REPORT_EVENT_TYPES)
    .union(KeyboardEnhancementFlags::REPORT_ALTERNATE_KEYS)
    .union(KeyboardEnhancementFlags::REPORT_ALL_KEYS_AS_ESCAPE_CODES);

/// A terminal that can tell when a key is let go. Dropping it puts the terminal back as it was.
pub(super) struct Release {
    on: bool,
}

impl Release {
    /// Asks the terminal whether it can; waits up to two seconds for one that says nothing at all.
    pub(super) fn where_it_is_told() -> Option<Self> {
        supports_keyboard_enhancement().is_ok_and(|can| can).then_some(Self { on: false })
    }

    /// Has it tell, or no longer.
    pub(super) fn set(&mut self, on: bool) {
        if self.on == on {
            return;
        }
        self.on = on;
        // A terminal that went away is noticed when it is drawn on.
        let _gone = if on {
            execute!(io::stdout(), PushKeyboardEnhancementFlags(FLAGS))
        } else {
            execute!(io::stdout(), PopKeyboardEnhancementFlags)
        };
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        self.set(false);
    }
}
