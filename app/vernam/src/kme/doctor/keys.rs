//! Keys as a KME delivers them, looked at: form, repetition, evenness, and whether a `key_ID` gives its key away.
//!
//! Keys are compared and counted here, and used for nothing. None is written anywhere.

use std::{borrow::Cow, collections::HashSet};

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};
use serde::Deserialize;
use vernam_key::SecretBytes;
use zeroize::{Zeroize as _, Zeroizing};

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keys shorter than this repeat by chance (64 bits: 1 in 10^15 for 200 keys).
const MIN_BYTES_TO_COMPARE: usize = 8;
/// Fewer bits say nothing about evenness.
pub(super) const MIN_BITS_TO_COUNT: u64 = 2_000;
/// The name spaces of RFC 9562, section 6.6, and the empty one.
const NAME_SPACES: [[u8; 16]; 5] = [name_space(0x10), name_space(0x11), name_space(0x12), name_space(0x14), [0; 16]];

const fn name_space(byte: u8) -> [u8; 16] {
    [0x6b, 0xa7, 0xb8, byte, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8]
}

/// A key as it came.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) bytes: SecretBytes,
}

impl Key {
    /// Whether both are the same key under the same name.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id.eq_ignore_ascii_case(&other.id) && same(&self.bytes, &other.bytes)
    }

    pub(super) fn bits(&self) -> u64 {
        self.bytes.len() as u64 * 8
    }
}

fn same(one: &SecretBytes, other: &SecretBytes) -> bool {
    const WHY: &str = "the doctor compares what both sides got";
    one.expose(WHY) == other.expose(WHY)
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow)]
    keys: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "key_ID", borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

/// What a key container holds, and whether all base64 was as RFC 4648 has it.
pub(super) fn parse(json: &[u8]) -> Result<(Vec<Key>, bool), String> {
    // Errors of serde_json may quote a value; these do not.
    let container: Container<'_> = serde_json::from_slice(json)
        .map_err(|error| format!("no key container (line {}, column {})", error.line(), error.column()))?;
    let (mut keys, mut strict) = (Vec::with_capacity(container.keys.len()), true);
    for Entry { key_id, key } in container.keys {
        let bytes = match STANDARD.decode(key.as_bytes()) {
            Ok(bytes) => bytes,
            Err(_not_strict) => {
                strict = false;
                LENIENT.decode(key.as_bytes()).map_err(|_position| "a key that is not base64".to_owned())?
            }
        };
        if let Cow::Owned(mut text) = key {
            text.zeroize();
        }
        keys.push(Key { id: key_id.into_owned(), bytes: SecretBytes::from_vec(bytes) });
    }
    Ok((keys, strict))
}

/// The bytes of a UUID in its text form of 32 digits and 4 hyphens (RFC 9562, section 4).
pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    let form = |(at, byte): (usize, u8)| if hyphens.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    if text.len() != 36 || !text.bytes().enumerate().all(form) {
        return None;
    }
    let number = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    Some(number.to_be_bytes())
}

