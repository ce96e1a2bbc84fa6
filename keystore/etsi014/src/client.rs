//! The client side of ETSI GS QKD 014.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use vernam_key::KeyId;

use crate::container::{DeliveredKey, KeyContainer};
use crate::https::{MutualTlsClient, Trust};
use crate::{ClientError, KeyIds, KeyRequest, SaeId, SetupError, Status};

/// How long to wait for a KME.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the TCP connection.
    pub connect: Duration,
    /// For a whole request, connection and answer included.
    pub request: Duration,
}

/// A KME is at most a continent away, and may itself wait for the KME at the far end.
pub const DEFAULT_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(30) };

/// The longest answer that is read, in bytes: 128 keys of 65,536 bits take 1.4 MB.
pub const MAX_REPLY_BYTES: usize = 16 << 20;

/// One SAE's access to its own KME. Connections are kept open and reused; share it by reference.
pub struct KmeClient {
    https: MutualTlsClient,
}

impl KmeClient {
    /// A client for the KME at `kme` (`https://host:port`, or just `host:port`).
    ///
    /// `roots` sign the KME's certificate; `chain` (leaf first) and `key` prove who we are.
    pub fn new(
        kme: &str,
        roots: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, SetupError> {
        Self::with_timeouts(kme, roots, chain, key, DEFAULT_TIMEOUTS)
    }

    /// As [`Self::new`], with other timeouts than [`DEFAULT_TIMEOUTS`].
    pub fn with_timeouts(
        kme: &str,
        roots: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        timeouts: Timeouts,
    ) -> Result<Self, SetupError> {
        Ok(Self { https: MutualTlsClient::new(kme, None, Trust::of(roots), chain, key, timeouts)? })
    }

    /// As [`Self::new`], from the contents of PEM files. The private key may be PKCS#8, SEC1 or PKCS#1.
    pub fn from_pem(kme: &str, roots: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, SetupError> {
        let private = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| SetupError::Certificate { what: "private key", reason: error.to_string() })?;
        Self::new(kme, certificates("root certificates", roots)?, certificates("certificate chain", chain)?, private)
    }

    /// The KME's host and port.
    pub fn authority(&self) -> &str {
        self.https.authority()
    }

    /// "Get status": the limits of the KME and how much key is in store towards `slave`.
    pub async fn status(&self, slave: &SaeId) -> Result<Status, ClientError> {
        let reply = self.https.get(&path(slave, "status")).await?;
        serde_json::from_slice(reply.as_ref())
            .map_err(|error| self.bad_reply(format!("its status is malformed: {error}")))
    }

    /// "Get key": `number` fresh keys of `size_bits` bits, to be shared with `slave`. The caller is the master.
    pub async fn enc_keys(&self, slave: &SaeId, number: u32, size_bits: u32) -> Result<Vec<DeliveredKey>, ClientError> {
        if number == 0 || size_bits == 0 || !size_bits.is_multiple_of(8) {
            let reason = format!("{number} keys of {size_bits} bits (whole bytes, and at least one key, are needed)");
            return Err(ClientError::BadRequest { reason });
        }
        let request = KeyRequest { number: Some(number), size: Some(size_bits), ..KeyRequest::default() };
        let keys = self.keys(&path(slave, "enc_keys"), &request).await?;
        if keys.len() != number as usize {
            return Err(self.bad_reply(format!("{} keys instead of {number}", keys.len())));
        }
        if let Some(key) = keys.iter().find(|key| key.key.len() as u64 * 8 != u64::from(size_bits)) {
            let got = key.key.len() * 8;
            return Err(self.bad_reply(format!("key {} has {got} bits instead of {size_bits}", key.key_id)));
        }
        let mut once = HashSet::with_capacity(keys.len());
        match keys.iter().find(|key| !once.insert(key.key_id)) {
            Some(twice) => Err(self.bad_reply(format!("key {} comes twice", twice.key_id))),
            None => Ok(keys),
        }
    }

    /// "Get key with key IDs": the keys that `master` took under `ids`, in this order. The caller is the slave.
    pub async fn dec_keys(&self, master: &SaeId, ids: &[KeyId]) -> Result<Vec<DeliveredKey>, ClientError> {
        let mut once = HashSet::with_capacity(ids.len());
        if ids.is_empty() || !ids.iter().all(|id| once.insert(*id)) {
            return Err(ClientError::BadRequest {
                reason: "each key_ID must be named once, and at least one".to_owned(),
            });
        }
        let mut by_id = HashMap::with_capacity(ids.len());
        for key in self.keys(&path(master, "dec_keys"), &KeyIds::of(ids)).await? {
            let key_id = key.key_id;
            if !once.contains(&key_id) {
                return Err(self.bad_reply(format!("key {key_id} was not asked for")));
            }
            if by_id.insert(key_id, key).is_some() {
                return Err(self.bad_reply(format!("key {key_id} comes twice")));
            }
        }
        ids.iter().map(|id| by_id.remove(id).ok_or_else(|| self.bad_reply(format!("key {id} is missing")))).collect()
    }

    async fn keys(&self, path: &str, body: &impl Serialize) -> Result<Vec<DeliveredKey>, ClientError> {
        let reply = self.https.post_json(path, body).await?;
        let container = KeyContainer::from_json(reply.as_ref()).map_err(|error| self.bad_reply(error.to_string()))?;
        Ok(container.keys)
    }

    fn bad_reply(&self, reason: String) -> ClientError {
        ClientError::BadReply { kme: self.authority().to_owned(), reason }
    }
}

fn path(other: &SaeId, endpoint: &str) -> String {
    format!("/api/v1/keys/{}/{endpoint}", other.to_path_segment())
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SetupError::Certificate { what, reason: error.to_string() })
}
