//! What fails under a ledger: an operation, the disk, the server. Nothing is given out that is not durable, and what was
//! answered stays true.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vernam_ledger::{Book, Fault, Ledger, Place, Unavailable};

use crate::support::{Site, for_each_place};
use crate::world::{bits, cut, deliver, deposit, deposits, links, roomy};

/// An operation that holds the ledger's thread until told to go on, so that what comes meanwhile is one batch.
fn hold(ledger: &Ledger) -> impl FnOnce() + use<> {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
    let ledger = ledger.clone();
    let holder = std::thread::spawn(move || {
        ledger.run_blocking(move |_| {
            let _ = begun.try_send(());
            let _ = wait.recv();
            Ok(())
        })
    });
    has_begun.recv().unwrap();
    move || {
        drop(go);
        holder.join().unwrap().unwrap();
    }
}

#[test]
fn a_panic_in_one_operation_hurts_no_other() {
    for_each_place(|site| {
        let ledger = site.open("KME_A", roomy());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let go_on = hold(&ledger);
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let mut panics = deposits(2, 1024);
        let panics = move |book: &mut Book<'_>| -> Result<(), Fault> {
            counted.fetch_add(1, Ordering::Relaxed);
            panics(book)?;
            std::panic::panic_any("a mistake in an operation, made on purpose by a test");
        };
        let outcomes = runtime.block_on(async {
            let before = ledger.run(deposits(1, 1024));
            let mistake = ledger.run(panics);
            let after = ledger.run(deposits(3, 1024));
            let all = async { tokio::join!(before, mistake, after) };
            let release = async { std::thread::spawn(go_on) };
            tokio::join!(all, release).0
        });
        assert_eq!((outcomes.0, outcomes.2), (Ok(()), Ok(())));
        let Err(Unavailable::Storage(words)) = outcomes.1 else { panic!("{:?}", outcomes.1) };
        assert!(words.contains("on purpose"), "{words}");
        assert_eq!(runs.load(Ordering::Relaxed), 2, "with the others, and once alone");
        assert_eq!(ledger.snapshot().links[0].accounting.made, 2 * 8 * 1024, "its deposit was rolled back");
    });
}

#[test]
fn more_operations_than_can_wait_are_refused() {
    let ledger = Site::memory().open("KME_A", roomy());
    let go_on = hold(&ledger);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async {
        let asked: Vec<_> = (0..5000)
            .map(|_| {
                let ledger = ledger.clone();
                async move { ledger.run(|_| Ok(())).await }
            })
            .collect();
        let local = tokio::task::LocalSet::new();
        let asked: Vec<_> = asked.into_iter().map(|one| local.spawn_local(one)).collect();
        let release = local.spawn_local(async move { drop(std::thread::spawn(go_on)) });
        let count = async {
            release.await.unwrap();
            let mut refused = 0;
            for one in asked {
                match one.await.unwrap() {
                    Ok(()) => {}
                    Err(Unavailable::Busy) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            refused
        };
        local.run_until(count).await
    });
    assert_eq!(refused, 5000 - 4096);
}

#[test]
fn a_server_that_dies_loses_nothing_that_was_answered() {
    let site = Site::own_postgres();
    let server = site.server().unwrap();
    let ledger = site.open("KME_A", roomy());
    deposit(&ledger, 0, 64 * 1024);
    let mut given = Vec::new();
    for round in 0..3 {
        let one = cut(&ledger, 4, 32, round).unwrap();
        given.extend(deliver(&ledger, &one).unwrap().unwrap());
        let pending = cut(&ledger, 4, 32, 100 + round).unwrap();
        let known = ledger.snapshot().links.clone();

        server.kill();
        assert!(matches!(cut(&ledger, 1, 32, 200 + round), Err(Unavailable::Storage(_))));
        assert!(matches!(deliver(&ledger, &pending), Err(Unavailable::Storage(_))));
        assert_eq!(ledger.snapshot().links, known, "Status still answers");

        server.start();
        // Sooner or later: the server may still be recovering.
        let begun = Instant::now();
        let delivered = loop {
            match deliver(&ledger, &pending) {
                Ok(delivered) => break delivered.expect("the cut survived"),
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(1), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        given.extend(delivered);
        assert!(deliver(&ledger, &one).unwrap().is_none(), "never twice");
    }
    let own = &bits(0, 64 * 1024)[..given.len() * 32];
    let expected: Vec<_> = own.chunks(32).map(<[u8]>::to_vec).collect();
    assert_eq!(given, expected, "each of the bits once, and in order");
}

#[test]
fn a_lost_connection_is_not_noticed() {
    let site = Site::postgres();
    let ledger = site.open("KME_A", roomy());
    deposit(&ledger, 0, 1024);
    let Place::Postgres(target) = site.place("KME_A") else { unreachable!() };
    let database = target.rsplit('=').next().unwrap();
    // Of this database alone: other tests use the same server.
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    assert_eq!(site.server().unwrap().sql("postgres", &end).trim(), "t");
    deposit(&ledger, 1, 1024);
}

#[test]
fn the_lock_of_another_process_is_not_waited_for_without_end() {
    let site = Site::postgres();
    let (one, other) = (site.open("KME_A", roomy()), site.open("KME_A", roomy()));
    let go_on = hold(&one);
    let error = other.run_blocking(links).expect_err("the other has the lock");
    assert!(matches!(&error, Unavailable::Storage(words) if words.contains("lock timeout")), "{error}");
    go_on();
    assert_eq!(other.run_blocking(links).unwrap(), []);
}

#[test]
#[ignore = "takes as long as a server may take to answer"]
fn a_server_that_froze_is_a_failure_and_no_hang() {
    let site = Site::own_postgres();
    let ledger = site.open("KME_A", roomy());
    deposit(&ledger, 0, 1024);
    site.server().unwrap().freeze();
    let error = ledger.run_blocking(deposits(1, 1024)).unwrap_err();
    assert!(matches!(&error, Unavailable::Storage(words) if words.contains("did not answer")), "{error}");
    site.server().unwrap().thaw();
    let begun = Instant::now();
    while let Err(error) = ledger.run_blocking(deposits(2, 1024)) {
        assert!(begun.elapsed() < Duration::from_mins(1), "{error}");
    }
    assert_eq!(ledger.snapshot().links[0].accounting.made, 2 * 8 * 1024);
}
