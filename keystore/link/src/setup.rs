//! How an end is set up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use vernam_qkd::LinkConfig;
use vernam_qkd::distil::EndConfig;

use crate::{Error, StartupSecret};

/// All that one end of a link needs to know.
pub struct EndSetup {
    /// The line and the equipment. Both ends must be set alike; they compare, and say what differs.
    pub link: LinkConfig,
    /// How key is distilled. Both ends must be set alike here too. [`EndSetup::new`] derives it from `link`.
    pub distil: EndConfig,
    /// Which of the two calls the other, whatever their roles.
    pub connect: Connect,
    /// Our certificate, and whom we believe.
    pub identity: TlsIdentity,
    /// The name that the far end's certificate must carry, as common name or as DNS name.
    pub peer_name: String,
    /// What the first blocks are authenticated with.
    pub secret: StartupSecret,
    /// Draws all randomness from this number, so that a test comes out the same each time. The key is then worth
    /// nothing; `None` takes the operating system's randomness.
    pub seed: Option<u64>,
}

/// How the connection comes about.
#[derive(Debug)]
pub enum Connect {
    /// By waiting for the far end on a bound socket.
    Listen(TcpListener),
    /// By calling the far end at `host:port`, again and again until it answers.
    Dial(String),
}

/// A certificate, and whom we believe.
pub struct TlsIdentity {
    /// The roots of which one must vouch for the far end.
    pub roots: Vec<CertificateDer<'static>>,
    /// Our certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key.
    pub key: PrivateKeyDer<'static>,
}

/// How fast Alice sends light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As the clock says: a second of light each second. What an outage or a slow far end makes it miss is not sent
    /// later.
    RealTime,
    /// As fast as both ends can take it.
    AsFastAsPossible {
        /// No light is sent after this virtual time of a run; [`crate::PeerEvent::LightEnded`] tells. Blocks that need
        /// light from beyond it are never finished.
        until: Duration,
    },
}

/// What only Alice's end needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LightSetup {
    /// How fast.
    pub pace: Pace,
    /// How much light is sent at once, in virtual time. Cut shorter by itself where that were too many clicks.
    pub stretch: Duration,
}

impl Default for LightSetup {
    /// In real time, a tenth of a second at once.
    fn default() -> Self {
        Self { pace: Pace::RealTime, stretch: Duration::from_millis(100) }
    }
}

impl EndSetup {
    /// An end of `link` that distils as the link's device and pace ask for.
    ///
    /// # Errors
    /// What [`LinkConfig::validate`] refuses.
    pub fn new(
        link: LinkConfig,
        connect: Connect,
        identity: TlsIdentity,
        peer_name: impl Into<String>,
        secret: StartupSecret,
    ) -> Result<Self, Error> {
        link.validate()?;
        let distil = link.ends();
        Ok(Self { link, distil, connect, identity, peer_name: peer_name.into(), secret, seed: None })
    }
}

impl Connect {
    /// Binds `address` and waits there.
    pub async fn listen(address: &str) -> Result<Self, Error> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self::Listen).map_err(|source| Error::Listen { address: address.to_owned(), source })
    }

    /// Where we listen, if we do.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Listen(listener) => listener.local_addr().ok(),
            Self::Dial(_) => None,
        }
    }
}

impl TlsIdentity {
    /// Reads roots, certificate chain and private key (PKCS#8, SEC1 or PKCS#1) from PEM files.
    pub fn from_pem_files(roots: &Path, chain: &Path, key: &Path) -> Result<Self, Error> {
        let certificates = |path: &Path| {
            let failed = |error: rustls_pki_types::pem::Error| Error::certificate(path, &error);
            let all = CertificateDer::pem_file_iter(path).map_err(failed)?;
            all.collect::<Result<Vec<_>, _>>().map_err(failed)
        };
        let (roots, chain) = (certificates(roots)?, certificates(chain)?);
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| Error::certificate(key, &error))?;
        Ok(Self { roots, chain, key })
    }
}
