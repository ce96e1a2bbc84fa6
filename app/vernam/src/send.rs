//! `vernam send` and `vernam receive`: files from a command line.
//!
//! It opens a home, starts an engine without sound, tells it what to do with files, and shows what the engine tells. What
//! is unfinished when it ends is on the home's desk, and goes on with the next run.

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use vernam_engine::{
    Command, Engine, EngineConfig, Event, FileDone, FileError, IfShort, OfferedFiles, Rules, TransferId,
};
use vernam_session::Suite;

use self::show::{Said, Show};
use crate::call::{self, Listen};
use crate::cli::{ReceiveOptions, SendOptions, ShortageChoice};
use crate::demo::show::Signals;
use crate::stock::home::{ContactPolicy, Home, HomeConfig, Profile};

/// All of it is done.
const DONE: u8 = 0;
/// It failed, or a part of it did.
const FAILED: u8 = 1;
/// Somebody did not want it.
const UNWANTED: u8 = 3;
/// The contact cannot be reached.
const UNREACHABLE: u8 = 4;
/// There is not enough key.
const SHORT: u8 = 6;
/// Stopped by a signal.
const STOPPED: u8 = 130;

/// Before a contact that left is tried again.
const REDIAL: Duration = Duration::from_secs(5);

/// A running client.
struct Client {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    signals: Signals,
}

impl Client {
    fn start(home: &Home, config: &HomeConfig, listen: &Listen) -> anyhow::Result<Self> {
        let call::Client { endpoint, source, stocks, contacts } = call::client(home, config, listen)?;
        let contacts = contacts.iter().map(|(name, party)| (name.clone(), party.contact(Profile::Auto))).collect();
        let files = Some(desk(home));
        let config = EngineConfig { endpoint, source, stocks, contacts, files, epoch: std::time::Instant::now() };
        let (engine, events) = Engine::start(config);
        Ok(Self { engine, events, signals: Signals::new()? })
    }

    async fn tell(&self, command: Command) -> anyhow::Result<()> {
        Ok(self.engine.command(command).await?)
    }

    /// What comes next, until then.
    async fn next(&mut self, until: Option<Instant>) -> anyhow::Result<Next> {
        let pause = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.recv() => Ok(Next::Event(Box::new(event.context("the engine has ended")?))),
            () = self.signals.any() => Ok(Next::Signal),
            () = pause => Ok(Next::Late),
        }
    }

    /// Ends it properly: what came is flushed, what is unfinished is kept.
    async fn stop(self) {
        let Self { engine, mut events, .. } = self;
        let listening = tokio::spawn(async move { while events.recv().await.is_some() {} });
        engine.shut_down().await;
        let _ended = listening.await;
    }
}

/// What comes next.
enum Next {
    Event(Box<Event>),
    Signal,
    Late,
}

/// Where a home keeps what is unfinished.
fn desk(home: &Home) -> PathBuf {
    home.dir().join("files")
}

/// `vernam send`; returns the exit status.
///
/// # Errors
/// If there is no such contact, or the client cannot be started.
pub async fn send(options: &SendOptions) -> anyhow::Result<u8> {
    let home = Home::find(options.home.as_deref())?;
    let config = home.config()?;
    let contact = options.contact.as_str();
    let Some(known) = config.contact(contact) else { bail!("{}", call::nobody(&home, &config, contact)) };
    let mut show = Show::open(options.json)?;
    if options.forget {
        let forgotten = vernam_engine::forget_files(&desk(&home), contact)?;
        show.tell(&Said::Forgotten { transfers: forgotten })?;
        return Ok(DONE);
    }
    let (suite, if_short) = protection(known.policy, options)?;
    let mut open: BTreeSet<TransferId> = vernam_engine::unfinished_files(&desk(&home), contact)?.into_iter().collect();
    if options.paths.is_empty() && open.is_empty() {
        show.tell(&Said::Nothing { contact })?;
        return Ok(DONE);
    }
    let address = options.address.as_deref().or(known.address());
    let address = address.with_context(|| {
        format!("no address of {contact} is known: add it in {}, or use --address", home.config_path().display())
    })?;
    let addr = match call::look_up(address).await {
        Ok(addr) => addr,
        Err(error) => {
            show.tell(&Said::Away { contact, why: Some(format!("{error:#}")) })?;
            return Ok(UNREACHABLE);
        }
    };
    let mut client = Client::start(&home, &config, &Listen::WhereFree(config.listen, addr))?;
    let connect = || Command::Connect { contact: contact.to_owned(), addr };
    client.tell(connect()).await?;
    let mut fresh = (!options.paths.is_empty()).then(|| TransferId(rand::random()));
    open.extend(fresh);
    let (mut reached, mut again, mut status) = (false, None, DONE);
    while !open.is_empty() {
        match client.next(again).await? {
            Next::Signal => {
                status = STOPPED;
                break;
            }
            Next::Late => {
                again = None;
                client.tell(connect()).await?;
            }
            Next::Event(event) => match *event {
                Event::Established { .. } => {
                    reached = true;
                    if let Some(transfer) = fresh.take() {
                        let (contact, paths) = (contact.to_owned(), options.paths.clone());
                        client.tell(Command::SendFiles { contact, transfer, paths, suite, if_short }).await?;
                    }
                }
                Event::Disconnected { why, .. } => {
                    show.tell(&Said::Away { contact, why })?;
                    if !reached {
                        status = UNREACHABLE;
                        break;
                    }
                    again = Some(Instant::now() + REDIAL);
                }
                Event::FileShort { transfer, shortage, choice, .. } => {
                    show.short(&shortage, choice)?;
                    if choice == IfShort::Ask {
                        status = SHORT;
                        // What was only just named is not kept: nothing of it was sent.
                        client.tell(Command::CancelFiles { contact: contact.to_owned(), transfer }).await?;
                    }
                }
                Event::FileEnded { transfer, sending: true, result, .. } => {
                    if open.remove(&transfer) && status != SHORT {
                        show.ended(&result)?;
                        status = status.max(status_of(&result));
                    }
                }
                other => show.event(&other)?,
            },
        }
    }
    show.tell(&Said::Stopped { status })?;
    client.stop().await;
    Ok(status)
}

