//! The telephone in lines of text, for people who read no screen and for logs.

use std::time::Duration;

use super::events::{CallEvent, Stamped, Terms};
use super::model::Mood;
use super::words;
use crate::complaint;

/// The line of an event, with its time; none for what is told many times a second.
pub fn line(stamped: &Stamped) -> Option<String> {
    // On the screen a question has a place of its own, so it is no line of what happened.
    let asked = match &stamped.event {
        CallEvent::Asked { text: Some(text), .. } => Some((Mood::Warn, format!("> {text}"))),
        _ => None,
    };
    asked.or_else(|| tell(&stamped.event)).map(|(mood, text)| {
        let mark = match mood {
            Mood::Plain => "   ",
            Mood::Good => "ok ",
            Mood::Warn => "!  ",
            Mood::Bad => "!! ",
        };
        format!("{:>7} {mark}{}", words::clock(stamped.at), complaint::one_line(&text))
    })
}

/// An event in plain words, and what they are like.
pub fn tell(event: &CallEvent) -> Option<(Mood, String)> {
    let plain = |text: String| Some((Mood::Plain, text));
    let good = |text: String| Some((Mood::Good, text));
    let warn = |text: String| Some((Mood::Warn, text));
    let bad = |text: String| Some((Mood::Bad, text));
    match event {
        CallEvent::Started { name, address } => plain(format!("the telephone of {name} listens on {address}")),
        CallEvent::Missed { contact, began_unix_s } => {
            warn(format!("missed: {contact} called at {} UTC", words::moment(*began_unix_s)))
        }
        CallEvent::Dialling { contact, address } => plain(format!("dialling {contact} at {address}")),
        CallEvent::Connected { contact, key_exchange } => {
            plain(format!("connected with {contact}: QUIC, TLS 1.3, {key_exchange}"))
        }
        CallEvent::Confirmed { contact } => good(format!("{contact} proved to hold the same quantum key")),
        CallEvent::Words { contact, words } => plain(format!("words to compare with {contact}: {}", words.join(" "))),
        CallEvent::Disconnected { contact, why: None } => plain(format!("the connection with {contact} ended")),
        CallEvent::Disconnected { contact, why: Some(why) } => bad(format!("no connection with {contact}: {why}")),
        CallEvent::Incoming { contact, terms, waiting, weaker } => {
            let less = if *weaker { ", less than you set for this contact" } else { "" };
            let while_talking = if *waiting { ", while you are in another call" } else { "" };
            warn(format!("{contact} calls under {}{less}{while_talking}", said(*terms)))
        }
        CallEvent::Calling { contact, terms } => plain(format!("calling {contact} under {}", said(*terms))),
        CallEvent::Ringing { contact } => plain(format!("it rings at {contact}'s")),
        CallEvent::Answered { contact, terms } => good(format!("talking with {contact} under {}", said(*terms))),
        CallEvent::Changed { contact, terms } => {
            good(format!("the call with {contact} goes on under {}", said(*terms)))
        }
        CallEvent::ChangeAsked { contact, terms } => {
            warn(format!("{contact} asks to go on with less protection, under {}", words::protected_by(terms.suite)))
        }
        CallEvent::ChangeDeclined { contact } => {
            warn(format!("{contact} does not take the change, or has no key for it"))
        }
        CallEvent::TalkLeft { contact, left_s } => {
            warn(format!("one-time pad for {} of talk with {contact} is left", words::lasts(*left_s)))
        }
        CallEvent::WeakerWanted { contact } => warn(format!(
            "the one-time pad with {contact} will soon be used up; the call ends with it, or goes on under AES-256-GCM"
        )),
        CallEvent::Held { contact, on: true } => plain(format!("you hold the call with {contact}")),
        CallEvent::Held { contact, on: false } => plain(format!("the call with {contact} goes on")),
        CallEvent::HeldByContact { contact, on: true } => plain(format!("{contact} holds the call")),
        CallEvent::HeldByContact { contact, on: false } => plain(format!("{contact} is back")),
        CallEvent::MutedByContact { contact, on: true } => plain(format!("{contact}'s microphone is off")),
        CallEvent::MutedByContact { contact, on: false } => plain(format!("{contact}'s microphone is on")),
        CallEvent::RecordAsked { contact } => warn(format!("{contact} asks to record the call")),
        CallEvent::Recording { contact, on: true } => {
            warn(format!("the call with {contact} is recorded here, encrypted; both hear a tone"))
        }
        CallEvent::Recording { contact, on: false } => {
            plain(format!("the call with {contact} is no longer recorded here"))
        }
        CallEvent::RecordingByContact { contact, on: true } => warn(format!("{contact} records the call")),
        CallEvent::RecordingByContact { contact, on: false } => plain(format!("{contact} no longer records the call")),
        CallEvent::RecordDeclined { contact } => warn(format!("{contact} does not want to be recorded")),
        CallEvent::Reconnecting { contact } => {
            warn(format!("the connection with {contact} is away; the call waits up to 30 s for it"))
        }
        CallEvent::Ended { .. } => ended(event),
        CallEvent::Lapsed { contact, question } => plain(match question.as_str() {
            "change" => format!("{contact} no longer asks to go on with less protection"),
            "record" => format!("{contact} no longer asks to record"),
            _ => format!("whether the call with {contact} may go on with less protection is no longer asked"),
        }),
        CallEvent::DeviceOpened { .. } | CallEvent::DeviceLost { .. } | CallEvent::DeviceOffered { .. } => {
            device(event)
        }
        CallEvent::Refused { why, .. } => warn(why.clone()),
        CallEvent::Warning { text, .. } => warn(text.clone()),
        CallEvent::EchoHeard(heard) => plain(match heard.round_trip_ms {
            Some(round_trip) => format!(
                "echo test: there and back in {:.0} ms (of it {:.0} ms the test's own pause); loudest said {:.0} dBFS, \
                 heard {:.0} dBFS; {} packets lost",
                round_trip, heard.pause_ms, heard.said_peak_dbfs, heard.heard_peak_dbfs, heard.lost
            ),
            None => format!(
                "echo test: what was said was not found in what came back; loudest said {:.0} dBFS, heard {:.0} dBFS. \
                 Was anything said for 3 s? Is the microphone the right one?",
                heard.said_peak_dbfs, heard.heard_peak_dbfs
            ),
        }),
        // Told many times a second, in a place of its own, by what follows, or by the exit status.
        CallEvent::Tick(_)
        | CallEvent::Asked { .. }
        | CallEvent::DeviceWithdrawn { .. }
        | CallEvent::Stopped { .. } => None,
    }
}

