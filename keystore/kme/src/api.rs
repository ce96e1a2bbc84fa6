//! The API of ETSI GS QKD 014 V1.1.1, clause 5: Status, Get key, Get key with key IDs.

use std::sync::Arc;
use std::time::Duration;

use vernam_etsi014::{DeliveredKey, KeyIdEntry, KeyIds, KeyRequest, SaeId, Status, messages};
use vernam_key::KeyId;

use crate::kme::Shared;
use crate::peer::{Outcome, Peer};
use crate::reply::{Refusal, Reply};
use crate::{CollectError, Cut, LinkState, Short, input};

/// When to ask again after a hitch that may pass at once.
pub(crate) const BRIEF: Duration = Duration::from_secs(1);
/// When to ask again at the latest, however slow the link.
const LONG: Duration = Duration::from_mins(1);
/// How often a request is cut anew because the peer has lost the bits of a cut.
const MAX_CUTS: usize = 4;

/// How many keys of what size, within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    number: u32,
    bits: u32,
}

/// "Get status".
pub(crate) fn status(shared: &Shared, master: &SaeId, slave: SaeId) -> Result<Reply, Refusal> {
    check_slave(shared, master, &slave)?;
    let limits = &shared.config.limits;
    let max_key_count = limits.ledger.max_pool_bits / 2 / u64::from(limits.key_size);
    let stored = shared.ledger().pooled_own_bits() / u64::from(limits.key_size);
    Ok(Reply::json(&Status {
        source_kme_id: shared.config.id.clone(),
        target_kme_id: shared.config.peer.kme_id.clone(),
        master_sae_id: master.clone(),
        slave_sae_id: slave,
        key_size: limits.key_size,
        stored_key_count: stored.min(max_key_count),
        max_key_count,
        max_key_per_request: limits.max_key_per_request,
        max_key_size: limits.max_key_size,
        min_key_size: limits.min_key_size,
        max_sae_id_count: 0,
        status_extension: Some(shared.link_report().to_extension()),
    }))
}

/// The wish in a GET's query. Parameters that the standard does not know are passed over.
pub(crate) fn wish_of_query(shared: &Shared, query: &str) -> Result<Wish, Refusal> {
    let number = |name| input::number(query, name);
    wish(shared, &KeyRequest { number: number("number")?, size: number("size")?, ..KeyRequest::default() })
}

/// The wish in a POST's body.
pub(crate) fn wish_of_body(shared: &Shared, body: &[u8]) -> Result<Wish, Refusal> {
    if body.is_empty() && shared.config.choices.empty_body_is_default {
        return wish(shared, &KeyRequest::default());
    }
    wish(shared, &input::object(body, "a key request")?)
}

fn wish(shared: &Shared, request: &KeyRequest) -> Result<Wish, Refusal> {
    let limits = &shared.config.limits;
    let slaves = request.additional_slave_sae_ids.as_deref();
    if slaves.is_some_and(|slaves| !slaves.is_empty() || !shared.config.choices.empty_multicast_is_none) {
        return Err(Refusal::bad_request("additional_slave_SAE_IDs are not supported here (max_SAE_ID_count is 0)"));
    }
    if request.extension_mandatory.as_ref().is_some_and(|extensions| !extensions.is_empty()) {
        return Err(Refusal::bad_request(messages::EXTENSION_UNSUPPORTED));
    }
    let (number, bits) = (request.number.unwrap_or(1), request.size.unwrap_or(limits.key_size));
    if !bits.is_multiple_of(8) {
        return Err(Refusal::bad_request(messages::SIZE_MULTIPLE_OF_8));
    }
    let (min, max) = (limits.min_key_size, limits.max_key_size);
    if !(min..=max).contains(&bits) {
        return Err(Refusal::bad_request(format!("size must be {min} to {max} bits here, and {bits} were asked for")));
    }
    let most = limits.max_key_per_request;
    if !(1..=most).contains(&number) {
        return Err(Refusal::bad_request(format!("number must be 1 to {most} here, and {number} were asked for")));
    }
    Ok(Wish { number, bits })
}

/// "Get key". Waits for its turn in the request's own future, so that a request that was given up waits no longer.
/// What follows runs to its end in a task of its own: a caller that goes away must not stop the two KMEs halfway.
pub(crate) async fn enc_keys(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    master: &SaeId,
    slave: SaeId,
    wish: Wish,
) -> Result<Reply, Refusal> {
    check_slave(shared, master, &slave)?;
    let busy = || Refusal::unavailable(format!("too many key requests of {master} or of all are under way"), BRIEF);
    let turn = peer.turns.take(master).await.ok_or_else(busy)?;
    let (shared, peer, master) = (Arc::clone(shared), Arc::clone(peer), master.clone());
    let keys = tokio::spawn(async move {
        let _held = turn;
        agree(&shared, &peer, master, slave, wish).await
    });
    let fault = |_panic| Refusal::unavailable("this KME has a fault; tell its operator", BRIEF);
    Ok(Reply::keys(keys.await.map_err(fault)??))
}

