//! The terminal is closed. Alone in its program, because the signal goes to the whole of it.
#![cfg(unix)]

mod story;

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use vernam::demo::{
    show::{STOPPED, Showing, View, show},
    summary::Summary,
};

#[tokio::test]
async fn a_hang_up_ends_the_run_as_a_termination_does() {
    // The signal must not end this program before the show listens.
    let _caught = signal(SignalKind::hangup()).expect("a signal to listen for");
    let out = tempfile::tempdir().expect("a temporary directory");
    let showing = Showing { view: View::Json, out: out.path().to_owned(), picture: None };
    let shown = show(&showing, |_sink, cancel| async move {
        while timeout(Duration::from_millis(500), cancel.cancelled()).await.is_err() {
            let pid = std::process::id().to_string();
            let sent = Command::new("sh").args(["-c", "kill -HUP $0", &pid]).stderr(Stdio::null()).status();
            assert!(sent.is_ok_and(|status| status.success()), "a signal can be sent");
        }
        Ok(Summary { cancelled: true, ..story::summary() })
    });
    let status = timeout(Duration::from_secs(20), shown).await.expect("the run ends").expect("and ends well");
    assert_eq!(status, STOPPED);
    assert!(out.path().join("report.json").exists(), "it was summed up, not dropped");
}
