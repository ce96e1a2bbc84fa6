//! The key container: the one format that holds keys (ETSI GS QKD 014 V1.1.1, clause 6.3).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vernam_key::{KeyId, SecretBytes};
use zeroize::{Zeroize, Zeroizing};

use crate::types::key_id_text;
use crate::{Extension, WipingBuf};

/// Reads base64 with or without padding (KMEs differ), and refuses stray bits and foreign characters.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// JSON around one key besides its base64: names, quotes, UUID.
const ENTRY_OVERHEAD: usize = 80;

/// A key as a KME delivers it, once.
pub struct DeliveredKey {
    /// Its name, the same at both KMEs. Public.
    pub key_id: KeyId,
    /// Its bytes, first bit first.
    pub key: SecretBytes,
}

/// What "Get key" and "Get key with key IDs" answer. Holds keys: neither `Clone` nor `Debug`.
#[derive(Default)]
pub struct KeyContainer {
    /// The keys, in the KME's order.
    pub keys: Vec<DeliveredKey>,
    /// Vendor extensions of the whole container.
    pub extension: Option<Extension>,
}

/// The text is not a key container. Never quotes the text, which may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadContainer {
    /// Not the JSON the standard describes.
    #[error("the key container is not valid JSON of the expected form (line {line}, column {column})")]
    Json {
        /// Line of the problem, from 1.
        line: usize,
        /// Column of the problem, from 1.
        column: usize,
    },
    /// A `key_ID` is not a UUID.
    #[error("key number {index} of the container has a key_ID that is not a UUID")]
    KeyId {
        /// Which key, from 0.
        index: usize,
    },
    /// A key is not base64.
    #[error("key {key_id} is not valid base64")]
    Base64 {
        /// Which key.
        key_id: KeyId,
    },
}

impl KeyContainer {
    /// Parses JSON. Key text is read where it lies in `json` and decoded straight into [`SecretBytes`]; the wiping of
    /// `json` is the caller's.
    pub fn from_json(json: &[u8]) -> Result<Self, BadContainer> {
        let wire: ReadContainer<'_> = serde_json::from_slice(json)
            .map_err(|error| BadContainer::Json { line: error.line(), column: error.column() })?;
        let mut keys = Vec::with_capacity(wire.keys.len());
        for (index, entry) in wire.keys.into_iter().enumerate() {
            let key_id = entry.key_id.parse().map_err(|_parse| BadContainer::KeyId { index })?;
            let key = decode(entry.key.get()).ok_or(BadContainer::Base64 { key_id })?;
            keys.push(DeliveredKey { key_id, key });
        }
        Ok(Self { keys, extension: wire.extension })
    }

    /// Compact JSON (some clients take no other), in a buffer that is wiped after use.
    pub fn to_json(&self) -> WipingBuf {
        let room = self.keys.iter().map(|key| ENTRY_OVERHEAD + key.key.len().div_ceil(3) * 4).sum::<usize>();
        let mut json = WipingBuf::with_capacity(room + ENTRY_OVERHEAD);
        let wire = WriteContainer {
            keys: self.keys.iter().map(|key| WriteKey { key_id: key.key_id, key: &key.key }).collect(),
            extension: self.extension.as_ref(),
        };
        serde_json::to_writer(&mut json, &wire).expect("writing to memory, with string keys only, cannot fail");
        json
    }
}

/// The key's JSON string, quotes and all, to bytes. `None` if it is not base64 in a string.
fn decode(raw: &str) -> Option<SecretBytes> {
    let quoted = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !quoted.contains('\\') {
        return decode_text(quoted.as_bytes());
    }
    decode_text(&unescape(quoted)?)
}

fn decode_text(text: &[u8]) -> Option<SecretBytes> {
    let mut bytes = vec![0; base64::decoded_len_estimate(text.len())];
    match LENIENT.decode_slice(text, &mut bytes) {
        Ok(len) => {
            bytes.truncate(len); // the spare room behind holds nothing but zeros, and is wiped all the same
            Some(SecretBytes::from_vec(bytes))
        }
        Err(_position) => {
            bytes.zeroize();
            None
        }
    }
}

/// Some encoders write the slash of base64 as `\/` or as `\u002f`. `serde_json` would unescape into a buffer that is
/// not wiped, so it is done here; only characters of base64 can come out.
fn unescape(quoted: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(quoted.len()));
    let mut rest = quoted.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let (&kind, tail) = rest.split_first()?;
        rest = tail;
        match kind {
            b'/' => plain.push(b'/'),
            b'u' => {
                let digits = std::str::from_utf8(rest.get(..4)?).ok()?;
                plain.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[4..];
            }
            _ => return None,
        }
    }
    Some(plain)
}