/// What files go under, and what is done where there is not enough key.
fn protection(policy: ContactPolicy, options: &SendOptions) -> anyhow::Result<(Suite, IfShort)> {
    let weaker = options.suite.is_some_and(|suite| suite != Suite::Otp) || options.shortage == ShortageChoice::Aes;
    if policy == ContactPolicy::OtpOnly && weaker {
        bail!("the policy for {} is otp-only: change it in home.toml, if that is what you want", options.contact);
    }
    let suite = options.suite.unwrap_or(match policy {
        ContactPolicy::OtpOnly | ContactPolicy::PreferOtp => Suite::Otp,
        ContactPolicy::Aes => Suite::Aes256Gcm,
    });
    let if_short = match options.shortage {
        ShortageChoice::End => IfShort::Ask,
        ShortageChoice::Wait => IfShort::Wait,
        ShortageChoice::Aes => IfShort::Under(Suite::Aes256Gcm),
    };
    Ok((suite, if_short))
}

fn status_of(result: &Result<FileDone, FileError>) -> u8 {
    match result {
        Ok(done) if done.failed == 0 => DONE,
        Err(FileError::Declined | FileError::Cancelled | FileError::CancelledByContact) => UNWANTED,
        Ok(_) | Err(_) => FAILED,
    }
}

/// `vernam receive`; returns the exit status.
///
/// # Errors
/// If the client cannot be started.
pub async fn receive(options: &ReceiveOptions) -> anyhow::Result<u8> {
    let home = Home::find(options.home.as_deref())?;
    let config = home.config()?;
    let listen = options.listen.or(config.listen).with_context(|| {
        let path = home.config_path();
        format!(
            "where to listen is not known: write listen = \"0.0.0.0:7890\" into {}, or use --listen",
            path.display()
        )
    })?;
    for name in &options.from {
        if config.contact(name).is_none() {
            bail!("{}", call::nobody(&home, &config, name));
        }
    }
    let folder = options.into.canonicalize().with_context(|| format!("{} is no folder", options.into.display()))?;
    let mut show = Show::open(options.json)?;
    let mut client = Client::start(&home, &config, &Listen::There(listen))?;
    show.tell(&Said::Listening { address: listen.to_string(), folder: folder.clone() })?;
    let names = if options.native_names { Rules::Native } else { Rules::Portable };
    let asks = std::io::stdin().is_terminal() && !options.json;
    let mut answers = asks.then(lines);
    let mut asked: BTreeMap<TransferId, String> = BTreeMap::new();
    let status = loop {
        let answer = async {
            match &mut answers {
                Some(answers) => answers.recv().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            next = client.next(None) => next?,
            answer = answer => {
                let Some(answer) = answer else {
                    answers = None;
                    continue;
                };
                if let Some((transfer, contact)) = asked.pop_first() {
                    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
                    client.tell(verdict(contact, transfer, yes.then(|| folder.clone()), names)).await?;
                }
                if let Some(contact) = asked.values().next() {
                    show.tell(&Said::Question { contact })?;
                }
                continue;
            }
        };
        match next {
            Next::Signal => break STOPPED,
            Next::Late => {}
            Next::Event(event) => match *event {
                Event::FileOffered { contact, transfer, offer } => {
                    show.offered(&contact, &offer)?;
                    if takes(options, &contact, &offer) {
                        client.tell(verdict(contact, transfer, Some(folder.clone()), names)).await?;
                    } else if answers.is_some() {
                        show.tell(&Said::Question { contact: &contact })?;
                        asked.insert(transfer, contact);
                    } else {
                        client.tell(verdict(contact, transfer, None, names)).await?;
                    }
                }
                Event::FileEnded { transfer, sending: false, result, .. } => {
                    asked.remove(&transfer);
                    show.ended(&result)?;
                    if options.once {
                        break status_of(&result);
                    }
                }
                other => show.event(&other)?,
            },
        }
    };
    show.tell(&Said::Stopped { status })?;
    client.stop().await;
    Ok(status)
}

/// Whether an offer is taken without asking.
fn takes(options: &ReceiveOptions, contact: &str, offer: &OfferedFiles) -> bool {
    let small = options.up_to.is_none_or(|most| offer.totals.bytes <= most);
    options.from.iter().any(|name| name == contact) && small && !offer.weaker
}

fn verdict(contact: String, transfer: TransferId, folder: Option<PathBuf>, names: Rules) -> Command {
    match folder {
        Some(folder) => Command::AcceptFiles { contact, transfer, folder, names },
        None => Command::CancelFiles { contact, transfer },
    }
}

/// Lines of standard input, as they are typed.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    // A thread of its own: reading a terminal cannot be broken off, and must not keep the program from ending.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
