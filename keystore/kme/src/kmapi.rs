//! What the peer KME asks of us.

use serde::de::DeserializeOwned;
use vernam_etsi014::Extension;

use crate::kme::Shared;
use crate::reply::{Refusal, Reply};
use crate::wire::{Ack, AckStatus, ExtKeys, Gone, Void, entries};
use crate::{LinkState, ReserveError, input};

use crate::api::BRIEF;

/// `ext_keys`: holds keys ready for a slave here.
pub(crate) fn ext_keys(shared: &Shared, body: &[u8]) -> Result<Reply, Refusal> {
    let ExtKeys { master, slaves, keys } = parse(body)?;
    let [slave] = slaves.as_slice() else {
        return Err(Refusal::bad_request("exactly one target_SAE_ID is supported"));
    };
    let config = &shared.config;
    if !config.peer.saes.contains(&master) || !config.saes.contains(slave) {
        return Err(Refusal::bad_request(format!("there is no route from {master} there to {slave} here")));
    }
    let sizes = u64::from(config.limits.min_key_size)..=u64::from(config.limits.max_key_size);
    if keys.is_empty()
        || keys.len() > config.limits.max_key_per_request as usize
        || keys.iter().any(|key| !sizes.contains(&(key.len() * 8)))
    {
        return Err(Refusal::bad_request("the number or the size of the keys is beyond the limits here"));
    }
    let mut ledger = shared.ledger();
    if !ledger.is_reserved(&master, slave, &keys) {
        let report = shared.link_report();
        if report.state == LinkState::Alarm {
            return Err(Refusal::unavailable(report.reason.clone(), BRIEF).detail(report.to_extension()));
        }
    }
    match ledger.reserve(&master, slave, &keys, shared.now()) {
        Ok(()) => {
            let key_ids = entries(keys.iter().map(|key| key.key_id));
            Ok(Reply::json(&Ack { key_ids, ack_status: AckStatus::Reserved }))
        }
        Err(error) => {
            let refusal = Refusal::unavailable(error.to_string(), BRIEF);
            let ReserveError::Gone(ids) = error else { return Err(refusal) };
            let gone = serde_json::to_value(Gone { key_ids: entries(ids) });
            Err(match gone {
                Ok(serde_json::Value::Object(detail)) => refusal.detail(detail),
                _ => refusal,
            })
        }
    }
}

/// `ack`: the masters there have these keys.
pub(crate) fn ack(shared: &Shared, body: &[u8]) -> Result<Reply, Refusal> {
    let ack: Ack = parse(body)?;
    if ack.ack_status != AckStatus::Delivered {
        return Err(Refusal::bad_request("ack_status must be \u{201c}delivered\u{201d}"));
    }
    let ids: Vec<_> = ack.key_ids.iter().map(|entry| entry.key_id).collect();
    shared.ledger().confirm(&ids, shared.now());
    Ok(Reply::json(&Extension::new()))
}

/// `void`: these keys and positions will not be used.
pub(crate) fn void(shared: &Shared, body: &[u8]) -> Result<Reply, Refusal> {
    let Void { keys, extents } = parse(body)?;
    let mut ledger = shared.ledger();
    ledger.void(&keys);
    for extent in extents {
        ledger.void_extent(extent);
    }
    Ok(Reply::json(&Extension::new()))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    input::object(body, "such a message")
}
