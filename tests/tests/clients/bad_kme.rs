//! A small KME in memory, of no vendor, with faults to choose from: what the doctor is tried on.
//!
//! It is one KME for both SAEs, knows them by their very certificates, and delivers 16 keys of 64 to 4,096 bits at a time.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vernam_ca::LabCa;
use vernam_etsi014::{DeliveredKey, KeyContainer, KeyIds, KeyRequest, messages};
use vernam_key::{KeyId, SecretBytes};

use super::world;

const SEED: u64 = 0xbad;
const SIZES: std::ops::RangeInclusive<u32> = 64..=4096;
const PER_REQUEST: u32 = 16;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A collected key can be collected again.
    Replays,
    /// A `key_ID` is the SHA-1 of its key, dressed up as a random UUID.
    DerivedIds,
    /// Errors are plain text.
    TextErrors,
    /// Whoever knows a `key_ID` gets the key.
    AnySae,
    /// All bits are 0.
    Zeros,
    /// Good `key_ID`s are used up although one among them is unknown.
    Partial,
    /// Mandatory extensions are passed over.
    PassesOverMandatory,
    /// No certificate is asked for.
    Open,
    /// An empty stock is told as 500, and comes after this many keys.
    EndsBadly,
}

/// Keys until it is empty, with [`Fault::EndsBadly`].
const FEW: usize = 150;

/// The KME, serving.
pub(super) struct BadKme {
    pub(super) addr: SocketAddr,
    folder: TempDir,
    server: JoinHandle<()>,
}

struct Waiting {
    master: String,
    slave: String,
    key: Vec<u8>,
    collected: bool,
}

struct Store {
    faults: HashSet<Fault>,
    rng: ChaCha20Rng,
    keys: HashMap<KeyId, Waiting>,
}

impl BadKme {
    pub(super) async fn new(faults: &[Fault]) -> Self {
        let ca = LabCa::new("a network of no vendor").unwrap();
        let folder = world::folder(&ca, &[]);
        let mut saes = HashMap::new();
        for name in ["alice", "bob"] {
            let made = world::write_identity(folder.path(), &ca, name);
            saes.insert(made.as_ref().to_vec(), name.to_owned());
        }
        let faults: HashSet<Fault> = faults.iter().copied().collect();
        let acceptor = TlsAcceptor::from(Arc::new(tls(&ca, faults.contains(&Fault::Open))));
        let store = Store { faults, rng: ChaCha20Rng::seed_from_u64(SEED), keys: HashMap::new() };
        let (saes, store) = (Arc::new(saes), Arc::new(Mutex::new(store)));
        let listener = world::listener().await;
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, saes, store) = (acceptor.clone(), Arc::clone(&saes), Arc::clone(&store));
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let who = leaf.and_then(|leaf| saes.get(leaf.as_ref())).cloned().unwrap_or("alice".to_owned());
                    let answer = service_fn(move |request| answer(Arc::clone(&store), who.clone(), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ended = http.serve_connection(TokioIo::new(tls), answer).await;
                });
            }
        });
        Self { addr, folder, server }
    }

    /// The arguments of `vernam kme doctor`.
    pub(super) fn doctor_args(&self) -> Vec<String> {
        let mut args = vec![format!("https://{}", self.addr)];
        args.extend(world::identities(self.folder(), &[("master", "alice"), ("slave", "bob")]));
        args
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for BadKme {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn tls(ca: &LabCa, open: bool) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.root()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let clients = if open { clients.allow_unauthenticated() } else { clients };
    let made = ca.issue("kme").unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(made.chain, made.key)
        .unwrap()
}

/// A JSON object, and what it says.
macro_rules! object {
    ($body:expr) => {{
        let value: Value = serde_json::from_slice($body).map_err(|error| bad(error.to_string()))?;
        if !value.is_object() {
            return Err(bad("not an object"));
        }
        serde_json::from_value(value).map_err(|error| bad(error.to_string()))
    }};
}

/// A refusal: status and message.
type No = (u16, String);

fn bad(message: impl Into<String>) -> No {
    (400, message.into())
}

async fn answer(
    store: Arc<Mutex<Store>>,
    who: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, 1 << 16).collect().await.map(Collected::to_bytes).unwrap_or_default();
    let mut store = store.lock().unwrap();
    let answer = store.answer(&who, &head.method, head.uri.path(), head.uri.query().unwrap_or_default(), &body);
    let text = store.faults.contains(&Fault::TextErrors);
    Ok(match answer {
        Ok(json) => respond(200, "application/json", json),
        Err((status, message)) if text => respond(status, "text/plain", message.into_bytes().into()),
        Err((status, message)) => {
            respond(status, "application/json", json!({ "message": message }).to_string().into_bytes().into())
        }
    })
}

fn respond(status: u16, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    match status {
        405 => response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST")),
        503 => response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60")),
        _ => None,
    };
    response
}

