//! Whether anything is heard from the contact's machine, and how the contact's voice arrives.

use std::time::Duration;

use bytes::Bytes;
use vernam_quic::Connection;

use crate::limits::{
    LOST_AFTER, PROBE_PAUSE, QUALITY_PAUSE, QUALITY_STEP_BURST, QUALITY_STEP_MS, QUALITY_STEP_PERCENT, TICK,
};

/// What became of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Nothing has been heard for [`LOST_AFTER`].
    Lost,
    /// Something is heard again.
    Back,
}

/// Looks whether anything comes over a connection: voice comes at a fixed pace, and QUIC acknowledges ours, so silence
/// means trouble.
#[derive(Default)]
pub(super) struct Watch {
    received: u64,
    silent_for: Duration,
    looked_at: Option<Duration>,
    lost: bool,
    probed_at: Duration,
}

impl Watch {
    /// Looks. To be called some times a second.
    pub(super) fn look(&mut self, connection: &Connection, now: Duration) -> Option<Change> {
        let change = self.count(connection.stats().received_bytes, now);
        if self.lost && now.saturating_sub(self.probed_at) >= PROBE_PAUSE {
            self.probed_at = now;
            // One byte that is no voice: it is passed over, but QUIC acknowledges it.
            let _lost_too = connection.send_voice(Bytes::from_static(&[0]));
        }
        change
    }

    fn count(&mut self, received: u64, now: Duration) -> Option<Change> {
        // A machine that stalls hears nothing meanwhile: what counts is time in which we looked.
        let passed = self.looked_at.replace(now).map_or(Duration::ZERO, |before| now.saturating_sub(before));
        if std::mem::replace(&mut self.received, received) != received {
            self.silent_for = Duration::ZERO;
            return std::mem::take(&mut self.lost).then_some(Change::Back);
        }
        self.silent_for += passed.min(TICK * 2);
        if !self.lost && self.silent_for >= LOST_AFTER {
            self.lost = true;
            return Some(Change::Lost);
        }
        None
    }
}

/// Loss and jitter of what is heard, told to the contact when they have changed.
#[derive(Default)]
pub(super) struct Reports {
    at: Duration,
    counted: Counts,
    told: Report,
    /// Packets missing lately, percent.
    pub(super) lost_percent: f64,
    /// How many of them are missing in a row, on average, in tenths of a packet; 0 if none is.
    pub(super) burst_tenths: u8,
}

/// What came so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets accepted.
    pub(super) accepted: u64,
    /// Packets that should have come.
    pub(super) numbers: u64,
    /// How often some were missing when the next one came. One that comes late makes a gap too, so that networks which
    /// change the order seem to lose in shorter bursts than they do, never in longer ones.
    pub(super) gaps: u64,
}

/// What the contact is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) lost_percent: u8,
    pub(super) jitter_ms: u16,
    pub(super) burst_tenths: u8,
}

impl Reports {
    /// What is to be told now, if anything.
    pub(super) fn due(&mut self, counts: Counts, jitter: Duration, now: Duration) -> Option<Report> {
        if now.saturating_sub(self.at) < QUALITY_PAUSE {
            return None;
        }
        self.at = now;
        let before = std::mem::replace(&mut self.counted, counts);
        let came = counts.accepted.saturating_sub(before.accepted);
        let due = counts.numbers.saturating_sub(before.numbers);
        let gaps = counts.gaps.saturating_sub(before.gaps);
        if due == 0 {
            return None;
        }
        let missing = u32::try_from(due.saturating_sub(came)).unwrap_or(u32::MAX);
        self.lost_percent = 100.0 * f64::from(missing) / f64::from(u32::try_from(due).unwrap_or(u32::MAX));
        // Nothing is lost in less than one packet at a time.
        let burst = (u64::from(missing) * 10).checked_div(gaps).unwrap_or(0).max(if missing > 0 { 10 } else { 0 });
        self.burst_tenths = u8::try_from(burst).unwrap_or(u8::MAX);
        let report = Report {
            lost_percent: u8::try_from((u64::from(missing) * 100 / due).min(100)).unwrap_or(100),
            jitter_ms: u16::try_from(jitter.as_millis()).unwrap_or(u16::MAX),
            burst_tenths: self.burst_tenths,
        };
        let told = self.told;
        let in_other_bursts = report.lost_percent >= QUALITY_STEP_PERCENT
            && report.burst_tenths.abs_diff(told.burst_tenths) >= QUALITY_STEP_BURST;
        let changed = report.lost_percent.abs_diff(told.lost_percent) >= QUALITY_STEP_PERCENT
            || report.jitter_ms.abs_diff(told.jitter_ms) >= QUALITY_STEP_MS
            || in_other_bursts
            || (report.lost_percent == 0 && told.lost_percent != 0);
        changed.then(|| {
            self.told = report;
            report
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_noticed_once_and_so_is_its_end() {
        let mut watch = Watch::default();
        let mut changes = Vec::new();
        for tick in 0..100_u32 {
            // Something comes until 5 s, and again from 15 s on.
            let received = if tick < 25 { u64::from(tick) } else { 25 + u64::from(tick.saturating_sub(74)) };
            changes.extend(watch.count(received, TICK * tick).map(|change| (tick, change)));
        }
        assert_eq!(changes, [(40, Change::Lost), (75, Change::Back)]);
    }

    #[test]
    fn a_stalled_machine_does_not_take_its_own_silence_for_the_contacts() {
        let mut watch = Watch::default();
        assert_eq!(watch.count(1, Duration::ZERO), None);
        assert_eq!(watch.count(1, Duration::from_secs(10)), None);
        assert_eq!(watch.count(2, Duration::from_secs(10)), None);
    }

    #[test]
    fn quality_is_told_when_it_changes_and_no_oftener_than_the_pause() {
        let mut reports = Reports::default();
        let mut due = |accepted, numbers, gaps, at| {
            let counts = Counts { accepted, numbers, gaps };
            let report = reports.due(counts, Duration::from_millis(3), at)?;
            assert_eq!(report.jitter_ms, 3);
            Some((report.lost_percent, report.burst_tenths))
        };
        assert_eq!(due(100, 100, 0, QUALITY_PAUSE / 2), None, "too early");
        assert_eq!(due(250, 250, 0, QUALITY_PAUSE), None, "nothing to tell");
        assert_eq!(due(450, 500, 40, QUALITY_PAUSE * 2), Some((20, 12)));
        assert_eq!(due(650, 750, 80, QUALITY_PAUSE * 3), None, "as before");
        assert_eq!(due(850, 1_000, 90, QUALITY_PAUSE * 4), Some((20, 50)), "as much, in longer bursts");
        assert_eq!(due(1_100, 1_250, 95, QUALITY_PAUSE * 5), Some((0, 0)), "all of them came late");
        assert_eq!(due(1_100, 1_250, 95, QUALITY_PAUSE * 6), None, "nothing came: nothing is known");
        assert_eq!(due(1_100, 1_500, 95, QUALITY_PAUSE * 7), Some((100, 10)), "no gap has ended yet");
        assert_eq!(due(1_100, 9_500, 96, QUALITY_PAUSE * 8), Some((100, 255)), "a very long one");
    }
}
