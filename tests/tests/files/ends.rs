//! How `vernam send` and `vernam receive` end: with what they say, and with a status that scripts can use.

use std::path::Path;
use std::process::Command;

use vernam_tests::wire::Impairment;

use super::{ANY, FAR, Place, last, stands};

/// What another program prints as the hash of a file; none, said so, where it is not installed.
fn third_party(program: &str, path: &Path) -> Option<String> {
    let Ok(output) = Command::new(program).arg(path).output() else {
        println!("SKIPPED: {program} is not installed");
        return None;
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().map(str::to_owned)
}

#[test]
fn a_file_has_the_hash_that_both_receipts_and_other_programs_print() {
    let place = Place::new(64);
    for (number, suite) in ["otp", "aes-256-gcm", "chacha20-poly1305"].into_iter().enumerate() {
        let name = format!("{suite}.bin");
        let (path, text) = place.file(&name, 700_001, number as u64);
        let (alice, bob, _wire) =
            place.transfer(Impairment::NONE, &[&text, "--suite", suite, "--wait-for-key"], &["--once"]);
        let ((sent, hers), (received, his)) = (alice.status().unwrap(), bob.status().unwrap());
        assert_eq!((sent, received), (0, 0), "{hers:?}\n{his:?}");
        let came = place.inbox.join(&name);
        let hash = blake3::hash(&std::fs::read(&path).unwrap()).to_string();
        for told in [&hers, &his] {
            let ended = last(told, "ended");
            assert_eq!((ended["whole"].as_bool(), ended["blake3"].as_str()), (Some(true), Some(&*hash)), "{ended}");
            assert_eq!(last(told, "stopped")["status"], 0);
        }
        assert_eq!(last(&his, "ended")["places"][0].as_str(), came.to_str());
        assert_eq!(last(&hers, "ended")["transfer"], last(&his, "offered")["transfer"]);
        let prepared = last(&hers, "prepared");
        assert_eq!(prepared["pad_bytes"].as_u64().unwrap() > 700_001, suite == "otp", "{prepared}");
        for program in ["sha256sum", "b3sum"] {
            let hashes = [&path, &came].map(|path| third_party(program, path));
            assert_eq!(hashes[0], hashes[1], "{program}");
            assert!(program != "b3sum" || hashes[0].as_ref().is_none_or(|printed| *printed == hash));
        }
    }
}

#[test]
fn who_is_not_wanted_or_not_there_is_told_by_the_status() {
    let place = Place::new(64);
    let (_, text) = place.file("unwanted.bin", 10_000, 1);
    let (bob, address) = place.town.receive(ANY, &place.inbox, &["--once"]).unwrap();
    let alice = place.send(address, &[&text, "--suite", "aes-256-gcm"]);
    let ((sent, told), (received, _)) = (alice.status().unwrap(), bob.status().unwrap());
    assert_eq!((sent, received), (3, 3), "declined: {told:?}");
    assert!(last(&told, "ended")["error"].as_str().unwrap().contains("declined"));
    assert_eq!(std::fs::read_dir(&place.inbox).unwrap().count(), 0);
    // A name that nobody has; and where nobody listens any more.
    let nowhere = place.town.send("nowhere.invalid:7890", &[&text]).unwrap();
    let (status, told) = nowhere.status().unwrap();
    assert_eq!((status, last(&told, "away")["contact"].as_str()), (4, Some("bob")), "{told:?}");
    let (status, told) = place.send(address, &[&text, "--give-up", "1"]).status().unwrap();
    assert_eq!(status, 4, "{told:?}");
    // Nothing is left to go on with, and wrong usage is that.
    assert_eq!(place.send(address, &[]).status().unwrap().0, 0);
    assert_eq!(place.send(address, &[&text, "--forget"]).status().unwrap().0, 2);
}

#[test]
fn a_stock_that_is_short_is_said_with_numbers_before_anything_is_sent() {
    let place = Place::new(16);
    let (_, text) = place.file("long.bin", 5_000_000, 2);
    let (alice, bob, wire) = place.transfer(Impairment::NONE, &[&text, "--suite", "otp"], &[]);
    let (status, told) = alice.status().unwrap();
    assert_eq!(status, 6, "{told:?}");
    let short = last(&told, "short");
    let of = |name: &str| short[name].as_u64().unwrap();
    assert!(
        of("needed_bytes") > 5_000_000 && of("missing_bytes") == of("needed_bytes") - of("usable_bytes"),
        "{short}"
    );
    assert!(bob.all("offered").is_empty(), "nothing was offered");
    // What could not go is not kept either.
    assert!(!last(&place.send(wire.addr, &[]).status().unwrap().1, "nothing").is_null());
}

#[test]
fn either_side_cancels_and_both_end_as_such() {
    let place = Place::new(64);
    let (_, text) = place.file("long.bin", 40_000_000, 3);
    for who in ["alice", "bob"] {
        let (alice, bob, _wire) = place.transfer(FAR, &[&text, "--suite", "aes-256-gcm"], &["--once"]);
        stands(&alice, "moving");
        let one = if who == "alice" { &alice } else { &bob };
        one.signal("USR1").unwrap();
        stands(one, "paused");
        one.signal("USR2").unwrap();
        let ((sent, hers), (received, his)) = (alice.status().unwrap(), bob.status().unwrap());
        assert_eq!((sent, received), (3, 3), "{who}: {hers:?}\n{his:?}");
        let words = [&hers, &his].map(|told| last(told, "ended")["error"].as_str().unwrap().to_owned());
        let [own, others] = if who == "alice" { [&words[0], &words[1]] } else { [&words[1], &words[0]] };
        assert!(own.contains("cancelled here") && others.contains("contact cancelled"), "{who}: {words:?}");
        assert_eq!(std::fs::read_dir(&place.inbox).unwrap().count(), 0, "{who}");
    }
}

#[test]
fn a_pause_outlives_the_client() {
    let place = Place::new(64);
    let (path, text) = place.file("long.bin", 40_000_000, 4);
    let (alice, bob, wire) = place.transfer(FAR, &[&text, "--suite", "aes-256-gcm"], &[]);
    stands(&alice, "moving");
    alice.signal("USR1").unwrap();
    stands(&alice, "paused");
    stands(&bob, "paused");
    alice.end().unwrap();
    // Another transfer goes, and the paused one stays where it is.
    let (_, other) = place.file("other.bin", 1_000, 5);
    let (status, told) = place.send(wire.addr, &[&other, "--suite", "aes-256-gcm"]).status().unwrap();
    assert_eq!(status, 0, "{told:?}");
    assert!(place.inbox.join("other.bin").exists() && !place.inbox.join("long.bin").exists());
    // Until it is said that it goes on.
    let (status, told) = place.send(wire.addr, &[]).status().unwrap();
    assert_eq!(status, 0, "{told:?}");
    assert_eq!(std::fs::read(place.inbox.join("long.bin")).unwrap(), std::fs::read(path).unwrap());
    bob.end().unwrap();
}

#[test]
fn a_contact_that_vanishes_is_waited_for_as_long_as_was_said_and_no_longer() {
    let place = Place::new(64);
    let (path, text) = place.file("long.bin", 40_000_000, 6);
    let (alice, bob, wire) = place.transfer(FAR, &[&text, "--suite", "aes-256-gcm", "--give-up", "1"], &[]);
    stands(&alice, "moving");
    bob.kill().unwrap();
    // Somebody answers there again, so she notices at once; but he knows her no more.
    let settings = place.town.folder().join("bob/home.toml");
    let known = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, known.replace("name = \"alice\"", "name = \"carol\"")).unwrap();
    let (stranger, _) = place.town.receive(wire.target(), &place.inbox, &[]).unwrap();
    let (status, told) = alice.status().unwrap();
    assert_eq!(status, 4, "{told:?}");
    assert!(!last(&told, "away").is_null());
    stranger.end().unwrap();
    // What was unfinished is kept.
    std::fs::write(&settings, known).unwrap();
    let (bob, _) = place.receive(wire.target(), &["--once"]);
    let (status, told) = place.send(wire.addr, &[]).status().unwrap();
    assert_eq!((status, bob.status().unwrap().0), (0, 0), "{told:?}");
    assert_eq!(std::fs::read(place.inbox.join("long.bin")).unwrap(), std::fs::read(path).unwrap());
}
