//! The names of keys out of a pad: where they stand, under a MAC.
//!
//! ```text
//!   position 40 bits │ length 20 bits │ half 1 bit │ MAC 61 bits      around the version and variant of a UUID
//! ```

use ring::hmac;
use vernam_key::{KeyId, SecretBytes};

use super::Half;

/// Bits of a position and of a length in a name.
#[cfg(test)]
const POSITION_BITS: u32 = 40;
#[cfg(test)]
const LENGTH_BITS: u32 = 20;

/// Bytes of the secret that makes names.
pub(super) const SECRET: usize = 32;

/// Makes and reads the names of one pad's keys.
pub(super) struct Names(SecretBytes);

/// Where a key stands in a pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) half: Half,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Names {
    pub(super) fn new(secret: SecretBytes) -> Self {
        Self(secret)
    }

    /// The name of the key at `place`, which is within the limits of [`super::MAX_PAD_BYTES`] and
    /// [`super::MAX_PAD_KEY`].
    pub(super) fn name(&self, place: Place) -> KeyId {
        let mut bytes = [0; 16];
        bytes[..5].copy_from_slice(&place.start.to_be_bytes()[3..]);
        let [len_high, len_middle, len_low] = [place.len >> 12, place.len >> 8 & 0xf, place.len & 0xff].map(byte);
        bytes[5] = len_high;
        bytes[6] = 0x80 | len_middle; // RFC 9562, section 5.8: version 8
        bytes[7] = len_low;
        let mac = self.mac(place);
        bytes[8] = 0x80 | place.half.code() << 5 | mac[7] & 0x1f; // section 4.1: the variant
        bytes[9..].copy_from_slice(&mac[..7]);
        KeyId::from_bytes(bytes)
    }

    /// Where the key of this name stands, if the name is one of this pad's.
    pub(super) fn place(&self, id: KeyId) -> Option<Place> {
        let bytes = id.to_bytes();
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let place = Place {
            half: Half::of_code(bytes[8] >> 5 & 1)?,
            start: number(&bytes[..5]),
            len: u64::from(bytes[5]) << 12 | u64::from(bytes[6] & 0xf) << 8 | u64::from(bytes[7]),
        };
        (place.len > 0 && self.name(place) == id).then_some(place)
    }

    fn mac(&self, place: Place) -> [u8; 8] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose("to authenticate the name of a key"));
        let mut named = [0; 17];
        named[0] = place.half.code();
        named[1..9].copy_from_slice(&place.start.to_be_bytes());
        named[9..].copy_from_slice(&place.len.to_be_bytes());
        let tag = hmac::sign(&key, &named);
        *tag.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

fn byte(value: u64) -> u8 {
    u8::try_from(value & 0xff).expect("one byte is left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_a_made_up_one_is_not() {
        let names = Names::new(SecretBytes::from_vec(vec![3; SECRET]));
        let others = Names::new(SecretBytes::from_vec(vec![4; SECRET]));
        let most = (1 << POSITION_BITS) - 1;
        for (half, start, len) in [
            (Half::First, 0, 1),
            (Half::Second, 0, 1),
            (Half::First, most, (1 << LENGTH_BITS) - 1),
            (Half::Second, 4_711, 65_536),
        ] {
            let place = Place { half, start, len };
            let id = names.name(place);
            assert_eq!((names.place(id), others.place(id)), (Some(place), None));
            assert_eq!(id.to_string().as_bytes()[14], b'8', "{id}");
            assert!(b"89ab".contains(&id.to_string().as_bytes()[19]), "{id}");
            for bit in 0..128 {
                let mut bytes = id.to_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(names.place(KeyId::from_bytes(bytes)), None, "bit {bit}");
            }
        }
    }
}
