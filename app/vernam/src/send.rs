//! `vernam send` and `vernam receive`: files from a command line.
//!
//! It opens a home, starts an engine without sound, tells it what to do with files, and shows what the engine tells. What
//! is unfinished when it ends is on the home's desk, and goes on with the next run.

mod control;
mod show;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use vernam_engine::{
    Command, Engine, EngineConfig, Event, FileDone, FileError, FileStatus, IfShort, OfferedFiles, Rules, TransferId,
};
use vernam_session::Suite;

use self::control::{Controls, Told};
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
/// Before an acceptance is tried again that could not be carried out, such as for want of room.
const ACCEPT_AGAIN: Duration = Duration::from_secs(5);

/// A running client.
struct Client {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    signals: Signals,
    controls: Controls,
    address: SocketAddr,
}

impl Client {
    fn start(home: &Home, config: &HomeConfig, listen: &Listen, json: bool) -> anyhow::Result<Self> {
        let call::Client { endpoint, source, stocks, contacts } = call::client(home, config, listen)?;
        let address = endpoint.local_addr()?;
        let contacts = contacts.iter().map(|(name, party)| (name.clone(), party.contact(Profile::Auto))).collect();
        let files = Some(desk(home));
        let config = EngineConfig { endpoint, source, stocks, contacts, files, epoch: std::time::Instant::now() };
        let (engine, events) = Engine::start(config);
        Ok(Self { engine, events, signals: Signals::new()?, controls: Controls::open(json)?, address })
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
            told = self.controls.next() => Ok(Next::Told(told)),
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
    Told(Told),
    Late,
}

/// Transfers that this run has to do with, by whose they are, and whether they are paused here.
#[derive(Default)]
struct Open(BTreeMap<TransferId, (String, bool)>);

impl Open {
    fn add(&mut self, contact: &str, transfer: TransferId) {
        self.0.entry(transfer).or_insert_with(|| (contact.to_owned(), false));
    }

    fn note(&mut self, transfer: TransferId, status: &FileStatus) {
        if let (FileStatus::Paused { here, .. }, Some((_, paused))) = (status, self.0.get_mut(&transfer)) {
            *paused = *here;
        }
    }

    /// Pauses all of them, or lets all go on where one is paused.
    async fn toggle(&self, client: &Client) -> anyhow::Result<()> {
        self.pause(client, !self.0.values().any(|(_, paused)| *paused)).await
    }

    async fn pause(&self, client: &Client, on: bool) -> anyhow::Result<()> {
        for (transfer, (contact, _)) in self.0.iter().filter(|(_, (_, paused))| *paused != on) {
            client.tell(Command::PauseFiles { contact: contact.clone(), transfer: *transfer, on }).await?;
        }
        Ok(())
    }

    async fn cancel(&self, client: &Client) -> anyhow::Result<()> {
        for (transfer, (contact, _)) in &self.0 {
            client.tell(Command::CancelFiles { contact: contact.clone(), transfer: *transfer }).await?;
        }
        Ok(())
    }
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
    let unfinished = vernam_engine::unfinished_files(&desk(&home), contact)?;
    if options.paths.is_empty() && unfinished.is_empty() {
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
            show.tell(&Said::Stopped { status: UNREACHABLE })?;
            return Ok(UNREACHABLE);
        }
    };
    let mut client = Client::start(&home, &config, &Listen::WhereFree(config.listen, addr), options.json)?;
    // What was paused waits until somebody says that it is to go on; new files go without it.
    let go_on = options.paths.is_empty();
    let (open, away) = (Open::default(), Some(Instant::now()));
    let mut sending = Sending { options, addr, open, fresh: None, go_on, away, status: DONE };
    let paused = vernam_engine::paused_files(&desk(&home), contact)?;
    for transfer in unfinished.into_iter().filter(|id| sending.go_on || !paused.contains(id)) {
        sending.open.0.insert(transfer, (contact.to_owned(), paused.contains(&transfer)));
    }
    if !options.paths.is_empty() {
        let transfer = TransferId(rand::random());
        sending.fresh = Some((transfer, suite, if_short));
        sending.open.add(contact, transfer);
    }
    let status = sending.run(&mut client, &mut show).await;
    // Also where it failed: what came is flushed, what is unfinished is kept.
    client.stop().await;
    let status = status?;
    show.tell(&Said::Stopped { status })?;
    Ok(status)
}

