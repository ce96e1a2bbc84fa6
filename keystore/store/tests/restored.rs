//! Old copies of a store: noticed by its anchors, and given up.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::{
    anchors, copy_dir, files, keys, open, plain, reveal, segments, stock_dir, store, store_key, temp, try_open,
    try_store,
};
use vernam_store::{Error, Notice, SpentOn, Stock, Store};

const ON: SpentOn = SpentOn::Text;

fn aside(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.with_file_name(name)
}

#[test]
fn an_old_copy_is_burned_and_its_owner_told_once() {
    let dir = temp();
    let old = aside(dir.path(), "old");
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    copy_dir(dir.path(), &old);
    stock.take(10_000, ON).unwrap();
    stock.append(keys(2, &[5_000])).unwrap();
    drop(stock);
    copy_dir(&old, dir.path());

    let held = store(dir.path());
    let mut stock = held.outbound("bob").unwrap();
    let status = stock.status();
    assert_eq!((status.cursor, status.end, status.available), (10_000, 35_000, 0));
    assert_eq!((status.spent, status.forfeited), (10_000, 25_000), "the books are those of the anchor");
    assert_eq!(stock.spent().text, 10_000);
    assert!(segments(dir.path()).is_empty());
    let [notice] = held.notices().try_into().unwrap();
    assert!(matches!(&notice, Notice::Restored { all: true, cursor: 10_000, .. }), "{notice:?}");
    assert!(notice.to_string().contains("what goes to bob") && notice.to_string().contains("old copy"), "{notice}");
    assert_eq!(stock.take_notice(), Some(notice));
    assert_eq!((stock.take_notice(), held.notices().len()), (None, 0));
    // It goes on behind all positions that were ever used.
    assert_eq!(stock.append(keys(3, &[100])).unwrap(), 35_000..35_100);
    assert_eq!(reveal(stock.take(100, ON).unwrap().material), plain(3, &[100]));
    drop((stock, held));
    let mut stock = open(dir.path());
    assert_eq!((stock.take_notice(), stock.status().cursor), (None, 35_100));
}

#[test]
fn a_copy_as_new_as_the_store_is_the_store() {
    let dir = temp();
    let copy = aside(dir.path(), "copy");
    open(dir.path()).append(keys(1, &[30_000])).unwrap();
    copy_dir(dir.path(), &copy);
    copy_dir(&copy, dir.path());
    let mut stock = open(dir.path());
    assert_eq!((stock.take_notice(), stock.status().available), (None, 30_000));
    // Moved elsewhere it is the same store, and only one of the two goes on.
    stock.take(1, ON).unwrap();
    drop(stock);
    assert_eq!(open(&copy).status().available, 0);
}

#[test]
fn a_copy_that_went_its_own_way_is_noticed_too() {
    // Both made the same number of steps from there.
    let dir = temp();
    let (copy, kept) = (aside(dir.path(), "copy"), aside(dir.path(), "kept anchors"));
    open(dir.path()).append(keys(1, &[30_000])).unwrap();
    copy_dir(dir.path(), &copy);
    copy_dir(&anchors(dir.path()), &kept);
    open(dir.path()).take(20_000, ON).unwrap();
    let ours = fs::read(&files(&anchors(dir.path()))[0]).unwrap();
    copy_dir(&kept, &anchors(dir.path()));
    open(&copy).take(10_000, ON).unwrap();
    fs::write(&files(&anchors(dir.path()))[0], ours).unwrap();
    let status = open(&copy).status();
    assert_eq!((status.cursor, status.available), (20_000, 0));
}

#[test]
fn key_that_was_discarded_does_not_come_back_with_a_copy() {
    let dir = temp();
    let old = aside(dir.path(), "old");
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    copy_dir(dir.path(), &old);
    stock.discard_from(10_000).unwrap();
    drop(stock);
    copy_dir(&old, dir.path());
    assert_eq!(open(dir.path()).status().available, 0);
}

#[test]
fn a_contact_that_was_deleted_goes_on_behind_what_was_used() {
    let dir = temp();
    let mut stock = open(dir.path());
    stock.append(keys(1, &[30_000])).unwrap();
    stock.take(10_000, ON).unwrap();
    drop(stock);
    fs::remove_dir_all(stock_dir(dir.path())).unwrap();
    let mut stock = open(dir.path());
    assert!(matches!(stock.take_notice(), Some(Notice::Restored { .. })));
    assert_eq!((stock.status().cursor, stock.status().end, stock.status().available), (10_000, 30_000, 0));
}

