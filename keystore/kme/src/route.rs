//! Which request goes where, and who may make it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::time::timeout;
use vernam_etsi014::SaeId;

use crate::identity::Caller;
use crate::kme::Shared;
use crate::peer::Peer;
use crate::reply::{Refusal, Reply};
use crate::{api, kmapi, wire};

/// How much of a body that is too long is read and thrown away, so that its sender gets to hear the refusal.
const MAX_DRAINED: usize = 1 << 20;

/// Answers one request, whatever it is.
pub(crate) async fn respond(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    route(shared, peer, caller, request).await.unwrap_or_else(Reply::from).into_http()
}

async fn route(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let limits = &shared.config.limits;
    let max = if *caller == Caller::Peer { limits.max_peer_body } else { limits.max_body };
    let body = read_body(body, max, limits.body_timeout).await?;
    let path = head.uri.path();
    if let Some(answer) = kmapi_endpoint(path) {
        return match (caller, &head.method) {
            (Caller::Peer, &Method::POST) => answer(shared, &body),
            (Caller::Peer, _) => Err(Refusal::method_not_allowed("POST")),
            _ => Err(Refusal::unauthorized("only the peer KME may call this")),
        };
    }
    let me = match caller {
        Caller::Sae(sae) => sae,
        Caller::Peer => return Err(Refusal::unauthorized("a KME is not an SAE: it gets no keys")),
        Caller::Unknown(name) => {
            return Err(Refusal::unauthorized(format!("{name} is not an SAE of this KME; its operator can add it")));
        }
    };
    let (other, endpoint) = parse_path(path)?;
    let query = head.uri.query().unwrap_or_default();
    match (endpoint, &head.method) {
        (Endpoint::Status, &Method::GET) => api::status(shared, me, other),
        (Endpoint::EncKeys, &Method::GET) => {
            api::enc_keys(shared, peer, me, other, api::wish_of_query(shared, query)?).await
        }
        (Endpoint::EncKeys, &Method::POST) => {
            api::enc_keys(shared, peer, me, other, api::wish_of_body(shared, &body)?).await
        }
        (Endpoint::DecKeys, &Method::GET) => api::dec_keys(shared, me, &other, &api::ids_of_query(query)?),
        (Endpoint::DecKeys, &Method::POST) => api::dec_keys(shared, me, &other, &api::ids_of_body(&body)?),
        (Endpoint::Status, _) => Err(Refusal::method_not_allowed("GET")),
        _ => Err(Refusal::method_not_allowed("GET, POST")),
    }
}

type KmapiEndpoint = fn(&Shared, &[u8]) -> Result<Reply, Refusal>;

fn kmapi_endpoint(path: &str) -> Option<KmapiEndpoint> {
    match path {
        wire::EXT_KEYS => Some(kmapi::ext_keys),
        wire::ACK => Some(kmapi::ack),
        wire::VOID => Some(kmapi::void),
        _ => None,
    }
}

enum Endpoint {
    Status,
    EncKeys,
    DecKeys,
}

/// `/api/v1/keys/{SAE_ID}/{endpoint}`.
fn parse_path(path: &str) -> Result<(SaeId, Endpoint), Refusal> {
    let (id, endpoint) =
        path.strip_prefix("/api/v1/keys/").and_then(|rest| rest.split_once('/')).ok_or_else(Refusal::not_found)?;
    let endpoint = match endpoint {
        "status" => Endpoint::Status,
        "enc_keys" => Endpoint::EncKeys,
        "dec_keys" => Endpoint::DecKeys,
        _ => return Err(Refusal::not_found()),
    };
    let id = SaeId::from_path_segment(id).map_err(|error| Refusal::bad_request(format!("SAE_ID: {error}")))?;
    Ok((id, endpoint))
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
