//! What a peer KME asks of us. Its ID, by its certificate, is the link; it can name no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;
use vernam_etsi014::{Extension, KmeId};
use vernam_key::KeyId;
use vernam_ledger::{ReserveError, Unavailable};

use crate::current::Current;
use crate::kme::Shared;
use crate::reply::{BRIEF, Refusal, Reply};
use crate::wire::{Ack, AckStatus, ExtKeys, Gone, SourceAnswer, SourceMessage, Void, entries};
use crate::{KmeConfig, KmeEvent, LinkState, PeerConfig, input, report};

/// When a master may ask again whose keys nobody collects.
const MASTER_FULL: Duration = Duration::from_mins(1);

/// `ext_keys`: holds keys ready for slaves here.
pub(crate) async fn ext_keys(
    shared: &Arc<Shared>,
    current: &Current,
    link: &KmeId,
    body: &[u8],
) -> Result<Reply, Refusal> {
    let request: ExtKeys = parse(body)?;
    let peer = current.config.peer(link).ok_or_else(|| Refusal::unauthorized("this KME has no link to you"))?;
    check(&current.config, peer, &request)?;
    let (here, link) = (Arc::clone(shared), link.clone());
    let reserved = shared.to_the_end(async move { reserve(&here, &link, request).await }).await;
    reserved.unwrap_or_else(|| Err(Refusal::unclear("this KME has a fault; tell its operator")))
}

fn check(config: &KmeConfig, peer: &PeerConfig, request: &ExtKeys) -> Result<(), Refusal> {
    let ExtKeys { master, slaves, keys } = request;
    let limits = &config.limits;
    let once: BTreeSet<_> = slaves.iter().collect();
    if slaves.is_empty() || once.len() != slaves.len() || slaves.len() > limits.max_sae_id_count as usize + 1 {
        let most = limits.max_sae_id_count + 1;
        return Err(Refusal::bad_request(format!("target_SAE_IDs must be 1 to {most} different SAEs here")));
    }
    if let Some(slave) = slaves.iter().find(|slave| !peer.saes.contains(master) || !config.serves(slave)) {
        return Err(Refusal::bad_request(format!("there is no route from {master} there to {slave} here")));
    }
    let sizes = u64::from(limits.min_key_size)..=u64::from(limits.max_key_size);
    if keys.is_empty()
        || keys.len() > limits.max_key_per_request as usize
        || keys.iter().any(|key| !sizes.contains(&(key.len() * 8)))
    {
        return Err(Refusal::bad_request("the number or the size of the keys is beyond the limits here"));
    }
    if keys.iter().any(|key| key.wrapped.as_ref().is_some_and(|wrapped| wrapped.len() as u64 != key.len())) {
        return Err(Refusal::bad_request("a wrapped key must be as long as its pad"));
    }
    Ok(())
}

async fn reserve(shared: &Shared, link: &KmeId, request: ExtKeys) -> Result<Reply, Refusal> {
    let ExtKeys { master, slaves, keys } = request;
    let (report, now, is_shared) = (shared.report(link), shared.now(), shared.ledger.is_shared());
    let ids: Vec<KeyId> = keys.iter().map(|key| key.key_id).collect();
    let (of, to, by) = (link.clone(), slaves.clone(), master.clone());
    let reserved = shared.ledger.run(move |book| {
        // What was granted before the alarm stays granted: the peer's question was repeated.
        let mut alarm = Some(report.clone()).filter(|report| report.state == LinkState::Alarm);
        if alarm.is_none() && is_shared {
            alarm = report::stored_alarm(book, &of)?;
        }
        if let Some(alarm) = alarm
            && !book.is_reserved(&of, &by, &to, &keys)?
        {
            return Ok(Err(alarm));
        }
        book.reserve(&of, &by, &to, &keys, now).map(Ok)
    });
    match reserved.await {
        Ok(Ok(Ok(()))) => {
            shared.tell(&KmeEvent::Reserved { link, master: &master, slaves: &slaves, keys: &ids });
            Ok(Reply::json(&Ack { key_ids: entries(ids), ack_status: AckStatus::Reserved }))
        }
        Ok(Err(alarm)) => Err(Refusal::unavailable(alarm.reason.clone(), BRIEF).detail(alarm.to_extension())),
        Ok(Ok(Err(error))) => {
            // Until its slaves have collected, or an operator has seen to it.
            let wait = if matches!(error, ReserveError::MasterFull(_)) { MASTER_FULL } else { BRIEF };
            let refusal = Refusal::unavailable(error.to_string(), wait);
            let ReserveError::Gone(ids) = error else { return Err(refusal) };
            let gone = serde_json::to_value(Gone { key_ids: entries(ids) });
            Err(match gone {
                Ok(serde_json::Value::Object(detail)) => refusal.detail(detail),
                _ => refusal,
            })
        }
        // A commit that failed may have reached the disk, and a ledger that ended may have written before it did: the peer
        // must not take the bits back.
        Err(error @ (Unavailable::Storage(_) | Unavailable::Closed)) => {
            tracing::error!(%error, "the peer's keys cannot be reserved");
            Err(Refusal::unclear("this KME cannot write its ledger, and may or may not hold the keys"))
        }
        Err(error) => Err(Refusal::no_ledger(&error)),
    }
}

/// `ack`: the masters there have these keys.
pub(crate) async fn ack(shared: &Shared, link: &KmeId, body: &[u8]) -> Result<Reply, Refusal> {
    let ack: Ack = parse(body)?;
    if ack.ack_status != AckStatus::Delivered {
        return Err(Refusal::bad_request("ack_status must be \u{201c}delivered\u{201d}"));
    }
    let ids: Vec<_> = ack.key_ids.iter().map(|entry| entry.key_id).collect();
    let (link, now) = (link.clone(), shared.now());
    done(shared.ledger.run(move |book| book.confirm(&link, &ids, now)).await)
}

/// `void`: these keys and positions will not be used.
pub(crate) async fn void(shared: &Shared, link: &KmeId, body: &[u8]) -> Result<Reply, Refusal> {
    let Void { keys, extents } = parse(body)?;
    let (of, voided) = (link.clone(), keys.len() as u64);
    let done = done(
        shared
            .ledger
            .run(move |book| {
                book.void(&of, &keys)?;
                extents.iter().try_for_each(|extent| book.void_extent(&of, *extent))
            })
            .await,
    )?;
    if voided > 0 {
        shared.tell(&KmeEvent::Voided { link: Some(link), keys: voided, why: "the peer KME will not deliver them" });
    }
    Ok(done)
}

/// `vernam_source`: a word from the other end of the link's key source.
pub(crate) async fn source(shared: &Shared, current: &Current, link: &KmeId, body: &[u8]) -> Result<Reply, Refusal> {
    let SourceMessage { message } = parse(body)?;
    let nobody = || Refusal::unavailable("no key source of this link answers here", BRIEF);
    let talk = shared.desk(link).talk().ok_or_else(nobody)?;
    let late = |_late| Refusal::unavailable("the key source of this link does not answer in time here", BRIEF);
    let answer = timeout(current.config.limits.peer_timeout, talk.answer(message)).await.map_err(late)?;
    let answer = answer.map_err(|words| Refusal::unavailable(words, BRIEF))?;
    Ok(Reply::json(&SourceAnswer { answer }))
}

fn done(result: Result<(), Unavailable>) -> Result<Reply, Refusal> {
    result.map(|()| Reply::json(&Extension::new())).map_err(|error| Refusal::no_ledger(&error))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    input::object(body, "such a message")
}
