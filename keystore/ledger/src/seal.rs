//! Sealing of what lies at rest: chunks of key under the ledger's data key, which lies there under the KEK.
//!
//! It decides nothing about where chunks lie or when they are erased, and keeps no nonce of its own: each seal draws one
//! from the operating system.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use vernam_etsi014::KmeId;
use vernam_key::SecretBytes;
use zeroize::Zeroize;

use crate::Fault;

/// Length of the data key and of the KEK, in bytes (AES-256).
pub(crate) const KEY_LEN: usize = 32;

// Every label of a key derivation in this crate, HKDF-SHA256 (RFC 5869).
const SALT: &[u8] = b"vernam-ledger 1";
const LABEL_CHUNK: &[u8] = b"chunk\0";
const LABEL_DATA_KEY: &[u8] = b"data key\0";

/// The ledger's own random key. Chunks of each block are sealed under a key derived from it (HKDF-SHA256).
///
/// A key per block keeps random nonces safe: a block has at most 2^18 chunks of 1,024 bytes, and even if each were
/// sealed anew for every byte taken from it, that would be 2^28 seals under one key, below the 2^32 of NIST SP 800-38D,
/// section 8.3.
pub(crate) struct DataKey(SecretBytes);

/// Where a chunk lies: what its seal is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChunkPlace {
    /// The link's number in this ledger.
    pub(crate) link: i64,
    /// The block's number.
    pub(crate) block: u64,
    /// Offset of the chunk's first byte in the block.
    pub(crate) offset: u32,
}

impl ChunkPlace {
    /// As the additional data of the seal.
    fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.link.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.block.to_be_bytes());
        bytes[16..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }
}

impl DataKey {
    /// A fresh one from the operating system.
    pub(crate) fn random() -> Result<Self, Fault> {
        let mut key = SecretBytes::from_vec(vec![0; KEY_LEN]);
        fill_random(key.expose_mut("to make it"))?;
        Ok(Self(key))
    }

    /// Seals a chunk under a fresh random nonce (AES-256-GCM): nonce, ciphertext, tag.
    pub(crate) fn seal(&self, place: ChunkPlace, plain: &SecretBytes) -> Result<Vec<u8>, Fault> {
        seal(&self.block_key(place), &place.to_bytes(), plain)
    }

    /// Opens a chunk; `None` where it was altered or moved.
    pub(crate) fn open(&self, place: ChunkPlace, sealed: Vec<u8>) -> Option<SecretBytes> {
        open(&self.block_key(place), &place.to_bytes(), sealed)
    }

    /// The data key as it lies in the ledger: under the KEK, and bound to whose ledger it is.
    pub(crate) fn wrap(&self, kek: &SecretBytes, kme: &KmeId) -> Result<Vec<u8>, Fault> {
        seal(&wrapping_key(kek), kme.as_str().as_bytes(), &self.0)
    }

    /// The reverse of [`Self::wrap`]; `None` under another KEK.
    pub(crate) fn unwrap(kek: &SecretBytes, kme: &KmeId, wrapped: Vec<u8>) -> Option<Self> {
        let key = open(&wrapping_key(kek), kme.as_str().as_bytes(), wrapped)?;
        (key.len() == KEY_LEN).then_some(Self(key))
    }

    fn block_key(&self, place: ChunkPlace) -> LessSafeKey {
        derive(&self.0, &[LABEL_CHUNK, &place.link.to_be_bytes(), &place.block.to_be_bytes()])
    }
}

/// Fresh bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), Fault> {
    SystemRandom::new().fill(bytes).map_err(|_unspecified| Fault("the system gives no random bytes".into()))
}

fn wrapping_key(kek: &SecretBytes) -> LessSafeKey {
    derive(kek, &[LABEL_DATA_KEY])
}

fn derive(secret: &SecretBytes, info: &[&[u8]]) -> LessSafeKey {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.expose("to derive the keys it seals with"));
    let okm = prk.expand(info, &AES_256_GCM).expect("one key is far shorter than HKDF's limit");
    LessSafeKey::new(okm.into())
}

fn seal(key: &LessSafeKey, context: &[u8], plain: &SecretBytes) -> Result<Vec<u8>, Fault> {
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    // All the room at once: a vector that grew would leave plain bytes behind.
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain.expose("to seal it"));
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(context), &mut sealed[NONCE_LEN..]).map_err(|_long| {
        // `sealed` may still be plain. Not reached: AES-GCM takes 64 GiB.
        Fault("a chunk is too long to be sealed".into())
    })?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn open(key: &LessSafeKey, context: &[u8], mut sealed: Vec<u8>) -> Option<SecretBytes> {
    let (nonce, rest) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key.open_in_place(nonce, Aad::from(context), rest).ok().map(|plain| SecretBytes::copy_of(plain));
    sealed.zeroize();
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: ChunkPlace = ChunkPlace { link: 1, block: 7, offset: 1024 };

    fn secret(byte: u8, len: usize) -> SecretBytes {
        SecretBytes::from_vec(vec![byte; len])
    }

    fn kme(name: &str) -> KmeId {
        KmeId::new(name).expect("a name")
    }

    #[test]
    fn a_chunk_opens_where_it_was_sealed_and_nowhere_else() {
        let key = DataKey::random().expect("random bytes");
        let sealed = key.seal(PLACE, &secret(0x5a, 1024)).expect("a chunk");
        assert_eq!(sealed.len(), 12 + 1024 + 16);
        assert!(!sealed.windows(4).any(|window| window == [0x5a; 4]), "the plain bytes do not show");

        let opened = key.open(PLACE, sealed.clone()).expect("it is untouched");
        assert_eq!(opened.expose("test"), [0x5a; 1024]);
        for elsewhere in
            [ChunkPlace { link: 2, ..PLACE }, ChunkPlace { block: 8, ..PLACE }, ChunkPlace { offset: 0, ..PLACE }]
        {
            assert!(key.open(elsewhere, sealed.clone()).is_none(), "{elsewhere:?}");
        }
        assert!(DataKey::random().expect("random bytes").open(PLACE, sealed).is_none(), "another ledger's key");
    }

    #[test]
    fn an_altered_or_short_chunk_does_not_open() {
        let key = DataKey::random().expect("random bytes");
        let sealed = key.seal(PLACE, &secret(1, 64)).expect("a chunk");
        for at in [0, 12, 40, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(PLACE, altered).is_none(), "byte {at}");
        }
        for len in [0, 11, 12, 27] {
            assert!(key.open(PLACE, sealed[..len].to_vec()).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn sealing_twice_gives_two_ciphertexts() {
        let key = DataKey::random().expect("random bytes");
        let plain = secret(1, 64);
        assert_ne!(key.seal(PLACE, &plain).expect("a chunk"), key.seal(PLACE, &plain).expect("a chunk"));
    }

    #[test]
    fn the_data_key_unwraps_under_its_kek_for_its_kme() {
        let key = DataKey::random().expect("random bytes");
        let wrapped = key.wrap(&secret(3, KEY_LEN), &kme("KME_A")).expect("a key");
        let again = DataKey::unwrap(&secret(3, KEY_LEN), &kme("KME_A"), wrapped.clone()).expect("the same KEK");
        assert_eq!(again.0.expose("test"), key.0.expose("test"));
        assert!(DataKey::unwrap(&secret(4, KEY_LEN), &kme("KME_A"), wrapped.clone()).is_none());
        assert!(DataKey::unwrap(&secret(3, KEY_LEN), &kme("KME_B"), wrapped).is_none());
    }
}