#[derive(Deserialize)]
struct ReadContainer<'a> {
    #[serde(borrow)]
    keys: Vec<ReadKey<'a>>,
    #[serde(default, rename = "key_container_extension")]
    extension: Option<Extension>,
}

#[derive(Deserialize)]
struct ReadKey<'a> {
    #[serde(rename = "key_ID", borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    key: &'a RawValue,
}

#[derive(Serialize)]
struct WriteContainer<'a> {
    keys: Vec<WriteKey<'a>>,
    #[serde(rename = "key_container_extension", skip_serializing_if = "Option::is_none")]
    extension: Option<&'a Extension>,
}

#[derive(Serialize)]
struct WriteKey<'a> {
    #[serde(rename = "key_ID", with = "key_id_text")]
    key_id: KeyId,
    #[serde(serialize_with = "encode")]
    key: &'a SecretBytes,
}

fn encode<S: serde::Serializer>(key: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = key.expose("ETSI GS QKD 014 delivers keys as base64 in JSON, inside TLS");
    let mut text = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    let len = STANDARD.encode_slice(bytes, &mut text).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(std::str::from_utf8(&text[..len]).map_err(serde::ser::Error::custom)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "bc490419-7d60-487f-adc1-4ddcc177c139";

    fn parse(key: &str) -> Result<Vec<u8>, BadContainer> {
        let json = format!(r#"{{"keys":[{{"key_ID":"{ID}","key":{key},"abc_x":[1]}}],"abc_y":null}}"#);
        let mut container = KeyContainer::from_json(json.as_bytes())?;
        Ok(container.keys.remove(0).key.expose("test").to_vec())
    }

    #[test]
    fn json_round_trips_compactly() {
        let keys = vec![DeliveredKey { key_id: ID.parse().unwrap(), key: SecretBytes::from_vec(vec![0xff, 0xef, 1]) }];
        let json = KeyContainer { keys, extension: None }.to_json();
        assert_eq!(json.as_ref(), format!(r#"{{"keys":[{{"key_ID":"{ID}","key":"/+8B"}}]}}"#).as_bytes());
        assert_eq!(KeyContainer::from_json(json.as_ref()).unwrap().keys[0].key.expose("test"), [0xff, 0xef, 1]);
    }

    #[test]
    fn base64_in_all_its_spellings() {
        assert_eq!(parse(r#""/+8B""#), Ok(vec![0xff, 0xef, 1]));
        assert_eq!(parse(r#""\/+8B""#), Ok(vec![0xff, 0xef, 1]));
        assert_eq!(parse(r#""\u002F+8B""#), Ok(vec![0xff, 0xef, 1]));
        assert_eq!(parse(r#""AQ==""#), Ok(vec![1]));
        assert_eq!(parse(r#""AQ""#), Ok(vec![1]));
        assert_eq!(parse(r#""""#), Ok(vec![]));
    }

    #[test]
    fn what_is_not_base64_is_refused_without_quoting_it() {
        let wrong = BadContainer::Base64 { key_id: ID.parse().unwrap() };
        for key in [r#""-_8B""#, r#""A""#, r#""AR==""#, r#""AQ = ""#, "17", "null", r#""\n""#, r#""\u0141AAA""#] {
            assert_eq!(parse(key), Err(wrong.clone()), "{key}");
        }
        assert!(matches!(KeyContainer::from_json(b"{\"keys\":7}"), Err(BadContainer::Json { line: 1, .. })));
        assert!(matches!(KeyContainer::from_json(b"<html>"), Err(BadContainer::Json { .. })));
        let no_uuid = br#"{"keys":[{"key_ID":"7","key":""}]}"#;
        assert_eq!(KeyContainer::from_json(no_uuid).err(), Some(BadContainer::KeyId { index: 0 }));
    }

    proptest::proptest! {
        #[test]
        fn any_key_round_trips(bytes: Vec<u8>, id: [u8; 16]) {
            let key_id = KeyId::from_bytes(id);
            let keys = vec![DeliveredKey { key_id, key: SecretBytes::copy_of(&bytes) }];
            let json = KeyContainer { keys, extension: None }.to_json();
            let read = KeyContainer::from_json(json.as_ref()).unwrap().keys.remove(0);
            proptest::prop_assert_eq!((read.key_id, read.key.expose("test")), (key_id, &*bytes));
        }

        #[test]
        fn any_text_for_a_key_is_read_or_refused(text in "[A-Za-z0-9+/=\\\\u\"]{0,40}") {
            let _either = decode(&text);
        }
    }
}
