//! What a KME counts, in the text format of Prometheus (OpenMetrics 1.0), and the listener where it is asked for.
//!
//! [`Metrics`] is an [`Observer`]: it counts what happens. How much key there is, is taken from the ledger's snapshot
//! when somebody asks. Every label has few values: links and SAEs by the configuration, endpoints and HTTP statuses by
//! the standard; names of strangers never become labels. Nothing here is secret, and nothing waits for the disk.

mod http;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use vernam_etsi014::{KmeId, SaeId};
use vernam_ledger::Snapshot;

use crate::{Endpoint, KmeEvent, LinkReport, LinkState, Observer};

pub use self::http::{MetricsPage, Readiness, serve_metrics};

/// Labels of a series.
type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Numbers = Family<Labels, Gauge>;
type Reals = Family<Labels, Gauge<f64, AtomicU64>>;

/// The most SAEs with series of their own; what others do is counted for [`OTHERS`]. A configuration that changes and
/// changes does not fill the memory.
const MAX_SAES: usize = 4096;
/// Stands for all others.
const OTHERS: &str = "(others)";

/// The counts of one KME.
pub struct Metrics {
    registry: Registry,
    requests: Counters,
    refusals: Counters,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    delivered_keys: Counters,
    delivered_bits: Counters,
    collected_keys: Counters,
    collected_bits: Counters,
    reserved_keys: Counters,
    voided_keys: Counters,
    blocks: Counters,
    block_bits: Counters,
    reloads: Counter,
    handshakes_refused: Counter,
    pooled_bits: Numbers,
    pooled_keys: Numbers,
    accounted_bits: Numbers,
    waiting_keys: Numbers,
    outbox: Numbers,
    link_rate: Reals,
    link_qber: Reals,
    link_threshold: Reals,
    link_state: Numbers,
    serving: AtomicBool,
    saes: Mutex<BTreeSet<SaeId>>,
}

