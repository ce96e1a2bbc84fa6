use std::collections::BTreeMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};
use vernam_ca::{Identity, LabCa};
use vernam_engine::{KeySource, PhoneEvent, Reply, Room, SourceError, StockPair, Transmit};
use vernam_key::KeyId;
use vernam_quic::{Endpoint, QuicIdentity, WireSettings};
use vernam_session::CallTerms;
use vernam_store::{MemoryStock, StockKey};

use super::*;
use crate::call::line::{Parts, Party};
use crate::call::model::Attended;
use crate::call::question::{Asked, Question};
use crate::call::screen;
use crate::call::sound::{Behind, Sound};
use crate::demo::theme::{Depth, Theme};
use crate::stock::home::{ContactPolicy, Profile};

const OTP: CallTerms = CallTerms { suite: Suite::Otp, bit_rate: 16_000, frame_ms: 20, packet_len: 40 };
const AES: CallTerms = CallTerms { suite: Suite::Aes256Gcm, bit_rate: 32_000, frame_ms: 20, packet_len: 80 };

/// A KME that has nothing.
struct NoKeys;

fn nothing<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(async { Err(SourceError { reason: "there is no key here".to_owned(), retry_after: None, refused: true }) })
}

impl KeySource for NoKeys {
    fn room<'a>(&'a self, _contact: &'a str) -> Reply<'a, Room> {
        nothing()
    }

    fn take<'a>(&'a self, _contact: &'a str, _number: u32, _bytes: u32) -> Reply<'a, Vec<StockKey>> {
        nothing()
    }

    fn collect<'a>(&'a self, _contact: &'a str, _ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        nothing()
    }
}

/// A telephone with a screen, contacts bob (prefer-otp) and carol (aes), and nobody at the other end of its line.
fn telephone(aim: Aim) -> (Telephone, mpsc::Receiver<Event>) {
    let ca = LabCa::new("a test").expect("a certificate");
    let Identity { chain, key } = ca.issue("alice").expect("a certificate");
    let loopback = ([127, 0, 0, 1], 0).into();
    let identity = QuicIdentity { chain, key };
    let endpoint = Endpoint::bind(loopback, identity, &[ca.root()], WireSettings::default()).expect("a socket");
    let party = |name: &str, policy| (name.to_owned(), Party { policy, mark: 1_000_000 });
    let (line, events) = Line::start(Parts {
        endpoint,
        source: Arc::new(NoKeys),
        stocks: Box::new(|_contact| {
            let (outbound, inbound) = (Box::new(MemoryStock::new()), Box::new(MemoryStock::new()));
            Ok(StockPair { outbound, inbound })
        }),
        contacts: BTreeMap::from([party("bob", ContactPolicy::PreferOtp), party("carol", ContactPolicy::Aes)]),
        sound: Sound::new(Behind::Nothing),
        ringers: None,
        history: None,
        profile: Profile::Auto,
    });
    let recordings = Recordings { folder: std::env::temp_dir(), file: None, words: None };
    let mut stage = Stage::unseen();
    // No test waits for half a second to answer.
    stage.model.asked = Asked::without_pause();
    (Telephone::new(stage, line, aim, recordings, None), events)
}

fn answers() -> Aim {
    Aim::Answer { auto: false, once: false, let_record: false }
}

fn calls_bob() -> Aim {
    Aim::Call { contact: bob(), addr: ([127, 0, 0, 1], 9).into(), suite: Suite::Otp }
}

fn bob() -> String {
    "bob".to_owned()
}

fn rings(contact: &str, terms: CallTerms) -> Event {
    let event = PhoneEvent::Incoming { terms, waiting: false };
    Event::Call { contact: contact.to_owned(), event }
}

fn over(lasted_s: Option<f64>, received: Option<u64>) -> CallEvent {
    let (reason, sent) = (HangUpReason::HungUp, received.map(|_| 50));
    CallEvent::Ended { contact: bob(), reason, ours: false, by_contact: true, lasted_s, sent, received }
}

impl Telephone {
    async fn hears(&mut self, event: Event) {
        for told in self.line.told(event) {
            self.take(told).await.expect("it can be told");
        }
    }

    async fn talks_with_bob(&mut self) {
        self.hears(rings("bob", OTP)).await;
        self.take(CallEvent::Answered { contact: bob(), terms: OTP.into() }).await.expect("it can be told");
    }

