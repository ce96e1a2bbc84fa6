//! Drives the simulated quantum link: first ahead in virtual time, then with the clock, and gives both KMEs their ends.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use vernam_kme::{Kme, LinkReport, LinkState};
use vernam_qkd::{BlockReport, Eve, LIVE_BLOCK_PACE, LinkConfig, LinkEvent, RateLink};

use crate::demo::EventSink;
use crate::demo::events::{DemoEvent, LinkBlock};

/// How often the live link is looked at.
const STEP: Duration = Duration::from_millis(100);
/// Virtual time that one step of running ahead covers at the most. A fast link goes in shorter ones, so that it does not
/// make far more than is wanted.
const AHEAD_STEP: Duration = Duration::from_mins(10);
/// Steps in which the whole is run at the least.
const AHEAD_STEPS: f64 = 50.0;
/// Most virtual time that the demo runs ahead: beyond, the link is too slow for what is to be shown.
const MOST_AHEAD: Duration = Duration::from_hours(24 * 60);

/// What the link made, by what became of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Made {
    /// Bits of key for KME A's half and KME B's half.
    pub(crate) bits: [u64; 2],
    /// Sifted bits thrown away.
    pub(crate) discarded_sifted: u64,
    /// Blocks thrown away.
    pub(crate) discarded_blocks: u64,
}

/// The link before it goes live.
pub(crate) struct Link {
    model: RateLink,
    kmes: [Kme; 2],
    sink: EventSink,
    now: Duration,
    made: Made,
    pulse_rate: f64,
}

