//! Runs one end until its time is over, somebody stops it or it cannot go on.

use std::{
    future::{pending, ready},
    io::{self, Write as _},
    time::Instant,
};

use anyhow::{Context as _, bail};
use tokio::time::{Instant as Then, sleep_until};
use vernam_kme::{LinkReport, LinkState};
use vernam_link::{AliceEnd, BobEnd, Connect, EndSetup, LightSetup, PeerEvent, Role};
use vernam_qkd::distil::EndEvent;

use super::{
    folder,
    keys::{Fate, KeyFolder},
    records,
    told::{Ready, Stamped, Teller, Told},
};
use crate::{
    cli::{ConnectChoice, EndOptions, EndView, ModelChoice},
    demo::show::{STOPPED, Signals, has_gone, quietly},
    link::events::{Event, Setup},
};

/// Events that are still taken once the end is to stop. More cannot wait, for the link stands still while they do.
const LAST_EVENTS: usize = 1024;

/// Why an end stops.
enum Stop {
    /// Its time is over.
    Over,
    /// The same, and the far end was never there.
    Alone,
    /// Somebody asked for it, or nobody listens any more.
    Asked,
}

/// Runs the end; gives the exit status.
pub async fn run(options: &EndOptions) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let (identity, secret) = folder::read(&options.folder, options.role)?;
    let keys = options.keys.as_deref().map(|path| KeyFolder::open(path, &secret.id())).transpose()?;
    let connect = match &options.connect {
        ConnectChoice::Listen(address) => Connect::listen(address).await?,
        ConnectChoice::Dial(place) => Connect::Dial(place.clone()),
    };
    let ready = Ready {
        role: options.role.name(),
        peer_name: options.peer.clone(),
        listen: connect.local_addr().map(|address| address.to_string()),
        dial: match &options.connect {
            ConnectChoice::Listen(_) => None,
            ConnectChoice::Dial(place) => Some(place.clone()),
        },
        secret_id: secret.id(),
        starts_left: secret.starts_left(),
        keys: keys.as_ref().map(|keys| keys.path().to_owned()),
    };
    let setup = EndSetup::new(options.config.clone(), connect, identity, options.peer.as_str(), secret)?;
    let mut end = End::start(setup, options.role)?;
    let mut desk = Desk::open(options, keys)?;
    desk.say(Told::EndStarted(ready))?;
    desk.tell_what_a_crash_left()?;
    let model = ModelChoice::Photons;
    desk.say(Told::Link(Event::Started(Setup::of(&options.config, model, None, options.duration))))?;
    let watched = watch(&mut end, &mut desk, &mut signals, options).await;
    // What it said before it heard that it is to stop; it may be key.
    let drained = if watched.is_ok() { desk.drain(&mut end).await } else { Ok(()) };
    let unsettled = end.shutdown().await.filter(|number| desk.teller.has_told(*number));
    let settled = unsettled.map_or(Ok(()), |number| desk.unsettled(number));
    let stop = watched?;
    drained?;
    settled?;
    let sums = desk.teller.sums();
    desk.say(Told::Link(Event::Ended(sums)))?;
    Ok(match stop {
        Stop::Over => 0,
        Stop::Alone => anyhow::bail!("the far end was never reached in all that time; what it said stands above"),
        Stop::Asked => STOPPED,
    })
}

async fn watch(end: &mut End, desk: &mut Desk, signals: &mut Signals, options: &EndOptions) -> anyhow::Result<Stop> {
    let over = options.duration.map(|duration| Then::from_std(desk.began) + duration);
    let mut disturbed = options.eve.is_none() && options.trouble.is_none();
    let mut disturb_at = None;
    let mut connected = false;
    loop {
        tokio::select! {
            event = end.event() => {
                let event = event.context("the end stopped in an unforeseen way")?;
                connected |= matches!(event, PeerEvent::Connected { .. });
                if !disturbed && connected {
                    disturb_at.get_or_insert_with(|| Then::now() + options.eve_at);
                }
                desk.take(event)?;
            }
            () = at(disturb_at) => {
                (disturbed, disturb_at) = (true, None);
                end.disturb(options).await;
                let eve = options.eve.map(|eve| eve.to_string());
                let trouble = options.trouble.map(|trouble| trouble.to_string());
                desk.say(Told::Link(Event::Disturbed { eve, trouble }))?;
            }
            () = at(over) => return Ok(if connected { Stop::Over } else { Stop::Alone }),
            () = signals.any() => return Ok(Stop::Asked),
        }
        if desk.nobody_listens {
            return Ok(Stop::Asked);
        }
    }
}

/// Waits until then; for ever, if there is no then.
async fn at(then: Option<Then>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => pending().await,
    }
}

/// Either end.
enum End {
    Alice(AliceEnd),
    Bob(BobEnd),
}

impl End {
    fn start(setup: EndSetup, role: Role) -> Result<Self, vernam_link::Error> {
        match role {
            Role::Alice => AliceEnd::start(setup, LightSetup::default()).map(Self::Alice),
            Role::Bob => BobEnd::start(setup).map(Self::Bob),
        }
    }