    async fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.pressed(Pressed::Key(KeyEvent::new(code, modifiers))).await.expect("it can be done");
    }

    async fn types(&mut self, text: &str) {
        for c in text.chars() {
            let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
            self.key(code, KeyModifiers::NONE).await;
        }
    }

    fn sees(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a test terminal");
        let theme = Theme { depth: Depth::Mono };
        terminal.draw(|frame| screen::draw(frame, &self.stage.model, theme)).expect("drawing in memory");
        let cells = terminal.backend().buffer().content.chunks(80);
        cells.flat_map(|row| row.iter().map(ratatui::buffer::Cell::symbol).chain(["\n"])).collect()
    }

    fn was_told(&self, part: &str) -> bool {
        self.stage.model.log.iter().any(|line| line.text.contains(part))
    }
}

#[tokio::test]
async fn a_ring_is_seen_and_answered_while_a_passphrase_is_typed() {
    let (mut telephone, _events) = telephone(answers());
    telephone.talks_with_bob().await;
    telephone.types("ryn").await;
    assert_eq!(telephone.stage.model.prompt.as_ref().map(|(_, typed)| *typed), Some(2), "y and n are text here");
    telephone.hears(rings("carol", AES)).await;
    let seen = telephone.sees();
    for part in ["carol calls. Take it?", "Ctrl-Y for y", "new passphrase for the recording: ••"] {
        assert!(seen.contains(part), "{part}:\n{seen}");
    }
    telephone.types("y").await;
    let ring = Question::Ring { contact: "carol".to_owned(), less: None };
    assert_eq!(telephone.stage.model.question(), Some(&ring), "a letter of a passphrase takes no call");
    telephone.key(KeyCode::Char('n'), KeyModifiers::CONTROL).await;
    assert_eq!(telephone.stage.model.question(), None);
    telephone.take(CallEvent::ChangeAsked { contact: bob(), terms: AES.into() }).await.expect("it can be told");
    assert!(telephone.sees().contains("LESS protection"), "{}", telephone.sees());
    telephone.key(KeyCode::Char('n'), KeyModifiers::CONTROL).await;
    assert_eq!(telephone.stage.model.question(), None);
    assert_eq!(telephone.stage.model.prompt.as_ref().map(|(_, typed)| *typed), Some(3), "the prompt is still there");
}

#[tokio::test]
async fn a_prompt_ends_with_its_call_and_what_is_typed_on_does_nothing() {
    let (mut telephone, _events) = telephone(answers());
    telephone.talks_with_bob().await;
    telephone.types("rmy pass").await;
    telephone.take(over(Some(3.0), Some(150))).await.expect("it can be told");
    assert!(telephone.prompt.is_none() && telephone.stage.model.prompt.is_none());
    assert!(
        telephone.was_told("the passphrase is wiped") && telephone.was_told("keys count again"),
        "{:?}",
        telephone.stage.model.log
    );
    assert!(!telephone.sees().contains("passphrase for the recording:"), "{}", telephone.sees());
    telephone.types("phrase of q and Q").await;
    assert!(telephone.ending.is_none() && !telephone.stage.model.switches.muted);
    telephone.types("\nm").await;
    assert!(telephone.stage.model.switches.muted, "who pressed Enter looks");
    telephone.stray.begin(telephone.stage.now());
    telephone.types("q").await;
    telephone.key(KeyCode::Char('c'), KeyModifiers::CONTROL).await;
    assert!(telephone.ending.is_some(), "but for the key that always ends it");
}

