//! The network: a throwaway certificate authority, and two KMEs that serve ETSI GS QKD 014 on loopback.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{KmeId, SaeId};
use vernam_key::SecretBytes;
use vernam_kme::{Kme, KmeConfig, KmeHandle, PeerConfig, TlsIdentity};
use vernam_ledger::{Accounting, Kek, Ledger, LedgerLimits, Options, Place};

use crate::demo::EventSink;
use crate::demo::events::{DemoEvent, Kme as KmeName, Person};

/// The names in the certificates of the two KMEs.
const KMES: [&str; 2] = ["kme-a", "kme-b"];

/// Room of each KME's pool, bits: 2 GiB, which is never filled.
const POOL_BITS: u64 = 1 << 34;

/// How long what was erased may stand in the ledger's write-ahead log, sealed.
const SCRUB_WITHIN: Duration = Duration::from_secs(10);

/// The name (SAE ID) in a person's certificate.
pub(crate) fn sae(who: Person) -> &'static str {
    match who {
        Person::Alice => "alice",
        Person::Bob => "bob",
    }
}

/// Everything that serves.
pub(crate) struct Network {
    pub(crate) ca: LabCa,
    pub(crate) kmes: [Kme; 2],
    /// The KMEs' names: each is its peer's link.
    pub(crate) ids: [KmeId; 2],
    pub(crate) ports: [u16; 2],
    people: [Identity; 2],
    handles: [KmeHandle; 2],
}

impl Network {
    /// Makes certificates, and starts both KMEs on free ports of the loopback interface. Their ledgers are SQLite files
    /// in `folder`, which only its owner can enter.
    pub(crate) async fn start(sink: &EventSink, folder: &Path) -> anyhow::Result<Self> {
        let ca = LabCa::new("Vernam demo network")?;
        let people = [ca.issue(sae(Person::Alice))?, ca.issue(sae(Person::Bob))?];
        let identities = [ca.issue(KMES[0])?, ca.issue(KMES[1])?];
        sink.emit(DemoEvent::CertificatesMade { certificates: 4 }).await;

        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let listeners = [bind().await, bind().await];
        let [Ok(first), Ok(second)] = listeners else {
            anyhow::bail!("no free port on the loopback interface for the KMEs");
        };
        let ports = [first.local_addr()?.port(), second.local_addr()?.port()];
        let mut made = Vec::with_capacity(2);
        let mut handles = Vec::with_capacity(2);
        let ids = [KmeId::new(KMES[0])?, KmeId::new(KMES[1])?];
        let saes = [SaeId::new(sae(Person::BOTH[0]))?, SaeId::new(sae(Person::BOTH[1]))?];
        for (own, (listener, identity)) in [first, second].into_iter().zip(identities).enumerate() {
            let other = 1 - own;
            let peer =
                PeerConfig::new(ids[other].clone(), format!("127.0.0.1:{}", ports[other]), [saes[other].clone()]);
            let mut config = KmeConfig::new(ids[own].clone(), [saes[own].clone()], [peer]);
            config.limits.max_pool_bits = POOL_BITS;
            let ledger = ledger(folder, ids[own].clone()).await?;
            let kme = Kme::new(config, ledger)?;
            let tls =
                TlsIdentity { roots: vec![ca.root()], chain: identity.chain, key: identity.key, crls: Vec::new() };
            let handle = kme.serve(listener, tls, std::future::pending()).context("a KME cannot serve")?;
            made.push(kme);
            handles.push(handle);
            let name = [KmeName::A, KmeName::B][own];
            sink.emit(DemoEvent::KmeUp { kme: name, port: ports[own] }).await;
        }
        let kmes = made.try_into().map_err(|_two| anyhow::anyhow!("there are two KMEs"))?;
        let handles = handles.try_into().map_err(|_two| anyhow::anyhow!("there are two KMEs"))?;
        Ok(Self { ca, kmes, ids, ports, people, handles })
    }

    /// A person's certificate and key, once more.
    pub(crate) fn identity(&self, who: Person) -> Identity {
        self.people[who.index()].duplicate()
    }

    /// Each KME's books of the link between them, to the bit.
    pub(crate) async fn accounting(&self) -> anyhow::Result<[Accounting; 2]> {
        let [first, second] = &self.kmes;
        Ok([first.accounting_now(&self.ids[1]).await?, second.accounting_now(&self.ids[0]).await?])
    }

    /// Ends both servers, and closes their ledgers.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for handle in self.handles {
            handle.shutdown().await;
        }
        for kme in &self.kmes {
            kme.ledger().close().await.context("a KME's ledger cannot be closed")?;
        }
        Ok(())
    }
}

/// A KME's ledger, sealed under a key that lives as long as this run.
async fn ledger(folder: &Path, kme: KmeId) -> anyhow::Result<Ledger> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).context("the operating system gives no random bytes")?;
    let kek = Kek::from_secret(SecretBytes::random(32, &mut rng)).context("32 bytes are a key")?;
    let options = Options {
        place: Place::Sqlite(folder.join(format!("{kme}.ledger"))),
        kme,
        kek,
        // A fast link makes more in a long run than a KME keeps by default; what is erased for want of room would be
        // neither side's.
        limits: LedgerLimits { max_pool_bits: POOL_BITS, ..LedgerLimits::default() },
        scrub_within: SCRUB_WITHIN,
        anchor: None,
    };
    Ok(spawn_blocking(move || Ledger::open(options)).await??)
}
