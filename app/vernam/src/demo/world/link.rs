//! Drives the simulated quantum link: first ahead in virtual time, by the fast rate model, then with the clock, photon by
//! photon, and gives both KMEs their ends.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use vernam_etsi014::KmeId;
use vernam_kme::{Kme, LinkReport, LinkState};
use vernam_qkd::distil::EndConfig;
use vernam_qkd::{BlockReport, Eve, LinkConfig, LinkEvent, PhotonLink, Progress, RateLink};

use crate::demo::EventSink;
use crate::demo::events::{DemoEvent, LinkBlock, LinkLight};
use crate::demo::world::network::Network;

/// How often the live link is looked at.
const STEP: Duration = Duration::from_millis(100);
/// Most virtual time that the live link makes up for at once.
const MOST_AT_ONCE: Duration = Duration::from_millis(400);
/// The shortest block that a live link makes: somebody watches.
const LIVE_BLOCK: Duration = Duration::from_secs(5);
/// Short blocks pay dearly for their statistics. A live link makes longer ones until they give at least this share of
/// what the device's own blocks give.
const LIVE_SHARE: f64 = 0.5;
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
    ahead: RateLink,
    now: Duration,
    desk: Desk,
}

/// Where the link's news go.
struct Desk {
    kmes: [Kme; 2],
    /// The KMEs' names: each is the other's link.
    ids: [KmeId; 2],
    sink: EventSink,
    made: Made,
    threshold: f64,
    /// Number of the last good block.
    blocks: u64,
    /// What the last good block came to, bits a second.
    rate_bps: f64,
    live: bool,
    alarmed: bool,
}

/// The running link.
pub(crate) struct LiveLink {
    orders: mpsc::Sender<Option<Eve>>,
    made: watch::Receiver<Made>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Link {
    /// A link between the KMEs of `network`.
    pub(crate) fn new(config: LinkConfig, network: &Network, sink: EventSink) -> anyhow::Result<Self> {
        let desk = Desk {
            kmes: network.kmes.clone(),
            ids: network.ids.clone(),
            sink,
            made: Made::default(),
            threshold: config.qber_alarm,
            blocks: 0,
            rate_bps: 0.0,
            live: false,
            alarmed: false,
        };
        let ahead = RateLink::from_os_randomness(config).context("the quantum link cannot be started")?;
        Ok(Self { ahead, now: Duration::ZERO, desk })
    }

    /// Runs ahead until each KME's half has `bytes` bytes of key, as idle hours would have filled it.
    pub(crate) async fn run_ahead(&mut self, bytes: [u64; 2]) -> anyhow::Result<()> {
        let wanted = bytes.map(|bytes| bytes * 8);
        let half_rate = self.ahead.config().expect(None).key_bps / 2.0;
        #[expect(clippy::cast_precision_loss, reason = "hours for people")]
        let hours_needed = wanted[0].max(wanted[1]) as f64 / half_rate.max(f64::MIN_POSITIVE) / 3_600.0;
        while (0..2).any(|end| self.desk.made.bits[end] < wanted[end]) {
            anyhow::ensure!(
                self.now < MOST_AHEAD,
                "this link is too slow: {hours_needed:.0} hours would be needed to fill the stock; choose a shorter \
                 --length, a faster --device or a smaller --file-size"
            );
            self.now = self.ahead.next_event_at();
            self.ahead.advance(self.now);
            while let Some(event) = self.ahead.poll_event() {
                self.desk.take(event).await?;
            }
            let hours = self.now.as_secs_f64() / 3_600.0;
            let (blocks, key_bits) = (self.desk.blocks, self.desk.made.bits.iter().sum());
            // The last word is said once, below.
            let of_hours = hours_needed.max(hours * 1.001);
            self.desk.sink.offer(DemoEvent::RunAhead { hours, of_hours, blocks, key_bits });
            tokio::task::yield_now().await;
        }
        let hours = self.now.as_secs_f64() / 3_600.0;
        let (blocks, key_bits) = (self.desk.blocks, self.desk.made.bits.iter().sum());
        self.desk.sink.emit(DemoEvent::RunAhead { hours, of_hours: hours, blocks, key_bits }).await;
        Ok(())
    }

    /// From now on the link keeps step with the clock, and every photon is simulated.
    pub(crate) fn go_live(self) -> anyhow::Result<LiveLink> {
        let Self { ahead, mut desk, .. } = self;
        let config = live(ahead.config());
        // Numbers go on from the time run ahead, so that both KMEs see them rise.
        let ends = EndConfig { first_block: desk.blocks + 1, ..config.ends() };
        let photons = PhotonLink::with_ends(config, ends, rand::rng()).context("the quantum link cannot be started")?;
        desk.live = true;
        let (orders, mut received) = mpsc::channel::<Option<Eve>>(4);
        let (tell, made) = watch::channel(desk.made);
        let task = tokio::spawn(async move {
            let (mut last, mut now) = (Instant::now(), Duration::ZERO);
            let mut photons = Some(photons);
            let mut clock = interval(STEP);
            clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    order = received.recv() => match (order, &mut photons) {
                        (Some(eve), Some(link)) => link.set_eve(eve),
                        _ => return Ok(()),
                    },
                    _ = clock.tick() => {
                        // A link whose photons are too many for this machine runs slower than the clock.
                        now += last.elapsed().min(MOST_AT_ONCE);
                        last = Instant::now();
                        let Some(mut link) = photons.take() else { return Ok(()) };
                        // Photons, error correction and privacy amplification keep a core busy for a while.
                        let (link, events) = tokio::task::spawn_blocking(move || {
                            link.advance(now);
                            let events: Vec<LinkEvent> = std::iter::from_fn(|| link.poll_event()).collect();
                            (link, events)
                        })
                        .await
                        .context("the quantum link failed")?;
                        photons = Some(link);
                        for event in events {
                            desk.take(event).await?;
                        }
                        tell.send_replace(desk.made);
                    }
                }
            }
        });
        Ok(LiveLink { orders, made, task })
    }
}

