//! The telephone's screen, its lines and its JSON, as files under `tests/golden/call/`.
//! `UPDATE=1 cargo nextest run -p vernam` writes them anew; look at the difference before you commit it.

mod kept;

use std::time::Duration;

use kept::golden;
use ratatui::{Terminal, backend::TestBackend};
use vernam::call::events::{CallEvent, EVENTS, EchoHeard, Stamped, Terms, Tick};
use vernam::call::model::{DevicePart, Menu, Model};
use vernam::call::{json, plain, screen};
use vernam::demo::theme::{Depth, Theme};
use vernam_session::{HangUpReason, Suite};

const OTP: Terms = Terms { suite: Suite::Otp, bit_rate_bps: 16_000, frame_ms: 20 };
const AES: Terms = Terms { suite: Suite::Aes256Gcm, bit_rate_bps: 32_000, frame_ms: 20 };

fn bob() -> String {
    "bob".to_owned()
}

fn tick(terms: Terms) -> Tick {
    Tick {
        contact: bob(),
        lasted_s: 75.0,
        terms,
        sent_under: terms.suite,
        received_under: terms.suite,
        sent: 3_750,
        received: 3_701,
        lost: 40,
        rejected: 0,
        recovered: 31,
        concealed: 9,
        lost_percent: 1.1,
        lost_at_contact_percent: 0,
        delay_ms: 63.4,
        round_trip_ms: 12.0,
        jitter_ms: 2.6,
        buffer_ms: 25.0,
        key_left_s: (terms.suite == Suite::Otp).then_some(754),
        key_used_bytes: 180_000,
        sending: true,
        said_dbfs: -19.0,
        heard_dbfs: -33.0,
    }
}

/// A telephone to which all this happened, a second apart.
fn after(events: impl IntoIterator<Item = CallEvent>) -> Model {
    let mut model = Model::default();
    model.switches.echo_cancelling = true;
    model.switches.gain_control = true;
    for (second, event) in (0..).zip(events) {
        model.apply(&Stamped { at: Duration::from_secs(second), event });
    }
    model
}

fn talking(terms: Terms) -> Vec<CallEvent> {
    vec![
        CallEvent::Started { name: "alice".to_owned(), address: "127.0.0.1:8448".to_owned() },
        CallEvent::Dialling { contact: bob(), address: "127.0.0.1:8449".to_owned() },
        CallEvent::Connected { contact: bob(), key_exchange: "X25519MLKEM768".to_owned() },
        CallEvent::Confirmed { contact: bob() },
        CallEvent::Calling { contact: bob(), terms },
        CallEvent::Words { contact: bob(), words: ["apple", "river", "lamp", "stone"].map(str::to_owned).to_vec() },
        CallEvent::Ringing { contact: bob() },
        CallEvent::DeviceOpened { part: "microphone".to_owned(), name: "Desk microphone".to_owned(), stands_in: false },
        CallEvent::DeviceOpened { part: "speaker".to_owned(), name: "Headset".to_owned(), stands_in: true },
        CallEvent::Answered { contact: bob(), terms },
        CallEvent::Tick(Box::new(tick(terms))),
    ]
}

fn with(mut events: Vec<CallEvent>, more: impl IntoIterator<Item = CallEvent>) -> Model {
    events.extend(more);
    after(events)
}

fn drawn(model: &Model, columns: u16, rows: u16, depth: Depth) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a test terminal");
    terminal.draw(|frame| screen::draw(frame, model, Theme { depth })).expect("drawing in memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(columns));
    rows.flat_map(|row| row.iter().map(ratatui::buffer::Cell::symbol).chain(["\n"])).collect()
}

