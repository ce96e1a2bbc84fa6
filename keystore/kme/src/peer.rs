//! Calls to the KME at the far end.

use std::time::Duration;

use rustls_pki_types::PrivateKeyDer;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use vernam_etsi014::{ClientError, Extension, MutualTlsClient, SaeId, SetupError, Timeouts};
use vernam_key::KeyId;

use crate::outbox::{Messages, Outbox};
use crate::turns::Turns;
use crate::wire::{ACK, Ack, AckStatus, EXT_KEYS, ExtKeys, Gone, VOID, Void, entries};
use crate::{KeyPositions, KmeConfig, TlsIdentity};

/// The most messages of one kind in one call.
const BATCH: usize = 1024;

/// The peer, as a server.
pub(crate) struct Peer {
    client: MutualTlsClient,
    /// Of the requests under way.
    pub(crate) turns: Turns,
    sending: Mutex<()>,
}

/// What became of a wish to reserve.
pub(crate) enum Outcome {
    /// The peer holds the keys ready.
    Reserved,
    /// The peer said no, and so has reserved nothing.
    Refused { message: String, gone: Vec<KeyId>, details: Vec<Extension>, retry_after: Option<Duration> },
    /// The peer never heard of it.
    NotSent(String),
    /// Nobody knows.
    Unclear(String),
}

impl Peer {
    pub(crate) fn new(config: &KmeConfig, tls: &TlsIdentity) -> Result<Self, SetupError> {
        let limits = &config.limits;
        let timeouts = Timeouts { connect: limits.peer_connect_timeout, request: limits.peer_timeout };
        let name = config.peer.server_name.as_deref().unwrap_or(config.peer.kme_id.as_str());
        let key: PrivateKeyDer<'static> = tls.key.clone_key();
        let client = MutualTlsClient::new(
            &config.peer.authority,
            Some(name),
            tls.roots.clone(),
            tls.chain.clone(),
            key,
            timeouts,
        )?;
        Ok(Self { client, turns: Turns::new(config), sending: Mutex::new(()) })
    }

    /// Asks the peer to hold `keys` ready for `slave`.
    pub(crate) async fn reserve(&self, master: &SaeId, slave: &SaeId, keys: Vec<KeyPositions>) -> Outcome {
        let request = ExtKeys { master: master.clone(), slaves: vec![slave.clone()], keys };
        match self.client.post_json(EXT_KEYS, &request).await {
            Ok(body) => match serde_json::from_slice::<Ack>(body.as_ref()) {
                Ok(ack) if ack.ack_status == AckStatus::Reserved && acknowledges(&ack, &request) => Outcome::Reserved,
                _ => Outcome::Unclear("its answer is not the acknowledgement of our request".to_owned()),
            },
            Err(ClientError::Refused { status: 400 | 401 | 503, message, details, retry_after }) => {
                let gone = details.iter().filter_map(|detail| parse_gone(detail.clone())).flatten().collect();
                Outcome::Refused { message, gone, details, retry_after }
            }
            Err(ClientError::Unreachable { reason, maybe_sent: false, .. } | ClientError::BadRequest { reason }) => {
                Outcome::NotSent(reason)
            }
            Err(error) => Outcome::Unclear(error.to_string()),
        }
    }

    /// Tells the peer all that it must still be told. What it does not hear stays in the outbox.
    pub(crate) async fn send(&self, outbox: &Outbox) -> Result<(), ClientError> {
        self.send_holding(self.sending.lock().await, outbox).await
    }

    /// As [`Self::send`], for a caller with little time while others may be sending to a peer that hangs.
    pub(crate) async fn send_within(&self, patience: Duration, outbox: &Outbox) -> Result<(), String> {
        // Only the wait may be cut short: what is being sent must come back to the outbox.
        let lock = timeout(patience, self.sending.lock()).await.map_err(|_late| "it is slow to answer".to_owned())?;
        self.send_holding(lock, outbox).await.map_err(|error| error.to_string())
    }

    async fn send_holding(&self, _one_at_a_time: MutexGuard<'_, ()>, outbox: &Outbox) -> Result<(), ClientError> {
        loop {
            let mut messages = outbox.take(BATCH);
            if messages.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.send_batch(&mut messages).await {
                outbox.post(|kept| kept.put_back(messages));
                return Err(error);
            }
        }
    }

    /// Takes out of `messages` what the peer has heard.
    async fn send_batch(&self, messages: &mut Messages) -> Result<(), ClientError> {
        if !messages.voids.is_empty() || !messages.extents.is_empty() {
            let void = Void { keys: messages.voids.clone(), extents: messages.extents.clone() };
            heard(self.client.post_json(VOID, &void).await)?;
            messages.voids.clear();
            messages.extents.clear();
        }
        if !messages.delivered.is_empty() {
            let key_ids = entries(messages.delivered.iter().copied());
            heard(self.client.post_json(ACK, &Ack { key_ids, ack_status: AckStatus::Delivered }).await)?;
            messages.delivered.clear();
        }
        Ok(())
    }
}

/// A peer that calls a message malformed will do so again: it counts as heard.
fn heard<T>(answer: Result<T, ClientError>) -> Result<(), ClientError> {
    match answer {
        Ok(_) => Ok(()),
        Err(ClientError::Refused { status: 400, message, .. }) => {
            tracing::warn!(%message, "the peer KME does not understand us; are the versions the same?");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn acknowledges(ack: &Ack, request: &ExtKeys) -> bool {
    ack.key_ids.iter().map(|entry| entry.key_id).eq(request.keys.iter().map(|key| key.key_id))
}

fn parse_gone(detail: Extension) -> Option<Vec<KeyId>> {
    let gone: Gone = serde_json::from_value(detail.into()).ok()?;
    Some(gone.key_ids.into_iter().map(|entry| entry.key_id).collect())
}
