//! The names of SAEs and KMEs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest ID in bytes. The standard sets no bound; a certificate's common name holds 64 characters (RFC 5280,
/// appendix A.1), a DNS name 253.
pub const MAX_ID_BYTES: usize = 255;

/// The text is not usable as an ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an ID must be 1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters")]
#[non_exhaustive]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and takes it over.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                Self::try_from(text.into())
            }

            /// The ID as it stands in JSON; in a URL it is percent-encoded.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let fits = (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
                if fits { Ok(Self(text.into_boxed_str())) } else { Err(InvalidId) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }
    };
}

id! {
    /// The ID of an SAE (secure application entity: one user's client), unique in its network.
    SaeId
}
id! {
    /// The ID of a KME (key management entity).
    KmeId
}

impl SaeId {
    /// The ID as one segment of a URL's path: every byte but the unreserved ones of RFC 3986 is percent-encoded.
    pub fn to_path_segment(&self) -> String {
        let mut segment = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                segment.push(char::from(byte));
            } else {
                segment.push('%');
                segment.push(hex_digit(byte >> 4));
                segment.push(hex_digit(byte & 15));
            }
        }
        // RFC 3986, section 5.2.4: a lone dot or two would be removed as a path segment, so they are encoded as well.
        if segment == "." || segment == ".." { segment.replace('.', "%2E") } else { segment }
    }

    /// Reads one segment of a URL's path back.
    pub fn from_path_segment(segment: &str) -> Result<Self, InvalidId> {
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err(InvalidId) };
            bytes.push(u8::try_from(high * 16 + low).map_err(|_range| InvalidId)?);
        }
        Self::try_from(String::from_utf8(bytes).map_err(|_utf8| InvalidId)?)
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded() {
        assert!(SaeId::new("").is_err());
        assert!(SaeId::new("line\nbreak").is_err());
        assert!(SaeId::new("x".repeat(MAX_ID_BYTES)).is_ok());
        assert!(KmeId::new("x".repeat(MAX_ID_BYTES + 1)).is_err());
        assert!(serde_json::from_str::<SaeId>("\"\"").is_err());
    }

    #[test]
    fn path_segments_round_trip() {
        for name in ["alice", "CN=Alice Ångström/ops", "a%2Fb", "..", ".", "50% & more?#"] {
            let id = SaeId::new(name).unwrap();
            let segment = id.to_path_segment();
            assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{segment}");
            assert_eq!(SaeId::from_path_segment(&segment).unwrap(), id);
        }
        assert_eq!(SaeId::new("..").unwrap().to_path_segment(), "%2E%2E");
        for broken in ["%", "%4", "%zz", "%ff", ""] {
            assert!(SaeId::from_path_segment(broken).is_err(), "{broken}");
        }
    }
}