/// Moments of a telephone's life, by name.
fn moments() -> Vec<(&'static str, Model)> {
    let started = CallEvent::Started { name: "bob".to_owned(), address: "127.0.0.1:8449".to_owned() };
    let incoming = |contact: &str, waiting| CallEvent::Incoming { contact: contact.to_owned(), terms: OTP, waiting };
    let missed = CallEvent::Missed { contact: "carol".to_owned(), began_unix_s: 1_795_453_200 };
    let mut muted = after(talking(OTP));
    muted.switches.muted = true;
    let mut menu = after(talking(OTP));
    menu.menu = Some(Menu {
        part: DevicePart::Microphone,
        ids: vec![None, Some("a".to_owned())],
        names: vec!["the system's default".to_owned(), "Desk microphone (default)".to_owned()],
        marked: 1,
    });
    let mut passphrase = after(talking(OTP));
    passphrase.prompt = Some(("new passphrase for the recording".to_owned(), 5));
    let changing = Tick { sent_under: Suite::Otp, received_under: Suite::Aes256Gcm, ..tick(OTP) };
    vec![
        ("waiting", after([started.clone(), missed])),
        ("ringing", after([started, incoming("alice", false)])),
        ("otp", after(talking(OTP))),
        ("aes", after(talking(AES))),
        ("changing", with(talking(OTP), [CallEvent::Tick(Box::new(changing))])),
        ("muted", muted),
        ("second-call", with(talking(OTP), [incoming("carol", true)])),
        (
            "weaker",
            with(
                talking(OTP),
                [CallEvent::TalkLeft { contact: bob(), left_s: 55 }, CallEvent::WeakerWanted { contact: bob() }],
            ),
        ),
        ("less-asked", with(talking(OTP), [CallEvent::ChangeAsked { contact: bob(), terms: AES }])),
        ("record-asked", with(talking(OTP), [CallEvent::RecordAsked { contact: bob() }])),
        ("recorded", with(talking(OTP), [CallEvent::RecordingByContact { contact: bob(), on: true }])),
        ("reconnecting", with(talking(OTP), [CallEvent::Reconnecting { contact: bob() }])),
        ("menu", menu),
        ("passphrase", passphrase),
    ]
}

#[test]
fn screens() {
    for (name, model) in moments() {
        golden(&format!("call/{name}-80x24.txt"), &drawn(&model, 80, 24, Depth::True));
    }
    golden("call/otp-120x40.txt", &drawn(&after(talking(OTP)), 120, 40, Depth::True));
}

#[test]
fn what_protects_the_call_is_on_every_screen() {
    for (columns, rows) in [(80, 24), (50, 18), (40, 8), (30, 4), (200, 60)] {
        for (name, model) in moments() {
            let Some(call) = model.call() else { continue };
            let said = vernam::call::words::protection(call.protected_by());
            let screen = drawn(&model, columns, rows, Depth::True);
            assert!(screen.contains(said), "{name} at {columns}x{rows} does not say {said}:\n{screen}");
        }
    }
}

#[test]
fn while_the_protection_changes_the_weaker_one_is_said() {
    let (_, model) = moments().into_iter().find(|(name, _)| *name == "changing").expect("it is there");
    assert_eq!(model.call().map(vernam::call::model::Call::protected_by), Some(Suite::Aes256Gcm));
}

#[test]
fn no_size_is_too_small_and_colours_change_no_word() {
    for (name, model) in moments() {
        for (columns, rows) in [(1, 1), (3, 2), (10, 3), (49, 40), (79, 17), (300, 100)] {
            drawn(&model, columns, rows, Depth::True);
        }
        let coloured = drawn(&model, 80, 24, Depth::True);
        for depth in [Depth::Indexed, Depth::Ansi, Depth::Mono] {
            assert_eq!(drawn(&model, 80, 24, depth), coloured, "{name}");
        }
    }
}

