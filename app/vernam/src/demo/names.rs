//! Who and what events speak of: people, KMEs, suites, acts, reasons, and the one bounded text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Person {
    /// At KME A; calls.
    Alice,
    /// At KME B; answers.
    Bob,
}

impl Person {
    /// Both, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Alice, Self::Bob];

    /// The one at the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }

    /// 0 for Alice, 1 for Bob.
    pub fn index(self) -> usize {
        match self {
            Self::Alice => 0,
            Self::Bob => 1,
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alice => "Alice",
            Self::Bob => "Bob",
        })
    }
}

/// The two key management entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kme {
    /// Serves Alice.
    A,
    /// Serves Bob.
    B,
}

impl Kme {
    /// 0 for A, 1 for B.
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl fmt::Display for Kme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "KME A",
            Self::B => "KME B",
        })
    }
}

/// Whether a KME hands out key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KmeState {
    /// Started, no key asked for yet.
    Starting,
    /// Answers `enc_keys` with keys.
    Delivering,
    /// Answers `enc_keys` with 503 and the reason.
    Refusing,
    /// Shut down.
    Stopped,
}

/// What protects data under quantum key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[non_exhaustive]
pub enum Suite {
    /// One-time pad with a Wegman-Carter tag.
    #[serde(rename = "otp")]
    #[value(name = "otp")]
    Otp,
    /// AES-256-GCM under a quantum key.
    #[serde(rename = "aes-256-gcm")]
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 under a quantum key.
    #[serde(rename = "chacha20-poly1305")]
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Suite {
    /// All, in the order in which the demo shows them.
    pub const ALL: [Self; 3] = [Self::Otp, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Otp => "one-time pad",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// What it promises, in one plain sentence without a full stop.
    pub fn in_plain_words(self) -> &'static str {
        match self {
            Self::Otp => "one-time pad: no computer, ever, can read it",
            Self::Aes256Gcm => "AES-256-GCM, a fresh quantum key a minute",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305, a fresh quantum key a minute",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The acts of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Act {
    /// Certificates, KMEs, stock, connection.
    Setup,
    /// A call, a file and a message under one-time pad.
    OneTimePad,
    /// A call under AES-256-GCM.
    Aes,
    /// A call under ChaCha20-Poly1305.
    ChaCha,
    /// A one-time-pad call while the link is tapped.
    Eavesdropper,
    /// Sums, checks, clean-up.
    Summing,
}

impl Act {
    /// Its name where there is little room.
    pub fn short(self) -> &'static str {
        match self {
            Self::Setup => "set up",
            Self::OneTimePad => "one-time pad",
            Self::Aes => "AES",
            Self::ChaCha => "ChaCha20",
            Self::Eavesdropper => "eavesdropper",
            Self::Summing => "sums",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Setup => "setting up",
            Self::OneTimePad => "one-time pad",
            Self::Aes => "AES-256",
            Self::ChaCha => "ChaCha20",
            Self::Eavesdropper => "eavesdropper",
            Self::Summing => "checking the sums",
        }
    }
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// Someone hung up, as planned.
    HungUp {
        /// Who.
        by: Person,
    },
    /// The callee said no.
    Declined,
    /// Nobody answered in time.
    NoAnswer,
    /// The stock of one-time pad ran out and the policy allows nothing less.
    OutOfKey {
        /// Whose sending direction ran dry.
        who: Person,
    },
    /// The connection was lost.
    ConnectionLost,
    /// The person watching asked for the end.
    Cancelled,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp { by } => write!(f, "{by} hung up"),
            Self::Declined => f.write_str("declined"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::OutOfKey { who } => {
                write!(f, "{who}'s one-time pad ran out, and the policy allows nothing less")
            }
            Self::ConnectionLost => f.write_str("the connection was lost"),
            Self::Cancelled => f.write_str("stopped by the person watching"),
        }
    }
}

/// A short text for people: printable, one line, at most [`Words::LONGEST`] characters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Words(String);

impl Words {
    /// Most characters that a text keeps; the rest is cut and marked with `…`.
    pub const LONGEST: usize = 240;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: AsRef<str>> From<S> for Words {
    /// Keeps the printable start of `text`; a control character (a terminal escape, say) becomes a blank.
    fn from(text: S) -> Self {
        let mut kept: String =
            text.as_ref().chars().take(Self::LONGEST + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if kept.chars().count() > Self::LONGEST {
            kept = kept.chars().take(Self::LONGEST - 1).collect();
            kept.push('…');
        }
        Self(kept)
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_bounded_printable_line() {
        assert_eq!(Words::from("red\u{1b}[31m\nalarm").as_str(), "red [31m alarm");
        let long = Words::from("x".repeat(10_000));
        assert_eq!(long.as_str().chars().count(), Words::LONGEST);
        assert!(long.as_str().ends_with('…'));
    }
}
