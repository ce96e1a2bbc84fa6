//! What several tests of this crate need.

use vernam_etsi014::{KmeId, SaeId};

use crate::{KmeConfig, PeerConfig};

pub(crate) fn sae(name: &str) -> SaeId {
    name.parse().expect("an ID")
}

pub(crate) fn kme(name: &str) -> KmeId {
    name.parse().expect("an ID")
}

/// KME A with SAEs alice and carol, and peers B (with bob) and C (with dave).
pub(crate) fn config() -> KmeConfig {
    let peers = [("kme-b", "bob"), ("kme-c", "dave")]
        .map(|(id, behind)| PeerConfig::new(kme(id), "127.0.0.1:1", [sae(behind)]));
    KmeConfig::new(kme("kme-a"), [sae("alice"), sae("carol")], peers)
}
