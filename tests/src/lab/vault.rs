//! A source of keys for both ends that remembers every byte it ever gave, and can be told to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_engine::{KeySource, LinkHealth, Reply, Room, SourceError};
use vernam_key::{KeyId, SecretBytes};
use vernam_store::StockKey;

/// Both KMEs and the link between them. Clones are the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Mutex<State>>);

struct State {
    rng: ChaCha20Rng,
    held: BTreeMap<(String, KeyId), Vec<u8>>,
    given: Vec<Given>,
    ends: BTreeMap<String, End>,
    collected_twice: u64,
    collected: BTreeSet<KeyId>,
}

/// A key that was given.
#[derive(Clone)]
pub struct Given {
    /// Who took it.
    pub master: String,
    /// Its name.
    pub id: KeyId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How one person's KME behaves.
#[derive(Clone)]
struct End {
    pool: u64,
    max_key: u32,
    refusal: Option<SourceError>,
    collect_refusal: Option<SourceError>,
    collect_delay: Option<Duration>,
    link: Option<LinkHealth>,
}

impl Default for End {
    fn default() -> Self {
        Self { pool: u64::MAX, max_key: 8_192, refusal: None, collect_refusal: None, collect_delay: None, link: None }
    }
}

/// What one person sees of the vault.
pub struct VaultEnd {
    vault: Vault,
    owner: String,
}

impl Vault {
    /// A vault whose keys follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: ChaCha20Rng::seed_from_u64(seed),
            held: BTreeMap::new(),
            given: Vec::new(),
            ends: BTreeMap::new(),
            collected_twice: 0,
            collected: BTreeSet::new(),
        })))
    }

    /// The KME of `owner`.
    pub fn end(&self, owner: &str) -> Arc<VaultEnd> {
        Arc::new(VaultEnd { vault: self.clone(), owner: owner.to_owned() })
    }

    /// How many bytes `owner` can still take.
    pub fn set_pool(&self, owner: &str, bytes: u64) {
        self.end_of(owner, |end| end.pool = bytes);
    }

    /// The longest key that `owner` gets.
    pub fn set_max_key(&self, owner: &str, bytes: u32) {
        self.end_of(owner, |end| end.max_key = bytes);
    }

    /// From now on `owner` gets no key, and this reason; `None` ends it.
    pub fn refuse(&self, owner: &str, reason: Option<&str>) {
        self.end_of(owner, |end| end.refusal = reason.map(refused));
    }

    /// From now on `owner` cannot collect what the other side took; `None` ends it.
    pub fn refuse_collecting(&self, owner: &str, reason: Option<&str>) {
        self.end_of(owner, |end| end.collect_refusal = reason.map(refused));
    }

    /// The next collection by `owner` takes this much longer; those after it do not.
    pub fn delay_next_collection(&self, owner: &str, delay: Duration) {
        self.end_of(owner, |end| end.collect_delay = Some(delay));
    }

    /// What `owner` hears of the quantum link.
    pub fn set_link(&self, owner: &str, link: Option<LinkHealth>) {
        self.end_of(owner, |end| end.link = link);
    }

    /// Every key that was given so far.
    pub fn given(&self) -> Vec<Given> {
        self.open().given.clone()
    }

    /// How often a key was asked for a second time by its second owner.
    pub fn collected_twice(&self) -> u64 {
        self.open().collected_twice
    }

    fn end_of(&self, owner: &str, change: impl FnOnce(&mut End)) {
        change(self.open().ends.entry(owner.to_owned()).or_default());
    }

    fn open(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(reason: &str) -> SourceError {
    SourceError { reason: reason.to_owned(), retry_after: None, refused: true }
}

impl KeySource for VaultEnd {
    fn room<'a>(&'a self, _contact: &'a str) -> Reply<'a, Room> {
        let mut state = self.vault.open();
        let end = state.ends.entry(self.owner.clone()).or_default().clone();
        let room = match end.refusal {
            Some(why) => Err(why),
            None => Ok(Room { available: end.pool, max_key: end.max_key, min_key: 1, max_keys: 128, link: end.link }),
        };
        Box::pin(async move { room })
    }

    fn take<'a>(&'a self, _contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
        let taken = self.vault.open().take(&self.owner, number, bytes);
        Box::pin(async move { taken })
    }

    fn collect<'a>(&'a self, contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        Box::pin(async move {
            let delay = {
                let mut state = self.vault.open();
                state.ends.entry(self.owner.clone()).or_default().collect_delay.take()
            };
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            self.vault.open().collect(&self.owner, contact, ids)
        })
    }
}

impl State {
    fn take(&mut self, owner: &str, number: u32, bytes: u32) -> Result<Vec<StockKey>, SourceError> {
        let end = self.ends.entry(owner.to_owned()).or_default();
        if let Some(why) = &end.refusal {
            return Err(why.clone());
        }
        let wanted = u64::from(number) * u64::from(bytes);
        if end.pool < wanted {
            return Err(refused("the key pool is used up"));
        }
        if end.pool != u64::MAX {
            end.pool -= wanted;
        }
        let mut keys = Vec::new();
        for _ in 0..number {
            let id = KeyId::random(&mut self.rng);
            let mut key = vec![0; bytes as usize];
            self.rng.fill_bytes(&mut key);
            self.held.insert((owner.to_owned(), id), key.clone());
            self.given.push(Given { master: owner.to_owned(), id, bytes: key.clone() });
            keys.push(StockKey { id, bytes: SecretBytes::from_vec(key) });
        }
        Ok(keys)
    }

    fn collect(&mut self, owner: &str, master: &str, ids: &[KeyId]) -> Result<Vec<StockKey>, SourceError> {
        if let Some(why) = &self.ends.entry(owner.to_owned()).or_default().collect_refusal {
            return Err(why.clone());
        }
        let mut keys = Vec::new();
        for id in ids {
            if !self.collected.insert(*id) {
                self.collected_twice += 1;
            }
            let bytes = self.held.remove(&(master.to_owned(), *id)).ok_or_else(|| refused("a key_ID is not known"))?;
            keys.push(StockKey { id: *id, bytes: SecretBytes::from_vec(bytes) });
        }
        Ok(keys)
    }
}
