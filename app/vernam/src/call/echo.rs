//! `vernam call --echo-test`: a call to oneself, through codec, encryption, QUIC and jitter buffer.
//!
//! Two engines in this process, each with a certificate of a throw-away authority, share keys that are made on the
//! spot, and talk over the loopback interface. The far end plays back what it heard after [`PAUSE`]. No KME, home or
//! contact is needed; what is tested is the sound of this machine and everything between microphone and loudspeaker.

mod envelope;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::mpsc;
use vernam_audio::SAMPLE_RATE;
use vernam_ca::{Identity, LabCa};
use vernam_engine::{
    Command, Contact, Engine, EngineConfig, Event, KeySource, OpenStocks, PhoneEvent, Policy, Reply, Room, SourceError,
    StockPair, VoiceIo,
};
use vernam_key::{KeyId, SecretBytes};
use vernam_quic::{Endpoint, QuicIdentity, WireSettings};
use vernam_session::Suite;
use vernam_store::{MemoryStock, StockKey};

pub(super) use self::envelope::Envelopes;
use super::line::{Line, Parts, Party};
use super::run::{Aim, Recordings, Telephone};
use super::show::Stage;
use super::{begin, prepare_sound};
use crate::cli::CallOptions;
use crate::devices::noise;
use crate::stock::home::{ContactPolicy, HomeConfig};

/// After how long what was said comes back.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// The two ends' names.
const YOU: &str = "you";
const ECHO: &str = "echo";
/// Bytes of key that each end keeps ready: eight minutes of one-time pad, made anew as they are used.
const MARK: u64 = 1_000_000;
/// Bytes of the longest key that is made.
const KEY: u32 = 16_384;
/// Keys that are made at a time.
const KEYS: u32 = 64;
/// Most keys that wait to be collected.
const MAX_WAITING: usize = 1_024;

/// Runs the test; returns the exit status.
pub(super) async fn test(options: &CallOptions) -> anyhow::Result<u8> {
    let config = HomeConfig::default();
    let _hushed = noise::hush();
    let (sound, ringers) = prepare_sound(&options.phone.sound, &config.sound).await?;
    let heard = Arc::new(Mutex::new(Envelopes::default()));
    sound.watch(Arc::clone(&heard));
    let ca = LabCa::new("vernam echo test")?;
    let [near, far] = [endpoint(&ca, YOU)?, endpoint(&ca, ECHO)?];
    let addr = far.local_addr()?;
    let [source, far_source] = Made::pair()?;
    let far = tokio::spawn(play_back(far, far_source));
    let parts = Parts {
        endpoint: near,
        source,
        stocks: stocks(),
        contacts: BTreeMap::from([(ECHO.to_owned(), Party { policy: ContactPolicy::Aes, mark: MARK })]),
        sound,
        ringers,
        history: None,
        profile: options.profile.unwrap_or(config.sound.profile),
    };
    let mut started = Line::start(parts);
    let (mut stage, keys) = Stage::open(options.phone.view)?;
    stage.model.is_echo_test = true;
    begin(&mut stage, &mut started, &config, &options.phone.sound)?;
    let (line, events) = started;
    let aim = Aim::Call { contact: ECHO.to_owned(), addr, suite: options.suite.unwrap_or(Suite::Otp) };
    let recordings = Recordings { folder: std::env::temp_dir(), file: None, words: None };
    let mut telephone = Telephone::new(stage, line, aim, recordings, options.phone.duration);
    telephone.echo = Some(heard);
    let status = telephone.run(events, keys).await;
    // The far end has no more to do, whatever came of it.
    far.abort();
    let _ended = far.await;
    status
}

fn endpoint(ca: &LabCa, name: &str) -> anyhow::Result<Endpoint> {
    let Identity { chain, key } = ca.issue(name)?;
    let loopback = ([127, 0, 0, 1], 0).into();
    Ok(Endpoint::bind(loopback, QuicIdentity { chain, key }, &[ca.root()], WireSettings::default())?)
}

fn stocks() -> OpenStocks {
    Box::new(|_contact| Ok(StockPair { outbound: Box::new(MemoryStock::new()), inbound: Box::new(MemoryStock::new()) }))
}

/// The far end: takes every call, and plays back what it hears.
async fn play_back(endpoint: Endpoint, source: Arc<dyn KeySource>) -> anyhow::Result<()> {
    let contact = Contact { suites: Suite::ALL.to_vec(), outbound_mark: MARK, policy: Policy::Aes, adapts: false };
    let config = EngineConfig {
        endpoint,
        source,
        stocks: stocks(),
        contacts: BTreeMap::from([(YOU.to_owned(), contact)]),
        files: None,
        epoch: Instant::now(),
    };
    let (engine, mut events): (Engine, mpsc::Receiver<Event>) = Engine::start(config);
    while let Some(event) = events.recv().await {
        let Event::Call { contact, event } = event else { continue };
        let command = match event {
            PhoneEvent::Incoming { .. } => Command::Answer { contact, io: Box::new(PlayBack::default()) },
            PhoneEvent::ChangeAsked { .. } => Command::AnswerChange { contact, yes: true },
            PhoneEvent::RecordAsked => Command::AnswerRecord { contact, yes: true },
            _ => continue,
        };
        engine.command(command).await?;
    }
    Ok(())
}

