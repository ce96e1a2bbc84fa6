//! Housekeeping: voids what has expired, and sees to it that every peer hears what it must.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use vernam_etsi014::KmeId;

use crate::kme::Shared;
use crate::{KmeEvent, outbox};

/// How often expired keys are erased and unheard messages sent again.
const ROUND: Duration = Duration::from_secs(2);
/// How long messages gather before they are sent together: nobody waits for them.
const GATHER: Duration = Duration::from_millis(50);
/// The most keys that one transaction voids, so that requests need not wait long behind it.
const MOST_EXPIRED: u32 = 1024;

/// Keeps house until `stopping`, and then tells the peers a last time.
pub(crate) async fn keep(shared: Arc<Shared>, stopping: watch::Receiver<bool>) {
    let mut senders: BTreeMap<KmeId, JoinHandle<()>> = BTreeMap::new();
    let mut stop = stopping.clone();
    let mut current = shared.current.subscribe();
    loop {
        for link in current.borrow_and_update().peers.keys() {
            if senders.get(link).is_none_or(JoinHandle::is_finished) {
                let sender = keep_telling(Arc::clone(&shared), link.clone(), stopping.clone());
                senders.insert(link.clone(), tokio::spawn(sender));
            }
        }
        shared.keep_reports();
        expire(&shared).await;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = current.changed() => {}
            () = sleep(ROUND) => {}
        }
    }
    for (_link, sender) in senders {
        let _ended = sender.await;
    }
}

async fn expire(shared: &Shared) {
    loop {
        let now = shared.now();
        let expired = match shared.ledger.run(move |book| book.expire(now, MOST_EXPIRED)).await {
            Ok(expired) => expired,
            Err(error) => return tracing::warn!(%error, "keys whose time is over cannot be erased yet"),
        };
        for (keys, why) in [
            (expired.cut, "their delivery was not finished in time"),
            (expired.waiting, "nobody collected them in time"),
        ] {
            if keys > 0 {
                tracing::info!(keys, why, "keys were erased");
                shared.tell(&KmeEvent::Voided { link: None, keys, why });
            }
        }
        if !expired.more {
            return;
        }
    }
}

/// Tells one peer what it must be told; a last time after `stopping`. Ends when the peer is no longer configured.
async fn keep_telling(shared: Arc<Shared>, link: KmeId, mut stopping: watch::Receiver<bool>) {
    let desk = shared.desk(&link);
    loop {
        let stop = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => true,
            () = desk.news.notified() => false,
            () = sleep(ROUND) => false,
        };
        let Some(peer) = shared.current().peers.get(&link).map(Arc::clone) else { return };
        let waiting = shared.ledger.snapshot().link(&link).is_some_and(|view| view.outbox > 0);
        if !stop && !waiting && !desk.in_doubt() {
            continue;
        }
        if !stop {
            let _either = timeout(GATHER, stopping.wait_for(|stop| *stop)).await;
        }
        let sent = outbox::empty(&shared, &link, &peer, &desk).await;
        if stop {
            return;
        }
        if let Err(error) = sent {
            tracing::debug!(%error, %link, "the peer will be told later");
            let _either = timeout(ROUND, stopping.wait_for(|stop| *stop)).await;
        }
    }
}
