//! Feeds each link from its source: opened anew when it ended, and when its settings changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinHandle;
use vernam_etsi014::{KmeClient, KmeId};
use vernam_kme::settings::{DirectorySource, Meeting, Settings, Side, SimulatedSource, SourceSettings, UpstreamSource};
use vernam_kme::sources::{Directory, DirectoryConfig, Upstream, UpstreamConfig, UpstreamRole};
use vernam_kme::{KeySource, Kme, LinkReport, LinkState};
use vernam_link::Role;
use vernam_qkd::{DeviceProfile, LinkConfig};

use crate::cli::DEFAULT_DEVICE;
use crate::kme::sources::{Place, Simulated, SimulatedConfig};

/// The shortest time between two tries to open a source; each failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The sources that run.
#[derive(Default)]
pub(super) struct Feeds {
    running: BTreeMap<KmeId, (SourceSettings, JoinHandle<()>)>,
}

impl Feeds {
    /// Starts, ends and changes sources as these settings say. Must be called within a tokio runtime.
    pub(super) fn follow(&mut self, kme: &Kme, settings: &Settings) {
        self.running.retain(|link, (running, task)| {
            let stays = settings.sources.get(link) == Some(running);
            if !stays {
                task.abort();
            }
            stays
        });
        for (link, source) in &settings.sources {
            self.running.entry(link.clone()).or_insert_with(|| {
                let task = tokio::spawn(feed(kme.clone(), link.clone(), source.clone()));
                (source.clone(), task)
            });
        }
    }

    /// Ends all of them. What they have offered and not settled is offered again at the next start.
    pub(super) async fn end(self) {
        for (_, (_, task)) in self.running {
            task.abort();
            let _aborted = task.await;
        }
    }
}

async fn feed(kme: Kme, link: KmeId, source: SourceSettings) {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match open(&kme, &link, &source).await {
            Ok(source) => {
                pause = FIRST_PAUSE;
                kme.feed(link.clone(), source).await
            }
            Err(error) => format!("{error:#}"),
        };
        tracing::error!(%link, "the link has no source of key: {why}");
        let before = kme.link_report(&link);
        // An alarm stands until a source says otherwise.
        if before.state != LinkState::Alarm {
            kme.set_link_report(&link, LinkReport { state: LinkState::Down, rate_bps: 0.0, reason: why, ..before });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn open(kme: &Kme, link: &KmeId, source: &SourceSettings) -> anyhow::Result<Box<dyn KeySource>> {
    match source {
        SourceSettings::Directory(settings) => directory(settings),
        SourceSettings::Upstream(settings) => upstream(kme, link, settings),
        SourceSettings::Simulated(settings) => simulated(settings).await,
        _ => bail!("this kind of source is not known here"),
    }
}

fn directory(settings: &DirectorySource) -> anyhow::Result<Box<dyn KeySource>> {
    let mut config = DirectoryConfig::new(&settings.folder);
    config.pattern = settings.pattern.parse()?;
    config.era = settings.era;
    config.poll = settings.every;
    config.rest = settings.rest;
    config.down_after = settings.down_after;
    config.allow_group = settings.allow_group;
    Ok(Box::new(Directory::open(config)?))
}

async fn simulated(settings: &SimulatedSource) -> anyhow::Result<Box<dyn KeySource>> {
    let device = DeviceProfile::named(settings.device.as_deref().unwrap_or(DEFAULT_DEVICE))?;
    let config = SimulatedConfig {
        folder: settings.folder.clone(),
        role: match settings.role {
            Side::Alice => Role::Alice,
            Side::Bob => Role::Bob,
        },
        connect: match &settings.meeting {
            Meeting::Listen(address) => Place::Listen(address.to_string()),
            Meeting::Dial(place) => Place::Dial(place.clone()),
        },
        peer_name: None,
        link: LinkConfig::new(device, settings.length_km),
        era: settings.era,
    };
    Ok(Box::new(Simulated::start(config).await?))
}

fn upstream(kme: &Kme, link: &KmeId, settings: &UpstreamSource) -> anyhow::Result<Box<dyn KeySource>> {
    let role = match settings.role {
        Side::Alice => UpstreamRole::Master,
        Side::Bob => UpstreamRole::Slave,
    };
    let mut config = UpstreamConfig::new(role, settings.peer_sae.clone());
    config.low_bits = settings.low_bits;
    config.high_bits = settings.high_bits;
    config.keys_per_block = settings.keys_per_block;
    config.key_bits = settings.key_size;
    config.poll = settings.every;
    config.patience = settings.patience;
    config.down_after = settings.down_after;
    let identity = settings.identity().map_err(anyhow::Error::msg)?;
    let authority = settings.url.trim_start_matches("https://");
    let client = KmeClient::new(authority, identity.roots, identity.chain, identity.key)
        .context("the upstream KME cannot be called")?;
    let view = kme.ledger().snapshot();
    let next_block = view.link(link).map_or(0, |view| view.next_block);
    let (pooled_kme, pooled_link) = (kme.clone(), link.clone());
    let (ask_kme, ask_link) = (kme.clone(), link.clone());
    let (source, talk) = Upstream::pair(
        config,
        client,
        next_block,
        Arc::new(move || pooled_kme.accounting(&pooled_link).pooled()),
        Arc::new(move |message| {
            let (kme, link) = (ask_kme.clone(), ask_link.clone());
            Box::pin(async move { kme.ask_source(&link, message).await })
        }),
    )?;
    if let Some(talk) = talk {
        kme.set_source_talk(link, talk);
    }
    Ok(source)
}
