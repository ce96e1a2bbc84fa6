//! Where the key shared with each contact comes from: the home's KME, or a pad that was carried by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use vernam_engine::{KeySource, PadSource, Reply, Room};
use vernam_etsi014::KmeClient;
use vernam_key::KeyId;
use vernam_store::{StockKey, Store};

use crate::stock::home::{HomeConfig, KeysFrom};

/// One source a contact.
pub(super) struct ByContact {
    kme: Option<KmeClient>,
    pads: PadSource,
    /// Contacts whose key comes from pads.
    by_hand: BTreeSet<String>,
}

impl ByContact {
    /// The sources of a home.
    pub(super) fn new(config: &HomeConfig, store: &Arc<Store>) -> anyhow::Result<Self> {
        let kme = config.kme.as_ref().map(|kme| kme.client().context("in [kme]")).transpose()?;
        let by_hand = config.contacts.iter().filter(|contact| contact.keys == KeysFrom::Pad);
        let by_hand = by_hand.map(|contact| contact.name().to_owned()).collect();
        Ok(Self { kme, pads: PadSource::new(Arc::clone(store)), by_hand })
    }

    fn source(&self, contact: &str) -> &dyn KeySource {
        match &self.kme {
            Some(kme) if !self.by_hand.contains(contact) => kme,
            // Without a KME the settings have all contacts' key come from pads.
            _ => &self.pads,
        }
    }
}

impl KeySource for ByContact {
    fn room<'a>(&'a self, contact: &'a str) -> Reply<'a, Room> {
        self.source(contact).room(contact)
    }

    fn take<'a>(&'a self, contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
        self.source(contact).take(contact, number, bytes)
    }

    fn collect<'a>(&'a self, contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        self.source(contact).collect(contact, ids)
    }
}