/// A run of `vernam send`.
struct Sending<'a> {
    options: &'a SendOptions,
    addr: SocketAddr,
    open: Open,
    /// What is to be offered when the contact is there.
    fresh: Option<(TransferId, Suite, IfShort)>,
    /// Whether what was paused in an earlier run goes on with this one.
    go_on: bool,
    /// Since when the contact is away.
    away: Option<Instant>,
    status: u8,
}

impl Sending<'_> {
    /// Until all is over; returns the exit status.
    async fn run(mut self, client: &mut Client, show: &mut Show) -> anyhow::Result<u8> {
        let (mut reached, mut again) = (false, None);
        client.tell(self.connect()).await?;
        while !self.open.0.is_empty() {
            let given_up = self.away.zip(self.options.give_up).map(|(since, most)| since + most);
            match client.next([again, given_up].into_iter().flatten().min()).await? {
                Next::Signal => return Ok(STOPPED),
                Next::Told(told) => self.obey(&told, client).await?,
                Next::Late if given_up.is_some_and(|end| end <= Instant::now()) => return Ok(UNREACHABLE),
                Next::Late => {
                    again = None;
                    client.tell(self.connect()).await?;
                }
                Next::Event(event) => match *event {
                    Event::Established { .. } => {
                        (reached, self.away, again) = (true, None, None);
                        self.begin(client).await?;
                    }
                    Event::Disconnected { contact, why } => {
                        show.tell(&Said::Away { contact: &contact, why })?;
                        if !reached {
                            return Ok(UNREACHABLE);
                        }
                        self.away.get_or_insert_with(Instant::now);
                        again = Some(Instant::now() + REDIAL);
                    }
                    event => self.hear(&event, client, show).await?,
                },
            }
        }
        Ok(self.status)
    }

    fn connect(&self) -> Command {
        Command::Connect { contact: self.options.contact.clone(), addr: self.addr }
    }

    async fn begin(&mut self, client: &Client) -> anyhow::Result<()> {
        if let Some((transfer, suite, if_short)) = self.fresh.take() {
            let (contact, paths) = (self.options.contact.clone(), self.options.paths.clone());
            client.tell(Command::SendFiles { contact, transfer, paths, suite, if_short }).await?;
        }
        if std::mem::take(&mut self.go_on) {
            self.open.pause(client, false).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, event: &Event, client: &Client, show: &mut Show) -> anyhow::Result<()> {
        match event {
            Event::FileShort { transfer, shortage, choice, .. } => {
                show.short(*transfer, shortage, *choice)?;
                if *choice == IfShort::Ask {
                    self.status = SHORT;
                    // What was only just named is not kept: nothing of it was sent.
                    let contact = self.options.contact.clone();
                    client.tell(Command::CancelFiles { contact, transfer: *transfer }).await?;
                }
            }
            Event::FileEnded { transfer, sending: true, result, .. } => {
                if self.open.0.remove(transfer).is_some() && self.status != SHORT {
                    show.ended(*transfer, result)?;
                    self.status = self.status.max(status_of(result));
                }
            }
            other => {
                if let Event::FileStatus { transfer, sending: true, status, .. } = other {
                    self.open.note(*transfer, status);
                }
                show.event(other)?;
            }
        }
        Ok(())
    }

    async fn obey(&mut self, told: &Told, client: &Client) -> anyhow::Result<()> {
        match told {
            Told::Pause => self.open.toggle(client).await,
            Told::Cancel => self.open.cancel(client).await,
            Told::Line(_) => Ok(()),
        }
    }
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
    let mut client = Client::start(&home, &config, &Listen::There(listen), options.json)?;
    show.tell(&Said::Listening { address: client.address.to_string(), folder: folder.clone() })?;
    let names = if options.native_names { Rules::Native } else { Rules::Portable };
    let (open, asked, untaken) = (Open::default(), BTreeMap::new(), BTreeMap::new());
    let receiving = Receiving { options, folder, names, open, asked, untaken, again: None };
    let status = receiving.run(&mut client, &mut show).await;
    client.stop().await;
    let status = status?;
    show.tell(&Said::Stopped { status })?;
    Ok(status)
}

