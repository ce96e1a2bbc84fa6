//! The plain words of the telephone: what protects a call, why it ended, how long something lasts.

use std::time::Duration;

use vernam_session::{HangUpReason, Suite};

/// What protects a call, as a headline.
pub fn protection(suite: Suite) -> &'static str {
    match suite {
        Suite::Otp => "ONE-TIME PAD",
        Suite::Aes256Gcm => "AES-256-GCM",
        Suite::ChaCha20Poly1305 => "CHACHA20-POLY1305",
    }
}

/// What that means.
pub fn protection_meaning(suite: Suite) -> &'static str {
    match suite {
        Suite::Otp => "nobody can ever compute what is said, with any computer",
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => "a fresh quantum key a minute; as strong as the cipher",
    }
}

/// What protects the call, in a sentence's middle.
pub fn protected_by(suite: Suite) -> &'static str {
    match suite {
        Suite::Otp => "one-time pad",
        Suite::Aes256Gcm => "AES-256-GCM with a fresh quantum key a minute",
        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305 with a fresh quantum key a minute",
    }
}

/// Whether `one` protects less than `other`.
pub fn is_weaker(one: Suite, other: Suite) -> bool {
    other == Suite::Otp && one != Suite::Otp
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// With whom it was.
    pub contact: &'a str,
    /// Why.
    pub reason: HangUpReason,
    /// Whether we had called.
    pub ours: bool,
    /// Whether the contact ended it.
    pub by_contact: bool,
    /// Whether it was ever taken.
    pub was_taken: bool,
}

impl Ending<'_> {
    /// Why the call is over, for people: who did what.
    pub fn words(&self) -> String {
        let Self { contact, reason, ours, by_contact, was_taken } = *self;
        let who = |by_contact: bool| if by_contact { contact } else { "you" };
        match reason {
            HangUpReason::HungUp if was_taken => format!("{} hung up", who(by_contact)),
            HangUpReason::HungUp => format!("{} gave up", who(by_contact)),
            HangUpReason::Declined => format!("{} declined", who(by_contact)),
            HangUpReason::Busy if by_contact => format!("{contact} is in another call"),
            HangUpReason::Busy => "you were in other calls".to_owned(),
            // Either side may be the first to say so; nobody but the called one can have failed to answer.
            HangUpReason::NoAnswer => format!("{} did not answer", who(ours)),
            HangUpReason::NotDisturbed => format!("{} did not want to be disturbed", who(by_contact)),
            HangUpReason::KeyUsedUp => "the one-time pad is used up".to_owned(),
            HangUpReason::Failed => "the sound could not go on".to_owned(),
            HangUpReason::Lost => "the connection was lost and did not come back".to_owned(),
            HangUpReason::Weaker if by_contact => format!(
                "{contact} takes no call that protects less than a one-time pad without saying yes, and nobody was there to \
                 say it"
            ),
            HangUpReason::Weaker => "it would have protected less than you asked for".to_owned(),
            HangUpReason::StartedAnew => format!("{contact}'s telephone was started anew"),
        }
    }
}

/// Why a call could not be made, for programs and the history: the contact was not reached.
pub const NOT_REACHED: &str = "not_reached";
/// The same: there was no key for it.
pub const NO_KEY: &str = "no_key";

/// Why a call could not be made, for people; `None` if `reason` is something else.
pub fn unmade(reason: &str) -> Option<&'static str> {
    match reason {
        NOT_REACHED => Some("not reached"),
        NO_KEY => Some("not made, for want of key"),
        _ => None,
    }
}

/// Why a call is over, for programs.
pub fn reason_name(reason: HangUpReason) -> &'static str {
    match reason {
        HangUpReason::HungUp => "hung_up",
        HangUpReason::Declined => "declined",
        HangUpReason::Busy => "busy",
        HangUpReason::NoAnswer => "no_answer",
        HangUpReason::KeyUsedUp => "key_used_up",
        HangUpReason::Failed => "failed",
        HangUpReason::NotDisturbed => "not_disturbed",
        HangUpReason::Lost => "lost",
        HangUpReason::Weaker => "weaker",
        HangUpReason::StartedAnew => "started_anew",
    }
}

/// A length of time as a telephone shows it: `4:07`, `1:02:30`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How long the key lasts: `2 h 5 min`, `12 min`, `40 s`.
pub fn lasts(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// The last second of the year 9999.
const LAST_MOMENT: u64 = 253_402_300_799;

/// A moment in UTC: `2026-11-23 17:04`. Days are counted as in the proleptic Gregorian calendar.
pub fn moment(unix_s: u64) -> String {
    let unix_s = unix_s.min(LAST_MOMENT);
    let (days, of_day) = (unix_s / 86_400, unix_s % 86_400);
    let (mut year, mut left) = (1970_u64, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02}", left + 1, of_day / 3_600, of_day / 60 % 60)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // Checked with `date -u -d @N`.
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00");
        assert_eq!(moment(1_795_453_200), "2026-11-23 17:00");
        assert_eq!(moment(4_102_444_799), "2099-12-31 23:59");
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(clock(Duration::from_secs(247)), "4:07");
        assert_eq!(clock(Duration::from_secs(3_750)), "1:02:30");
        assert_eq!([lasts(40), lasts(100), lasts(7_500)], ["40 s", "1 min", "2 h 5 min"]);
    }

    #[test]
    fn each_reason_has_words_of_its_own() {
        let mut names: Vec<_> = HangUpReason::ALL.map(reason_name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HangUpReason::ALL.len());
    }

    #[test]
    fn whoever_did_it_is_named() {
        let said = |reason, ours, by_contact, was_taken| {
            Ending { contact: "bob", reason, ours, by_contact, was_taken }.words()
        };
        let (took, not) = (true, false);
        assert_eq!(said(HangUpReason::HungUp, true, true, took), "bob hung up");
        assert_eq!(said(HangUpReason::HungUp, true, false, took), "you hung up");
        assert_eq!(said(HangUpReason::HungUp, false, true, not), "bob gave up");
        assert_eq!(said(HangUpReason::HungUp, true, false, not), "you gave up");
        for by_contact in [true, false] {
            assert_eq!(said(HangUpReason::NoAnswer, true, by_contact, not), "bob did not answer");
            assert_eq!(said(HangUpReason::NoAnswer, false, by_contact, not), "you did not answer");
        }
        assert_eq!(said(HangUpReason::NotDisturbed, true, true, not), "bob did not want to be disturbed");
        assert_eq!(said(HangUpReason::NotDisturbed, false, false, not), "you did not want to be disturbed");
        assert_eq!(said(HangUpReason::Busy, false, false, not), "you were in other calls");
        for reason in HangUpReason::ALL {
            assert!(!said(reason, true, true, took).is_empty());
        }
    }
}
