//! `vernam call` and `vernam answer`: a telephone in a terminal.
//!
//! It holds no protocol, codec or key: it opens a home, starts an engine with sound devices or files, shows what the
//! engine tells, and tells the engine what the person wants.
//!
//! ```text
//!   keys, signals ─► run ─ wishes ─► line ─ commands ─► engine ─┬─► network
//!                     ▲                ▲                        └─► sound ─► devices │ files │ silence
//!                     └── events ──────┴─ engine's events
//!   events ─► model ─► screen │ lines │ JSON Lines
//! ```

mod echo;
pub mod events;
pub mod json;
pub mod keys;
mod line;
pub mod model;
pub mod plain;
mod prompt;
pub mod question;
pub mod run;
pub mod screen;
mod show;
mod sound;
mod source;
mod tape;
pub mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use vernam_audio::Speech;
use vernam_audio::device::{self, HandsetSettings, Ringer};
use vernam_audio::process::Processing;
use vernam_engine::{KeySource, OpenStocks, StockPair};
use vernam_key::SecretBytes;
use vernam_quic::{Endpoint, QuicError, WireSettings};

use self::events::CallEvent;
use self::keys::Wish;
use self::line::{Line, Parts, Party, Ringers};
use self::model::Attended;
use self::run::{Aim, Recordings, Telephone, UNREACHABLE};
use self::show::Stage;
use self::sound::{Behind, Sound};
pub use self::tape::export;
use crate::cli::{AnswerOptions, CallOptions, PhoneOptions, SoundChoice, ViewChoice};
use crate::complaint::{self, WrongUsage};
use crate::devices::{Device, no_devices, noise, without_sound};
use crate::history::History;
use crate::stock::home::{Home, HomeConfig, Profile, SoundConfig};
use crate::stock::passphrase;

/// How long a contact's address may take to be looked up.
const LOOKING_UP: Duration = Duration::from_secs(10);

/// Missed calls of one contact that are shown one by one, the newest.
const MISSED_SHOWN: usize = 5;

/// `vernam call`; returns the exit status.
///
/// # Errors
/// If there is no such contact, or the telephone cannot be started or shown.
pub async fn call(options: &CallOptions) -> anyhow::Result<u8> {
    let Some(contact) = &options.contact else { return echo::test(options).await };
    let phone = &options.phone;
    let (home, config) = settings(phone)?;
    let Some(known) = config.contact(contact) else {
        bail!(WrongUsage::new(nobody(&home, &config, contact)));
    };
    let address = options.address.as_deref().or(known.address()).ok_or_else(|| {
        let path = home.config_path();
        WrongUsage::new(format!("no address of {contact} is known: add it in {}, or use --address", path.display()))
    })?;
    let words = words(phone)?;
    let _hushed = noise::hush();
    let sound = prepare_sound(&phone.sound, &config.sound).await?;
    let addr = match look_up(address).await {
        Ok(addr) => addr,
        Err(error) => return unreachable(phone.view, contact, &error),
    };
    let mut line = open(&home, &config, options.profile, sound, &Listen::WhereFree(config.listen, addr))?;
    let suite = line.0.suite_for(contact, options.suite)?;
    let (mut stage, keys) = Stage::open(phone.view)?;
    begin(&mut stage, &mut line, &config, &phone.sound)?;
    let aim = Aim::Call { contact: contact.clone(), addr, suite };
    let recordings = recordings(&home, phone, words);
    let (line, events) = (line.0, line.1);
    Telephone::new(stage, line, aim, recordings, phone.duration).run(events, keys).await
}

