//! Every colour of the demo's screen and picture, and how they are said to poorer terminals.

use ratatui::style::{Color, Modifier, Style};

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// 24 bits.
    #[default]
    True,
    /// The 256 of xterm.
    Indexed,
    /// The 16 of every terminal, on its own background.
    Ansi,
    /// None: the person set `NO_COLOR`.
    Mono,
}

impl Depth {
    /// What the environment says about the terminal: the values of `NO_COLOR`, `COLORTERM` and `TERM`.
    pub fn of(no_color: Option<&str>, colorterm: Option<&str>, term: Option<&str>) -> Self {
        let term = term.unwrap_or_default();
        if no_color.is_some_and(|value| !value.is_empty()) {
            Self::Mono
        } else if matches!(colorterm, Some("truecolor" | "24bit")) || term.ends_with("-direct") {
            Self::True
        } else if term.contains("256color") {
            Self::Indexed
        } else {
            Self::Ansi
        }
    }
}

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Behind everything.
    Ground,
    /// The empty part of a gauge, the bubble of a message.
    Track,
    /// Frames.
    Line,
    /// What may be overlooked.
    Faint,
    /// Labels.
    Dim,
    /// Text.
    Text,
    /// Text on a filled banner.
    OnFill,
    /// Alice.
    Alice,
    /// Bob.
    Bob,
    /// Safe, whole, kept; one-time pad.
    Good,
    /// AES.
    Aes,
    /// Key and photons; `ChaCha20`.
    Key,
    /// Look at this.
    Warn,
    /// Alarm, broken.
    Bad,
}

/// The colours for one kind of terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Theme {
    /// How many colours there are.
    pub depth: Depth,
}

impl Theme {
    /// The colour for a purpose.
    pub fn color(self, tone: Tone) -> Color {
        let (rgb, indexed, ansi) = Self::said(tone);
        match self.depth {
            Depth::True => Color::from_u32(rgb),
            Depth::Indexed => Color::Indexed(indexed),
            Depth::Ansi => ansi,
            Depth::Mono => Color::Reset,
        }
    }

    /// The colour for a purpose, mixed into the ground: `share` 1 is the colour itself, 0 the ground.
    /// Terminals without 24 bits get the colour itself.
    pub fn shade(self, tone: Tone, share: f64) -> Color {
        if self.depth != Depth::True {
            return self.color(tone);
        }
        let (over, under) = (Self::said(tone).0, Self::said(Tone::Ground).0);
        let mix = |shift: u32| {
            let part = |color: u32| f64::from(color >> shift & 0xff);
            (part(over) * share + part(under) * (1.0 - share)).round().clamp(0.0, 255.0)
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let byte = |shift| mix(shift) as u8;
        Color::Rgb(byte(16), byte(8), byte(0))
    }

    /// How a tone is said: 24 bits, the 256, the 16.
    const fn said(tone: Tone) -> (u32, u8, Color) {
        match tone {
            Tone::Ground => (0x0c_10_18, 233, Color::Reset),
            Tone::Track => (0x1d_26_36, 236, Color::Reset),
            Tone::Line => (0x2c_37_4a, 238, Color::DarkGray),
            Tone::Faint => (0x4a_57_6e, 240, Color::DarkGray),
            Tone::Dim => (0x8c_98_ac, 246, Color::Gray),
            Tone::Text => (0xe4_e9_f2, 255, Color::Reset),
            Tone::OnFill => (0x08_13_12, 233, Color::Black),
            Tone::Alice => (0x6c_a8_ff, 75, Color::LightBlue),
            Tone::Bob => (0xf4_9f_78, 216, Color::LightYellow),
            Tone::Good => (0x4f_d8_b0, 79, Color::LightGreen),
            Tone::Aes => (0x5c_b8_f5, 74, Color::LightCyan),
            Tone::Key => (0xa0_90_ff, 141, Color::LightMagenta),
            Tone::Warn => (0xf5_b8_55, 215, Color::Yellow),
            Tone::Bad => (0xff_5c_6c, 203, Color::LightRed),
        }
    }

    /// Text of a tone.
    pub fn fg(self, tone: Tone) -> Style {
        Style::new().fg(self.color(tone))
    }

    /// Bold text of a tone.
    pub fn bold(self, tone: Tone) -> Style {
        self.fg(tone).add_modifier(Modifier::BOLD)
    }

    /// A filled area of a tone with bold text on it; reversed where there are no colours.
    pub fn filled(self, tone: Tone) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        match self.depth {
            Depth::Mono => style.add_modifier(Modifier::REVERSED),
            _ => style.bg(self.color(tone)).fg(self.color(Tone::OnFill)),
        }
    }

    /// The whole screen's ground.
    pub fn ground(self) -> Style {
        Style::new().bg(self.color(Tone::Ground)).fg(self.color(Tone::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_the_colours_it_has() {
        assert_eq!(Depth::of(None, Some("truecolor"), Some("xterm-256color")), Depth::True);
        assert_eq!(Depth::of(None, None, Some("xterm-256color")), Depth::Indexed);
        assert_eq!(Depth::of(None, None, Some("linux")), Depth::Ansi);
        assert_eq!(Depth::of(Some("1"), Some("truecolor"), None), Depth::Mono);
        assert_eq!(Depth::of(Some(""), Some("truecolor"), None), Depth::True);
    }
}