/// All keys that were drawn, as far as they must be remembered.
#[derive(Default)]
pub(super) struct Hoard {
    pub(super) keys: usize,
    pub(super) bits: u64,
    ones: u64,
    /// Pairs of neighbouring bits within a key, and how many of them differ.
    pairs: u64,
    changes: u64,
    ids: HashSet<String>,
    /// SHA-256 of each key that is long enough to tell apart.
    digests: HashSet<[u8; 32]>,
    compared: usize,
    /// `key_ID`s that are no UUID, came twice, or were made from the key; with how, for the last.
    pub(super) not_uuid: Vec<String>,
    pub(super) id_twice: Vec<String>,
    pub(super) derived: Vec<(String, &'static str)>,
    /// How many keys came that had come before.
    pub(super) key_twice: usize,
    /// Whether base64 ever lacked its padding or had stray bits.
    pub(super) loose_base64: bool,
    versions: [usize; 16],
    other_variant: usize,
}

impl Hoard {
    /// Takes note of a fresh key.
    pub(super) fn note(&mut self, key: &Key) {
        let bytes = key.bytes.expose("the doctor counts bits and compares digests");
        self.keys += 1;
        self.bits += key.bits();
        self.ones += bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        self.count_changes(bytes);
        if !self.ids.insert(key.id.to_ascii_lowercase()) {
            self.id_twice.push(key.id.clone());
        }
        if bytes.len() >= MIN_BYTES_TO_COMPARE {
            self.compared += 1;
            let mut short = [0; 32];
            short.copy_from_slice(digest(&SHA256, bytes).as_ref());
            self.key_twice += usize::from(!self.digests.insert(short));
        }
        match uuid(&key.id) {
            Some(id) => {
                // RFC 9562, section 4.1: the variant of all current UUIDs is binary 10.
                if id[8] >> 6 == 0b10 {
                    self.versions[usize::from(id[6] >> 4)] += 1;
                } else {
                    self.other_variant += 1;
                }
                if let Some(how) = (bytes.len() >= MIN_BYTES_TO_COMPARE).then(|| origin(&id, bytes)).flatten() {
                    self.derived.push((key.id.clone(), how));
                }
            }
            None => self.not_uuid.push(key.id.clone()),
        }
    }

    fn count_changes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.changes += u64::from(((byte ^ (byte << 1)) & 0xfe).count_ones());
        }
        let seams = bytes.windows(2).filter(|pair| (pair[0] & 1) != (pair[1] >> 7)).count();
        self.changes += seams as u64;
        self.pairs += (bytes.len() as u64 * 8).saturating_sub(1);
    }

    /// How many keys were long enough to be compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }

    /// How far the number of ones, and the number of changes, are from half, in standard deviations.
    pub(super) fn unevenness(&self) -> [f64; 2] {
        [deviation(self.ones, self.bits), deviation(self.changes, self.pairs)]
    }

    /// The versions of the UUIDs that came, with their numbers; `None` in the place of a version: of another variant.
    pub(super) fn versions(&self) -> Vec<(Option<usize>, usize)> {
        let of_ours = self.versions.iter().enumerate().map(|(version, count)| (Some(version), *count));
        of_ours.chain([(None, self.other_variant)]).filter(|(_, count)| *count > 0).collect()
    }
}

/// How far `hits` of `n` fair coins are from the middle.
#[expect(clippy::cast_precision_loss, reason = "a few bits in 2^53 do not matter here")]
fn deviation(hits: u64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { (hits as f64 - n as f64 / 2.0) / (n as f64 / 4.0).sqrt() }
}

/// How `id` could have been made from the key, if it was: a part of the key, or a hash of it in one of its spellings,
/// as it is or dressed up as a UUID.
fn origin(id: &[u8; 16], key: &[u8]) -> Option<&'static str> {
    let parts = key.windows(16).step_by(8).chain(key.len().checked_sub(16).map(|from| &key[from..]));
    if parts.into_iter().any(|part| alike(id, part)) {
        return Some("a part of the key itself");
    }
    let base64 = Zeroizing::new(STANDARD.encode(key));
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let hex = Zeroizing::new(key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>());
    for text in [key, base64.as_bytes(), hex.as_bytes()] {
        let hashes: [(&'static str, Vec<u8>); 4] = [
            ("the SHA-1 of the key", digest(&SHA1_FOR_LEGACY_USE_ONLY, text).as_ref().to_vec()),
            ("the MD5 of the key", Md5::digest(text).to_vec()),
            ("the SHA-256 of the key", digest(&SHA256, text).as_ref().to_vec()),
            ("the SHA-512 of the key", digest(&SHA512, text).as_ref().to_vec()),
        ];
        if let Some((how, _)) =
            hashes.iter().find(|(_, hash)| alike(id, &hash[..16]) || alike(id, &hash[hash.len() - 16..]))
        {
            return Some(how);
        }
        for space in NAME_SPACES {
            let named = Zeroizing::new([&space, text].concat());
            if alike(id, &digest(&SHA1_FOR_LEGACY_USE_ONLY, &named).as_ref()[..16]) {
                return Some("the UUID of the key as a name (version 5)");
            }
            if alike(id, &Md5::digest(named.as_slice())) {
                return Some("the UUID of the key as a name (version 3)");
            }
        }
    }
    None
}