impl Metrics {
    /// All at nought. `version` is the program's.
    pub fn new(kme: &KmeId, version: &str) -> Self {
        let mut registry = Registry::with_prefix("vernam_kme");
        let about = prometheus_client::metrics::info::Info::new(vec![
            ("kme", kme.as_str().to_owned()),
            ("version", version.to_owned()),
        ]);
        registry.register("build", "Which KME this is, and the program's version", about);
        let counters = |registry: &mut Registry, name: &str, help: &str| {
            let family = Counters::default();
            registry.register(name, help, family.clone());
            family
        };
        let numbers = |registry: &mut Registry, name: &str, help: &str| {
            let family = Numbers::default();
            registry.register(name, help, family.clone());
            family
        };
        let reals = |registry: &mut Registry, name: &str, help: &str| {
            let family = Reals::default();
            registry.register(name, help, family.clone());
            family
        };
        // From a quarter of a millisecond, below the time of one fsync, to eight seconds.
        let seconds: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16)));
        registry.register("request_seconds", "Time from a request's head to its answer", seconds.clone());
        let reloads = Counter::default();
        registry.register("reloads", "Configurations and certificates put into force since the start", reloads.clone());
        let handshakes_refused = Counter::default();
        let help = "Connections that ended in the TLS handshake";
        registry.register("handshakes_refused", help, handshakes_refused.clone());
        let r = &mut registry;
        Self {
            requests: counters(r, "requests", "Requests answered, by HTTP status"),
            refusals: counters(r, "refusals", "Requests refused, by HTTP status"),
            delivered_keys: counters(r, "delivered_keys", "Keys given to masters"),
            delivered_bits: counters(r, "delivered_bits", "Bits given to masters"),
            collected_keys: counters(r, "collected_keys", "Keys given to slaves"),
            collected_bits: counters(r, "collected_bits", "Bits given to slaves"),
            reserved_keys: counters(r, "reserved_keys", "Keys of masters elsewhere set aside for slaves here"),
            voided_keys: counters(r, "voided_keys", "Keys erased unused"),
            blocks: counters(r, "blocks", "Blocks that came from the link's source"),
            block_bits: counters(r, "block_bits", "Bits that came from the link's source"),
            pooled_bits: numbers(r, "pool_bits", "Free bits, by half: for masters here, and at the peer"),
            pooled_keys: numbers(r, "pool_keys", "The same as keys of the default size"),
            accounted_bits: numbers(r, "ledger_bits", "All bits ever made, by what became of them"),
            waiting_keys: numbers(r, "waiting_keys", "Keys that wait for slaves here"),
            outbox: numbers(r, "outbox_messages", "Messages that the peer must still hear"),
            link_rate: reals(r, "link_rate_bits_per_second", "Secret bits that the link makes"),
            link_qber: reals(r, "link_qber_ratio", "Quantum bit error rate of the latest block"),
            link_threshold: reals(r, "link_qber_threshold_ratio", "The error rate at which blocks are discarded"),
            link_state: numbers(r, "link_state", "1 for the state that the link is in"),
            seconds,
            reloads,
            handshakes_refused,
            registry,
            serving: AtomicBool::new(false),
            saes: Mutex::default(),
        }
    }

    /// Whether the KME takes requests: from its start until it was told to stop.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Everything as text. `links`: how each link of the configuration stands; `key_size`: the default, bits.
    pub fn text(&self, ledger: &Snapshot, links: &[(KmeId, LinkReport)], key_size: u32) -> String {
        self.take_stock(ledger, links, key_size);
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(error) => {
                let mut page = String::from("# the metrics could not be written: ");
                let _ = write!(page, "{error}"); // a String takes everything
                page
            }
        }
    }

    fn take_stock(&self, ledger: &Snapshot, links: &[(KmeId, LinkReport)], key_size: u32) {
        for family in [&self.pooled_bits, &self.pooled_keys, &self.accounted_bits, &self.waiting_keys, &self.outbox] {
            family.clear();
        }
        for family in [&self.link_rate, &self.link_qber, &self.link_threshold] {
            family.clear();
        }
        self.link_state.clear();
        let number = |bits: u64| i64::try_from(bits).unwrap_or(i64::MAX);
        for view in &ledger.links {
            let link = || ("link", view.link.to_string());
            let books = &view.accounting;
            for (half, bits) in [("own", books.pooled_own), ("peer", books.pooled_peer)] {
                let labels = vec![link(), ("half", half.to_owned())];
                self.pooled_bits.get_or_create(&labels).set(number(bits));
                self.pooled_keys.get_or_create(&labels).set(number(bits / u64::from(key_size.max(1))));
            }
            for (state, bits) in [
                ("made", books.made),
                ("pooled", books.pooled()),
                ("reserved", books.reserved),
                ("delivered_to_master", books.delivered_to_master),
                ("delivered_to_slave", books.delivered_to_slave),
                ("relayed", books.relayed),
                ("voided", books.voided),
            ] {
                self.accounted_bits.get_or_create(&vec![link(), ("state", state.to_owned())]).set(number(bits));
            }
            self.waiting_keys.get_or_create(&vec![link()]).set(number(view.waiting_keys));
            self.outbox.get_or_create(&vec![link()]).set(number(view.outbox));
        }
        for (link, report) in links {
            let labels = vec![("link", link.to_string())];
            self.link_rate.get_or_create(&labels).set(report.rate_bps);
            self.link_threshold.get_or_create(&labels).set(report.threshold);
            if let Some(qber) = report.qber {
                self.link_qber.get_or_create(&labels).set(qber);
            }
            for (state, name) in [(LinkState::Up, "up"), (LinkState::Down, "down"), (LinkState::Alarm, "alarm")] {
                let labels = vec![("link", link.to_string()), ("state", name.to_owned())];
                self.link_state.get_or_create(&labels).set(i64::from(report.state == state));
            }
        }
    }

    /// The SAE as a label.
    fn label(&self, sae: &SaeId) -> (&'static str, String) {
        let mut saes = self.saes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = saes.contains(sae) || (saes.len() < MAX_SAES && saes.insert(sae.clone()));
        ("sae", if is_known { sae.to_string() } else { OTHERS.to_owned() })
    }
}

