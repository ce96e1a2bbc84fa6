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

/// Another microphone than the one that was chosen.
fn offered() -> CallEvent {
    CallEvent::DeviceOffered {
        part: "microphone".to_owned(),
        id: "pulseaudio:webcam".to_owned(),
        name: "Webcam".to_owned(),
        instead_of: "Desk microphone".to_owned(),
    }
}

/// bob's call is held since carol's was taken.
fn second_call_taken() -> Model {
    let carol = || "carol".to_owned();
    with(
        talking(OTP),
        [
            CallEvent::Incoming { contact: carol(), terms: AES, waiting: true, weaker: false },
            CallEvent::Held { contact: bob(), on: true },
            CallEvent::Answered { contact: carol(), terms: AES },
        ],
    )
}

fn pushed(tells_release: bool) -> Model {
    let mut model = after(talking(OTP));
    model.switches.transmit = vernam_engine::Transmit::PushToTalk;
    model.switches.tells_release = tells_release;
    model
}

fn over(contact: &str, ours: bool, reason: HangUpReason, lasted_s: Option<f64>, received: Option<u64>) -> CallEvent {
    let sent = received.map(|_| 3_750);
    CallEvent::Ended { contact: contact.to_owned(), reason, ours, by_contact: true, lasted_s, sent, received }
}