    async fn event(&mut self) -> Option<PeerEvent> {
        match self {
            Self::Alice(end) => end.event().await,
            Self::Bob(end) => end.event().await,
        }
    }

    /// Only Alice's end has the line; the command line gives Bob's nobody to put on it.
    async fn disturb(&self, options: &EndOptions) {
        if let Self::Alice(end) = self {
            end.set_eve(options.eve).await;
            end.set_trouble(options.trouble).await;
        }
    }

    /// Ends it; gives the block that it had and the far end may not have.
    async fn shutdown(self) -> Option<u64> {
        match self {
            Self::Alice(end) => end.shutdown().await,
            Self::Bob(end) => {
                end.shutdown().await;
                None
            }
        }
    }
}

/// Takes in what the end says: key goes into its folder, the rest is told.
struct Desk {
    role: Role,
    view: EndView,
    keys: Option<KeyFolder>,
    /// The QBER above which a block is thrown away.
    threshold: f64,
    teller: Teller,
    began: Instant,
    /// The reader of standard output has gone away.
    nobody_listens: bool,
}

impl Desk {
    fn open(options: &EndOptions, keys: Option<KeyFolder>) -> anyhow::Result<Self> {
        let (role, view) = (options.role, options.view);
        if view == EndView::Json {
            quietly(writeln!(io::stdout(), "{}", records::JSON_HEADER))?;
        }
        let (threshold, teller) = (options.config.qber_alarm, Teller::default());
        Ok(Self { role, view, keys, threshold, teller, began: Instant::now(), nobody_listens: false })
    }

    /// Says in the folder how the link stands now.
    fn tell_folder(&self, event: &PeerEvent) -> anyhow::Result<()> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let (state, qber, rate_bps, reason) = match event {
            PeerEvent::Distil { event: EndEvent::Block { report, .. }, .. } => {
                (LinkState::Up, Some(report.qber()), report.rate_bps, "the link makes key".to_owned())
            }
            PeerEvent::Distil { event: EndEvent::Discarded { report, reason }, .. } => {
                (LinkState::Alarm, Some(report.qber()), 0.0, reason.to_string())
            }
            PeerEvent::Lost(loss) => (LinkState::Down, None, 0.0, loss.to_string()),
            PeerEvent::Failed(error) => (LinkState::Down, None, 0.0, error.to_string()),
            _ => return Ok(()),
        };
        keys.tell(&LinkReport { state, qber, threshold: self.threshold, rate_bps, reason })
    }

    fn take(&mut self, event: PeerEvent) -> anyhow::Result<()> {
        self.tell_folder(&event)?;
        let told = match event {
            PeerEvent::Failed(error) => bail!(error),
            PeerEvent::Distil { event: EndEvent::Block { block, report }, .. } => {
                if let Some(keys) = &self.keys {
                    // Bob gives a block out only when Alice has it.
                    keys.keep(&block, self.role == Role::Bob)?;
                }
                Some(self.teller.block(&report))
            }
            PeerEvent::Distil { event: EndEvent::Void { number }, .. } => {
                let fate = self.keys.as_ref().map_or(Ok(Fate::NotKept), |keys| keys.forget(number))?;
                Some(self.teller.void(number, fate))
            }
            PeerEvent::Unsettled { number } => return self.unsettled(number),
            other => self.teller.other(&other, Instant::now()),
        };
        told.map_or(Ok(()), |told| self.say(told))
    }

    /// Sets the file of a block aside that the far end may not have.
    fn unsettled(&mut self, block: u64) -> anyhow::Result<()> {
        let file = self.keys.as_ref().map_or(Ok(Fate::NotKept), |keys| keys.set_aside(block))?;
        self.say(Told::Unsettled { block, file })
    }

    fn tell_what_a_crash_left(&mut self) -> anyhow::Result<()> {
        match self.keys.as_ref().and_then(KeyFolder::left_unsettled) {
            Some((block, file)) => self.say(Told::Unsettled { block, file }),
            None => Ok(()),
        }
    }

    /// Takes in what the end has said already.
    async fn drain(&mut self, end: &mut End) -> anyhow::Result<()> {
        for _ in 0..LAST_EVENTS {
            let event = tokio::select! {
                biased;
                event = end.event() => event,
                () = ready(()) => None,
            };
            let Some(event) = event else { break };
            self.take(event)?;
        }
        Ok(())
    }

    fn say(&mut self, told: Told) -> anyhow::Result<()> {
        let stamped = Stamped { t: self.began.elapsed().as_secs_f64(), told };
        let lines = match self.view {
            EndView::Plain => records::plain(&stamped),
            EndView::Json => vec![records::json(&stamped).context("an event cannot be written")?],
        };
        let mut out = io::stdout().lock();
        match lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
            Err(error) if has_gone(&error) => self.nobody_listens = true,
            result => result.context("cannot write to standard output")?,
        }
        Ok(())
    }
}