impl Store {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn answer(&mut self, who: &str, method: &Method, path: &str, query: &str, body: &[u8]) -> Result<Bytes, No> {
        let rest = path.strip_prefix("/api/v1/keys/").and_then(|rest| rest.split_once('/'));
        let Some((other, endpoint)) = rest else { return Err((404, "no such path".to_owned())) };
        let get = match *method {
            Method::GET => true,
            Method::POST => false,
            _ => return Err((405, "GET or POST".to_owned())),
        };
        if !["alice", "bob"].contains(&other) {
            return Err(bad(format!("there is no SAE {other}")));
        }
        match endpoint {
            "status" => Ok(status(who, other)),
            "enc_keys" => self.enc_keys(who, other, &wish(get, query, body)?),
            "dec_keys" => self.dec_keys(who, other, &wanted(get, query, body)?),
            _ => Err((404, "no such path".to_owned())),
        }
    }

    fn enc_keys(&mut self, master: &str, slave: &str, wish: &KeyRequest) -> Result<Bytes, No> {
        let (number, size) = (wish.number.unwrap_or(1), wish.size.unwrap_or(256));
        if !size.is_multiple_of(8) {
            return Err(bad(messages::SIZE_MULTIPLE_OF_8));
        }
        if !SIZES.contains(&size) || !(1..=PER_REQUEST).contains(&number) {
            return Err(bad("number or size is out of range"));
        }
        if wish.additional_slave_sae_ids.as_ref().is_some_and(|slaves| !slaves.is_empty()) {
            return Err(bad("no multicast here"));
        }
        if wish.extension_mandatory.is_some() && !self.has(Fault::PassesOverMandatory) {
            return Err(bad(messages::EXTENSION_UNSUPPORTED));
        }
        if self.has(Fault::EndsBadly) && self.keys.len() >= FEW {
            return Err((500, "out of key".to_owned()));
        }
        let mut keys = Vec::new();
        for _ in 0..number {
            let mut key = vec![0; size as usize / 8];
            if !self.has(Fault::Zeros) {
                self.rng.fill_bytes(&mut key);
            }
            let key_id = if self.has(Fault::DerivedIds) { derived(&key) } else { KeyId::random(&mut self.rng) };
            keys.push(DeliveredKey { key_id, key: SecretBytes::copy_of(&key) });
            let waiting = Waiting { master: master.to_owned(), slave: slave.to_owned(), key, collected: false };
            self.keys.insert(key_id, waiting);
        }
        Ok(container(keys))
    }

    fn dec_keys(&mut self, who: &str, master: &str, ids: &[KeyId]) -> Result<Bytes, No> {
        if !(1..=PER_REQUEST as usize).contains(&ids.len()) {
            return Err(bad("1 to 16 key_IDs"));
        }
        let replays = self.has(Fault::Replays);
        let there = |waiting: &&mut Waiting| waiting.master == master && (replays || !waiting.collected);
        let (any, partial) = (self.has(Fault::AnySae), self.has(Fault::Partial));
        let mut keys = Vec::new();
        let missing = ids.iter().any(|id| self.keys.get_mut(id).filter(&there).is_none());
        if missing && !partial {
            return Err(bad(messages::KEYS_NOT_FOUND));
        }
        for id in ids {
            let Some(waiting) = self.keys.get_mut(id).filter(&there) else { continue };
            if !any && waiting.slave != who {
                return Err((401, "this key is not for you".to_owned()));
            }
            waiting.collected = !any || waiting.slave == who;
            keys.push(DeliveredKey { key_id: *id, key: SecretBytes::copy_of(&waiting.key) });
        }
        if missing { Err(bad(messages::KEYS_NOT_FOUND)) } else { Ok(container(keys)) }
    }
}

fn container(keys: Vec<DeliveredKey>) -> Bytes {
    KeyContainer { keys, extension: None }.to_json().into_bytes()
}

fn derived(key: &[u8]) -> KeyId {
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut id: [u8; 16] = hash.as_ref()[..16].try_into().unwrap();
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    KeyId::from_bytes(id)
}

fn status(master: &str, slave: &str) -> Bytes {
    let status = json!({
        "source_KME_ID": "kme", "target_KME_ID": "kme", "master_SAE_ID": master, "slave_SAE_ID": slave,
        "key_size": 256, "stored_key_count": 1000, "max_key_count": 1000, "max_key_per_request": PER_REQUEST,
        "max_key_size": SIZES.end(), "min_key_size": SIZES.start(), "max_SAE_ID_count": 0,
    });
    status.to_string().into_bytes().into()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn wish(get: bool, query: &str, body: &[u8]) -> Result<KeyRequest, No> {
    if !get {
        return object!(if body.is_empty() { b"{}" } else { body });
    }
    let number = |name| parameter(query, name).map(str::parse).transpose().map_err(|_text| bad("not a number"));
    Ok(KeyRequest { number: number("number")?, size: number("size")?, ..KeyRequest::default() })
}

fn wanted(get: bool, query: &str, body: &[u8]) -> Result<Vec<KeyId>, No> {
    if !get {
        let ids: Result<KeyIds, No> = object!(body);
        return Ok(ids?.key_ids.into_iter().map(|entry| entry.key_id).collect());
    }
    let id = parameter(query, "key_ID").ok_or_else(|| bad("no key_ID"))?;
    Ok(vec![id.parse().map_err(|_text| bad("no UUID"))?])
}