/// The same link with blocks that one can wait for.
fn live(config: &LinkConfig) -> LinkConfig {
    let best = config.expect(None).key_bps;
    let mut config = config.clone();
    let full = std::mem::replace(&mut config.block_pace, LIVE_BLOCK);
    while config.block_pace < full && config.expect(None).key_bps < LIVE_SHARE * best {
        config.block_pace *= 2;
    }
    config
}

impl Desk {
    async fn take(&mut self, event: LinkEvent) -> anyhow::Result<()> {
        match event {
            LinkEvent::Block(pair) => {
                let bytes = pair.alice.bits.len() as u64;
                // KME A owns the longer half of an odd block: its name comes first.
                self.made.bits[0] += bytes.div_ceil(2) * 8;
                self.made.bits[1] += bytes / 2 * 8;
                let number = pair.report.number;
                self.blocks = number;
                self.rate_bps = pair.report.rate_bps;
                self.alarmed = false;
                if bytes > 0 {
                    let [a, b] = &self.kmes;
                    a.deposit(&self.ids[1], number, pair.alice.bits).await.context("KME A refused a block")?;
                    b.deposit(&self.ids[0], number, pair.bob.bits).await.context("KME B refused a block")?;
                }
                self.up(pair.report.qber());
                if self.live {
                    let shown = self.shown(&pair.report);
                    self.sink.emit(DemoEvent::LinkBlock(shown)).await;
                }
            }
            LinkEvent::Progress(progress) => {
                let light = self.light(&progress);
                // After an alarm only a good block shows that the line is safe again.
                if !self.alarmed {
                    self.up(progress.qber_z);
                }
                self.sink.emit(DemoEvent::LinkLight(light)).await;
            }
            LinkEvent::Discarded { report, reason } => {
                self.made.discarded_sifted += report.sifted_bits();
                self.made.discarded_blocks += 1;
                self.alarmed = true;
                let (reason, threshold) = (reason.to_string(), self.threshold);
                self.report(&LinkReport {
                    state: LinkState::Alarm,
                    qber: Some(report.qber()),
                    threshold,
                    rate_bps: 0.0,
                    reason: reason.clone(),
                });
                let (block, sifted_bits, qber) = (report.number, report.sifted_bits(), report.qber());
                let event = DemoEvent::BlockDiscarded { block, sifted_bits, qber, threshold, reason: reason.into() };
                self.sink.emit(event).await;
            }
            // A newer link may tell more; nothing of it is key.
            _ => {}
        }
        Ok(())
    }

    fn light(&self, progress: &Progress) -> LinkLight {
        LinkLight {
            block: progress.number,
            pulses: progress.pulses,
            sifted_bits: whole(progress.counts.x.total()),
            qber: progress.qber_z,
            threshold: self.threshold,
        }
    }

    fn shown(&self, report: &BlockReport) -> LinkBlock {
        LinkBlock {
            block: report.number,
            pulses: report.pulses,
            sifted_bits: report.sifted_bits(),
            qber: report.qber(),
            threshold: self.threshold,
            key_bits: report.key_bits,
            rate_bps: report.rate_bps,
        }
    }

    fn up(&self, qber: f64) {
        self.report(&LinkReport {
            state: LinkState::Up,
            qber: Some(qber),
            threshold: self.threshold,
            rate_bps: self.rate_bps,
            reason: "the link makes key".to_owned(),
        });
    }

    fn report(&self, report: &LinkReport) {
        let [a, b] = &self.kmes;
        a.set_link_report(&self.ids[1], report.clone());
        b.set_link_report(&self.ids[0], report.clone());
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, kept as a float")]
fn whole(count: f64) -> u64 {
    count as u64
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
