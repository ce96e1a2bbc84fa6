//! Calls to the KME at the far end of one link.

use std::time::Duration;

use serde_json::Value;
use vernam_etsi014::{ClientError, Extension, MutualTlsClient, SaeId, SetupError, Timeouts, Trust};
use vernam_key::KeyId;
use vernam_ledger::{KeyPositions, Message};

use crate::turns::Turns;
use crate::wire::{
    ACK, Ack, AckStatus, EXT_KEYS, ExtKeys, Gone, SOURCE, SourceAnswer, SourceMessage, VOID, Void, entries,
};
use crate::{KmeConfig, PeerConfig, TlsIdentity};

/// The peer, as a server.
pub(crate) struct Peer {
    client: MutualTlsClient,
    /// Of the requests under way: for each peer apart, so that one that hangs blocks no other.
    pub(crate) turns: Turns,
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
    pub(crate) fn new(config: &KmeConfig, peer: &PeerConfig, tls: &TlsIdentity) -> Result<Self, SetupError> {
        let limits = &config.limits;
        let timeouts = Timeouts { connect: limits.peer_connect_timeout, request: limits.peer_timeout };
        let name = peer.server_name.as_deref().unwrap_or(peer.kme_id.as_str());
        let trust = Trust { roots: tls.roots.clone(), crls: tls.crls.clone() };
        let (chain, key) = (tls.chain.clone(), tls.key.clone_key());
        let client = MutualTlsClient::new(&peer.authority, Some(name), trust, chain, key, timeouts)?;
        Ok(Self { client, turns: Turns::new(config) })
    }

    /// Asks the peer to hold `keys` ready for `slaves`.
    pub(crate) async fn reserve(&self, master: &SaeId, slaves: Vec<SaeId>, keys: Vec<KeyPositions>) -> Outcome {
        let request = ExtKeys { master: master.clone(), slaves, keys };
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

    /// Says `messages` in one call. They are all acknowledgements, or all voids.
    pub(crate) async fn tell(&self, messages: impl Iterator<Item = &Message>) -> Result<(), ClientError> {
        let (mut delivered, mut void) = (Vec::new(), Void::default());
        for message in messages {
            match message {
                Message::Delivered(ids) => delivered.extend(ids),
                Message::Void(keys) => void.keys.extend(keys.iter().cloned()),
                Message::VoidExtent(extent) => void.extents.push(*extent),
            }
        }
        if !void.keys.is_empty() || !void.extents.is_empty() {
            self.client.post_json(VOID, &void).await?;
        }
        if !delivered.is_empty() {
            let ack = Ack { key_ids: entries(delivered), ack_status: AckStatus::Delivered };
            self.client.post_json(ACK, &ack).await?;
        }
        Ok(())
    }

    /// Says `message` to the other end of the link's key source. The error is for people.
    pub(crate) async fn ask_source(&self, message: Value) -> Result<Value, String> {
        let body =
            self.client.post_json(SOURCE, &SourceMessage { message }).await.map_err(|error| error.to_string())?;
        let answer: SourceAnswer = serde_json::from_slice(body.as_ref())
            .map_err(|error| format!("the peer KME's answer is malformed: {error}"))?;
        Ok(answer.answer)
    }
}

fn acknowledges(ack: &Ack, request: &ExtKeys) -> bool {
    ack.key_ids.iter().map(|entry| entry.key_id).eq(request.keys.iter().map(|key| key.key_id))
}

fn parse_gone(detail: Extension) -> Option<Vec<KeyId>> {
    let gone: Gone = serde_json::from_value(detail.into()).ok()?;
    Some(gone.key_ids.into_iter().map(|entry| entry.key_id).collect())
}
