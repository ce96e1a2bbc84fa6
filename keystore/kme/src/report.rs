//! Which report of a quantum link counts: the one this process was told, or on a ledger that several processes share,
//! perhaps another's. It does not say what a report leads to.
//!
//! Each process leaves what it was told in the ledger: at once if the link's state is another than before, and from time to
//! time otherwise. An alarm in either place counts. It ends when a source says "up", in whichever process, or when the
//! process that was told of it is told something else; "down" of another process, which may only mean that it has no
//! source of its own, does not end it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vernam_etsi014::KmeId;
use vernam_ledger::{Book, Fault, StoredReport};

use crate::kme::Shared;
use crate::{LinkReport, LinkState};

/// How often a report is stored anew while the state stays the same.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// How long another process's report counts, unless it is an alarm: it may have ended.
const FRESH_FOR: Duration = Duration::from_mins(1);
/// The most characters of a reason that are stored.
const MOST_REASON: usize = 1000;

/// What this process was told of one link, and what it has left in the ledger.
#[derive(Default)]
pub(crate) struct Told {
    report: Option<LinkReport>,
    /// How often the state was another than before.
    changes: u64,
    /// The last change is not in the ledger yet.
    is_pending: bool,
    /// The number of the last report that this process has stored.
    authored: Option<u64>,
    /// The number of the report in the ledger when the state last changed.
    seen: u64,
    tried: Option<Instant>,
}

/// A report to be stored, unless what lies there must stay.
struct Storing {
    state: LinkState,
    /// It has just been told; otherwise it is told again.
    is_news: bool,
    is_pending: bool,
    authored: Option<u64>,
    seen: u64,
}

impl Storing {
    fn may_replace(&self, there: Option<&StoredReport>, now: Duration) -> bool {
        let Some(there) = there else { return true };
        let is_unchanged = self.is_pending && there.number == self.seen;
        match self.state {
            LinkState::Alarm if self.is_pending => true,
            // What was told long ago and could not be stored does not end an alarm that came since.
            LinkState::Up if self.is_news || is_unchanged => true,
            _ if self.authored == Some(there.number) => true,
            _ => !is_fresh(there, now) && read(there).state != LinkState::Alarm,
        }
    }
}

impl Told {
    /// The report that counts.
    fn counting(&self, there: Option<&StoredReport>, now: Duration) -> LinkReport {
        let own = || self.report.clone().unwrap_or_else(LinkReport::unknown);
        let Some(there) = there.filter(|there| self.authored != Some(there.number)) else { return own() };
        let theirs = read(there);
        let own_state = self.report.as_ref().map(|report| report.state);
        match (own_state, theirs.state) {
            (Some(LinkState::Alarm), _) if self.is_pending => own(),
            (_, LinkState::Alarm) => theirs,
            (Some(LinkState::Up), _) if self.is_pending => own(),
            _ if is_fresh(there, now) => theirs,
            _ => own(),
        }
    }
}

impl Shared {
    /// The report of a link that counts here and now.
    pub(crate) fn report(&self, link: &KmeId) -> LinkReport {
        let there = self.stored_report(link);
        self.desk(link).told().counting(there.as_ref(), self.now())
    }

    /// Takes what this process is told, and says whether it is another report than before.
    pub(crate) fn take_report(self: &Arc<Self>, link: &KmeId, report: LinkReport) -> bool {
        let desk = self.desk(link);
        let there = self.stored_report(link);
        let mut told = desk.told();
        let counted = told.counting(there.as_ref(), self.now()).state;
        let differs = told.report.as_ref() != Some(&report);
        let is_other = told.report.as_ref().is_none_or(|before| before.state != report.state);
        let is_news = is_other || counted != report.state;
        told.report = Some(report);
        if is_other {
            told.changes += 1;
            told.is_pending = true;
            told.seen = there.map_or(0, |there| there.number);
        }
        drop(told);
        if is_news {
            self.store_report(link, true);
        }
        differs
    }

    /// Stores again what was told a while ago, or could not be stored.
    pub(crate) fn keep_reports(self: &Arc<Self>) {
        if !self.ledger.is_shared() {
            return;
        }
        for link in self.current().peers.keys() {
            let desk = self.desk(link);
            let is_due = {
                let told = desk.told();
                let is_late = told.tried.is_none_or(|tried| tried.elapsed() >= STORE_EVERY);
                told.report.is_some() && (is_late || told.is_pending)
            };
            if is_due {
                self.store_report(link, false);
            }
        }
    }

    fn store_report(&self, link: &KmeId, is_news: bool) {
        if !self.ledger.is_shared() {
            return;
        }
        let (desk, now, of) = (self.desk(link), self.now(), link.clone());
        let (storing, changes, body) = {
            let mut told = desk.told();
            told.tried = Some(Instant::now());
            let Some(report) = &told.report else { return };
            let Told { is_pending, authored, seen, .. } = *told;
            (Storing { state: report.state, is_news, is_pending, authored, seen }, told.changes, write(report))
        };
        // What cannot be is seen without a transaction.
        if !is_news && !storing.may_replace(self.stored_report(link).as_ref(), now) {
            return;
        }
        let store = move |book: &mut Book<'_>| {
            let there = book.report(&of)?;
            if !storing.may_replace(there.as_ref(), now) {
                return Ok(None);
            }
            book.set_report(&of, &body, now).map(Some)
        };
        let link = link.clone();
        let done = move |stored: Result<Option<u64>, _>| match stored {
            Ok(Some(number)) => {
                let mut told = desk.told();
                told.authored = Some(number);
                told.is_pending &= told.changes != changes;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, %link, "a report of the link cannot be stored yet"),
        };
        if let Err(error) = self.ledger.post(store, done) {
            tracing::warn!(%error, "a report of a link cannot be stored yet");
        }
    }

    /// The latest report in the ledger, as of the last look.
    fn stored_report(&self, link: &KmeId) -> Option<StoredReport> {
        if !self.ledger.is_shared() {
            return None;
        }
        self.ledger.snapshot().link(link).and_then(|view| view.report.clone())
    }
}

