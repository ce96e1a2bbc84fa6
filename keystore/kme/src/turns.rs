//! Whose turn it is to be brought before a peer: a bound on requests under way, and each SAE's share of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vernam_etsi014::SaeId;

use crate::KmeConfig;

/// Gives out turns. Who waits for one holds nothing, and is gone when its future is dropped.
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    /// One for every SAE that a certificate can name, so that no stranger makes this grow.
    shares: BTreeMap<SaeId, Arc<Semaphore>>,
    patience: Duration,
}

/// The right to one request before the peer; ends when dropped.
pub(crate) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_share: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new(config: &KmeConfig) -> Self {
        let limits = &config.limits;
        let share = |sae: &SaeId| (sae.clone(), Arc::new(Semaphore::new(limits.max_peer_requests_per_sae)));
        Self {
            all: Arc::new(Semaphore::new(limits.max_peer_requests)),
            shares: config.saes.iter().chain(config.certificate_names.values()).map(share).collect(),
            patience: limits.peer_turn_timeout,
        }
    }

    /// Waits for a turn of `sae`; `None` when none comes in time.
    pub(crate) async fn take(&self, sae: &SaeId) -> Option<Turn> {
        let share = self.shares.get(sae)?;
        let taking = async {
            // The share first: who waits for its own share must not hold what others could use.
            let of_share = Arc::clone(share).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn { _of_all: of_all, _of_share: of_share })
        };
        timeout(self.patience, taking).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::PeerConfig;

    fn turns(all: usize, share: usize, patience: Duration) -> Turns {
        let peer = [PeerConfig::new("kme-b".parse().unwrap(), "127.0.0.1:1", [])];
        let saes = ["alice", "carol"].map(|name| name.parse().unwrap());
        let mut config = KmeConfig::new("kme-a".parse().unwrap(), saes, peer);
        config.limits.max_peer_requests = all;
        config.limits.max_peer_requests_per_sae = share;
        config.limits.peer_turn_timeout = patience;
        Turns::new(&config)
    }

    /// Asks the future once.
    async fn asked_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn one_sae_leaves_the_others_their_turns() {
        let turns = turns(3, 2, Duration::from_millis(1));
        let (alice, carol) = ("alice".parse().unwrap(), "carol".parse().unwrap());
        let first = turns.take(&alice).await.unwrap();
        let _second = turns.take(&alice).await.unwrap();
        assert!(turns.take(&alice).await.is_none(), "her share is used up");
        let _carols = turns.take(&carol).await.unwrap();
        drop(first);
        assert!(turns.take(&alice).await.is_some());
        assert!(turns.take(&"mallory".parse().unwrap()).await.is_none(), "no share, no turn");
    }

    #[tokio::test]
    async fn who_stops_waiting_is_gone() {
        let turns = turns(1, 1, Duration::from_hours(1));
        let (alice, carol) = ("alice".parse().unwrap(), "carol".parse().unwrap());
        let held = turns.take(&alice).await.unwrap();
        for sae in [&alice, &carol, &alice, &carol] {
            assert!(asked_once(turns.take(sae)).await.is_none(), "it waits");
        }
        drop(held);
        let carols = asked_once(turns.take(&carol)).await;
        assert!(carols.flatten().is_some(), "nobody stands before her");
    }
}