#[tokio::test]
async fn what_is_typed_at_the_prompt_opens_the_recording() {
    let (mut telephone, _events) = telephone(answers());
    let temp = tempfile::tempdir().expect("a folder");
    telephone.recordings.folder = temp.path().join("recordings");
    telephone.talks_with_bob().await;
    let words = "  quiet yarn, Zoë's 密码 r q n  ";
    // As it is pasted: everything at once.
    telephone.types(&format!("r{words}\n{words}\n")).await;
    assert!(telephone.prompt.is_none() && telephone.making.is_some());
    let typed = telephone.recordings.words.as_ref().expect("there is one");
    assert_eq!(typed.expose("to compare"), words.as_bytes());
    telephone.hears(rings("carol", AES)).await;
    assert!(telephone.sees().contains("carol calls"), "the key is made beside the call");
    Telephone::leave_making(telephone.making.take()).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_does_not_end_the_call() {
    let (mut telephone, _events) = telephone(answers());
    telephone.recordings.folder = "/dev/null/recordings".into();
    telephone.talks_with_bob().await;
    telephone.types("rsome long words\nsome long words\n").await;
    assert!(telephone.was_told("cannot make the folder") && telephone.making.is_none() && !telephone.is_over());
}

#[tokio::test]
async fn a_recording_that_comes_too_late_leaves_no_file() {
    let (mut telephone, _events) = telephone(answers());
    let temp = tempfile::tempdir().expect("a folder");
    telephone.recordings.folder = temp.path().join("recordings");
    telephone.talks_with_bob().await;
    telephone.types("rsome long words\nsome long words\n").await;
    telephone.take(over(Some(1.0), Some(50))).await.expect("it can be told");
    let there = || std::fs::read_dir(temp.path().join("recordings")).expect("the folder is there").count();
    // Nobody's time: as long as it takes.
    while telephone.making.is_some() || there() > 0 {
        telephone.look().await.expect("it can be looked at");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn with_nobody_there_only_what_the_policy_asks_for_is_taken() {
    for (contact, terms, taken) in [("bob", OTP, true), ("bob", AES, false), ("carol", AES, true), ("carol", OTP, true)]
    {
        let (mut telephone, _events) = telephone(Aim::Answer { auto: true, once: false, let_record: false });
        telephone.stage.model.attended = Attended::Nobody;
        telephone.hears(rings(contact, terms)).await;
        assert_eq!(telephone.was_told("declined without asking"), !taken, "{contact}, {:?}", terms.suite);
        assert_eq!(telephone.was_told("less than you set"), !taken, "{contact}, {:?}", terms.suite);
    }
}

#[tokio::test]
async fn a_ring_under_less_than_was_set_says_so_in_its_question() {
    let (mut telephone, _events) = telephone(answers());
    telephone.hears(rings("bob", AES)).await;
    assert!(telephone.sees().contains("LESS protection than you set: AES-256-GCM"), "{}", telephone.sees());
    telephone.key(KeyCode::Char('n'), KeyModifiers::NONE).await;
    telephone.hears(rings("carol", AES)).await;
    assert!(telephone.sees().contains("carol calls. Take it?"), "{}", telephone.sees());
}

#[tokio::test]
async fn a_call_in_which_nobody_was_heard_ends_with_a_status_of_its_own() {
    for (lasted_s, received, status) in
        [(Some(2.0), Some(0), SILENT), (Some(2.0), Some(90), TALKED), (None, None, NOT_TAKEN)]
    {
        let (mut called, _events) = telephone(calls_bob());
        called.step = Step::Called;
        called.take(over(lasted_s, received)).await.expect("it can be told");
        assert!(called.outcome == Some(status) && called.is_over(), "{received:?}: {:?}", called.outcome);
        let (mut once, _events) = telephone(Aim::Answer { auto: true, once: true, let_record: false });
        once.take(over(lasted_s, received)).await.expect("it can be told");
        let silent = Some(SILENT).filter(|silent| *silent == status);
        assert!(once.outcome == silent && once.is_over(), "{received:?}: {:?}", once.outcome);
    }
}

#[tokio::test]
async fn the_next_call_does_not_find_the_microphone_open() {
    let (mut telephone, _events) = telephone(answers());
    telephone.talks_with_bob().await;
    telephone.types("t ").await;
    let switches = telephone.stage.model.switches;
    assert!(switches.talking && switches.transmit == Transmit::PushToTalk);
    telephone.take(over(Some(2.0), Some(90))).await.expect("it can be told");
    telephone.talks_with_bob().await;
    assert!(!telephone.stage.model.switches.talking);
    // And neither does a release that was lost leave it open in this one.
    telephone.stage.model.switches.tells_release = true;
    telephone.stage.model.switches.talking = true;
    telephone.stage.model.space_at = None;
    telephone.look().await.expect("it can be looked at");
    assert!(!telephone.stage.model.switches.talking && telephone.was_told("the microphone is closed"));
}

#[tokio::test]
async fn the_end_of_a_pad_is_told_when_it_was_chosen() {
    let (mut telephone, _events) = telephone(answers());
    telephone.talks_with_bob().await;
    telephone.take(CallEvent::WeakerWanted { contact: bob() }).await.expect("it can be told");
    telephone.types("n").await;
    assert!(telephone.was_told("ends with its one-time pad"), "{:?}", telephone.stage.model.log);
}

#[test]
fn each_exit_status_means_one_thing() {
    assert_eq!(status(HangUpReason::HungUp, Some(50)), TALKED);
    assert_eq!(status(HangUpReason::HungUp, Some(0)), SILENT);
    assert_eq!(status(HangUpReason::KeyUsedUp, Some(0)), SILENT);
    assert_eq!(status(HangUpReason::Lost, Some(0)), FAILED);
    assert_eq!(status(HangUpReason::Declined, None), NOT_TAKEN);
    let all = [TALKED, FAILED, complaint::WRONG_USAGE, NOT_TAKEN, UNREACHABLE, SILENT, STOPPED];
    let mut codes = all.to_vec();
    codes.dedup();
    assert_eq!(codes, all);
}