#[test]
fn two_copies_are_not_open_at_once() {
    let dir = temp();
    let copy = aside(dir.path(), "copy");
    drop(open(dir.path()));
    copy_dir(dir.path(), &copy);
    let held = open(dir.path());
    assert!(matches!(try_open(&copy).err().unwrap(), Error::Locked { .. }));
    drop(held);
    open(&copy);
}

#[test]
fn a_lost_damaged_or_old_anchor_is_refused_until_its_loss_is_accepted() {
    type Lose = fn(&Path, &Path);
    let lose: [(&str, Lose); 4] = [
        ("lost", |anchor, _old| fs::remove_file(anchor).unwrap()),
        ("damaged", |anchor, _old| fs::write(anchor, "not an anchor").unwrap()),
        ("damaged where the stock's is", |anchor, _old| {
            let file = fs::OpenOptions::new().write(true).open(anchor).unwrap();
            for slot in [4_096, 8_192] {
                file.write_all_at(&[0xff; 200], slot).unwrap();
            }
        }),
        ("an old one", |anchor, old| fs::copy(old, anchor).map(|_len| ()).unwrap()),
    ];
    for (how, lose) in lose {
        let dir = temp();
        let mut stock = open(dir.path());
        let anchor = files(&anchors(dir.path())).remove(0);
        let old = aside(dir.path(), "old anchor");
        stock.append(keys(1, &[30_000])).unwrap();
        fs::copy(&anchor, &old).unwrap();
        stock.take(10, ON).unwrap();
        stock.take(10, ON).unwrap();
        drop(stock);
        // Another contact's stock has an anchor only if all of them are not lost.
        let intact = how == "damaged where the stock's is";
        drop(store(dir.path()).inbound("carol").map(|mut stock| stock.append(keys(2, &[50])).unwrap()));
        lose(&anchor, &old);

        for _ in 0..2 {
            let error = try_open(dir.path()).err().unwrap();
            assert!(matches!(error, Error::AnchorLost { .. }), "{how}: {error}");
            assert!(error.to_string().contains("--accept-lost-anchor"), "{error}");
            assert!(!segments(dir.path()).is_empty(), "{how}: nothing is erased unasked");
        }
        let store = Store::accept_lost_anchor(dir.path(), anchors(dir.path()), store_key(7)).unwrap();
        let told = store.notices();
        assert!(
            told.iter().any(|notice| matches!(notice, Notice::AnchorLost { stock } if stock.contains("bob"))),
            "{how}"
        );
        assert!(segments(dir.path()).is_empty(), "{how}");
        let carol = store.inbound("carol").unwrap().status().available;
        assert_eq!(carol, if intact { 50 } else { 0 }, "{how}");
        drop(store);
        let mut stock = open(dir.path());
        assert_eq!((stock.status().cursor, stock.status().available), (20, 0), "{how}");
        stock.append(keys(3, &[40])).unwrap();
        drop(stock);
        assert_eq!(open(dir.path()).status().available, 40, "{how}");
    }
}

#[test]
fn anchors_in_the_store_are_refused() {
    let dir = temp();
    for inside in [dir.path().to_owned(), dir.path().join("anchors"), dir.path().join("../store/x")] {
        let error = Store::open(dir.path(), &inside, store_key(7)).err().unwrap();
        assert!(matches!(error, Error::AnchorInside { .. }), "{}: {error}", inside.display());
    }
}

#[test]
fn another_store_key_does_not_make_anchors_anew() {
    let dir = temp();
    open(dir.path()).append(keys(1, &[100])).unwrap();
    assert!(matches!(try_store(dir.path(), 8).err().unwrap(), Error::WrongStoreKey { .. }));
    let accepted = Store::accept_lost_anchor(dir.path(), anchors(dir.path()), store_key(8));
    assert!(matches!(accepted.err().unwrap(), Error::WrongStoreKey { .. }));
    assert_eq!(open(dir.path()).status().available, 100);
}