/// What was heard, until it is said.
struct PlayBack {
    waiting: VecDeque<i16>,
}

impl Default for PlayBack {
    fn default() -> Self {
        let samples = usize::try_from(PAUSE.as_secs()).unwrap_or(0) * SAMPLE_RATE as usize;
        let mut waiting = VecDeque::with_capacity(2 * samples);
        waiting.resize(samples, 0);
        Self { waiting }
    }
}

impl VoiceIo for PlayBack {
    fn capture(&mut self, pcm: &mut [i16]) {
        for sample in pcm {
            *sample = self.waiting.pop_front().unwrap_or(0);
        }
    }

    fn play(&mut self, pcm: &[i16]) {
        // As much goes out as comes in; a held call takes nothing out.
        let room = self.waiting.capacity() - self.waiting.len();
        self.waiting.extend(pcm.iter().take(room));
    }
}

/// One end of keys that are made on the spot: what one end takes, the other collects.
struct Made {
    ours: Arc<Mutex<Waiting>>,
    theirs: Arc<Mutex<Waiting>>,
}

/// Keys that one end took and the other has not collected.
struct Waiting {
    rng: StdRng,
    keys: BTreeMap<KeyId, SecretBytes>,
}

impl Made {
    fn pair() -> anyhow::Result<[Arc<dyn KeySource>; 2]> {
        let waiting = || -> anyhow::Result<Arc<Mutex<Waiting>>> {
            let rng = StdRng::try_from_rng(&mut SysRng).context("the operating system gives no random bytes")?;
            Ok(Arc::new(Mutex::new(Waiting { rng, keys: BTreeMap::new() })))
        };
        let (one, other) = (waiting()?, waiting()?);
        let near = Self { ours: Arc::clone(&one), theirs: Arc::clone(&other) };
        Ok([Arc::new(near), Arc::new(Self { ours: other, theirs: one })])
    }
}

fn refused(reason: &str) -> SourceError {
    SourceError { reason: reason.to_owned(), retry_after: None, refused: true }
}

impl KeySource for Made {
    fn room<'a>(&'a self, _contact: &'a str) -> Reply<'a, Room> {
        Box::pin(async { Ok(Room { available: MARK, max_key: KEY, min_key: 1, max_keys: KEYS, link: None }) })
    }

    fn take<'a>(&'a self, _contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
        Box::pin(async move {
            let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
            if number > KEYS || bytes > KEY || ours.keys.len() >= MAX_WAITING {
                return Err(refused("more key was asked for than the echo test makes at a time"));
            }
            let made = (0..number).map(|_| {
                let id = KeyId::random(&mut ours.rng);
                let secret = SecretBytes::random(usize::try_from(bytes).unwrap_or(0), &mut ours.rng);
                ours.keys.insert(id, SecretBytes::copy_of(secret.expose("for the other end of the echo test")));
                StockKey { id, bytes: secret }
            });
            Ok(made.collect())
        })
    }

    fn collect<'a>(&'a self, _contact: &'a str, ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
        Box::pin(async move {
            let mut theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
            let collected = ids.iter().map(|id| {
                let bytes = theirs.keys.remove(id).ok_or_else(|| refused("there is no such key"))?;
                Ok(StockKey { id: *id, bytes })
            });
            collected.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_comes_back_after_the_pause() {
        let mut echo = PlayBack::default();
        let frames = 2 * 50;
        let mut pcm = [0; 960];
        for frame in 0..frames + 3 {
            echo.play(&[frame + 1; 960]);
            echo.capture(&mut pcm);
            let expected = if frame < frames { 0 } else { frame - frames + 1 };
            assert_eq!(pcm, [expected; 960]);
        }
    }

    #[tokio::test]
    async fn what_one_end_takes_the_other_collects_once() {
        let [one, other] = Made::pair().expect("random bytes");
        let taken = one.take(ECHO, 2, 100).await.expect("it is made");
        let ids: Vec<KeyId> = taken.iter().map(|key| key.id).collect();
        assert!(one.collect(ECHO, &ids).await.is_err(), "it is the other's");
        let collected = other.collect(YOU, &ids).await.expect("it is there");
        for (taken, collected) in taken.iter().zip(&collected) {
            assert_eq!(taken.bytes.expose("to compare"), collected.bytes.expose("to compare"));
        }
        assert!(other.collect(YOU, &ids).await.is_err(), "once");
        assert!(one.take(ECHO, KEYS + 1, 100).await.is_err());
    }
}
