//! Whole clients in one process: engines over real QUIC on loopback, durable stores in a temporary folder, and a vault
//! of keys that remembers every byte it gave.
//!
//! Time is real here, so no test may ask how fast anything was: [`Person::wait`] waits with a generous limit and says
//! what it waited for, and what was heard is judged by replaying decisions ([`voice::check`]), never by counting frames.
//!
//! ```text
//!   Lab ── Vault (two KMEs) ──┬── Person alice: Engine, store, events
//!     certificates            └── Person bob:   Engine, store, events      Relay (optional): the wire between them
//! ```

mod handmade;
pub mod leak;
mod person;
mod relay;
mod vault;
pub mod voice;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vernam_ca::LabCa;
use vernam_engine::{Command, Event, KeySource, PhoneEvent, Policy};
use vernam_quic::{Endpoint, QuicIdentity, WireSettings};
use vernam_session::Suite;

pub use self::handmade::{FileFlow, HandMade};
pub use self::person::Person;
pub use self::relay::Relay;
pub use self::vault::{Given, Vault, VaultEnd};

/// The longest that a test waits for anything that should take a moment.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A network of people.
pub struct Lab {
    /// Who signs everybody's certificates.
    pub ca: LabCa,
    /// Where keys come from.
    pub vault: Vault,
    /// The start of all times.
    pub epoch: Instant,
    home: TempDir,
}

/// How one person's client is set up.
#[derive(Clone)]
pub struct Setup {
    /// What the policy allows, best first.
    pub suites: Vec<Suite>,
    /// What calls go under, and what people are asked.
    pub policy: Policy,
    /// Up to where the outbound stock is filled, bytes.
    pub mark: u64,
    /// Whether calls change their bit rate by themselves.
    pub adapts: bool,
    /// What lies between the socket and the network.
    pub wire: WireSettings,
    /// Who may talk to this person.
    pub contacts: Vec<String>,
    /// Where keys come from, where not from the lab's vault.
    pub source: Option<Arc<dyn KeySource>>,
}

impl Setup {
    /// Everything allowed, a stock of `mark` bytes, a clean wire.
    pub fn with_mark(mark: u64) -> Self {
        Self {
            suites: Suite::ALL.to_vec(),
            policy: Policy::default(),
            mark,
            adapts: false,
            wire: WireSettings::default(),
            contacts: vec!["alice".to_owned(), "bob".to_owned()],
            source: None,
        }
    }

    /// The same with `suite` first.
    #[must_use]
    pub fn preferring(mut self, suite: Suite) -> Self {
        self.suites.sort_by_key(|other| *other != suite);
        self
    }

    /// The same over another wire.
    #[must_use]
    pub fn over(mut self, wire: WireSettings) -> Self {
        self.wire = wire;
        self
    }
}

impl Lab {
    /// A network whose keys follow from `seed`, which is printed.
    pub fn new(seed: u64) -> Self {
        Self {
            ca: LabCa::new("lab network").expect("a root certificate can be made"),
            vault: Vault::new(seed),
            epoch: Instant::now(),
            home: tempfile::Builder::new().prefix("vernam-lab-").tempdir().expect("a temporary folder"),
        }
    }

    /// The folder of everything.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A folder of `name`, made when it is missing.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir_all(&path).expect("a folder in the temporary folder");
        path
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder("outbox").join(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }

    /// Starts the client of `name`; a second time it finds the store that the first one left.
    pub fn start(&self, name: &'static str, setup: Setup) -> Person {
        Person::start(self, name, setup)
    }

    /// A socket with one more certificate of `name`, and no client behind it.
    pub fn endpoint(&self, name: &str) -> Endpoint {
        let issued = self.ca.issue(name).expect("a certificate can be made");
        let identity = QuicIdentity { chain: issued.chain, key: issued.key };
        let any = ([127, 0, 0, 1], 0).into();
        Endpoint::bind(any, identity, &[self.ca.root()], WireSettings::default()).expect("a free port on loopback")
    }

    /// Alice and Bob, not connected.
    pub fn pair(&self, alice: Setup, bob: Setup) -> [Person; 2] {
        [self.start("alice", alice), self.start("bob", bob)]
    }

    /// Alice and Bob in a conversation, with stocks filled up to their marks.
    pub async fn talking(&self, alice: Setup, bob: Setup) -> [Person; 2] {
        let marks = [alice.mark, bob.mark];
        let pair = self.pair(alice, bob);
        pair[0].connect("bob", pair[1].addr).await;
        filled(&pair, marks).await;
        pair
    }
}

/// Waits until both stand and can use as much key as their marks say.
pub async fn filled(pair: &[Person; 2], marks: [u64; 2]) {
    for (person, mark) in pair.iter().zip(marks) {
        person
            .wait("a conversation with a full stock", move |events| {
                let stands = events.iter().any(|event| matches!(event, Event::Established { .. }));
                let full = events.iter().any(|event| matches!(event, Event::Stock { usable, .. } if *usable >= mark));
                (stands && full).then_some(())
            })
            .await;
    }
}

/// Ends both properly.
pub async fn part(pair: [Person; 2]) {
    let [alice, bob] = pair;
    alice.tell(Command::Disconnect { contact: "bob".to_owned() }).await;
    alice.stop().await;
    bob.stop().await;
}

/// Whether a contact calls.
pub fn is_incoming(event: &Event) -> bool {
    matches!(event, Event::Call { event: PhoneEvent::Incoming { .. }, .. })
}
