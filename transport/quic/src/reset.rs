//! The key of stateless resets (RFC 9000, section 10.3): a client that was killed and started anew answers what still comes
//! for its old connections with a word that only it can have said, so that its peers know at once and need not wait for
//! [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT).
//!
//! The key follows from the private key of the certificate, so it is the same after a restart. Two programs with one
//! certificate at one time share it: whoever can send packets of one's connection to the other can end that connection
//! (RFC 9000, section 21.11), as who sits on the path can by dropping them. Nothing else hangs on it.

use quinn::crypto::{CryptoError, HmacKey};
use rustls_pki_types::PrivateKeyDer;
use vernam_key::SecretBytes;

/// What the key is derived for (BLAKE3, section 2.3: a hard-coded, globally unique string).
const CONTEXT: &str = "vernam 2026-11-24 QUIC stateless reset";
/// Bytes of a key and of a tag.
const LEN: usize = 32;

/// A keyed BLAKE3, where quinn expects an HMAC: either is a pseudorandom function, which is all that is needed.
pub(crate) struct ResetKey(SecretBytes);

impl ResetKey {
    /// The one that goes with this private key.
    pub(crate) fn of(key: &PrivateKeyDer<'_>) -> Self {
        Self(SecretBytes::from_vec(blake3::derive_key(CONTEXT, key.secret_der()).to_vec()))
    }

    fn tag(&self, data: &[u8]) -> [u8; LEN] {
        let mut key = [0; LEN];
        key.copy_from_slice(self.0.expose("tags connection IDs"));
        *blake3::keyed_hash(&key, data).as_bytes()
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.tag(data));
    }

    fn signature_len(&self) -> usize {
        LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // blake3 compares hashes in constant time.
        let signature: [u8; LEN] = signature.try_into().map_err(|_length| CryptoError)?;
        if blake3::Hash::from_bytes(self.tag(data)) == blake3::Hash::from_bytes(signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: &[u8]) -> ResetKey {
        ResetKey::of(&PrivateKeyDer::Pkcs8(bytes.to_vec().into()))
    }

    #[test]
    fn one_private_key_gives_one_tag_and_another_one_another() {
        assert_eq!(key(b"one").tag(b"connection"), key(b"one").tag(b"connection"));
        assert_ne!(key(b"one").tag(b"connection"), key(b"two").tag(b"connection"));
        assert_ne!(key(b"one").tag(b"connection"), key(b"one").tag(b"another"));
        let mut tag = vec![0; key(b"one").signature_len()];
        key(b"one").sign(b"connection", &mut tag);
        assert!(key(b"one").verify(b"connection", &tag).is_ok());
        assert!(key(b"two").verify(b"connection", &tag).is_err());
        assert!(key(b"one").verify(b"connection", &tag[1..]).is_err());
    }
}