/// Whether `id` has the 122 bits of `candidate` that a UUID's version and variant leave.
fn alike(id: &[u8; 16], candidate: &[u8]) -> bool {
    let free = |at: usize| match at {
        6 => 0x0f,
        8 => 0x3f,
        _ => 0xff,
    };
    candidate.len() == 16 && (0..16).all(|at| (id[at] ^ candidate[at]) & free(at) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(id: &str, bytes: &[u8]) -> Hoard {
        let mut hoard = Hoard::default();
        hoard.note(&Key { id: id.to_owned(), bytes: SecretBytes::copy_of(bytes) });
        hoard
    }

    fn text(id: &[u8]) -> String {
        let id: [u8; 16] = id[..16].try_into().unwrap();
        vernam_key::KeyId::from_bytes(id).to_string()
    }

    #[test]
    fn ids_made_from_the_key_are_known() {
        let key: Vec<u8> = (0..32).collect();
        let mut named = NAME_SPACES[0].to_vec();
        named.extend(&key);
        for (id, how) in [
            (digest(&SHA1_FOR_LEGACY_USE_ONLY, &key).as_ref().to_vec(), "SHA-1"),
            (Md5::digest(&key).to_vec(), "MD5"),
            (digest(&SHA256, STANDARD.encode(&key).as_bytes()).as_ref().to_vec(), "SHA-256"),
            (digest(&SHA1_FOR_LEGACY_USE_ONLY, &named).as_ref().to_vec(), "version 5"),
            (Md5::digest(&named).to_vec(), "version 3"),
            (key[8..24].to_vec(), "part of the key"),
            (key[16..].to_vec(), "part of the key"),
        ] {
            let mut dressed = id.clone();
            dressed[6] = dressed[6] & 0x0f | 0x40;
            dressed[8] = dressed[8] & 0x3f | 0x80;
            for id in [id, dressed] {
                let hoard = noted(&text(&id[..16]), &key);
                assert!(hoard.derived.len() == 1 && hoard.derived[0].1.contains(how), "{how}: {:?}", hoard.derived);
            }
        }
        assert!(noted("bc490419-7d60-487f-adc1-4ddcc177c139", &key).derived.is_empty());
    }

    #[test]
    fn uuids_have_one_spelling() {
        assert!(uuid("bc490419-7d60-487f-adc1-4ddcc177c139").is_some());
        for wrong in ["", "17", "bc4904197d60487fadc14ddcc177c139", "bc490419-7d60-487f-adc1-4ddcc177c13g"] {
            assert!(uuid(wrong).is_none(), "{wrong}");
            assert_eq!(noted(wrong, &[0; 32]).not_uuid.len(), 1);
        }
    }

    #[test]
    fn constant_and_patterned_keys_are_uneven() {
        let worst = |bytes: &[u8]| noted("x", bytes).unevenness().map(f64::abs).into_iter().fold(0.0, f64::max);
        assert!(worst(&[0; 256]) > 40.0);
        assert!(worst(&[0x55; 256]) > 40.0, "alternating bits are even, and change too often");
        let hashes: Vec<u8> = (0..8u8).flat_map(|n| digest(&SHA256, &[n]).as_ref().to_vec()).collect();
        assert!(worst(&hashes) < 4.0);
    }

    #[test]
    fn containers() {
        let (keys, strict) = parse(br#"{"keys":[{"key_ID":"a","key":"AQI="}],"x":1}"#).unwrap_or_default();
        assert!(strict && keys[0].bytes.len() == 2 && keys[0].id == "a");
        assert!(!parse(br#"{"keys":[{"key_ID":"a","key":"AQI"}]}"#).unwrap_or_default().1);
        let wrong = parse(br#"{"keys":[{"key_ID":"a","key":7012345}]}"#).err().unwrap_or_default();
        assert!(wrong.contains("line 1") && !wrong.contains("7012345"), "{wrong}");
    }
}
