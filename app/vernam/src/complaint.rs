//! What went wrong, for people: each cause once, no character that a terminal obeys, and the exit status.
//!
//! It decides nothing: who fails says whether the person can mend it by writing something else ([`WrongUsage`]).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Exit status of what failed.
pub const FAILED: u8 = 1;
/// Exit status of wrong usage.
pub const WRONG_USAGE: u8 = 2;

/// What was asked for can never be done so: an unknown contact or device, no home, settings that do not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(String);

impl WrongUsage {
    /// With what to write instead.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same for what was found wrong in the settings or on the command line.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub fn of(error: anyhow::Error) -> anyhow::Error {
        Self(said(&error)).into()
    }
}

/// The exit status of a program that ends with this error.
pub fn status(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<WrongUsage>().is_some() { WRONG_USAGE } else { FAILED }
}

/// An error and its causes. A cause that stands in what is said already is not said again.
pub fn said(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            let between = if said.is_empty() { "" } else { ": " };
            said.extend([between, &cause]);
        }
    }
    printable(&said).into_owned()
}

/// Whether a terminal, or a reader, might take it for something else than a character to show: controls (among them the
/// beginning of every escape sequence) and what turns the direction of writing around.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text from anywhere as it may be written to a terminal: lines stay lines, and what would be obeyed becomes `�`.
pub fn printable(text: &str) -> Cow<'_, str> {
    shown(text, |c| c != '\n' && is_obeyed(c))
}

/// The same for what must stay one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    shown(text, is_obeyed)
}

fn shown(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let plain = |c: char| match c {
        '\t' => ' ',
        c if is_bad(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    Cow::Owned(text.chars().map(plain).collect())
}

/// JSON in which strings have what a terminal obeys as `\uXXXX`, which means the same.
pub fn escaped_json(json: String) -> String {
    // Serde escapes what is below the space only.
    if !json.contains(is_obeyed) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match u32::from(c) {
            // The ends of lines of JSON that goes over several.
            0x0a => escaped.push(c),
            code if is_obeyed(c) => write!(escaped, "\\u{code:04x}").expect("a string grows"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the pad: {source}")]
    struct Opening {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = || std::io::Error::other("the disk is gone");
        let error = anyhow::Error::from(Opening { source: source() }).context("nothing was taken in");
        assert_eq!(said(&error), "nothing was taken in: cannot open the pad: the disk is gone");
        let error = Err::<(), _>(source()).context("nothing was taken in").expect_err("it is one");
        assert_eq!(said(&error), "nothing was taken in: the disk is gone", "and one that was not said is");
    }

    #[test]
    fn wrong_usage_is_known_by_its_status_whatever_is_said_around_it() {
        let wrong = WrongUsage::of(anyhow::anyhow!("there is no mallory").context("whom to call"));
        assert_eq!((status(&wrong), said(&wrong).as_str()), (WRONG_USAGE, "whom to call: there is no mallory"));
        assert_eq!(status(&wrong.context("more")), WRONG_USAGE);
        assert_eq!(status(&anyhow::anyhow!("the disk is gone")), FAILED);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let hostile = "a\u{1b}[31mb\u{9b}2Jc\u{202e}d\re\n\tf\u{7f}";
        assert_eq!(printable(hostile), "a�[31mb�2Jc�d�e\n f�");
        assert_eq!(one_line(hostile), "a�[31mb�2Jc�d�e� f�");
        assert!(matches!(printable("Zoë's mic ✓\n"), Cow::Borrowed(_)));
        let json = escaped_json(serde_json::to_string(hostile).expect("it is text"));
        assert!(!json.contains(is_obeyed), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).expect("it is JSON"), hostile);
    }
}
