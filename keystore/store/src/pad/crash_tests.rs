//! Whatever step of an import is the last before a crash, the pad ends up in one store: the one that goes on with it.

use std::path::Path;

use vernam_key::SecretBytes;

use super::{Cost, LockedPad, MIN_PAD_BYTES, Person, make};
use crate::crash::{self, Loss};
use crate::{Error, Result, Store, StoreKey};

const LOSSES: [Loss; 3] = [Loss::Nothing, Loss::Everything, Loss::EveryOther];
/// A contact whose record is torn beyond its fixed part.
const BOB: &str = "bob, whom alice has known for longer than she has known how to spell his name";

fn words() -> SecretBytes {
    SecretBytes::copy_of(b"words for a test")
}

fn open(dir: &Path, name: &str) -> Store {
    let key = StoreKey::from_secret(SecretBytes::from_vec(vec![7; 32])).unwrap();
    Store::open(dir.join(name), dir.join("anchors"), key).unwrap()
}

fn import(store: &Store, pad: &Path, contact: &str) -> Result<()> {
    store.import_pad(LockedPad::open(pad)?.unlock(&words())?, contact, None).map(drop)
}

fn has_it(store: &Store, contact: &str) -> bool {
    store.pad_stock(contact).unwrap().left() == (MIN_PAD_BYTES / 2, MIN_PAD_BYTES / 2)
}

#[test]
fn an_interrupted_import_goes_on_in_its_own_store_only() {
    let carried = tempfile::tempdir().unwrap();
    let words = words();
    let people = ["alice", "bob"].map(|name| Person { name, passphrase: &words });
    let made = make(carried.path(), &people, MIN_PAD_BYTES, Cost::for_tests()).unwrap();
    let pad = &made.paths[0];
    for loss in LOSSES {
        let mut interrupted = 0;
        for steps in 0.. {
            let mut crashed = false;
            for elsewhere_first in [true, false] {
                let what = format!("{loss:?}, {steps} steps, elsewhere first: {elsewhere_first}");
                let dir = tempfile::tempdir().unwrap();
                let (ours, other) = (open(dir.path(), "ours"), open(dir.path(), "other"));
                crash::arm(steps, loss);
                let begun = import(&ours, pad, BOB);
                crashed = crash::disarm();
                assert_eq!(begun.is_err(), crashed, "{what}");
                drop(ours);
                let ours = open(dir.path(), "ours");
                let here = || match import(&ours, pad, BOB) {
                    Err(Error::PadKnown { .. }) => assert!(has_it(&ours, BOB), "{what}"),
                    Err(Error::PadTaken { contact, .. }) => assert_eq!(contact, "zoe", "{what}"),
                    other => other.unwrap_or_else(|error| panic!("{what}: {error}")),
                };
                let there = || match import(&other, pad, "zoe") {
                    Err(Error::PadTaken { contact, .. }) => assert_eq!(contact, BOB, "{what}"),
                    other => other.unwrap_or_else(|error| panic!("{what}: {error}")),
                };
                if elsewhere_first {
                    there();
                    here();
                } else {
                    here();
                    there();
                }
                assert!(has_it(&ours, BOB) != has_it(&other, "zoe"), "{what}: it is in one store");
                assert!(elsewhere_first || has_it(&ours, BOB), "{what}: it goes on");
            }
            if !crashed {
                break;
            }
            interrupted += 1;
        }
        assert!(interrupted > 20, "{loss:?}: only {interrupted} steps");
    }
}
