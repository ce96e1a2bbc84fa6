//! The data formats of ETSI GS QKD 014 V1.1.1, clause 6, but for the one that holds keys.
//!
//! Unknown fields are ignored: real clients and servers send some.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vernam_key::KeyId;

use crate::{KmeId, SaeId};

/// A JSON object with vendor extensions, whose names carry a vendor prefix (`abc_route_type`).
pub type Extension = Map<String, Value>;

/// The error texts that the standard words itself. All belong to status 400.
pub mod messages {
    /// The size asked for is not a whole number of bytes.
    pub const SIZE_MULTIPLE_OF_8: &str = "size shall be a multiple of 8";
    /// A mandatory extension is not known here.
    pub const EXTENSION_UNSUPPORTED: &str = "not all extension_mandatory parameters are supported";
    /// A mandatory extension is known, but its wish cannot be met.
    pub const EXTENSION_UNMET: &str = "not all extension_mandatory request options could be met";
    /// An optional extension was passed over.
    pub const EXTENSION_OPTIONAL_UNHANDLED: &str = "not all extension_optional request options handled";
    /// A `key_ID` is unknown, or its key is gone.
    pub const KEYS_NOT_FOUND: &str = "one or more keys specified are not found on KME";
}

/// The answer to "Get status" (clause 6.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The KME that was asked.
    #[serde(rename = "source_KME_ID")]
    pub source_kme_id: KmeId,
    /// The KME of the slave.
    #[serde(rename = "target_KME_ID")]
    pub target_kme_id: KmeId,
    /// The SAE that asks.
    #[serde(rename = "master_SAE_ID")]
    pub master_sae_id: SaeId,
    /// The SAE named in the URL.
    #[serde(rename = "slave_SAE_ID")]
    pub slave_sae_id: SaeId,
    /// The default size of a key, in bits.
    pub key_size: u32,
    /// How many keys of the default size can be had now.
    pub stored_key_count: u64,
    /// The most keys of the default size that the KME can store.
    pub max_key_count: u64,
    /// The most keys in one request.
    pub max_key_per_request: u32,
    /// The largest key, in bits.
    pub max_key_size: u32,
    /// The smallest key, in bits.
    pub min_key_size: u32,
    /// The most additional slaves in one request; 0: no multicast.
    #[serde(rename = "max_SAE_ID_count")]
    pub max_sae_id_count: u32,
    /// Vendor extensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_extension: Option<Extension>,
}

/// The body of "Get key" (clause 6.2). Every field may be absent; `{}` asks for one key of the default size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// How many keys (absent: 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Size of each key in bits (absent: the status's `key_size`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Further slaves that get the same keys (absent: none). An empty list is told apart from an absent one, because
    /// KMEs differ in what they make of it.
    #[serde(default, rename = "additional_slave_SAE_IDs", skip_serializing_if = "Option::is_none")]
    pub additional_slave_sae_ids: Option<Vec<SaeId>>,
    /// Extensions that must be obeyed, or the request fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_mandatory: Option<Vec<Extension>>,
    /// Extensions that may be passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_optional: Option<Vec<Extension>>,
}

/// The body of "Get key with key IDs" (clause 6.4).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyIds {
    /// The keys asked for.
    #[serde(rename = "key_IDs")]
    pub key_ids: Vec<KeyIdEntry>,
    /// Reserved by the standard.
    #[serde(default, rename = "key_IDs_extension", skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
}

/// One entry of [`KeyIds`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyIdEntry {
    /// The name of the key.
    #[serde(rename = "key_ID", with = "key_id_text")]
    pub key_id: KeyId,
    /// Reserved by the standard.
    #[serde(default, rename = "key_ID_extension", skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
}

impl KeyIds {
    /// Asks for `ids`, without extensions.
    pub fn of(ids: &[KeyId]) -> Self {
        let key_ids = ids.iter().map(|&key_id| KeyIdEntry { key_id, extension: None }).collect();
        Self { key_ids, extension: None }
    }
}

/// The body of every error (clause 6.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, for people.
    pub message: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Extension>>,
}

impl ErrorBody {
    /// An error without details.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: None }
    }
}

/// A `key_ID` as hyphenated UUID text, for `#[serde(with = "...")]`.
pub mod key_id_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;
    use vernam_key::KeyId;

    /// Writes lower-case hyphenated text.
    pub fn serialize<S: Serializer>(id: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    /// Reads any spelling of a UUID.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "bc490419-7d60-487f-adc1-4ddcc177c139";

    #[test]
    fn an_empty_key_request_and_unknown_fields_are_fine() {
        let nothing: KeyRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(nothing, KeyRequest::default());
        let odd: KeyRequest =
            serde_json::from_str(r#"{"number":3,"additional_target_sae_ids":[],"size":1024,"x":{"y":1}}"#).unwrap();
        assert_eq!((odd.number, odd.size, odd.additional_slave_sae_ids), (Some(3), Some(1024), None));
        assert!(serde_json::from_str::<KeyRequest>(r#"{"number":-1}"#).is_err());
    }

    #[test]
    fn names_are_those_of_the_standard() {
        let ids = KeyIds::of(&[ID.parse().unwrap()]);
        assert_eq!(serde_json::to_string(&ids).unwrap(), format!(r#"{{"key_IDs":[{{"key_ID":"{ID}"}}]}}"#));
        let request = KeyRequest {
            number: Some(1),
            size: Some(256),
            additional_slave_sae_ids: Some(vec![SaeId::new("carol").unwrap()]),
            extension_mandatory: Some(vec![Extension::new()]),
            extension_optional: Some(vec![]),
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"number":1,"size":256,"additional_slave_SAE_IDs":["carol"],"extension_mandatory":[{}],"#.to_owned()
                + r#""extension_optional":[]}"#
        );
        let status: Status = serde_json::from_str(
            r#"{"source_KME_ID":"A","target_KME_ID":"B","master_SAE_ID":"alice","slave_SAE_ID":"bob","key_size":352,
                "stored_key_count":25000,"max_key_count":100000,"max_key_per_request":128,"max_key_size":1024,
                "min_key_size":64,"max_SAE_ID_count":0,"abc_extra":1}"#,
        )
        .unwrap();
        assert_eq!((status.key_size, status.max_sae_id_count, status.status_extension), (352, 0, None));
    }

    #[test]
    fn error_details_are_a_list_of_objects() {
        let body: ErrorBody = serde_json::from_str(r#"{"message":"no","details":[{"a":"b"}]}"#).unwrap();
        assert_eq!(body.details.unwrap().len(), 1);
        assert_eq!(serde_json::to_string(&ErrorBody::new("no")).unwrap(), r#"{"message":"no"}"#);
    }
}