/// `vernam answer`; returns the exit status.
///
/// # Errors
/// If the telephone cannot be started or shown.
pub async fn answer(options: &AnswerOptions) -> anyhow::Result<u8> {
    let phone = &options.phone;
    let (home, config) = settings(phone)?;
    let listen = options.listen.or(config.listen).ok_or_else(|| {
        let path = home.config_path();
        let path = path.display();
        WrongUsage::new(format!(
            "where to listen is not known: write listen = \"0.0.0.0:7890\" into {path}, or use --listen"
        ))
    })?;
    if config.contacts.is_empty() {
        let path = home.config_path();
        bail!(WrongUsage::new(format!("there is no contact in {}, and nobody else may call", path.display())));
    }
    let words = words(phone)?;
    let _hushed = noise::hush();
    let sound = prepare_sound(&phone.sound, &config.sound).await?;
    let mut line = open(&home, &config, None, sound, &Listen::There(listen))?;
    let (mut stage, keys) = Stage::open(phone.view)?;
    if options.auto {
        stage.model.attended = Attended::Nobody;
    }
    begin(&mut stage, &mut line, &config, &phone.sound)?;
    show_missed(&mut stage, &home)?;
    let (mut line, events) = (line.0, line.1);
    if options.do_not_disturb {
        stage.model.switches.do_not_disturb = true;
        line.carry_out(Wish::DoNotDisturb(true)).await?;
    }
    let aim = Aim::Answer { auto: options.auto, once: options.once, let_record: options.let_record };
    let recordings = recordings(&home, phone, words);
    Telephone::new(stage, line, aim, recordings, phone.duration).run(events, keys).await
}

/// The home, and what its `home.toml` says.
fn settings(phone: &PhoneOptions) -> anyhow::Result<(Home, HomeConfig)> {
    let home = Home::find(phone.home.as_deref()).map_err(WrongUsage::of)?;
    home.must_be_there()?;
    let config = home.config().map_err(WrongUsage::of)?;
    Ok((home, config))
}

/// The passphrase of the recording that was asked for.
fn words(phone: &PhoneOptions) -> anyhow::Result<Option<SecretBytes>> {
    let Some(record) = &phone.record else { return Ok(None) };
    let words = match &record.passphrase_file {
        Some(file) => {
            let words = passphrase::from_file(file)?;
            // Nobody is called for a recording that cannot be made.
            if words.len() < passphrase::MIN_PASSPHRASE {
                let least = passphrase::MIN_PASSPHRASE;
                let file = file.display();
                bail!(WrongUsage::new(format!("the passphrase in {file} must have at least {least} bytes")));
            }
            words
        }
        None => passphrase::ask_new("the recording")?,
    };
    Ok(Some(words))
}

/// Where to listen.
pub(crate) enum Listen {
    /// There and nowhere else.
    There(SocketAddr),
    /// There if nobody else does, such as `vernam answer` of another home; else at any port, in the family of the
    /// address that is dialled.
    WhereFree(Option<SocketAddr>, SocketAddr),
}

fn bind(config: &HomeConfig, home: &Home, listen: &Listen) -> anyhow::Result<Endpoint> {
    let identity = || {
        let identity = config.identity.as_ref().ok_or_else(|| {
            WrongUsage::new(format!(
                "who you are is not known: {} needs [identity] with cert, key and root",
                home.config_path().display()
            ))
        })?;
        identity.load().map_err(WrongUsage::of)
    };
    let at = |addr: SocketAddr| {
        let (identity, roots) = identity()?;
        let bound: Result<Endpoint, QuicError> = Endpoint::bind(addr, identity, &roots, WireSettings::default());
        bound.with_context(|| format!("cannot listen at {addr}"))
    };
    match *listen {
        Listen::There(addr) => at(addr),
        Listen::WhereFree(wanted, dialled) => {
            // An address of this machine only reaches this machine only.
            let fits = |addr: &SocketAddr| {
                addr.is_ipv4() == dialled.is_ipv4() && (!addr.ip().is_loopback() || dialled.ip().is_loopback())
            };
            let anywhere = if dialled.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let anywhere: SocketAddr = anywhere.parse().context("an address of any port")?;
            match wanted.filter(fits) {
                Some(wanted) => at(wanted).or_else(|_taken| at(anywhere)),
                None => at(anywhere),
            }
        }
    }
}

