//! Key in the manner of ETSI GS QKD 014, from a seed: the master of a direction gets keys and their names, the slave
//! gets the same keys by name, once.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_key::{KeyId, SecretBytes};
use vernam_session::AnnouncedKey;
use vernam_store::StockKey;

use super::Side;

/// Both KMEs at once.
pub struct KeySource {
    rng: ChaCha20Rng,
    /// What the slave of `Side`'s direction has not collected yet.
    held: BTreeMap<(Side, KeyId), SecretBytes>,
    /// Every key ever given, for comparing and recording: the one place of the world that keeps them.
    given: BTreeMap<KeyId, Vec<u8>>,
    /// Whose KME refuses `dec_keys`.
    refuses: Option<Side>,
    /// Whose next `dec_keys` gives a key with one wrong bit.
    corrupts: Option<Side>,
}

impl KeySource {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0x6b65_7973),
            held: BTreeMap::new(),
            given: BTreeMap::new(),
            refuses: None,
            corrupts: None,
        }
    }

    /// `number` keys of `len` bytes for the direction from `master`.
    pub(super) fn enc_keys(&mut self, master: Side, number: usize, len: usize) -> Vec<StockKey> {
        let mut keys = Vec::with_capacity(number);
        for _ in 0..number {
            let id = KeyId::random(&mut self.rng);
            let mut bytes = vec![0; len];
            self.rng.fill_bytes(&mut bytes);
            self.held.insert((master, id), SecretBytes::copy_of(&bytes));
            keys.push(StockKey { id, bytes: SecretBytes::copy_of(&bytes) });
            self.given.insert(id, bytes);
        }
        keys
    }

    /// The keys that `master` announced, for the other side. All of them or none.
    pub(super) fn dec_keys(&mut self, master: Side, keys: &[AnnouncedKey]) -> Result<Vec<StockKey>, String> {
        if self.refuses == Some(master.other()) {
            return Err("the KME gives no key: the link is in alarm".to_owned());
        }
        if keys.iter().any(|key| !self.held.contains_key(&(master, key.id))) {
            return Err("a key_ID is not known".to_owned());
        }
        let mut out: Vec<StockKey> = keys
            .iter()
            .filter_map(|key| Some(StockKey { id: key.id, bytes: self.held.remove(&(master, key.id))? }))
            .collect();
        if self.corrupts == Some(master.other())
            && let Some(first) = out.first_mut()
        {
            first.bytes.expose_mut("the world makes the two KMEs disagree")[0] ^= 1;
            self.corrupts = None;
        }
        Ok(out)
    }

    /// From now on `side`'s KME refuses to hand out keys by `dec_keys`; `None` makes both give again.
    pub fn refuse(&mut self, side: Option<Side>) {
        self.refuses = side;
    }

    /// The next keys that `side` collects differ in one bit from the peer's.
    pub fn corrupt_next(&mut self, side: Side) {
        self.corrupts = Some(side);
    }

    /// The bytes of a key that was given, for vectors and comparisons.
    pub fn bytes_of(&self, id: KeyId) -> Option<&[u8]> {
        self.given.get(&id).map(Vec::as_slice)
    }

    /// All bytes ever given, for looking whether any of them shows where it must not.
    pub fn all_given(&self) -> impl Iterator<Item = &[u8]> {
        self.given.values().map(Vec::as_slice)
    }
}
