//! The API of ETSI GS QKD 014 V1.1.1, clause 5: Status, Get key, Get key with key IDs.

use std::sync::Arc;

use tokio::time::timeout;
use vernam_etsi014::{KeyIdEntry, KeyIds, KmeId, SaeId, Status};
use vernam_key::KeyId;
use vernam_ledger::CollectError;

use crate::agree;
use crate::current::Current;
use crate::kme::Shared;
use crate::reply::{BRIEF, Refusal, Reply};
use crate::turns::Turn;
use crate::wish::{Asked, check_slave};
use crate::{KmeConfig, KmeEvent, input};

/// "Get status". Does not wait for the disk.
pub(crate) fn status(shared: &Shared, config: &KmeConfig, master: &SaeId, slave: SaeId) -> Result<Reply, Refusal> {
    let behind = check_slave(config, master, &slave)?;
    let link = behind.cloned().or_else(|| fullest_link(shared, config));
    let limits = &config.limits;
    let max_key_count = limits.max_pool_bits / 2 / u64::from(limits.key_size);
    let pooled = link.as_ref().map_or(0, |link| free_bits(shared, link));
    let kept = if config.policy.of(master).may_use_reserve { 0 } else { config.policy.reserve_bits };
    let stored = pooled.saturating_sub(kept) / u64::from(limits.key_size);
    Ok(Reply::json(&Status {
        source_kme_id: config.id.clone(),
        target_kme_id: behind.unwrap_or(&config.id).clone(),
        master_sae_id: master.clone(),
        slave_sae_id: slave,
        key_size: limits.key_size,
        stored_key_count: stored.min(max_key_count),
        max_key_count,
        max_key_per_request: limits.max_key_per_request,
        max_key_size: limits.max_key_size,
        min_key_size: limits.min_key_size,
        max_sae_id_count: limits.max_sae_id_count,
        status_extension: link.map(|link| shared.report(&link).to_extension()),
    }))
}

/// Bits free for masters here, as of the last commit.
pub(crate) fn free_bits(shared: &Shared, link: &KmeId) -> u64 {
    shared.ledger.snapshot().link(link).map_or(0, |view| view.accounting.pooled_own)
}

/// Where keys for slaves here are taken from.
pub(crate) fn fullest_link(shared: &Shared, config: &KmeConfig) -> Option<KmeId> {
    config.peers.iter().map(|peer| &peer.kme_id).max_by_key(|link| free_bits(shared, link)).cloned()
}

/// "Get key". Waits for its turn in the request's own future, so that a request that was given up waits no longer.
/// What follows runs to its end in a task of its own: a caller that goes away must not stop the KMEs halfway.
pub(crate) async fn enc_keys(
    shared: &Arc<Shared>,
    current: &Arc<Current>,
    master: &SaeId,
    asked: Asked,
) -> Result<Reply, Refusal> {
    let busy = || Refusal::unavailable(format!("too many key requests of {master} or of all are under way"), BRIEF);
    let turns = take_turns(current, master, &asked).await.ok_or_else(busy)?;
    let (here, current, master) = (Arc::clone(shared), Arc::clone(current), master.clone());
    let keys = shared.to_the_end(async move {
        let _held = turns;
        agree::with_policy(&here, &current, &master, asked).await
    });
    Ok(Reply::keys(keys.await.ok_or_else(fault)??))
}

/// A turn at every peer that must be asked.
async fn take_turns(current: &Current, master: &SaeId, asked: &Asked) -> Option<Vec<Turn>> {
    let mut links: Vec<&KmeId> = asked.remote.iter().map(|(link, _)| link).collect();
    links.sort_unstable(); // everybody queues in the same order, so nobody waits for another in a circle
    let taking = async {
        let mut turns = Vec::with_capacity(links.len());
        for link in links {
            turns.push(current.peers.get(link)?.turns.take(master).await?);
        }
        Some(turns)
    };
    timeout(current.config.limits.peer_turn_timeout, taking).await.ok().flatten()
}

/// The one `key_ID` of a GET.
pub(crate) fn ids_of_query(query: &str) -> Result<Vec<KeyId>, Refusal> {
    let text = input::parameter(query, "key_ID")?.ok_or_else(|| Refusal::bad_request("key_ID is missing"))?;
    let id = text.parse().map_err(|error: vernam_key::InvalidKeyId| Refusal::bad_request(error.to_string()))?;
    Ok(vec![id])
}

/// The `key_ID`s of a POST.
pub(crate) fn ids_of_body(body: &[u8]) -> Result<Vec<KeyId>, Refusal> {
    const WHAT: &str = "a list of key_IDs";
    let ids: KeyIds = input::object(body, WHAT)?;
    let _checked: input::EntriesAreObjects = input::object(body, WHAT)?;
    Ok(ids.key_ids.into_iter().map(|KeyIdEntry { key_id, .. }| key_id).collect())
}

/// "Get key with key IDs". Runs to its end even if the caller goes away: what the ledger gave is told to observers.
pub(crate) async fn dec_keys(
    shared: &Arc<Shared>,
    config: &KmeConfig,
    slave: &SaeId,
    master: SaeId,
    ids: Vec<KeyId>,
) -> Result<Reply, Refusal> {
    let most = config.limits.max_key_per_request as usize;
    if !(1..=most).contains(&ids.len()) {
        return Err(Refusal::bad_request(format!("1 to {most} key_IDs can be asked for at once, not {}", ids.len())));
    }
    let (here, slave) = (Arc::clone(shared), slave.clone());
    let collected = shared.to_the_end(async move { collect(&here, &slave, master, ids).await });
    collected.await.ok_or_else(fault)?
}

async fn collect(shared: &Shared, slave: &SaeId, master: SaeId, ids: Vec<KeyId>) -> Result<Reply, Refusal> {
    let (now, caller, of) = (shared.now(), slave.clone(), master.clone());
    let collected = shared.ledger.run(move |book| book.collect(&caller, &of, &ids, now)).await;
    let keys = collected.map_err(|error| Refusal::no_ledger(&error))?.map_err(|error| match error {
        CollectError::NotYours => Refusal::unauthorized(error.to_string()),
        other => Refusal::bad_request(other.to_string()),
    })?;
    let ids: Vec<KeyId> = keys.iter().map(|key| key.key_id).collect();
    let bits = keys.iter().map(|key| key.key.len() as u64 * 8).sum();
    shared.tell(&KmeEvent::Collected { slave, master: &master, keys: &ids, bits });
    Ok(Reply::keys(keys))
}

fn fault() -> Refusal {
    Refusal::unavailable("this KME has a fault; tell its operator", BRIEF)
}
