//! One end of a simulated quantum link, run inside the KME as the source of its key.
//!
//! It is what `vernam link alice` and `vernam link bob` do, without files: blocks go straight to the ledger. The far end
//! is the KME at the other end, or `vernam link bob --keys` with a folder that is read there.
//!
//! Bob's blocks are given as they come, for he has one only when Alice has it. Alice's are given one later: when her
//! next block shows that Bob has it. The last one before a run ends, on either side, is settled by nobody: it is wiped
//! at Alice's end, and the two KMEs find out that only Bob's has its bits.

use std::collections::VecDeque;
use std::path::PathBuf;

use tokio::time::{Duration, Instant, sleep_until};
use vernam_key::SecretBytes;
use vernam_kme::{KeySource, LinkReport, LinkState, Settled, SourceEvent, SourceFuture};
use vernam_link::{AliceEnd, BobEnd, Connect, EndSetup, LightSetup, PeerEvent, Role};
use vernam_qkd::distil::EndEvent;
use vernam_qkd::{BlockReport, LinkConfig};

use crate::link::ends::{far, folder, name};

/// The highest [`SimulatedConfig::era`].
const MAX_ERA: u32 = (1 << 21) - 1;
/// Bits of a number that the link itself gives: 256 runs of 2^32 blocks.
const ERA_SHIFT: u32 = 41;
/// Between two offers of a block that the ledger could not write.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How the end finds the far one.
#[derive(Debug, Clone)]
pub enum Place {
    /// It waits at this address (`host:port`).
    Listen(String),
    /// It calls this one.
    Dial(String),
}

/// How a simulated link's end is set up.
#[derive(Debug, Clone)]
pub struct SimulatedConfig {
    /// The folder that `vernam link setup` made for this end.
    pub folder: PathBuf,
    /// Which end it is.
    pub role: Role,
    /// How it finds the far one.
    pub connect: Place,
    /// The name in the far end's certificate; `None`: what `vernam link setup` writes.
    pub peer_name: Option<String>,
    /// The line and the equipment; alike at both ends.
    pub link: LinkConfig,
    /// Goes in front of the link's block numbers, as with [`vernam_kme::sources::DirectoryConfig::era`]: to be raised by
    /// one, at both ends alike, with each new start-up secret.
    pub era: u32,
}

/// One end of a simulated link as a source. Dropping it ends the end.
pub struct Simulated {
    end: End,
    desk: Desk,
}

enum End {
    Alice(AliceEnd),
    Bob(BobEnd),
}

/// What the end has said, as the ledger is to hear it. Without I/O.
struct Desk {
    /// Blocks need a later one to be settled: Alice's.
    waits: bool,
    threshold: f64,
    era: u32,
    /// Given out at this end, and not known to be at the far one.
    unsettled: Option<(u64, SecretBytes)>,
    ready: VecDeque<SourceEvent>,
    /// The block that was given last, until it is settled.
    offered: Option<(u64, SecretBytes)>,
    again_at: Option<Instant>,
    report: LinkReport,
    over: Option<String>,
}

impl Simulated {
    /// Starts the end. Must be called within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// What is missing in the folder or cannot be used, an address that cannot be bound, a link that cannot be.
    pub async fn start(config: SimulatedConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(config.era <= MAX_ERA, "era {} is too high; {MAX_ERA} is the highest", config.era);
        let (identity, secret) = folder::read(&config.folder, config.role)?;
        let connect = match &config.connect {
            Place::Listen(address) => Connect::listen(address).await?,
            Place::Dial(place) => Connect::Dial(place.clone()),
        };
        let peer = config.peer_name.unwrap_or_else(|| name(far(config.role)).to_owned());
        let threshold = config.link.qber_alarm;
        let setup = EndSetup::new(config.link, connect, identity, peer, secret)?;
        Self::of(setup, LightSetup::default(), config.role, threshold, config.era)
    }

    fn of(setup: EndSetup, light: LightSetup, role: Role, threshold: f64, era: u32) -> anyhow::Result<Self> {
        let end = match role {
            Role::Alice => End::Alice(AliceEnd::start(setup, light)?),
            Role::Bob => End::Bob(BobEnd::start(setup)?),
        };
        Ok(Self { end, desk: Desk::new(role, threshold, era) })
    }
}

impl End {
    async fn event(&mut self) -> Option<PeerEvent> {
        match self {
            Self::Alice(end) => end.event().await,
            Self::Bob(end) => end.event().await,
        }
    }
}

