//! How a source comes to its link report: bits over the last minute, and when it is worth saying so.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{LinkReport, LinkState};

/// What the rate is taken over.
const WINDOW: Duration = Duration::from_mins(1);
/// What comes within this time of each other counts as one: so at most 61 entries are kept.
const GRAIN: Duration = Duration::from_secs(1);
/// A report that differs in its numbers only is told so often.
const NUMBERS_EVERY: Duration = Duration::from_secs(10);

/// Bits per second over the last minute.
#[derive(Debug, Default)]
pub(super) struct Rate {
    came: VecDeque<(Instant, u64)>,
}

impl Rate {
    pub(super) fn add(&mut self, bits: u64, now: Instant) {
        match self.came.back_mut() {
            Some((then, sum)) if now.saturating_duration_since(*then) < GRAIN => *sum += bits,
            _ => self.came.push_back((now, bits)),
        }
        self.forget(now);
    }

    pub(super) fn bits_per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let bits: u64 = self.came.iter().map(|(_, bits)| bits).sum();
        #[expect(clippy::cast_precision_loss, reason = "a minute's bits are far below 2^53")]
        let bits = bits as f64;
        bits / WINDOW.as_secs_f64()
    }

    fn forget(&mut self, now: Instant) {
        while self.came.front().is_some_and(|(then, _)| now.saturating_duration_since(*then) >= WINDOW) {
            self.came.pop_front();
        }
    }
}

/// Decides which reports are told: each new state or reason at once, mere numbers now and then.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    told: Option<(Instant, LinkReport)>,
}

impl Reporter {
    /// The report, if it is worth telling.
    pub(super) fn news(&mut self, report: LinkReport, now: Instant) -> Option<LinkReport> {
        let is_news = self.told.as_ref().is_none_or(|(then, told)| {
            let words = (told.state, &told.reason) != (report.state, &report.reason);
            words || (*told != report && now.saturating_duration_since(*then) >= NUMBERS_EVERY)
        });
        is_news.then(|| {
            self.told = Some((now, report.clone()));
            report
        })
    }
}

/// Waits until then, if it is not past: a wait that is given up and begun anew must come to an end.
pub(super) async fn until(then: Instant) {
    if Instant::now() < then {
        sleep_until(then).await;
    }
}

/// A report of a link whose error rate nobody has told.
pub(super) fn plain(state: LinkState, rate_bps: f64, reason: String) -> LinkReport {
    LinkReport { state, qber: None, threshold: 0.0, rate_bps, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        for second in 0..600 {
            rate.add(30, start + Duration::from_secs(second));
            rate.add(30, start + Duration::from_secs(second));
        }
        assert!(rate.came.len() <= 61);
        let end = start + Duration::from_secs(599);
        assert!(close(rate.bits_per_second(end), 60.0));
        assert!(close(rate.bits_per_second(end + Duration::from_secs(30)), 30.0));
        assert!(close(rate.bits_per_second(end + WINDOW), 0.0));
    }

    #[test]
    fn a_reason_is_told_at_once_and_numbers_now_and_then() {
        let (mut reporter, start) = (Reporter::default(), Instant::now());
        let report = |rate, reason: &str| plain(LinkState::Up, rate, reason.to_owned());
        assert!(reporter.news(report(1.0, "a"), start).is_some());
        assert!(reporter.news(report(2.0, "a"), start + GRAIN).is_none());
        assert!(reporter.news(report(2.0, "b"), start + GRAIN).is_some());
        assert!(reporter.news(report(3.0, "b"), start + GRAIN + NUMBERS_EVERY).is_some());
        assert!(reporter.news(report(3.0, "b"), start + 9 * NUMBERS_EVERY).is_none());
    }
}
