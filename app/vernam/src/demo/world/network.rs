//! The network: a throwaway certificate authority, and two KMEs that serve ETSI GS QKD 014 on loopback.

use anyhow::Context as _;
use tokio::net::TcpListener;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{KmeId, SaeId};
use vernam_kme::{Kme, KmeConfig, KmeHandle, PeerConfig, TlsIdentity};

use crate::demo::EventSink;
use crate::demo::events::{DemoEvent, Kme as KmeName, Person};

/// The names in the certificates of the two KMEs.
const KMES: [&str; 2] = ["kme-a", "kme-b"];

/// Room of each KME's pool, bits: 2 GiB, which is never filled.
const POOL_BITS: u64 = 1 << 34;

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
    pub(crate) ports: [u16; 2],
    people: [Identity; 2],
    handles: [KmeHandle; 2],
}

impl Network {
    /// Makes certificates, and starts both KMEs on free ports of the loopback interface.
    pub(crate) async fn start(sink: &EventSink) -> anyhow::Result<Self> {
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
        for (own, (listener, identity)) in [first, second].into_iter().zip(identities).enumerate() {
            let other = 1 - own;
            let names = |end: usize| -> anyhow::Result<(KmeId, SaeId)> {
                Ok((KmeId::new(KMES[end])?, SaeId::new(sae(Person::BOTH[end]))?))
            };
            let ((id, local), (peer_id, remote)) = (names(own)?, names(other)?);
            let peer = PeerConfig::new(peer_id, format!("127.0.0.1:{}", ports[other]), [remote]);
            let mut config = KmeConfig::new(id, [local], peer);
            // A fast link makes more in a long run than a KME keeps by default; what is erased for want of room would be
            // neither side's.
            config.limits.ledger.max_pool_bits = POOL_BITS;
            let kme = Kme::new(config)?;
            let tls = TlsIdentity { roots: vec![ca.root()], chain: identity.chain, key: identity.key };
            let handle = kme.serve(listener, &tls, std::future::pending()).context("a KME cannot serve")?;
            made.push(kme);
            handles.push(handle);
            let name = [KmeName::A, KmeName::B][own];
            sink.emit(DemoEvent::KmeUp { kme: name, port: ports[own] }).await;
        }
        let kmes = made.try_into().map_err(|_two| anyhow::anyhow!("there are two KMEs"))?;
        let handles = handles.try_into().map_err(|_two| anyhow::anyhow!("there are two KMEs"))?;
        Ok(Self { ca, kmes, ports, people, handles })
    }

    /// A person's certificate and key, once more.
    pub(crate) fn identity(&self, who: Person) -> Identity {
        self.people[who.index()].duplicate()
    }

    /// Ends both servers.
    pub(crate) async fn stop(self) {
        for handle in self.handles {
            handle.shutdown().await;
        }
    }
}