/// One event of each kind.
fn all() -> Vec<CallEvent> {
    let on = true;
    let heard = EchoHeard {
        round_trip_ms: Some(2_061.5),
        pause_ms: 2_000.0,
        said_peak_dbfs: -6.0,
        heard_peak_dbfs: -7.5,
        lost: 0,
    };
    let device = || ("microphone".to_owned(), "Desk microphone".to_owned());
    let ((part, name), (gone_part, gone)) = (device(), device());
    let mut all = vec![CallEvent::Missed { contact: "carol".to_owned(), began_unix_s: 1_795_453_200 }];
    all.extend(talking(OTP));
    all.extend([
        CallEvent::Incoming { contact: "carol".to_owned(), terms: AES, waiting: true },
        CallEvent::ChangeAsked { contact: bob(), terms: AES },
        CallEvent::Changed { contact: bob(), terms: AES },
        CallEvent::ChangeDeclined { contact: bob() },
        CallEvent::TalkLeft { contact: bob(), left_s: 300 },
        CallEvent::WeakerWanted { contact: bob() },
        CallEvent::Held { contact: bob(), on },
        CallEvent::HeldByContact { contact: bob(), on },
        CallEvent::MutedByContact { contact: bob(), on },
        CallEvent::RecordAsked { contact: bob() },
        CallEvent::Recording { contact: bob(), on },
        CallEvent::RecordingByContact { contact: bob(), on },
        CallEvent::RecordDeclined { contact: bob() },
        CallEvent::Reconnecting { contact: bob() },
        CallEvent::DeviceOpened { part, name, stands_in: true },
        CallEvent::DeviceLost { part: gone_part, name: gone, why: "it was unplugged".to_owned() },
        CallEvent::Refused { contact: bob(), why: "bob is in no call".to_owned() },
        CallEvent::Warning { contact: None, text: "the disk is full".to_owned() },
        CallEvent::EchoHeard(heard),
        CallEvent::Ended { contact: bob(), reason: HangUpReason::HungUp, by_contact: true, lasted_s: Some(75.25) },
        CallEvent::Ended {
            contact: "carol".to_owned(),
            reason: HangUpReason::NoAnswer,
            by_contact: true,
            lasted_s: None,
        },
        CallEvent::Disconnected { contact: bob(), why: Some("it did not answer".to_owned()) },
        CallEvent::Stopped { status: 0 },
    ]);
    all
}

fn stamped() -> impl Iterator<Item = Stamped> {
    (0..).zip(all()).map(|(second, event)| Stamped { at: Duration::from_millis(1_000 * second + 250), event })
}

#[test]
fn lines() {
    golden("call/plain.txt", &stamped().filter_map(|event| plain::line(&event)).collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_event_is_one_line_of_json_and_in_the_list() {
    let lines: Vec<String> = stamped().map(|event| json::line(&event).expect("it can be said")).collect();
    golden("call/events.jsonl", &lines.join("\n"));
    let mut seen: Vec<String> = Vec::new();
    for line in &lines {
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        seen.push(value["event"].as_str().expect("a name").to_owned());
    }
    for name in EVENTS {
        assert!(seen.iter().any(|seen| seen == name), "{name} is in the list and was not told");
    }
    for name in seen {
        assert!(EVENTS.contains(&name.as_str()), "{name} is not in the list");
    }
}

#[test]
fn a_call_that_ends_leaves_the_screen_and_the_other_takes_its_place() {
    let model = with(
        talking(OTP),
        [
            CallEvent::Incoming { contact: "carol".to_owned(), terms: AES, waiting: true },
            CallEvent::Answered { contact: "carol".to_owned(), terms: AES },
            CallEvent::Held { contact: bob(), on: true },
        ],
    );
    assert_eq!(model.call().map(|call| call.contact.as_str()), Some("carol"));
    assert_eq!(model.calls.len(), 2);
    let mut model = model;
    let event = CallEvent::Ended {
        contact: "carol".to_owned(),
        reason: HangUpReason::HungUp,
        by_contact: true,
        lasted_s: None,
    };
    model.apply(&Stamped { at: Duration::from_secs(90), event });
    assert_eq!(model.call().map(|call| call.contact.as_str()), Some("bob"));
}