/// How a call ended.
fn ended(event: &CallEvent) -> Option<(Mood, String)> {
    let CallEvent::Ended { contact, reason, ours, by_contact, lasted_s, received, .. } = event else { return None };
    let (reason, ours, by_contact, was_taken) = (*reason, *ours, *by_contact, lasted_s.is_some());
    let why = words::Ending { contact, reason, ours, by_contact, was_taken }.words();
    let Some(lasted) = lasted_s else { return Some((Mood::Plain, format!("no call with {contact}: {why}"))) };
    let over = format!("the call with {contact} is over after {}: {why}", lasted_words(*lasted));
    Some(match received {
        Some(0) => (Mood::Bad, format!("{over}. No voice came from {contact} in all that time")),
        _ => (Mood::Plain, over),
    })
}

/// What happened to a device.
fn device(event: &CallEvent) -> Option<(Mood, String)> {
    Some(match event {
        CallEvent::DeviceOpened { part, name, stands_in: false } => {
            (Mood::Plain, format!("{}: {name}", part_words(part)))
        }
        CallEvent::DeviceOpened { part, name, stands_in: true } => {
            (Mood::Warn, format!("{}: {name} stands in for the one that was chosen", part_words(part)))
        }
        CallEvent::DeviceLost { part, name, why } => {
            (Mood::Warn, format!("the {} {name} is gone: {why}", part_words(part)))
        }
        CallEvent::DeviceOffered { part, name, instead_of, .. } => (
            Mood::Warn,
            format!("silence is sent while the {} {instead_of} is gone; {name} could take its place", part_words(part)),
        ),
        _ => return None,
    })
}

fn said(terms: Terms) -> String {
    format!(
        "{} (Opus, {} kb/s, {} ms)",
        words::protected_by(terms.suite),
        f64::from(terms.bit_rate_bps) / 1_000.0,
        terms.frame_ms
    )
}

fn lasted_words(seconds: f64) -> String {
    words::clock(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn part_words(part: &str) -> &str {
    match part {
        "speaker" => "loudspeaker",
        other => other,
    }
}
