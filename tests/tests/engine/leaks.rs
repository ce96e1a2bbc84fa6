//! No key that was used, no word, no sound and no byte of a file stands in logs, events, errors or stores.

use std::fmt::Write as _;

use vernam_session::Suite;
use vernam_tests::lab::leak::{LogBook, Secrets};
use vernam_tests::lab::voice::Mouth;
use vernam_tests::lab::{Lab, Setup, part};

use super::converse;

const TEXT: &str = "Meet me at the quince tree when the sluice opens; bring Wojciech's violet ledger.";

/// A file that is like no other: each 8 bytes are unlike all others.
fn content() -> Vec<u8> {
    (0..30_000_u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_be_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_stands_in_logs_events_or_stores() {
    let book = LogBook::begin();
    let lab = Lab::new(31);
    let setup = || Setup::with_mark(400 << 10).preferring(Suite::Otp);
    let pair = lab.talking(setup(), setup()).await;
    let [alice, bob] = &pair;
    alice.write("bob", TEXT).await;
    assert_eq!(bob.text().await, TEXT);
    let mut tapes = Vec::new();
    for suite in [Suite::Otp, Suite::Aes256Gcm] {
        let mouths = [Mouth::recorded("reader"), Mouth::recorded("commands")];
        tapes.extend(converse(&pair, suite, mouths, 40).await.0);
    }
    let path = lab.file("secret plans.bin", &content());
    let inbox = lab.folder("inbox");
    for suite in [Suite::Otp, Suite::Aes256Gcm] {
        alice.forget();
        bob.forget();
        let transfer = alice.send_files("bob", std::slice::from_ref(&path), suite).await;
        bob.file_offered().await;
        bob.accept_files("alice", transfer, inbox.clone()).await;
        bob.file_ended().await.expect("the file comes");
        alice.file_ended().await.expect("and its sender knows");
    }
    // Errors of all kinds, too.
    alice.write("bob", &"too long ".repeat(4_000)).await;
    alice.warned("longer").await;
    lab.vault.refuse("alice", Some("the link is in alarm"));
    let (events, mut errors) = (alice.told() + &bob.told(), String::new());
    for person in &pair {
        let _ = writeln!(errors, "{:?}", person.account(if person.name == "alice" { "bob" } else { "alice" }).await);
    }
    part(pair).await;

    // All keys that were ever given: those still in stock stand in the store, but only sealed.
    let mut keys = Secrets::default();
    for given in lab.vault.given() {
        keys.add(&given.bytes);
    }
    let (mut text, mut file, mut sound) = (Secrets::default(), Secrets::default(), Secrets::default());
    text.add(TEXT.as_bytes());
    file.add(&content());
    for (packet, _) in tapes.iter().flat_map(|tape| tape.sent().into_values()) {
        sound.add(&packet);
    }
    assert!(keys.len() > 500_000 && text.len() > 40 && file.len() > 100_000 && sound.len() > 2_000);

    let log = book.text();
    assert!(
        log.contains("TRACE") && log.contains("DEBUG") && log.len() > 100_000,
        "everything is logged: {}",
        log.len()
    );
    for (what, secrets) in [("key", &keys), ("message", &text), ("file", &file), ("sound", &sound)] {
        for (place, words) in [("log", &log), ("events", &events), ("accounts", &errors)] {
            if let Some(found) = secrets.find_in_text(words) {
                panic!("the {what} stands in the {place}, {found}");
            }
        }
        for name in ["alice", "bob"] {
            let found = secrets.find_in_files(&lab.home().join(name));
            assert!(found.is_empty(), "the {what} stands in the files of {name}: {found:?}");
        }
    }
    // The search finds what is there, and all of it was told.
    assert_eq!(file.find_in_files(&inbox).len(), 2);
    for word in ["TextReceived", "TextSent", "FileEnded", "CallRecord", "Warning"] {
        assert!(events.contains(word), "{word} is among the events");
    }
}
