//! The show around a made-up run: folding, JSON Lines, sums, exit status.

mod story;

use std::{path::Path, time::Duration};

use vernam::demo::{
    EVENT_QUEUE,
    events::{Check, DemoEvent, Person, Stamped},
    json,
    model::{CallState, LEVELS, LOG_LINES, Model, SERIES},
    show::{STOPPED, Showing, View, show},
    summary::Summary,
};

#[test]
fn the_model_follows_the_story() {
    let model = story::model_at(story::MID_FILE);
    assert!(model.talking().is_some_and(|call| call.number == 1));
    assert!(model.file_moving() && !model.alarmed());
    assert!(model.text.is_some());
    let model = story::model_at(story::IN_ALARM);
    assert!(model.alarmed() && model.link.eve.is_some());
    assert!(model.person(Person::Alice).send.is_some_and(|level| level.talk_s < 60.0));
    let model = story::model_at(story::END);
    assert!(matches!(model.call.as_ref().map(|call| call.state), Some(CallState::Ended(_))));
    assert!(model.summary.is_some() && model.checks.len() == 6);
}

#[test]
fn nothing_in_the_model_grows_for_ever() {
    let mut model = Model::default();
    for _ in 0..50 {
        for stamped in story::story() {
            model.apply(&stamped);
        }
    }
    assert!(model.link.qber.iter().len() <= SERIES && model.link.rate.iter().len() <= SERIES);
    assert!(model.log.len() <= LOG_LINES);
    assert!(model.people.iter().all(|person| person.heard.len() <= LEVELS));
    assert!(model.acts_done.len() <= 6);
}

#[test]
fn every_event_goes_through_json_and_back() {
    let mut kinds = std::collections::BTreeSet::new();
    let check = Check { promise: "a".into(), kept: true, detail: "b".into() };
    let check = Stamped { at: Duration::ZERO, event: DemoEvent::Check(check) };
    for stamped in story::story().into_iter().chain([check]) {
        let line = json::line(&stamped).expect("plain data");
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let kind = value["event"].as_str().expect("a kind").to_owned();
        assert!(json::EVENTS.contains(&kind.as_str()), "{kind} is not documented");
        kinds.insert(kind);
        let back: Stamped = serde_json::from_str(&line).expect("our own line");
        assert_eq!(back.event, stamped.event);
    }
    assert_eq!(kinds.len(), json::EVENTS.len(), "the story tells {kinds:?}");
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    for kind in json::EVENTS {
        assert!(readme.contains(&format!("`{kind}`")), "{kind} is not in README.md");
    }
}

#[test]
fn a_wrong_sum_breaks_its_promise_and_no_other() {
    let right = story::summary().checked(Duration::ZERO);
    assert_eq!((right.broken().count(), right.sums.len()), (0, 6));
    let mut wrong = story::summary();
    wrong.books[1].receiver.forfeited_bits -= 8;
    let wrong = wrong.checked(Duration::ZERO);
    let broken: Vec<&str> = wrong.broken().map(|check| check.promise.as_str()).collect();
    assert_eq!(broken, ["key Bob → Alice, Alice's copy"]);
}

#[test]
fn a_sum_that_overflows_is_wrong() {
    let mut wrong = story::summary();
    wrong.books[0].in_pool_bits = u64::MAX;
    assert_eq!(wrong.checked(Duration::ZERO).broken().count(), 1);
}

#[test]
fn sums_are_done_once() {
    let once = story::summary().checked(Duration::ZERO);
    assert_eq!(once.clone().checked(Duration::ZERO), once);
}

fn showing(out: &Path, view: View) -> Showing {
    Showing { view, out: out.to_owned(), picture: Some(out.join("film.svg")) }
}

async fn shown(summary: Summary, view: View) -> u8 {
    let out = tempfile::tempdir().expect("a temporary directory");
    let status = show(&showing(out.path(), view), |sink, _cancel| async move {
        for stamped in story::story().into_iter().filter(|stamped| !matches!(stamped.event, DemoEvent::Summary(_))) {
            sink.emit(stamped.event).await;
        }
        Ok(summary)
    })
    .await
    .expect("a run that ends");
    let report = std::fs::read_to_string(out.path().join("report.json")).expect("a report");
    let report: Stamped = serde_json::from_str(&report).expect("the report is an event");
    assert!(matches!(report.event, DemoEvent::Summary(_)));
    assert!(std::fs::read_to_string(out.path().join("film.svg")).is_ok_and(|film| film.starts_with("<svg")));
    status
}

#[tokio::test]
async fn the_exit_status_says_whether_promises_were_kept() {
    assert_eq!(shown(story::summary(), View::Plain).await, 0);
    let mut wrong = story::summary();
    wrong.books[0].delivered_bits += 1;
    assert_eq!(shown(wrong, View::Json).await, 1);
    let stopped = Summary { cancelled: true, ..story::summary() };
    assert_eq!(shown(stopped, View::Plain).await, STOPPED);
}

#[tokio::test]
async fn a_run_that_fails_or_panics_is_an_error() {
    let out = tempfile::tempdir().expect("a temporary directory");
    let failed = show(&showing(out.path(), View::Json), |_, _| async { anyhow::bail!("no port is free") }).await;
    assert_eq!(failed.expect_err("it failed").to_string(), "no port is free");
    let panicked = show(&showing(out.path(), View::Json), |_, _| async { panic!("a test panics on purpose") }).await;
    assert!(panicked.is_err());
}

#[tokio::test]
async fn a_slow_watcher_delays_what_matters_and_loses_only_ticks() {
    let (sink, mut events) = vernam::demo::EventSink::new();
    for _ in 0..EVENT_QUEUE + 10 {
        sink.offer(DemoEvent::CertificatesMade { certificates: 1 });
    }
    let mut matters = Box::pin(sink.emit(DemoEvent::CertificatesMade { certificates: 2 }));
    assert!(futures_pending(&mut matters).await, "it waits while the queue is full");
    assert!(events.recv().await.is_some());
    matters.await;
    let mut told = 0;
    while let Ok(stamped) = events.try_recv() {
        told += 1;
        if matches!(stamped.event, DemoEvent::CertificatesMade { certificates: 2 }) {
            assert_eq!(told, EVENT_QUEUE);
        }
    }
    assert_eq!(told, EVENT_QUEUE);
}

/// Whether the future is not ready when asked once.
async fn futures_pending<F: Future<Output = ()> + Unpin>(future: &mut F) -> bool {
    tokio::select! {
        biased;
        () = future => false,
        () = std::future::ready(()) => true,
    }
}