impl KeySource for Simulated {
    fn next(&mut self) -> SourceFuture<'_, SourceEvent> {
        Box::pin(async {
            loop {
                if let Some(then) = self.desk.again_at {
                    sleep_until(then).await;
                    self.desk.again_at = None;
                }
                if let Some(event) = self.desk.next() {
                    return event;
                }
                let event = self.end.event().await;
                self.desk.take(event);
            }
        })
    }

    fn settled(&mut self, number: u64, settled: Settled) -> SourceFuture<'_, ()> {
        Box::pin(async move { self.desk.settled(number, settled) })
    }
}

impl Desk {
    fn new(role: Role, threshold: f64, era: u32) -> Self {
        let reason = "the far end is not there yet".to_owned();
        let report = LinkReport { state: LinkState::Down, qber: None, threshold, rate_bps: 0.0, reason };
        let ready = VecDeque::from([SourceEvent::Report(report.clone())]);
        let waits = role == Role::Alice;
        Self { waits, threshold, era, unsettled: None, ready, offered: None, again_at: None, report, over: None }
    }

    fn next(&mut self) -> Option<SourceEvent> {
        let event = if let Some((number, bits)) = self.offered.take() {
            SourceEvent::Block { number, bits }
        } else if let Some(event) = self.ready.pop_front() {
            event
        } else {
            return self.over.clone().map(SourceEvent::Ended);
        };
        if let SourceEvent::Block { number, bits } = &event {
            self.offered = Some((*number, SecretBytes::copy_of(bits.expose("to keep a copy until the ledger has it"))));
        }
        Some(event)
    }

    fn settled(&mut self, number: u64, settled: Settled) {
        match settled {
            Settled::Taken => self.offered = None,
            Settled::TooLate => {
                // A running link's numbers only ascend: they began anew with another start-up secret.
                self.offered = None;
                self.over = Some(format!(
                    "the ledger had block {number} before: block numbers begin anew with a new start-up secret; set \
                     era to {} for this link at both KMEs",
                    self.era + 1
                ));
                self.ready.clear();
            }
            Settled::Again => self.again_at = Some(Instant::now() + AGAIN_AFTER),
        }
    }

    fn number(&self, number: u64) -> u64 {
        (u64::from(self.era) << ERA_SHIFT) | number
    }

    fn take(&mut self, event: Option<PeerEvent>) {
        match event {
            None => self.over = Some("the link's end stopped".to_owned()),
            Some(PeerEvent::Failed(error)) => self.over = Some(error.to_string()),
            Some(PeerEvent::Distil { event: EndEvent::Block { block, report }, .. }) => {
                self.good(&report);
                // Alice says first if Bob does not have the one before.
                self.release();
                if !block.bits.is_empty() {
                    self.unsettled = Some((self.number(block.number), block.bits));
                }
                if !self.waits {
                    self.release();
                }
            }
            Some(PeerEvent::Distil { event: EndEvent::Void { number }, .. } | PeerEvent::Unsettled { number }) => {
                let number = self.number(number);
                if self.unsettled.take_if(|(held, _)| *held == number).is_none() {
                    self.ready.push_back(SourceEvent::Void { number });
                }
            }
            Some(PeerEvent::Distil { event: EndEvent::Discarded { report, reason }, .. }) => {
                let report = LinkReport {
                    state: LinkState::Alarm,
                    qber: Some(report.qber()),
                    threshold: self.threshold,
                    rate_bps: 0.0,
                    reason: reason.to_string(),
                };
                self.tell(report);
            }
            Some(PeerEvent::Lost(loss)) => {
                // An alarm stays until a good block shows that the line is safe again.
                if self.report.state != LinkState::Alarm {
                    self.tell_down(format!("the connection to the far end is lost: {loss}"));
                }
            }
            Some(PeerEvent::Connected { .. }) => {
                if self.report.state == LinkState::Down {
                    self.tell_down("the far end is there, and the first block is being made".to_owned());
                }
            }
            Some(PeerEvent::Refused(refusal)) => tracing::warn!(%refusal, "no connection to the link's far end"),
            Some(_) => {}
        }
    }

    /// The block that waits is at both ends.
    fn release(&mut self) {
        let block = self.unsettled.take();
        self.ready.extend(block.map(|(number, bits)| SourceEvent::Block { number, bits }));
    }

    fn good(&mut self, report: &BlockReport) {
        self.tell(LinkReport {
            state: LinkState::Up,
            qber: Some(report.qber()),
            threshold: self.threshold,
            rate_bps: report.rate_bps,
            reason: "the link makes key".to_owned(),
        });
    }

    fn tell_down(&mut self, reason: String) {
        self.tell(LinkReport { state: LinkState::Down, rate_bps: 0.0, reason, ..self.report.clone() });
    }

    fn tell(&mut self, report: LinkReport) {
        self.report = report.clone();
        self.ready.push_back(SourceEvent::Report(report));
    }
}

#[cfg(test)]
mod tests;