/// The alarm of a link, if the ledger has one. For a transaction: whatever is cut in it is cut before any later alarm.
pub(crate) fn stored_alarm(book: &mut Book<'_>, link: &KmeId) -> Result<Option<LinkReport>, Fault> {
    let there = book.report(link)?.map(|there| read(&there));
    Ok(there.filter(|report| report.state == LinkState::Alarm))
}

fn is_fresh(there: &StoredReport, now: Duration) -> bool {
    now.abs_diff(there.at) <= FRESH_FOR
}

fn write(report: &LinkReport) -> Vec<u8> {
    let reason = report.reason.chars().take(MOST_REASON).collect();
    serde_json::to_vec(&LinkReport { reason, ..report.clone() }).unwrap_or_default()
}

/// What cannot be read counts as an alarm.
fn read(there: &StoredReport) -> LinkReport {
    serde_json::from_slice(&there.body).unwrap_or_else(|_unreadable| LinkReport {
        state: LinkState::Alarm,
        reason: "another process of this KME has left a report of the link that cannot be read".to_owned(),
        ..LinkReport::unknown()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn report(state: LinkState) -> LinkReport {
        LinkReport { state, ..LinkReport::unknown() }
    }

    fn there(number: u64, state: LinkState, age: Duration) -> StoredReport {
        StoredReport { number, at: NOW.saturating_sub(age), body: write(&report(state)) }
    }

    fn told(state: LinkState, is_pending: bool, authored: Option<u64>) -> Told {
        Told { report: Some(report(state)), is_pending, authored, seen: 1, ..Told::default() }
    }

    #[test]
    fn the_report_that_counts() {
        use LinkState::{Alarm, Down, Up};
        let (fresh, old) = (Duration::ZERO, FRESH_FOR * 2);
        let counts = |told: &Told, there: &StoredReport| told.counting(Some(there), NOW).state;
        assert_eq!(Told::default().counting(None, NOW), LinkReport::unknown());
        for (own, is_pending, authored, stored, counted) in [
            (Up, false, Some(2), there(2, Up, fresh), Up),
            (Down, true, Some(2), there(2, Alarm, fresh), Down), // our own alarm, which we were told is over
            (Up, false, Some(1), there(2, Alarm, old), Alarm),   // an alarm of any age
            (Up, true, Some(1), there(2, Alarm, fresh), Alarm),  // until ours is stored
            (Alarm, true, Some(1), there(2, Up, fresh), Alarm),
            (Alarm, false, Some(1), there(2, Up, fresh), Up), // theirs is the later one
            (Down, false, None, there(2, Up, fresh), Up),     // they have a source, we have none
            (Down, false, None, there(2, Up, old), Down),     // they may have ended
            (Up, true, None, there(2, Down, fresh), Up),
        ] {
            assert_eq!(counts(&told(own, is_pending, authored), &stored), counted, "{own:?} {authored:?} {stored:?}");
        }
        assert_eq!(counts(&Told::default(), &there(1, Up, fresh)), Up);
        assert_eq!(counts(&Told::default(), &there(1, Up, old)), Down);
        let unreadable = StoredReport { body: b"{".to_vec(), ..there(1, Up, fresh) };
        assert_eq!(counts(&told(Up, false, None), &unreadable), Alarm);
    }

    #[test]
    fn what_may_be_stored_over_what() {
        use LinkState::{Alarm, Down, Up};
        let (fresh, old) = (Duration::ZERO, FRESH_FOR * 2);
        for (state, is_news, is_pending, authored, stored, may) in [
            (Alarm, true, true, None, there(2, Up, fresh), true),
            (Alarm, false, true, None, there(2, Up, fresh), true), // it could not be stored before
            (Alarm, false, false, Some(1), there(2, Up, fresh), false), // it was over since
            (Up, true, true, None, there(2, Alarm, fresh), true),
            (Up, false, true, None, there(2, Alarm, fresh), false), // the alarm came since
            (Up, false, true, None, there(1, Alarm, fresh), true),
            (Up, false, false, Some(1), there(2, Alarm, old), false),
            (Down, true, true, None, there(2, Alarm, old), false), // somebody else's alarm
            (Down, true, true, Some(2), there(2, Alarm, fresh), true),
            (Down, true, true, None, there(1, Up, fresh), false), // somebody else's source
            (Down, false, true, None, there(1, Up, old), true),
        ] {
            let storing = Storing { state, is_news, is_pending, authored, seen: 1 };
            assert_eq!(storing.may_replace(Some(&stored), NOW), may, "{state:?} {is_news} {authored:?} {stored:?}");
        }
    }

    #[test]
    fn the_longest_reason_fits_the_ledger() {
        let reason = "\u{1}".repeat(100_000);
        assert!(write(&LinkReport { reason, ..LinkReport::unknown() }).len() <= Book::MAX_REPORT_BYTES);
    }
}