/// A run of `vernam receive`.
struct Receiving<'a> {
    options: &'a ReceiveOptions,
    folder: PathBuf,
    names: Rules,
    open: Open,
    /// Offers that the person has to say yes or no to, and whose they are.
    asked: BTreeMap<TransferId, String>,
    /// What was accepted and could not be begun, whose it is, and why.
    untaken: BTreeMap<TransferId, (String, String)>,
    /// When that is tried again.
    again: Option<Instant>,
}

impl Receiving<'_> {
    /// Until it is over; returns the exit status.
    async fn run(mut self, client: &mut Client, show: &mut Show) -> anyhow::Result<u8> {
        loop {
            match client.next(self.again).await? {
                Next::Signal => return Ok(STOPPED),
                Next::Late => {
                    self.again = None;
                    for (transfer, (contact, _)) in &self.untaken {
                        client.tell(self.verdict(contact.clone(), *transfer, true)).await?;
                    }
                }
                Next::Told(Told::Pause) => self.open.toggle(client).await?,
                Next::Told(Told::Cancel) => self.open.cancel(client).await?,
                Next::Told(Told::Line(line)) => self.answered(&line, client, show).await?,
                Next::Event(event) => match *event {
                    Event::FileOffered { contact, transfer, offer } => {
                        self.offered(contact, transfer, &offer, client, show).await?;
                    }
                    Event::FileEnded { transfer, sending: false, result, .. } => {
                        self.asked.remove(&transfer);
                        self.open.0.remove(&transfer);
                        self.untaken.remove(&transfer);
                        show.ended(transfer, &result)?;
                        if self.options.once {
                            return Ok(status_of(&result));
                        }
                    }
                    other => {
                        if self.is_news(&other) {
                            show.event(&other)?;
                        }
                    }
                },
            }
        }
    }

    /// Keeps what an event says of a transfer that comes; false where it was said before.
    fn is_news(&mut self, event: &Event) -> bool {
        let Event::FileStatus { contact, transfer, sending: false, status } = event else { return true };
        self.open.add(contact, *transfer);
        self.open.note(*transfer, status);
        let FileStatus::NotTaken(why) = status else {
            self.untaken.remove(transfer);
            return true;
        };
        // There may be room for it later.
        self.again.get_or_insert_with(|| Instant::now() + ACCEPT_AGAIN);
        let before = self.untaken.insert(*transfer, (contact.clone(), why.clone()));
        before.is_none_or(|(_, before)| before != *why)
    }

    async fn offered(
        &mut self,
        contact: String,
        transfer: TransferId,
        offer: &OfferedFiles,
        client: &Client,
        show: &mut Show,
    ) -> anyhow::Result<()> {
        show.offered(&contact, transfer, offer)?;
        if takes(self.options, &contact, offer) {
            self.open.add(&contact, transfer);
            let yes = self.verdict(contact, transfer, true);
            client.tell(yes).await
        } else if client.controls.can_ask() {
            show.tell(&Said::Question { contact: &contact })?;
            self.asked.insert(transfer, contact);
            Ok(())
        } else {
            client.tell(self.verdict(contact, transfer, false)).await
        }
    }

    /// The person typed something: it is for the first of the open questions.
    async fn answered(&mut self, line: &str, client: &Client, show: &mut Show) -> anyhow::Result<()> {
        if let Some((transfer, contact)) = self.asked.pop_first() {
            let yes = matches!(line, "y" | "Y" | "yes");
            if yes {
                self.open.add(&contact, transfer);
            }
            client.tell(self.verdict(contact, transfer, yes)).await?;
        }
        match self.asked.values().next() {
            Some(contact) => show.tell(&Said::Question { contact }),
            None => Ok(()),
        }
    }

    fn verdict(&self, contact: String, transfer: TransferId, yes: bool) -> Command {
        if yes {
            let (folder, names) = (self.folder.clone(), self.names);
            Command::AcceptFiles { contact, transfer, folder, names }
        } else {
            Command::CancelFiles { contact, transfer }
        }
    }
}

/// Whether an offer is taken without asking.
fn takes(options: &ReceiveOptions, contact: &str, offer: &OfferedFiles) -> bool {
    let small = options.up_to.is_none_or(|most| offer.totals.bytes <= most);
    options.from.iter().any(|name| name == contact) && small && !offer.weaker
}
