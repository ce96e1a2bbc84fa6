//! What two KMEs say to each other, modelled on ETSI GS QKD 020 (its draft; the README says where it differs).
//!
//! Positions travel, never bits; a key of another link travels under a one-time pad of this one. All are POST under
//! `/kmapi/v1/`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vernam_etsi014::{KeyIdEntry, SaeId};
use vernam_key::KeyId;
use vernam_ledger::{Extent, KeyPositions};

pub(crate) const EXT_KEYS: &str = "/kmapi/v1/ext_keys";
pub(crate) const ACK: &str = "/kmapi/v1/ack";
pub(crate) const VOID: &str = "/kmapi/v1/void";
pub(crate) const SOURCE: &str = "/kmapi/v1/vernam_source";

/// `ext_keys`: reserve these keys for the targets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExtKeys {
    #[serde(rename = "initiator_SAE_ID")]
    pub(crate) master: SaeId,
    #[serde(rename = "target_SAE_IDs")]
    pub(crate) slaves: Vec<SaeId>,
    pub(crate) keys: Vec<KeyPositions>,
}

/// The answer to `ext_keys` ("reserved"), and `ack` ("delivered").
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ack {
    #[serde(rename = "key_IDs")]
    pub(crate) key_ids: Vec<KeyIdEntry>,
    pub(crate) ack_status: AckStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AckStatus {
    /// The slave's KME holds the keys ready.
    Reserved,
    /// The master has the keys.
    Delivered,
}

/// `void`: these keys and positions will not be used.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Void {
    #[serde(default)]
    pub(crate) keys: Vec<KeyPositions>,
    /// Whole runs, of blocks that found no room.
    #[serde(default, rename = "vernam_positions")]
    pub(crate) extents: Vec<Extent>,
}

/// In the details of a refused `ext_keys`: which keys can never be had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gone {
    #[serde(rename = "vernam_gone")]
    pub(crate) key_ids: Vec<KeyIdEntry>,
}

/// `vernam_source`: a word from one end of a key source to the other. It holds no key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceMessage {
    pub(crate) message: Value,
}

/// The answer to [`SourceMessage`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceAnswer {
    pub(crate) answer: Value,
}

pub(crate) fn entries(ids: impl IntoIterator<Item = KeyId>) -> Vec<KeyIdEntry> {
    ids.into_iter().map(|key_id| KeyIdEntry { key_id, extension: None }).collect()
}
