//! What metrics and health show.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turns;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_etsi014::KmeId;
use vernam_kme::{Audit, Kme, KmeConfig, LinkState, Metrics, MetricsPage, Readiness};
use vernam_ledger::{Book, Ledger, Unavailable};

/// How long what the ledger answered counts: however many ask, it writes no more often than that.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long it may take to answer before it counts as gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The page of one KME.
pub(super) struct Page {
    kme: Kme,
    metrics: Arc<Metrics>,
    shown: Mutex<Shown>,
    /// The audit trail, if it is required.
    trail: Option<Arc<Audit>>,
    trial: Turns<Trial>,
}

/// What of the configuration is shown.
struct Shown {
    links: Vec<KmeId>,
    key_size: u32,
}

impl Shown {
    fn of(config: &KmeConfig) -> Self {
        let links = config.peers.iter().map(|peer| peer.kme_id.clone()).collect();
        Self { links, key_size: config.limits.key_size }
    }
}

/// Whether the ledger can be written: a disk that is full is read as before.
#[derive(Default)]
struct Trial {
    /// A write that has not come to its end; there is never a second one.
    under_way: Option<JoinHandle<Result<(), Unavailable>>>,
    /// When the latest one ended, and how.
    found: Option<(Instant, Result<(), String>)>,
}

impl Trial {
    async fn outcome(&mut self, ledger: &Ledger) -> Result<(), String> {
        if let Some((when, found)) = &self.found
            && when.elapsed() < GOOD_FOR
        {
            return found.clone();
        }
        let ledger = ledger.clone();
        let write = async move {
            let touch = |book: &mut Book<'_>| {
                book.touch()?;
                Ok(())
            };
            ledger.run(touch).await
        };
        let under_way = self.under_way.get_or_insert_with(|| tokio::spawn(write));
        let found = match timeout(ANSWER_WITHIN, &mut *under_way).await {
            Err(_late) => Err("the ledger does not answer".to_owned()),
            Ok(ended) => {
                self.under_way = None;
                match ended {
                    Ok(written) => written.map_err(|error| error.to_string()),
                    Err(error) => Err(format!("the ledger could not be tried: {error}")),
                }
            }
        };
        self.found = Some((Instant::now(), found.clone()));
        found
    }
}

impl Page {
    /// `trail`: the audit trail, if the KME must not go on without it.
    pub(super) fn new(kme: Kme, metrics: Arc<Metrics>, config: &KmeConfig, trail: Option<Arc<Audit>>) -> Self {
        Self { kme, metrics, shown: Mutex::new(Shown::of(config)), trail, trial: Turns::default() }
    }

    /// A new configuration is in force.
    pub(super) fn follow(&self, config: &KmeConfig) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown::of(config);
    }

    /// Why no request for key makes sense, as far as that is known without the ledger.
    fn obstacle(&self) -> Option<&'static str> {
        if !self.metrics.is_serving() {
            return Some("the KME does not serve: it starts or ends");
        }
        if self.trail.as_ref().is_some_and(|trail| trail.failed()) {
            return Some("the audit trail cannot be written, and it is required");
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let in_alarm = |link: &KmeId| self.kme.link_report(link).state == LinkState::Alarm;
        let all = !shown.links.is_empty() && shown.links.iter().all(in_alarm);
        all.then_some("every link is in alarm: no key is delivered")
    }
}

impl MetricsPage for Page {
    fn metrics(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let links: Vec<_> = shown.links.iter().map(|link| (link.clone(), self.kme.link_report(link))).collect();
        self.metrics.text(&self.kme.ledger().snapshot(), &links, shown.key_size)
    }

    fn ready(&self) -> Readiness<'_> {
        Box::pin(async {
            match self.obstacle() {
                Some(why) => Err(why.to_owned()),
                None => self.trial.lock().await.outcome(self.kme.ledger()).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use vernam_etsi014::SaeId;
    use vernam_kme::{KmeEvent, LinkReport, Observer as _, PeerConfig};
    use vernam_ledger::{Kek, LedgerLimits, Options, Place};

    use super::*;

    fn kme(name: &str) -> KmeId {
        name.parse().expect("an ID")
    }

    fn page() -> Page {
        let sae = |name: &str| name.parse::<SaeId>().expect("an ID");
        let peers = [("kme-b", "bob"), ("kme-c", "carol")]
            .map(|(peer, behind)| PeerConfig::new(kme(peer), "127.0.0.1:1", [sae(behind)]));
        let config = KmeConfig::new(kme("kme-a"), [sae("alice")], peers);
        let ledger = Ledger::open(Options {
            place: Place::Memory,
            kme: kme("kme-a"),
            kek: Kek::from_secret(vernam_key::SecretBytes::copy_of(&[7; 32])).expect("32 bytes"),
            limits: LedgerLimits::default(),
            scrub_within: Duration::from_secs(1),
            anchor: None,
        });
        let made = Kme::new(config.clone(), ledger.expect("in memory")).expect("a good configuration");
        let metrics = Arc::new(Metrics::new(&kme("kme-a"), "1"));
        Page::new(made, metrics, &config, None)
    }

    #[tokio::test]
    async fn it_is_ready_while_it_serves_and_one_link_is_not_in_alarm() {
        let page = page();
        assert!(page.ready().await.expect_err("not yet").contains("does not serve"));
        page.metrics.on(&KmeEvent::Started);
        assert_eq!(page.ready().await, Ok(()));
        let alarm = LinkReport { state: LinkState::Alarm, ..LinkReport::unknown() };
        page.kme.set_link_report(&kme("kme-b"), alarm.clone());
        assert_eq!(page.ready().await, Ok(()), "the other link is there");
        page.kme.set_link_report(&kme("kme-c"), alarm);
        assert!(page.ready().await.expect_err("no link").contains("alarm"));
    }

    #[tokio::test]
    async fn it_is_not_ready_once_the_ledger_cannot_be_written_and_asks_it_seldom() {
        let page = page();
        let mut trial = Trial::default();
        assert_eq!(trial.outcome(page.kme.ledger()).await, Ok(()));
        page.kme.ledger().close().await.expect("in memory");
        trial.found = Some((Instant::now() + GOOD_FOR * 60, Ok(())));
        assert_eq!(trial.outcome(page.kme.ledger()).await, Ok(()), "what was found a moment ago");
        trial.found = None;
        assert!(trial.outcome(page.kme.ledger()).await.is_err());
        assert!(trial.under_way.is_none(), "the next one tries again");
    }
}
