//! Which request goes where, and who may make it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::time::timeout;
use vernam_etsi014::{KmeId, SaeId};

use crate::current::Current;
use crate::identity::Caller;
use crate::kme::Shared;
use crate::reply::{Refusal, Reply};
use crate::{Endpoint, KmeEvent, agree, api, kmapi, wire, wish};

/// Where the API of ETSI GS QKD 014 begins.
const KEYS: &str = "/api/v1/keys/";

/// How much of a body that is too long is read and thrown away, so that its sender gets to hear the refusal.
const MAX_DRAINED: usize = 1 << 20;

/// Answers one request, whatever it is, and tells the observers.
pub(crate) async fn respond(
    shared: &Arc<Shared>,
    current: &Arc<Current>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let endpoint = endpoint(request.uri().path());
    let reply = route(shared, current, caller, request, endpoint).await.unwrap_or_else(Reply::from);
    shared.tell(&KmeEvent::Request {
        who: name(caller),
        endpoint,
        status: reply.status(),
        refusal: reply.refusal(),
        took: began.elapsed(),
    });
    reply.into_http()
}

fn name(caller: &Caller) -> &str {
    match caller {
        Caller::Sae(sae) => sae.as_str(),
        Caller::Peer(kme) => kme.as_str(),
        Caller::Unknown(name) => name,
    }
}

async fn route(
    shared: &Arc<Shared>,
    current: &Arc<Current>,
    caller: &Caller,
    request: Request<Incoming>,
    endpoint: Endpoint,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let limits = &current.config.limits;
    let max = if matches!(caller, Caller::Peer(_)) { limits.max_peer_body } else { limits.max_body };
    let body = read_body(body, max, limits.body_timeout).await?;
    if matches!(endpoint, Endpoint::ExtKeys | Endpoint::Ack | Endpoint::Void | Endpoint::Source) {
        return match (caller, &head.method) {
            (Caller::Peer(link), &Method::POST) => of_peer(shared, current, link, endpoint, &body).await,
            (Caller::Peer(_), _) => Err(Refusal::method_not_allowed("POST")),
            _ => Err(Refusal::unauthorized("only a peer KME may call this")),
        };
    }
    let me = match caller {
        Caller::Sae(sae) => sae,
        Caller::Peer(_) => return Err(Refusal::unauthorized("a KME is not an SAE: it gets no keys")),
        Caller::Unknown(name) => {
            return Err(Refusal::unauthorized(format!("{name} is not an SAE of this KME; its operator can add it")));
        }
    };
    shared.policy().may_ask(me, shared.now()).map_err(agree::denied)?;
    let config = &current.config;
    let other = other_sae(head.uri.path())?;
    let query = head.uri.query().unwrap_or_default();
    match (endpoint, &head.method) {
        (Endpoint::Status, &Method::GET) => api::status(shared, config, me, other),
        (Endpoint::GetKey, &Method::GET) => {
            api::enc_keys(shared, current, me, wish::of_query(config, me, other, query)?).await
        }
        (Endpoint::GetKey, &Method::POST) => {
            api::enc_keys(shared, current, me, wish::of_body(config, me, other, &body)?).await
        }
        (Endpoint::GetKeyWithIds, &Method::GET) => {
            api::dec_keys(shared, config, me, other, api::ids_of_query(query)?).await
        }
        (Endpoint::GetKeyWithIds, &Method::POST) => {
            api::dec_keys(shared, config, me, other, api::ids_of_body(&body)?).await
        }
        (Endpoint::Status, _) => Err(Refusal::method_not_allowed("GET")),
        _ => Err(Refusal::method_not_allowed("GET, POST")),
    }
}

async fn of_peer(
    shared: &Arc<Shared>,
    current: &Current,
    link: &KmeId,
    endpoint: Endpoint,
    body: &[u8],
) -> Result<Reply, Refusal> {
    match endpoint {
        Endpoint::ExtKeys => kmapi::ext_keys(shared, current, link, body).await,
        Endpoint::Ack => kmapi::ack(shared, link, body).await,
        Endpoint::Void => kmapi::void(shared, link, body).await,
        Endpoint::Source => kmapi::source(shared, current, link, body).await,
        _ => Err(Refusal::not_found()),
    }
}

/// Which request a path belongs to.
fn endpoint(path: &str) -> Endpoint {
    match path {
        wire::EXT_KEYS => Endpoint::ExtKeys,
        wire::ACK => Endpoint::Ack,
        wire::VOID => Endpoint::Void,
        wire::SOURCE => Endpoint::Source,
        _ => match path.strip_prefix(KEYS).and_then(|rest| rest.split_once('/')) {
            Some((_, "status")) => Endpoint::Status,
            Some((_, "enc_keys")) => Endpoint::GetKey,
            Some((_, "dec_keys")) => Endpoint::GetKeyWithIds,
            _ => Endpoint::Other,
        },
    }
}

/// The SAE in `/api/v1/keys/{SAE_ID}/{endpoint}`.
fn other_sae(path: &str) -> Result<SaeId, Refusal> {
    if endpoint(path) == Endpoint::Other {
        return Err(Refusal::not_found());
    }
    let (id, _) = path.strip_prefix(KEYS).and_then(|rest| rest.split_once('/')).ok_or_else(Refusal::not_found)?;
    SaeId::from_path_segment(id).map_err(|error| Refusal::bad_request(format!("SAE_ID: {error}")))
}

/// Requests hold no keys, so this buffer need not be wiped.
async fn read_body(mut body: Incoming, max: usize, limit: Duration) -> Result<Vec<u8>, Refusal> {
    let mut all = Vec::new();
    let mut len = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Refusal::bad_request(format!("the body ended early: {error}")).and_close())?;
            let Ok(data) = frame.into_data() else { continue };
            len += data.len();
            if len <= max {
                all.extend_from_slice(&data);
            } else if len > max + MAX_DRAINED {
                break;
            }
        }
        if len > max {
            return Err(Refusal::bad_request(format!("the body is longer than {max} bytes")).and_close());
        }
        Ok(())
    };
    timeout(limit, reading).await.map_err(|_late| Refusal::bad_request("the body took too long").and_close())??;
    Ok(all)
}
