//! What quinn asks: Cubic for the main connection, Cubic or the yielding window for the files'.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic};
use quinn_proto::RttEstimator;

use super::CallSwitch;
use super::delay::Delays;
use super::rate::Rate;
use super::yielding::{Batch, Yielding};
use crate::lane::Lane;
use crate::limits::MAIN_WINDOW_PACKETS;

/// Makes the controllers of one connection: one at its start, another whenever its path changes.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    call: CallSwitch,
    lane: Arc<OnceLock<Lane>>,
}

impl Pace {
    /// For a connection of this lane, or of one to be told when it is known. Until then it is as the main one.
    pub(crate) fn new(call: &CallSwitch, lane: Option<Lane>) -> Self {
        Self { call: call.clone(), lane: Arc::new(lane.map(OnceLock::from).unwrap_or_default()) }
    }

    /// Tells the lane.
    pub(crate) fn set_lane(&self, lane: Lane) {
        // Once told, it stays: the application protocol of a connection cannot change.
        let _ = self.lane.set(lane);
    }
}

impl ControllerFactory for Pace {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::default(), now, current_mtu);
        Box::new(PaceController {
            call: self.call.clone(),
            lane: Arc::clone(&self.lane),
            initial_window: cubic.initial_window(),
            mtu: current_mtu.into(),
            delays: Delays::new(now),
            rate: Rate::new(),
            newest: None,
            mode: Mode::Cubic { cubic, was_full: false },
        })
    }
}

/// The controller of one path of one connection.
#[derive(Clone)]
struct PaceController {
    call: CallSwitch,
    lane: Arc<OnceLock<Lane>>,
    initial_window: u64,
    mtu: u64,
    delays: Delays,
    rate: Rate,
    /// When the last-sent packet of the batch that is being acknowledged was sent.
    newest: Option<Instant>,
    mode: Mode,
}

#[derive(Clone)]
enum Mode {
    Cubic {
        cubic: Cubic,
        /// The path was full once: there may be a queue of ours.
        was_full: bool,
    },
    Yielding(Yielding),
}

impl PaceController {
    fn carries_files(&self) -> bool {
        self.lane.get() == Some(&Lane::Files)
    }

    /// Changes the mode, if the switch says so.
    fn follow_the_switch(&mut self, now: Instant) {
        let give_way = self.call.is_on() && self.carries_files();
        match &mut self.mode {
            Mode::Cubic { cubic, was_full } if give_way => {
                let queue = self.delays.queueing() >= super::yielding::TARGET / 2;
                self.mode = Mode::Yielding(if *was_full || queue {
                    Yielding::draining(now, self.mtu, &self.delays, &self.rate)
                } else {
                    Yielding::seeking(now, self.mtu, cubic.window())
                });
            }
            Mode::Yielding(yielding) if !give_way => {
                let cubic = yielding.clone().into_cubic(now);
                self.mode = Mode::Cubic { cubic, was_full: true };
            }
            Mode::Cubic { .. } | Mode::Yielding(_) => {}
        }
    }
}

impl Controller for PaceController {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.follow_the_switch(now);
        match &mut self.mode {
            Mode::Cubic { cubic, .. } => cubic.on_sent(now, bytes, last_packet_number),
            Mode::Yielding(_) => {}
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.newest = Some(self.newest.map_or(sent, |newest| newest.max(sent)));
        self.rate.acknowledged(bytes);
        match &mut self.mode {
            Mode::Cubic { cubic, .. } => cubic.on_ack(now, sent, bytes, app_limited, rtt),
            Mode::Yielding(yielding) => {
                yielding.on_ack(bytes, app_limited);
                if let Some(cubic) = yielding.cubic() {
                    cubic.on_ack(now, sent, bytes, app_limited, rtt);
                }
            }
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        let Some(newest) = self.newest.take() else { return };
        let others = match &mut self.mode {
            Mode::Cubic { .. } => false,
            Mode::Yielding(yielding) => yielding.cubic().is_some(),
        };
        self.delays.sample(now, now.saturating_duration_since(newest), others);
        let round = self.rate.end_of_batch(now, newest);
        self.follow_the_switch(now);
        if let Mode::Yielding(yielding) = &mut self.mode {
            let (delays, rate) = (&mut self.delays, &mut self.rate);
            yielding.on_end_of_batch(Batch { now, newest, in_flight, round, app_limited, delays, rate });
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.rate.lost(lost_bytes);
        match &mut self.mode {
            Mode::Cubic { cubic, was_full } => {
                *was_full = true;
                cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
            }
            Mode::Yielding(yielding) => {
                yielding.on_congestion(now, sent, is_persistent_congestion, lost_bytes == 0);
                if let Some(cubic) = yielding.cubic() {
                    cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
                }
            }
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        match &mut self.mode {
            Mode::Cubic { cubic, .. } => cubic.on_mtu_update(new_mtu),
            Mode::Yielding(yielding) => yielding.on_mtu(new_mtu.into()),
        }
    }

    fn window(&self) -> u64 {
        match &self.mode {
            Mode::Cubic { cubic, .. } if self.carries_files() => cubic.window(),
            Mode::Cubic { cubic, .. } => cubic.window().max(MAIN_WINDOW_PACKETS * self.mtu),
            Mode::Yielding(yielding) => yielding.window(),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = match &self.mode {
            Mode::Cubic { cubic, .. } => cubic.metrics(),
            Mode::Yielding(_) => ControllerMetrics::default(),
        };
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MTU: u16 = 1400;

    fn built(lane: Lane) -> (CallSwitch, Box<dyn Controller>, Instant) {
        let (call, now) = (CallSwitch::new(), Instant::now());
        let controller = Arc::new(Pace::new(&call, Some(lane))).build(now, MTU);
        (call, controller, now)
    }

    #[test]
    fn losses_leave_the_main_connection_enough_for_a_voice_and_the_files_with_little() {
        for (lane, left) in [(Lane::Main, MAIN_WINDOW_PACKETS), (Lane::Files, 2)] {
            let (_call, mut controller, start) = built(lane);
            for second in 1..30 {
                let now = start + Duration::from_secs(second);
                controller.on_congestion_event(now, now, false, 1400);
            }
            assert_eq!(controller.window(), left * u64::from(MTU), "{lane:?}");
        }
    }

    #[test]
    fn only_files_follow_the_switch() {
        for (lane, follows) in [(Lane::Main, false), (Lane::Files, true)] {
            let (call, mut controller, now) = built(lane);
            call.set(true);
            controller.on_sent(now, 1400, 1);
            let controller = controller.into_any().downcast::<PaceController>().unwrap();
            assert_eq!(matches!(controller.mode, Mode::Yielding(_)), follows, "{lane:?}");
        }
    }

    #[test]
    fn a_lane_that_is_told_later_counts_from_then_on() {
        let (call, now) = (CallSwitch::new(), Instant::now());
        let pace = Pace::new(&call, None);
        let mut controller = Arc::new(pace.clone()).build(now, MTU);
        call.set(true);
        controller.on_sent(now, 1400, 1);
        pace.set_lane(Lane::Files);
        assert!(controller.metrics().ssthresh.is_some(), "Cubic so far");
        controller.on_sent(now, 1400, 2);
        assert!(controller.metrics().ssthresh.is_none(), "not any more");
    }
}
