//! `vernam calls`: the history, for people and for programs.

use std::io::{self, Write as _};
use std::time::Duration;

use serde::Serialize;
use vernam_session::HangUpReason;

use super::{History, PastCall};
use crate::call::words;
use crate::cli::CallsOptions;
use crate::complaint::{self, WrongUsage};
use crate::demo::show::quietly;
use crate::stock::home::Home;

/// `vernam calls`; returns the exit status.
///
/// # Errors
/// If the history cannot be read.
pub fn calls(options: &CallsOptions) -> anyhow::Result<u8> {
    let home = Home::find(options.home.as_deref()).map_err(WrongUsage::of)?;
    home.must_be_there()?;
    // A home without a key has no history either; looking must not make one.
    let there = home.dir().join("history").exists();
    let past = if there { History::of(&home)?.read()? } else { super::Past::default() };
    let wanted = |call: &&PastCall| {
        (!options.missed || call.is_missed()) && options.contact.as_ref().is_none_or(|name| *name == call.contact)
    };
    let calls: Vec<&PastCall> = past.calls.iter().filter(wanted).collect();
    let shown = &calls[calls.len().saturating_sub(options.last)..];
    let mut out = io::stdout().lock();
    let written = if options.json {
        let lines = shown.iter().map(|call| line_of_json(call));
        let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    } else if shown.is_empty() {
        writeln!(out, "There is no such call in the history of {}.", home.dir().display())
    } else {
        shown.iter().try_for_each(|call| writeln!(out, "{}", complaint::one_line(&line(call))))
    };
    // Whoever does not read it to its end has what he wanted.
    quietly(written)?;
    if past.unreadable > 0 {
        let _gone = writeln!(io::stderr(), "vernam: {} entries of the history cannot be read", past.unreadable);
    }
    Ok(0)
}

fn line_of_json(call: &PastCall) -> serde_json::Result<String> {
    serde_json::to_string(&Line { call, missed: call.is_missed() }).map(complaint::escaped_json)
}

/// A call as JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    call: &'a PastCall,
    missed: bool,
}

fn ending(call: &PastCall, reason: HangUpReason) -> words::Ending<'_> {
    let PastCall { contact, ours, by_contact, lasted_s, .. } = call;
    words::Ending { contact, reason, ours: *ours, by_contact: *by_contact, was_taken: lasted_s.is_some() }
}

/// A call in a line.
pub(super) fn line(call: &PastCall) -> String {
    let way = match (call.ours, call.is_missed()) {
        (true, _) => "to",
        (false, true) => "MISSED",
        (false, false) => "from",
    };
    let when = words::moment(call.began_unix_s);
    let lasted = call.lasted_s.and_then(|lasted| Duration::try_from_secs_f64(lasted).ok());
    let lasted = lasted.map_or_else(|| "-".to_owned(), words::clock);
    let known = HangUpReason::ALL.into_iter().find(|reason| words::reason_name(*reason) == call.reason);
    let other = || words::unmade(&call.reason).unwrap_or(&call.reason).to_owned();
    let why = known.map_or_else(other, |reason| ending(call, reason).words());
    let mut line = format!("{when} UTC  {way:<6} {:<20} {lasted:>8}  {}: {why}", call.contact, call.suites.join(", "));
    if let Some(quality) = &call.quality {
        let all = quality.received + quality.lost;
        let share = crate::demo::model::ratio(quality.lost, all) * 100.0;
        let super::Quality { delay_ms, concealed, .. } = quality;
        let sounded = match quality.received {
            0 => format!("; no voice came from {}", call.contact),
            _ => format!("; delay {delay_ms:.0} ms, {share:.1} % lost, {concealed} concealed"),
        };
        line.push_str(&sounded);
    }
    let back = match call.resumed {
        0 => String::new(),
        1 => "; the connection came back once".to_owned(),
        times => format!("; the connection came back {times} times"),
    };
    line + &back
}

#[cfg(test)]
mod tests {
    use super::super::Quality;
    use super::*;

    #[test]
    fn lines_say_what_happened() {
        let quality = Quality {
            received: 99,
            lost: 1,
            recovered: 1,
            concealed: 0,
            delay_ms: 61.2,
            jitter_ms: 3.0,
            key_used_bytes: 4_800,
        };
        let taken = PastCall {
            contact: "bob".to_owned(),
            ours: true,
            began_unix_s: 1_795_453_200,
            lasted_s: Some(65.2),
            reason: "hung_up".to_owned(),
            by_contact: true,
            suites: vec!["otp".to_owned(), "aes-256-gcm".to_owned()],
            resumed: 1,
            quality: Some(quality),
        };
        let missed = PastCall {
            ours: false,
            lasted_s: None,
            reason: "no_answer".to_owned(),
            quality: None,
            resumed: 0,
            ..taken.clone()
        };
        assert_eq!(
            line(&taken),
            "2026-11-23 17:00 UTC  to     bob                      1:05  otp, aes-256-gcm: bob hung up; delay 61 ms, \
             1.0 % lost, 0 concealed; the connection came back once"
        );
        let silent = PastCall { quality: Some(Quality { received: 0, lost: 0, ..quality }), resumed: 0, ..taken };
        assert!(line(&silent).ends_with("bob hung up; no voice came from bob"), "{}", line(&silent));
        assert!(line(&missed).contains("MISSED bob"), "{}", line(&missed));
        assert!(line(&missed).ends_with(": you did not answer"), "{}", line(&missed));
        let undisturbed = PastCall { reason: "not_disturbed".to_owned(), by_contact: false, ..missed };
        assert!(line(&undisturbed).ends_with(": you did not want to be disturbed"), "{}", line(&undisturbed));
        for (reason, says) in [(words::NOT_REACHED, "not reached"), (words::NO_KEY, "for want of key")] {
            let unmade = PastCall { ours: true, suites: Vec::new(), reason: reason.to_owned(), ..undisturbed.clone() };
            assert!(line(&unmade).ends_with(says) && line(&unmade).contains(" to "), "{}", line(&unmade));
        }
    }
}