/// The running link.
pub(crate) struct LiveLink {
    orders: mpsc::Sender<Option<Eve>>,
    made: watch::Receiver<Made>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Link {
    pub(crate) fn new(mut config: LinkConfig, kmes: [Kme; 2], sink: EventSink) -> anyhow::Result<Self> {
        // A block a second, so that there is something to see; real boxes collect for minutes.
        config.block_pace = LIVE_BLOCK_PACE;
        let pulse_rate = config.device.pulse_rate_hz * config.device.duty;
        let model = RateLink::from_os_randomness(config).context("the quantum link cannot be started")?;
        Ok(Self { model, kmes, sink, now: Duration::ZERO, made: Made::default(), pulse_rate })
    }

    /// Runs ahead until each KME's half has `bytes` bytes of key, as idle hours would have filled it.
    pub(crate) async fn run_ahead(&mut self, bytes: [u64; 2]) -> anyhow::Result<()> {
        let wanted = bytes.map(|bytes| bytes * 8);
        let half_rate = self.model.config().expect(None).key_bps / 2.0;
        #[expect(clippy::cast_precision_loss, reason = "hours for people")]
        let hours_needed = wanted[0].max(wanted[1]) as f64 / half_rate.max(f64::MIN_POSITIVE) / 3_600.0;
        let step = Duration::from_secs_f64((hours_needed * 3_600.0 / AHEAD_STEPS).clamp(1.0, AHEAD_STEP.as_secs_f64()));
        let mut blocks = 0;
        while (0..2).any(|end| self.made.bits[end] < wanted[end]) {
            anyhow::ensure!(
                self.now < MOST_AHEAD,
                "this link is too slow: {hours_needed:.0} hours would be needed to fill the stock; choose a shorter \
                 --length, a faster --device or a smaller --file-size"
            );
            self.now += step;
            self.model.advance(self.now);
            while let Some(event) = self.model.poll_event() {
                blocks += 1;
                self.take(event, false).await?;
            }
            let hours = self.now.as_secs_f64() / 3_600.0;
            let key_bits = self.made.bits.iter().sum();
            // The last word is said once, below.
            let of_hours = hours_needed.max(hours * 1.001);
            self.sink.offer(DemoEvent::RunAhead { hours, of_hours, blocks, key_bits });
            tokio::task::yield_now().await;
        }
        let hours = self.now.as_secs_f64() / 3_600.0;
        let key_bits = self.made.bits.iter().sum();
        self.sink.emit(DemoEvent::RunAhead { hours, of_hours: hours, blocks, key_bits }).await;
        Ok(())
    }

    /// From now on the link keeps step with the clock.
    pub(crate) fn go_live(mut self) -> LiveLink {
        let (orders, mut received) = mpsc::channel::<Option<Eve>>(4);
        let (tell, made) = watch::channel(self.made);
        let task = tokio::spawn(async move {
            let (began, ahead) = (Instant::now(), self.now);
            let mut clock = interval(STEP);
            clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
            // She comes and goes between two blocks, so that no block is half tapped.
            let mut ordered = None;
            loop {
                tokio::select! {
                    order = received.recv() => match order {
                        Some(eve) => ordered = Some(eve),
                        None => return Ok(()),
                    },
                    _ = clock.tick() => {
                        self.now = ahead + began.elapsed();
                        self.model.advance(self.now);
                        while let Some(event) = self.model.poll_event() {
                            self.take(event, true).await?;
                            if let Some(eve) = ordered.take() {
                                self.model.set_eve(eve);
                            }
                        }
                        tell.send_replace(self.made);
                    }
                }
            }
        });
        LiveLink { orders, made, task }
    }

    async fn take(&mut self, event: LinkEvent, live: bool) -> anyhow::Result<()> {
        let threshold = self.model.config().qber_alarm;
        match event {
            LinkEvent::Block(pair) => {
                let report = &pair.report;
                let bytes = pair.alice.bits.len() as u64;
                // KME A owns the longer half of an odd block: its name comes first.
                self.made.bits[0] += bytes.div_ceil(2) * 8;
                self.made.bits[1] += bytes / 2 * 8;
                let state = LinkReport {
                    state: LinkState::Up,
                    qber: Some(report.qber),
                    threshold,
                    rate_bps: report.rate_bps,
                    reason: "the link makes key".to_owned(),
                };
                let told = live.then(|| DemoEvent::LinkBlock(self.shown(report, threshold)));
                let (alice, bob) = (pair.alice, pair.bob);
                if bytes > 0 {
                    self.kmes[0].deposit(alice.number, alice.bits).context("KME A refused a block")?;
                    self.kmes[1].deposit(bob.number, bob.bits).context("KME B refused a block")?;
                }
                self.report(&state);
                if let Some(event) = told {
                    self.sink.emit(event).await;
                }
            }
            LinkEvent::Discarded { report, reason } => {
                self.made.discarded_sifted += report.sifted_bits;
                self.made.discarded_blocks += 1;
                let reason = reason.to_string();
                self.report(&LinkReport {
                    state: LinkState::Alarm,
                    qber: Some(report.qber),
                    threshold,
                    rate_bps: 0.0,
                    reason: reason.clone(),
                });
                let (block, sifted_bits, qber) = (report.number, report.sifted_bits, report.qber);
                let reason = reason.into();
                let event = DemoEvent::BlockDiscarded { block, sifted_bits, qber, threshold, reason };
                self.sink.emit(event).await;
            }
            // A newer link may tell more; nothing of it is key.
            _ => {}
        }
        Ok(())
    }

    fn shown(&self, report: &BlockReport, threshold: f64) -> LinkBlock {
        let seconds = report.end.saturating_sub(report.start).as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of pulses for people")]
        let pulses = (self.pulse_rate * seconds) as u64;
        LinkBlock {
            block: report.number,
            pulses,
            sifted_bits: report.sifted_bits,
            qber: report.qber,
            threshold,
            key_bits: report.key_bits,
            rate_bps: report.rate_bps,
        }
    }

    fn report(&self, report: &LinkReport) {
        for kme in &self.kmes {
            kme.set_link_report(report.clone());
        }
    }
}

impl LiveLink {
    /// Puts the eavesdropper on the line, or takes her off.
    pub(crate) async fn set_eve(&self, eve: Option<Eve>) {
        // The link has ended only when it failed, which `stop` reports.
        let _ended = self.orders.send(eve).await;
    }

    /// What it made so far.
    pub(crate) fn made(&self) -> Made {
        *self.made.borrow()
    }

    /// Ends it and says what it made.
    pub(crate) async fn stop(self) -> anyhow::Result<Made> {
        drop(self.orders);
        self.task.await.context("the quantum link failed")??;
        Ok(*self.made.borrow())
    }
}
