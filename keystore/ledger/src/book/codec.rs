//! How lists of names and positions stand in one column. Numbers are big-endian.

use vernam_etsi014::SaeId;
use vernam_key::KeyId;

use super::sql::broken;
use crate::{Extent, Fault, KeyPositions};

const ID_BYTES: usize = 16;
const EXTENT_BYTES: usize = 16;

/// A cut's positions on one relaying link: key by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relay {
    /// The link's number in this ledger.
    pub(super) link: i64,
    /// The pads, in the order of the keys.
    pub(super) pads: Vec<Vec<Extent>>,
}

pub(super) fn put_ids(ids: impl IntoIterator<Item = KeyId>) -> Vec<u8> {
    ids.into_iter().flat_map(KeyId::to_bytes).collect()
}

pub(super) fn ids(blob: &[u8]) -> Result<Vec<KeyId>, Fault> {
    let (ids, rest) = blob.as_chunks::<ID_BYTES>();
    if rest.is_empty() { Ok(ids.iter().copied().map(KeyId::from_bytes).collect()) } else { Err(broken("key names")) }
}

pub(super) fn put_extents(extents: &[Extent]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(extents.len() * EXTENT_BYTES);
    for extent in extents {
        put_extent(&mut blob, extent);
    }
    blob
}

pub(super) fn extents(blob: &[u8]) -> Result<Vec<Extent>, Fault> {
    let mut reader = Reader(blob);
    let mut extents = Vec::with_capacity(blob.len() / EXTENT_BYTES);
    while !reader.0.is_empty() {
        extents.push(reader.extent()?);
    }
    Ok(extents)
}

/// Without what is wrapped: a message of positions never needs it.
pub(super) fn put_positions(keys: &[KeyPositions]) -> Vec<u8> {
    let mut blob = Vec::new();
    for key in keys {
        blob.extend_from_slice(&key.key_id.to_bytes());
        put_list(&mut blob, &key.extents);
    }
    blob
}

pub(super) fn positions(blob: &[u8]) -> Result<Vec<KeyPositions>, Fault> {
    let mut reader = Reader(blob);
    let mut keys = Vec::new();
    while !reader.0.is_empty() {
        let key_id = KeyId::from_bytes(reader.array()?);
        keys.push(KeyPositions { key_id, extents: reader.list()?, wrapped: None });
    }
    Ok(keys)
}

pub(super) fn put_relays(relays: &[Relay]) -> Vec<u8> {
    let mut blob = Vec::new();
    for relay in relays {
        blob.extend_from_slice(&relay.link.to_be_bytes());
        put_count(&mut blob, relay.pads.len());
        for pad in &relay.pads {
            put_list(&mut blob, pad);
        }
    }
    blob
}

pub(super) fn relays(blob: &[u8]) -> Result<Vec<Relay>, Fault> {
    let mut reader = Reader(blob);
    let mut relays = Vec::new();
    while !reader.0.is_empty() {
        let link = i64::from_be_bytes(reader.array()?);
        let count = u32::from_be_bytes(reader.array()?);
        let pads = (0..count).map(|_| reader.list()).collect::<Result<_, _>>()?;
        relays.push(Relay { link, pads });
    }
    Ok(relays)
}

pub(super) fn put_names(names: &[SaeId]) -> Vec<u8> {
    let mut blob = Vec::new();
    for name in names {
        put_count(&mut blob, name.as_str().len());
        blob.extend_from_slice(name.as_str().as_bytes());
    }
    blob
}

pub(super) fn names(blob: &[u8]) -> Result<Vec<SaeId>, Fault> {
    let mut reader = Reader(blob);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        let len = u32::from_be_bytes(reader.array()?);
        let text = std::str::from_utf8(reader.take(len as usize)?).map_err(|_utf8| broken("the name of an SAE"))?;
        names.push(text.parse().map_err(|_invalid| broken("the name of an SAE"))?);
    }
    Ok(names)
}

fn put_extent(blob: &mut Vec<u8>, extent: &Extent) {
    blob.extend_from_slice(&extent.block.to_be_bytes());
    blob.extend_from_slice(&extent.offset.to_be_bytes());
    blob.extend_from_slice(&extent.len.to_be_bytes());
}

fn put_list(blob: &mut Vec<u8>, extents: &[Extent]) {
    put_count(blob, extents.len());
    for extent in extents {
        put_extent(blob, extent);
    }
}

fn put_count(blob: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a list in memory has fewer than 2^32 entries of 16 bytes");
    blob.extend_from_slice(&count.to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| broken("a list"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| broken("a list"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn extent(&mut self) -> Result<Extent, Fault> {
        Ok(Extent {
            block: u64::from_be_bytes(self.array()?),
            offset: u32::from_be_bytes(self.array()?),
            len: u32::from_be_bytes(self.array()?),
        })
    }

    fn list(&mut self) -> Result<Vec<Extent>, Fault> {
        let count = u32::from_be_bytes(self.array()?);
        (0..count).map(|_| self.extent()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(block: u64) -> Extent {
        Extent { block, offset: 7, len: u32::MAX }
    }

    #[test]
    fn lists_come_back_as_they_went_in() {
        let id = |byte| KeyId::from_bytes([byte; 16]);
        assert_eq!(ids(&put_ids([id(1), id(2)])).unwrap(), [id(1), id(2)]);
        let list = vec![extent(0), extent(u64::MAX)];
        assert_eq!(extents(&put_extents(&list)).unwrap(), list);
        let key =
            |byte, extents: &[Extent]| KeyPositions { key_id: id(byte), extents: extents.to_vec(), wrapped: None };
        let keys = vec![key(1, &list), key(2, &[])];
        assert_eq!(positions(&put_positions(&keys)).unwrap(), keys);
        let both = vec![Relay { link: -1, pads: vec![list.clone(), vec![]] }, Relay { link: 4, pads: vec![] }];
        assert_eq!(relays(&put_relays(&both)).unwrap(), both);
        let saes: Vec<SaeId> = ["alice", "Bob Ångström"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(names(&put_names(&saes)).unwrap(), saes);
    }

    #[test]
    fn a_list_that_was_cut_short_is_a_fault() {
        let keys = put_positions(&[KeyPositions {
            key_id: KeyId::from_bytes([1; 16]),
            extents: vec![extent(3)],
            wrapped: None,
        }]);
        for len in 1..keys.len() {
            assert!(positions(&keys[..len]).is_err(), "{len}");
        }
        assert!(ids(&[0; 17]).is_err() && extents(&[0; 17]).is_err());
        assert!(names(&[0, 0, 0, 1]).is_err() && names(&[0, 0, 0, 1, 0xFF]).is_err());
        assert!(relays(&[0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).is_err(), "an absurd count takes no memory");
    }
}