type Started = (Line, tokio::sync::mpsc::Receiver<vernam_engine::Event>);

/// Starts the line of a home.
fn open(
    home: &Home,
    config: &HomeConfig,
    profile: Option<Profile>,
    (sound, ringers): (Sound, Option<Ringers>),
    listen: &Listen,
) -> anyhow::Result<Started> {
    let Client { endpoint, source, stocks, contacts } = client(home, config, listen)?;
    let history = Some(History::of(home)?);
    let profile = profile.unwrap_or(config.sound.profile);
    Ok(Line::start(Parts { endpoint, source, stocks, contacts, sound, ringers, history, profile }))
}

/// What a client of a home is made of.
pub(crate) struct Client {
    /// The socket, with the home's certificate.
    pub(crate) endpoint: Endpoint,
    /// Where keys come from.
    pub(crate) source: Arc<dyn KeySource>,
    /// Opens a contact's stocks.
    pub(crate) stocks: OpenStocks,
    /// Who may talk to it.
    pub(crate) contacts: BTreeMap<String, Party>,
}

/// Opens a home for a client.
pub(crate) fn client(home: &Home, config: &HomeConfig, listen: &Listen) -> anyhow::Result<Client> {
    let endpoint = bind(config, home, listen)?;
    if let Some(name) = config.name.as_deref()
        && name != endpoint.name()
    {
        bail!(WrongUsage::new(format!(
            "{} says that you are {name}, and your certificate says {}: contacts go by the certificate",
            home.config_path().display(),
            endpoint.name()
        )));
    }
    let store = Arc::new(home.store()?);
    let source = Arc::new(source::ByContact::new(config, &store)?);
    let stocks = Box::new(move |contact: &str| {
        Ok(StockPair { outbound: Box::new(store.outbound(contact)?), inbound: Box::new(store.inbound(contact)?) })
    });
    let party = |contact: &crate::stock::home::ContactConfig| {
        (contact.name().to_owned(), Party { policy: contact.policy, mark: contact.stock_bytes() })
    };
    let contacts: BTreeMap<_, _> = config.contacts.iter().map(party).collect();
    Ok(Client { endpoint, source, stocks, contacts })
}

/// Mouth, ear and ringers, as they were asked for.
async fn prepare_sound(asked: &SoundChoice, config: &SoundConfig) -> anyhow::Result<(Sound, Option<Ringers>)> {
    match asked {
        SoundChoice::Off => Ok((Sound::new(Behind::Nothing), None)),
        SoundChoice::Files { speech, heard } => {
            let speech = speech.as_ref().map(Speech::load).transpose()?;
            Ok((Sound::new(Behind::Files { speech, heard: heard.clone() }), None))
        }
        SoundChoice::Devices { microphone, speaker, ringer, headphones } => {
            // Also where defaults are used: a machine without sound is to be told before it rings.
            let list = || Ok::<_, vernam_audio::Error>((device::microphones()?, device::speakers()?));
            let (microphones, speakers) = tokio::task::spawn_blocking(list).await?.map_err(without_sound)?;
            let microphones: Vec<Device> = microphones.into_iter().map(Device::from).collect();
            let speakers: Vec<Device> = speakers.into_iter().map(Device::from).collect();
            if microphones.is_empty() && speakers.is_empty() {
                // So ALSA answers where there is no sound card.
                bail!("{}", no_devices());
            }
            // What is named now must be there now; what the settings name may be plugged in later.
            let choose = |option, named: &Option<String>, else_: &str, there: &[Device]| match named {
                Some(named) => sound::asked_for(option, named, there).map_err(WrongUsage::of),
                None => Ok(sound::choice(else_, there)),
            };
            let settings = HandsetSettings {
                microphone: choose("--microphone", microphone, &config.microphone, &microphones)?,
                speaker: choose("--speaker", speaker, &config.speaker, &speakers)?,
                ringer: choose("--ringer", ringer, &config.ringer, &speakers)?,
                processing: processing(config, *headphones),
            };
            let ringers =
                Ringers { ring: Ringer::new(settings.ringer.clone()), ear: Ringer::new(settings.speaker.clone()) };
            Ok((Sound::new(Behind::Devices(settings)), Some(ringers)))
        }
    }
}

