//! Whether anything is heard from the contact's machine, and how the contact's voice arrives.

use std::time::Duration;

use bytes::Bytes;
use vernam_quic::Connection;

use crate::limits::{LOST_AFTER, PROBE_PAUSE, QUALITY_PAUSE, QUALITY_STEP_MS, QUALITY_STEP_PERCENT, TICK};

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
    accepted: u64,
    numbers: u64,
    told: (u8, u16),
    /// Packets missing lately, percent.
    pub(super) lost_percent: f64,
}

impl Reports {
    /// What is to be told now, if anything: `accepted` packets of `numbers` came so far.
    pub(super) fn due(&mut self, accepted: u64, numbers: u64, jitter: Duration, now: Duration) -> Option<(u8, u16)> {
        if now.saturating_sub(self.at) < QUALITY_PAUSE {
            return None;
        }
        self.at = now;
        let came = accepted.saturating_sub(std::mem::replace(&mut self.accepted, accepted));
        let due = numbers.saturating_sub(std::mem::replace(&mut self.numbers, numbers));
        if due == 0 {
            return None;
        }
        let missing = u32::try_from(due.saturating_sub(came)).unwrap_or(u32::MAX);
        self.lost_percent = 100.0 * f64::from(missing) / f64::from(u32::try_from(due).unwrap_or(u32::MAX));
        let percent = u8::try_from((u64::from(missing) * 100 / due).min(100)).unwrap_or(100);
        let jitter = u16::try_from(jitter.as_millis()).unwrap_or(u16::MAX);
        let changed = percent.abs_diff(self.told.0) >= QUALITY_STEP_PERCENT
            || jitter.abs_diff(self.told.1) >= QUALITY_STEP_MS
            || (percent == 0 && self.told.0 != 0);
        changed.then(|| {
            self.told = (percent, jitter);
            self.told
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
        let steady = Duration::from_millis(3);
        assert_eq!(reports.due(100, 100, steady, QUALITY_PAUSE / 2), None, "too early");
        assert_eq!(reports.due(250, 250, steady, QUALITY_PAUSE), None, "nothing to tell");
        assert_eq!(reports.due(450, 500, steady, QUALITY_PAUSE * 2), Some((20, 3)));
        assert_eq!(reports.due(650, 750, steady, QUALITY_PAUSE * 3), None, "as before");
        assert_eq!(reports.due(900, 1_000, steady, QUALITY_PAUSE * 4), Some((0, 3)));
        assert_eq!(reports.due(900, 1_000, steady, QUALITY_PAUSE * 5), None, "nothing came: nothing is known");
    }
}