/// An endpoint as a label.
fn endpoint_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Status => "status",
        Endpoint::GetKey => "enc_keys",
        Endpoint::GetKeyWithIds => "dec_keys",
        Endpoint::ExtKeys => "ext_keys",
        Endpoint::Ack => "ack",
        Endpoint::Void => "void",
        Endpoint::Source => "source",
        Endpoint::Other => "other",
    }
}

impl Observer for Metrics {
    fn on(&self, event: &KmeEvent<'_>) {
        let count = |keys: usize| u64::try_from(keys).unwrap_or(u64::MAX);
        match *event {
            KmeEvent::Request { endpoint, status, refusal, took, .. } => {
                let endpoint = ("endpoint", endpoint_name(endpoint).to_owned());
                let labels = vec![endpoint.clone(), ("status", status.to_string())];
                self.requests.get_or_create(&labels).inc();
                if refusal.is_some() {
                    self.refusals.get_or_create(&labels).inc();
                }
                self.seconds.get_or_create(&vec![endpoint]).observe(took.as_secs_f64());
            }
            // These two tell of SAEs that are served here: never of a stranger.
            KmeEvent::Delivered { master, link, keys, bits, .. } => {
                let labels = vec![("link", link.to_string()), self.label(master)];
                self.delivered_keys.get_or_create(&labels).inc_by(count(keys.len()));
                self.delivered_bits.get_or_create(&labels).inc_by(count(keys.len()) * u64::from(bits));
            }
            KmeEvent::Collected { slave, keys, bits, .. } => {
                let labels = vec![self.label(slave)];
                self.collected_keys.get_or_create(&labels).inc_by(count(keys.len()));
                self.collected_bits.get_or_create(&labels).inc_by(bits);
            }
            KmeEvent::Reserved { link, keys, .. } => {
                self.reserved_keys.get_or_create(&vec![("link", link.to_string())]).inc_by(count(keys.len()));
            }
            KmeEvent::Voided { link, keys, .. } => {
                let link = link.map_or_else(|| OTHERS.to_owned(), ToString::to_string);
                self.voided_keys.get_or_create(&vec![("link", link)]).inc_by(keys);
            }
            KmeEvent::Deposited { link, bits, kept, .. } => {
                let labels = vec![("link", link.to_string()), ("kept", kept.to_string())];
                self.blocks.get_or_create(&labels).inc();
                self.block_bits.get_or_create(&labels).inc_by(bits);
            }
            KmeEvent::Link { .. } => {} // asked for when somebody looks
            KmeEvent::Started => self.serving.store(true, Ordering::Release),
            KmeEvent::Stopping => self.serving.store(false, Ordering::Release),
            KmeEvent::Reloaded => drop(self.reloads.inc()),
            KmeEvent::HandshakeRefused { .. } => drop(self.handshakes_refused.inc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vernam_key::KeyId;
    use vernam_ledger::{Accounting, LinkView};

    use super::*;
    use crate::testing::{kme, sae};

    fn request(endpoint: Endpoint, status: u16, refusal: Option<&str>) -> KmeEvent<'_> {
        KmeEvent::Request { who: "mallory", endpoint, status, refusal, took: Duration::from_millis(3) }
    }

    #[test]
    fn what_happened_is_counted() {
        let metrics = Metrics::new(&kme("kme-a"), "1.2.3");
        let (link, alice, bob) = (kme("kme-b"), sae("alice"), sae("bob"));
        let keys = [KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16])];
        for event in [
            request(Endpoint::GetKey, 200, None),
            request(Endpoint::GetKey, 503, Some("no key")),
            request(Endpoint::Other, 401, Some("who are you")),
            KmeEvent::Delivered { master: &alice, slaves: &[bob], link: &link, keys: &keys, bits: 256 },
            KmeEvent::Collected { slave: &alice, master: &alice, keys: &keys, bits: 512 },
            KmeEvent::Reserved { link: &link, master: &alice, slaves: &[], keys: &keys },
            KmeEvent::Voided { link: None, keys: 3, why: "old" },
            KmeEvent::Deposited { link: &link, block: 7, bits: 65_536, kept: true },
            KmeEvent::Reloaded,
            KmeEvent::HandshakeRefused { why: "no certificate of mallory" },
        ] {
            metrics.on(&event);
        }
        let page = metrics.text(&Snapshot::default(), &[], 256);
        for line in [
            "vernam_kme_build_info{kme=\"kme-a\",version=\"1.2.3\"} 1",
            "vernam_kme_requests_total{endpoint=\"enc_keys\",status=\"200\"} 1",
            "vernam_kme_refusals_total{endpoint=\"enc_keys\",status=\"503\"} 1",
            "vernam_kme_refusals_total{endpoint=\"other\",status=\"401\"} 1",
            "vernam_kme_request_seconds_count{endpoint=\"enc_keys\"} 2",
            "vernam_kme_delivered_keys_total{link=\"kme-b\",sae=\"alice\"} 2",
            "vernam_kme_delivered_bits_total{link=\"kme-b\",sae=\"alice\"} 512",
            "vernam_kme_collected_bits_total{sae=\"alice\"} 512",
            "vernam_kme_reserved_keys_total{link=\"kme-b\"} 2",
            "vernam_kme_voided_keys_total{link=\"(others)\"} 3",
            "vernam_kme_block_bits_total{link=\"kme-b\",kept=\"true\"} 65536",
            "vernam_kme_reloads_total 1",
            "vernam_kme_handshakes_refused_total 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("mallory"), "a stranger's name became a label");
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn the_stock_is_that_of_the_ledger_and_a_link_that_is_gone_leaves_nothing() {
        let metrics = Metrics::new(&kme("kme-a"), "1");
        let accounting = {
            let mut books = Accounting::default();
            (books.made, books.pooled_own, books.pooled_peer, books.voided) = (1000, 520, 400, 80);
            books
        };
        let view = LinkView { link: kme("kme-b"), accounting, waiting_keys: 4, next_block: 9, outbox: 2, report: None };
        let mut report = LinkReport::unknown();
        (report.state, report.qber, report.rate_bps) = (LinkState::Alarm, Some(0.125), 1500.0);
        let page = metrics.text(&Snapshot { links: vec![view] }, &[(kme("kme-b"), report)], 256);
        for line in [
            "vernam_kme_pool_bits{link=\"kme-b\",half=\"own\"} 520",
            "vernam_kme_pool_keys{link=\"kme-b\",half=\"own\"} 2",
            "vernam_kme_pool_keys{link=\"kme-b\",half=\"peer\"} 1",
            "vernam_kme_ledger_bits{link=\"kme-b\",state=\"voided\"} 80",
            "vernam_kme_waiting_keys{link=\"kme-b\"} 4",
            "vernam_kme_outbox_messages{link=\"kme-b\"} 2",
            "vernam_kme_link_qber_ratio{link=\"kme-b\"} 0.125",
            "vernam_kme_link_rate_bits_per_second{link=\"kme-b\"} 1500.0",
            "vernam_kme_link_state{link=\"kme-b\",state=\"alarm\"} 1",
            "vernam_kme_link_state{link=\"kme-b\",state=\"up\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!metrics.text(&Snapshot::default(), &[], 256).contains("link=\"kme-b\""));
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new(&kme("kme-a"), "1");
        let keys = [KeyId::from_bytes([1; 16])];
        for number in 0..MAX_SAES + 10 {
            let slave = sae(&format!("sae-{number}"));
            metrics.on(&KmeEvent::Collected { slave: &slave, master: &slave, keys: &keys, bits: 8 });
        }
        let page = metrics.text(&Snapshot::default(), &[], 256);
        assert_eq!(page.matches("vernam_kme_collected_keys_total{").count(), MAX_SAES + 1);
        assert!(page.contains("vernam_kme_collected_keys_total{sae=\"(others)\"} 10"));
    }

    #[test]
    fn it_serves_between_start_and_stop() {
        let metrics = Metrics::new(&kme("kme-a"), "1");
        assert!(!metrics.is_serving());
        metrics.on(&KmeEvent::Started);
        assert!(metrics.is_serving());
        metrics.on(&KmeEvent::Stopping);
        assert!(!metrics.is_serving());
    }
}