/// Moments of a telephone's life, by name.
fn moments() -> Vec<(&'static str, Model)> {
    let started = CallEvent::Started { name: "bob".to_owned(), address: "127.0.0.1:8449".to_owned() };
    let incoming = |contact: &str, waiting| CallEvent::Incoming {
        contact: contact.to_owned(),
        terms: OTP,
        waiting,
        weaker: false,
    };
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
    let asks = [incoming("carol", true), CallEvent::RecordAsked { contact: bob() }];
    let mut passphrase_and_ring = with(talking(OTP), asks.clone());
    passphrase_and_ring.prompt.clone_from(&passphrase.prompt);
    let less = CallEvent::Incoming { contact: "alice".to_owned(), terms: AES, waiting: false, weaker: true };
    let mut menu_and_ring = with(talking(OTP), asks);
    menu_and_ring.menu.clone_from(&menu.menu);
    let changing = Tick { sent_under: Suite::Otp, received_under: Suite::Aes256Gcm, ..tick(OTP) };
    vec![
        ("waiting", after([started.clone(), missed])),
        ("ringing", after([started.clone(), incoming("alice", false)])),
        ("ringing-less", after([started, less])),
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
        (
            "microphone-gone",
            with(
                talking(OTP),
                [
                    CallEvent::DeviceLost {
                        part: "microphone".to_owned(),
                        name: "Desk microphone".to_owned(),
                        why: "it was unplugged".to_owned(),
                    },
                    offered(),
                ],
            ),
        ),
        ("held-while-other", second_call_taken()),
        ("push-to-talk", pushed(false)),
        ("push-to-talk-released", pushed(true)),
        ("recorded", with(talking(OTP), [CallEvent::RecordingByContact { contact: bob(), on: true }])),
        ("reconnecting", with(talking(OTP), [CallEvent::Reconnecting { contact: bob() }])),
        ("menu", menu),
        ("passphrase", passphrase),
        ("passphrase-and-ring", passphrase_and_ring),
        ("menu-and-ring", menu_and_ring),
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
fn what_is_asked_is_on_every_screen() {
    for (columns, rows) in [(80, 24), (80, 18), (50, 18), (40, 8), (30, 4), (200, 60)] {
        for (name, model) in moments() {
            let Some(question) = model.question() else { continue };
            let first = question.words().split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            let screen = drawn(&model, columns, rows, Depth::True);
            assert!(screen.contains(&first), "{name} at {columns}x{rows} does not ask {first}:\n{screen}");
        }
    }
}

#[test]
fn a_new_call_does_not_show_the_words_and_devices_of_the_last_one() {
    let ended = over("bob", true, HangUpReason::HungUp, Some(75.0), Some(3_701));
    let rings = || CallEvent::Incoming { contact: bob(), terms: OTP, waiting: false, weaker: false };
    let old = ["apple river lamp stone", "Desk microphone", "Headset"];
    let panel = |model: &Model| drawn(model, 80, 24, Depth::True).lines().skip(2).take(10).collect::<String>();
    let talked = panel(&after(talking(OTP)));
    assert!(old.iter().all(|part| talked.contains(part)), "{talked}");
    for gone in [
        CallEvent::Disconnected { contact: bob(), why: None },
        CallEvent::Connected { contact: bob(), key_exchange: "X25519MLKEM768".to_owned() },
        CallEvent::Dialling { contact: bob(), address: "127.0.0.1:8449".to_owned() },
    ] {
        let ringing = panel(&with(talking(OTP), [ended.clone(), gone.clone(), rings()]));
        for part in old {
            assert!(!ringing.contains(part), "{part}, {gone:?}:\n{ringing}");
        }
    }
    let away = panel(&with(talking(OTP), [CallEvent::Reconnecting { contact: bob() }]));
    assert!(!away.contains(old[0]) && away.contains(old[1]), "{away}");
    // Another contact's conversation goes on.
    let carol = CallEvent::Disconnected { contact: "carol".to_owned(), why: None };
    assert!(panel(&with(talking(OTP), [carol])).contains(old[0]));
}

#[test]
fn nothing_that_comes_from_elsewhere_commands_the_terminal() {
    let hostile = || "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nforged\u{7f}".to_owned();
    let (part, id) = ("microphone".to_owned(), hostile());
    let events = || {
        vec![
            CallEvent::Started { name: hostile(), address: hostile() },
            CallEvent::Incoming { contact: hostile(), terms: OTP, waiting: false, weaker: true },
            CallEvent::Answered { contact: hostile(), terms: OTP },
            CallEvent::Words { contact: hostile(), words: vec![hostile()] },
            CallEvent::DeviceOpened { part: part.clone(), name: hostile(), stands_in: false },
            CallEvent::DeviceLost { part: part.clone(), name: hostile(), why: hostile() },
            CallEvent::DeviceOffered { part: part.clone(), id: id.clone(), name: hostile(), instead_of: hostile() },
            CallEvent::Refused { contact: hostile(), why: hostile() },
            CallEvent::Warning { contact: None, text: hostile() },
            CallEvent::Disconnected { contact: hostile(), why: Some(hostile()) },
        ]
    };
    let is_obeyed = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    for event in events() {
        let stamped = Stamped { at: Duration::ZERO, event };
        if let Some(line) = plain::line(&stamped) {
            assert!(!line.contains(is_obeyed), "{line:?}");
        }
        let json = json::line(&stamped).expect("it can be said");
        assert!(!json.contains(is_obeyed), "{json:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
    }
    let mut model = after(events());
    model.menu = Some(Menu { part: DevicePart::Ringer, ids: vec![None], names: vec![hostile()], marked: 0 });
    let screen = drawn(&model, 120, 40, Depth::True);
    assert!(!screen.contains(|c| c != '\n' && is_obeyed(c)), "{screen:?}");
    for line in &model.log {
        assert!(!line.text.contains(is_obeyed), "it stays in sight after the screen: {line:?}");
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
        CallEvent::Incoming { contact: "carol".to_owned(), terms: AES, waiting: true, weaker: true },
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
        offered(),
        CallEvent::DeviceWithdrawn { part: "microphone".to_owned(), id: "pulseaudio:webcam".to_owned() },
        CallEvent::Lapsed { contact: bob(), question: "change".to_owned() },
        CallEvent::Lapsed { contact: bob(), question: "record".to_owned() },
        CallEvent::Lapsed { contact: bob(), question: "weaker".to_owned() },
        CallEvent::Asked {
            question: Some("ring".to_owned()),
            contact: Some(bob()),
            text: Some("bob calls. Take it? y takes it, n declines".to_owned()),
        },
        CallEvent::Asked { question: None, contact: None, text: None },
        CallEvent::Refused { contact: bob(), why: "bob is in no call".to_owned() },
        CallEvent::Warning { contact: None, text: "the disk is full".to_owned() },
        CallEvent::EchoHeard(heard),
        over("bob", true, HangUpReason::HungUp, Some(75.25), Some(3_701)),
        over("bob", true, HangUpReason::HungUp, Some(75.25), Some(0)),
        over("carol", false, HangUpReason::NoAnswer, None, None),
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
fn the_first_call_is_held_while_the_second_is_on_and_takes_its_place_when_it_ends() {
    let mut model = second_call_taken();
    assert_eq!(model.call().map(|call| call.contact.as_str()), Some("carol"));
    assert_eq!(model.calls.iter().map(|call| call.held).collect::<Vec<_>>(), [false, true]);
    let screen = drawn(&model, 80, 24, Depth::True);
    assert!(screen.contains("bob: held by you") && !screen.contains("bob: talking"), "{screen}");
    // It comes back from a lost connection as it was.
    for event in [
        CallEvent::Reconnecting { contact: bob() },
        CallEvent::Answered { contact: bob(), terms: OTP },
        CallEvent::Held { contact: bob(), on: true },
    ] {
        model.apply(&Stamped { at: Duration::from_secs(80), event });
        assert_eq!(model.call().map(|call| call.contact.as_str()), Some("carol"));
    }
    let event = over("carol", false, HangUpReason::HungUp, Some(3.0), Some(150));
    model.apply(&Stamped { at: Duration::from_secs(90), event });
    assert_eq!(model.call().map(|call| (call.contact.as_str(), call.held)), Some(("bob", true)));
    let screen = drawn(&model, 80, 24, Depth::True);
    assert!(screen.contains("held by you") && screen.contains("on hold: nothing of it is sent"), "{screen}");
}

#[test]
fn a_lapsed_question_leaves_the_screen() {
    let asked = [CallEvent::ChangeAsked { contact: bob(), terms: AES }];
    let mut model = with(talking(OTP), asked);
    assert!(drawn(&model, 80, 24, Depth::True).contains("LESS protection"));
    let event = CallEvent::Lapsed { contact: bob(), question: "change".to_owned() };
    model.apply(&Stamped { at: Duration::from_secs(40), event });
    assert!(!drawn(&model, 80, 24, Depth::True).contains("LESS protection"));
    assert_eq!(model.question(), None);
}

#[test]
fn whoever_cannot_be_heard_sees_it() {
    let unsent = Tick { sent: 0, ..tick(OTP) };
    let screen = drawn(&with(talking(OTP), [CallEvent::Tick(Box::new(unsent))]), 80, 24, Depth::True);
    assert!(screen.contains("NOT SENT: no key"), "{screen}");
    let (part, name, why) = ("microphone".to_owned(), "Desk".to_owned(), "it was unplugged".to_owned());
    let screen = drawn(&with(talking(OTP), [CallEvent::DeviceLost { part, name, why }]), 80, 24, Depth::True);
    assert!(screen.contains("NO MICROPHONE: silence is sent"), "{screen}");
}

#[test]
fn how_push_to_talk_works_here_is_on_the_screen() {
    let toggled = drawn(&pushed(false), 80, 24, Depth::True);
    assert!(toggled.contains("press space to talk, and again to end"), "{toggled}");
    let held = drawn(&pushed(true), 80, 24, Depth::True);
    assert!(held.contains("hold space to talk"), "{held}");
}
