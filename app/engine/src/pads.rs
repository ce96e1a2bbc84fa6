//! Pads carried by hand as a source of keys: a conversation without any KME.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use vernam_key::KeyId;
use vernam_store::pad::{MAX_PAD_KEY, PadStock};
use vernam_store::{StockKey, Store};

use crate::limits::MIN_STOCK_KEY;
use crate::source::{KeySource, Reply, Room, SourceError};

/// Keys asked for at once: their bytes are bounded by [`vernam_store::pad::MAX_PAD_TAKE`].
const MAX_KEYS: u32 = 128;

/// The pads in a [`Store`], opened when their contact is first asked for.
#[derive(Clone)]
pub struct PadSource {
    store: Arc<Store>,
    open: Arc<Mutex<BTreeMap<String, PadStock>>>,
}

impl PadSource {
    /// The pads in `store`. A pad imported later is found after a restart.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, open: Arc::default() }
    }

    /// Runs `act` on the pads shared with `contact`, on a thread that may block.
    fn with<'a, T: Send + 'static>(
        &'a self,
        contact: &'a str,
        act: impl FnOnce(&mut PadStock) -> vernam_store::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        let (this, contact) = (self.clone(), contact.to_owned());
        let run = move || {
            let mut open = this.open.lock().unwrap_or_else(PoisonError::into_inner);
            let done = match open.remove(&contact).map_or_else(|| this.store.pad_stock(&contact), Ok) {
                Ok(mut pads) => {
                    let done = act(&mut pads);
                    // A stock whose write failed is opened anew.
                    if !matches!(done, Err(vernam_store::Error::Io { .. } | vernam_store::Error::Failed { .. })) {
                        open.insert(contact, pads);
                    }
                    done
                }
                Err(error) => Err(error),
            };
            done.map_err(|error| SourceError { reason: error.to_string(), retry_after: None, refused: true })
        };
        Box::pin(async move {
            match tokio::task::spawn_blocking(run).await {
                Ok(done) => done,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }
}

impl KeySource for PadSource {
    fn room<'a>(&'a self, contact: &'a str) -> Reply<'a, Room> {
        self.with(contact, |pads| {
            Ok(Room {
                available: pads.room(MIN_STOCK_KEY),
                max_key: MAX_PAD_KEY,
                min_key: 1,
                max_keys: MAX_KEYS,
                link: None,
            })
        })
    }

    fn take<'a>(&'a self, contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
        self.with(contact, move |pads| pads.take(number, bytes))
    }

    fn collect<'a>(&'a self, contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        let ids = ids.to_vec();
        self.with(contact, move |pads| pads.collect(&ids))
    }
}