fn processing(config: &SoundConfig, headphones: bool) -> Processing {
    Processing {
        echo_cancelling: config.echo_cancelling && !config.headphones && !headphones,
        high_pass: config.high_pass,
        gain_control: config.gain_control,
        noise_suppression: config.noise_suppression,
    }
}

/// What is told first, and how the switches stand.
fn begin(stage: &mut Stage, line: &mut Started, config: &HomeConfig, asked: &SoundChoice) -> anyhow::Result<()> {
    let headphones = matches!(asked, SoundChoice::Devices { headphones: true, .. });
    let done = processing(&config.sound, headphones);
    let switches = &mut stage.model.switches;
    switches.echo_cancelling = done.echo_cancelling;
    switches.noise_suppression = done.noise_suppression;
    switches.high_pass = done.high_pass;
    switches.gain_control = done.gain_control;
    switches.without_devices = !matches!(asked, SoundChoice::Devices { .. });
    let (name, address) = line.0.place()?;
    stage.tell(CallEvent::Started { name, address: address.to_string() })
}

fn show_missed(stage: &mut Stage, home: &Home) -> anyhow::Result<()> {
    let history = History::of(home)?;
    let past = history.read()?;
    let (missed, more) = past.newest_missed(MISSED_SHOWN);
    for call in &missed {
        stage.tell(CallEvent::Missed { contact: call.contact.clone(), began_unix_s: call.began_unix_s })?;
    }
    for (contact, times) in more {
        let text = format!("{contact} called {times} more times: `vernam calls {contact} --missed` shows when");
        stage.tell(CallEvent::Warning { contact: Some(contact.to_owned()), text })?;
    }
    if missed.is_empty() { Ok(()) } else { history.seen() }
}

fn recordings(home: &Home, phone: &PhoneOptions, words: Option<SecretBytes>) -> Recordings {
    let file = phone.record.as_ref().map(|asked| asked.file.clone());
    Recordings { folder: home.dir().join("recordings"), file, words }
}

/// The address behind `HOST:PORT`.
pub(crate) async fn look_up(address: &str) -> anyhow::Result<SocketAddr> {
    let found = tokio::time::timeout(LOOKING_UP, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|_late| anyhow!("{address} is not found within {} s", LOOKING_UP.as_secs()))?;
    let mut found = found.with_context(|| format!("{address} is not found"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

/// Tells that a contact cannot be reached, in the view that was asked for; returns the exit status.
fn unreachable(view: ViewChoice, contact: &str, why: &anyhow::Error) -> anyhow::Result<u8> {
    let view = if view == ViewChoice::Json { view } else { ViewChoice::Plain };
    let (mut stage, _keys) = Stage::open(view)?;
    stage.tell(CallEvent::Disconnected { contact: contact.to_owned(), why: Some(complaint::said(why)) })?;
    stage.tell(CallEvent::Stopped { status: UNREACHABLE })?;
    Ok(UNREACHABLE)
}

/// There is no such contact; who there is.
pub(crate) fn nobody(home: &Home, config: &HomeConfig, contact: &str) -> String {
    let path = home.config_path();
    let known: Vec<&str> = config.contacts.iter().map(crate::stock::home::ContactConfig::name).collect();
    if known.is_empty() {
        return no_home(&path, contact);
    }
    format!("there is no contact {contact} in {}: it has {}", path.display(), known.join(", "))
}

fn no_home(path: &Path, contact: &str) -> String {
    let path = path.display();
    format!(
        "there is no contact {contact}: {path} needs\n  [[contact]]\n  name = \"{contact}\"\n  address = \"HOST:7890\"\n\
         `vernam kme setup lab` makes two homes to try"
    )
}