/// Cuts keys and has the peer reserve them, until both KMEs agree on every bit.
async fn agree(
    shared: &Shared,
    peer: &Peer,
    master: SaeId,
    slave: SaeId,
    wish: Wish,
) -> Result<Vec<DeliveredKey>, Refusal> {
    let unavailable = |reason: &str| {
        let text = format!("the KME of {slave} cannot be reached, and no key was used: {reason}");
        Refusal::unavailable(text, BRIEF)
    };
    for _ in 0..MAX_CUTS {
        let report = shared.link_report();
        if report.state == LinkState::Alarm {
            let text = format!("no key is delivered while the quantum link is in alarm: {}", report.reason);
            return Err(Refusal::unavailable(text, LONG).detail(report.to_extension()));
        }
        if shared.outbox.has_voids() {
            let patience = shared.config.limits.peer_turn_timeout;
            peer.send_within(patience, &shared.outbox).await.map_err(|reason| unavailable(&reason))?;
        }
        let cut = cut(shared, wish)?;
        match peer.reserve(&master, &slave, cut.positions()).await {
            Outcome::Reserved => {
                let keys = shared.ledger().deliver(cut);
                shared.outbox.post(|messages| messages.delivered.extend(keys.iter().map(|key| key.key_id)));
                return Ok(keys);
            }
            Outcome::Refused { gone, .. } if !gone.is_empty() => {
                let lost = cut.positions().into_iter().filter(|key| gone.contains(&key.key_id));
                shared.outbox.post(|messages| messages.voids.extend(lost));
                shared.ledger().restore(cut, &gone);
            }
            Outcome::Refused { message, details, retry_after, .. } => {
                shared.ledger().restore(cut, &[]);
                let text = format!("the KME of {slave} cannot hold its keys ready: {message}");
                let refusal = Refusal::unavailable(text, retry_after.unwrap_or(BRIEF));
                return Err(details.into_iter().fold(refusal, Refusal::detail));
            }
            Outcome::NotSent(reason) => {
                shared.ledger().restore(cut, &[]);
                return Err(unavailable(&reason));
            }
            Outcome::Unclear(reason) => {
                let lost = cut.positions();
                shared.outbox.post(|messages| messages.voids.extend(lost));
                shared.ledger().void_cut(cut);
                let text = format!("the KME of {slave} did not answer clearly; the keys were erased: {reason}");
                return Err(Refusal::unavailable(text, BRIEF));
            }
        }
    }
    Err(Refusal::unavailable("the two KMEs are out of step and catching up; ask again", BRIEF))
}

fn cut(shared: &Shared, wish: Wish) -> Result<Cut, Refusal> {
    let mut rng = shared.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.ledger().cut(wish.number, wish.bits / 8, &mut *rng).map_err(|short| {
        let Short { wanted, pooled } = short;
        let text = format!("not enough key: {wanted} bits were asked for and {pooled} are in store");
        let report = shared.link_report();
        Refusal::unavailable(text, time_to_make(wanted - pooled, report.rate_bps)).detail(report.to_extension())
    })
}

/// Half of the link's rate is ours.
#[expect(clippy::cast_precision_loss, reason = "a few bits in 2^53 do not matter for a hint")]
fn time_to_make(bits: u64, rate_bps: f64) -> Duration {
    let seconds = (bits as f64 * 2.0 / rate_bps).ceil();
    Duration::try_from_secs_f64(seconds).unwrap_or(LONG).clamp(BRIEF, LONG)
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

/// "Get key with key IDs".
pub(crate) fn dec_keys(shared: &Shared, slave: &SaeId, master: &SaeId, ids: &[KeyId]) -> Result<Reply, Refusal> {
    let most = shared.config.limits.max_key_per_request as usize;
    if !(1..=most).contains(&ids.len()) {
        return Err(Refusal::bad_request(format!("1 to {most} key_IDs can be asked for at once, not {}", ids.len())));
    }
    let keys = shared.ledger().collect(slave, master, ids).map_err(|error| match error {
        CollectError::NotYours => Refusal::unauthorized(error.to_string()),
        CollectError::NotFound => Refusal::bad_request(error.to_string()),
    })?;
    Ok(Reply::keys(keys))
}

fn check_slave(shared: &Shared, master: &SaeId, slave: &SaeId) -> Result<(), Refusal> {
    let config = &shared.config;
    if config.peer.saes.contains(slave) {
        return Ok(());
    }
    Err(Refusal::bad_request(if slave == master {
        "an SAE cannot be its own slave here".to_owned()
    } else if config.saes.contains(slave) {
        format!("{slave} is served by this KME too; keys are for SAEs at the two ends of the link")
    } else {
        format!("no SAE named {slave} is known here")
    }))
}
