//! A client's durable stock of key, per contact and direction: what is taken is spent and erased before it is used.
//!
//! It does not fetch keys, agree with the peer on positions, or decide what key is spent on; it does no networking and
//! starts no threads. Its calls block on the disk.
//!
//! ```text
//!        spent, erased         │          in stock           │  hole  │      in stock       │
//!   0 ──────────────────────── cursor ────────────────────────────────────────────────── end ──►  positions, u64
//!                              take, take_at ►                                            ◄ append, hole
//! ```
//!
//! A [`Stock`] is a linear space of byte positions. Keys are appended at its end in the order in which both sides
//! agree to fetch them, so that the same position is the same byte on both sides. The cursor only moves forward, and
//! the end never goes back: a position is used for one byte, once. [`StockStatus`] accounts for every position.
//!
//! [`Store`] opens the folder with the stocks of one user, [`FileStock`] is one of them, [`MemoryStock`] gives the same
//! answers without a disk.
//!
//! ```
//! use vernam_key::{KeyId, SecretBytes};
//! use vernam_store::{SpentOn, Stock, StockKey, Store, StoreKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # let dir = temp.path();
//! let store = Store::open(dir.join("store"), dir.join("anchors"), StoreKey::load_or_create(dir.join("store.key"))?)?;
//! let mut stock = store.outbound("bob")?;
//!
//! let id: KeyId = "bc490419-7d60-487f-adc1-4ddcc177c139".parse()?;
//! let bytes = SecretBytes::from_vec(vec![5; 32]); // in life, from the key manager
//! stock.append(vec![StockKey { id, bytes }])?; // on disk, sealed
//!
//! let taken = stock.take(20, SpentOn::Voice)?; // spent and erased on disk
//! assert_eq!((taken.start, taken.material.len()), (0, 20));
//! assert_eq!(stock.status().available, 12);
//! # Ok(())
//! # }
//! ```
//!
//! # On disk
//!
//! ```text
//!   DIR/lock                                          locked, as DIR itself, while a Store or a stock of it is open
//!   DIR/store                                         a MAC by which the store knows its key
//!   DIR/contacts/contact-NAME/DIRECTION/cursor        two slots in turn: cursor, end, spent, holes, under a MAC
//!                                      /START.segment one append: header with the key_IDs, then records of one block
//!   DIR/pads/PAD_ID/pad, outbound, inbound            a pad carried by hand, a stock for each direction
//!   ANCHORS/STORE_ID                                  the same slots as in the cursor files, of every stock, elsewhere
//!   ANCHORS/pads/PAD_ID-HALF                          that a pad was taken in, by which store and for whom
//! ```
//!
//! A record holds 4,064 key bytes under AES-256-GCM with a fresh random nonce at every seal; a key of its own for each
//! segment, derived with HKDF-SHA256, binds it to contact, direction and segment, the associated data to its index and
//! to which of its bytes are left. A take (1) writes the cursor and then its anchor, (2) overwrites the records that
//! are used up with zeros and seals the one that is used up in part anew without the spent bytes, (3) returns the
//! bytes; cursor, anchor and (2) each end with an `fdatasync`. So a crash at any instant, a second program, and a
//! cursor file from an older backup do not make a byte come out twice, and afterwards neither a spent byte nor its
//! ciphertext stands in the files. On opening, what is before the cursor is erased, and a record that cannot be read
//! counts as forfeited.
//!
//! # What it does not promise
//!
//! - *Old blocks.* Overwriting in place erases on file systems that write in place (ext4, XFS) and on disks that do. A
//!   copy-on-write file system (btrfs, ZFS), a snapshot, a log-structured SSD or a network disk may keep the old block
//!   for a while. It is sealed: keep the [`StoreKey`] on another medium, or the whole under disk encryption.
//! - *Everything restored together.* A store that lies behind its anchor was put back from an old copy: all in it is
//!   erased, and [`Store::notices`] says so. Where store *and* anchors come from the same backup, nothing on this
//!   machine can tell; then the peer's cursor is what keeps key from being used twice (`transport/PROTOCOL.md`, section
//!   5). Never back the anchors up, and better not the store.
//! - *Deleted state.* A contact's folder that is deleted goes on where its anchor stands, empty; a deleted segment is
//!   forfeited. A newest cursor slot that is damaged looks like an old copy, and costs the stock.
//! - *Memory.* [`StoreKey`] and key bytes are wiped after use; the round keys that `ring` derives from the former and
//!   the pages the system swaps out are not.
//! - *Names.* Contacts' names, `key_ID`s and how much key there is stand in the open.

mod anchor;
mod book;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_tests;
mod cursor;
mod disk;
mod error;
mod file;
mod header;
mod ledger;
mod memory;
mod notice;
pub mod pad;
mod record;
mod segment;
mod slot;
mod stock;
mod store;
mod store_key;

pub use anchor::MAX_ANCHORS;
pub use error::{Error, Result};
pub use file::FileStock;
pub use memory::MemoryStock;
pub use notice::Notice;
pub use stock::{
    KeySpan, MAX_APPEND_BYTES, MAX_APPEND_KEYS, MAX_HOLE, MAX_POSITION, Spent, SpentOn, Stock, StockKey, StockStatus,
    Taken,
};
pub use store::{MAX_CONTACT_BYTES, Store};
pub use store_key::StoreKey;
