//! Ctrl-C, at the moment when there is something to show. Alone in its program, because the signal goes to the whole
//! of it.
#![cfg(unix)]

mod story;

use std::process::Command;
use std::time::Duration;

use tokio::time::timeout;
use vernam::demo::{
    Cancel, EventSink,
    events::DemoEvent,
    show::{STOPPED, Showing, View, show},
    summary::Summary,
};

/// Each time the show may look at the event first or at the signal first; it has to heed the signal either way.
const TIMES: u32 = 20;

#[tokio::test]
async fn one_interrupt_is_enough_however_much_there_is_to_show() {
    let out = tempfile::tempdir().expect("a temporary directory");
    for time in 0..TIMES {
        let showing = Showing { view: View::Json, out: out.path().to_owned(), picture: None };
        let shown = show(&showing, |sink: EventSink, cancel: Cancel| async move {
            // The show listens from its first turn.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let pid = std::process::id().to_string();
            let sent = Command::new("sh").args(["-c", "kill -INT $0", &pid]).status();
            assert!(sent.is_ok_and(|status| status.success()), "a signal can be sent");
            for _event in 0..3 {
                sink.emit(DemoEvent::CertificatesMade { certificates: 4 }).await;
            }
            let heard = timeout(Duration::from_secs(10), cancel.cancelled()).await;
            assert!(heard.is_ok(), "interrupt {time} was not heard");
            Ok(Summary { cancelled: true, ..story::summary() })
        });
        assert_eq!(shown.await.expect("ends well"), STOPPED);
    }
}
