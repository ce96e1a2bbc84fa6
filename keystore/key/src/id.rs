//! The name of a key in ETSI GS QKD 014.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use uuid::Uuid;

/// A `key_ID`: the UUID under which both KMEs hold one key (ETSI GS QKD 014 V1.1.1, clause 6.3). Public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Uuid);

impl KeyId {
    /// A random one (RFC 9562, version 4): it says nothing about the key it names.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// From the sixteen bytes it has on the wire.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes it has on the wire.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        Uuid::try_parse(text).map(Self).map_err(|_parse| InvalidKeyId)
    }
}

/// The text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKeyId;

impl fmt::Display for InvalidKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key_ID must be a UUID, such as bc490419-7d60-487f-adc1-4ddcc177c139")
    }
}

impl std::error::Error for InvalidKeyId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id: KeyId = "bc490419-7d60-487f-adc1-4ddcc177c139".parse().unwrap();
        assert_eq!(KeyId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.to_string(), "bc490419-7d60-487f-adc1-4ddcc177c139");
        assert_eq!("not-a-uuid".parse::<KeyId>(), Err(InvalidKeyId));
    }
}
