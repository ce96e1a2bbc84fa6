//! One end as its owner holds it.

use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vernam_qkd::Eve;
use vernam_qkd::optics::Trouble;

use crate::door::Door;
use crate::driver::{Driver, Parts};
use crate::lamp::Lamp;
use crate::limits::{COMMANDS, EVENTS};
use crate::proof::Gate;
use crate::side::Wish;
use crate::tls::Tls;
use crate::{EndSetup, Error, LightSetup, PeerEvent};

/// The sending end of a link, running in the background. Dropping it ends it at once; [`Self::shutdown`] says goodbye
/// first.
///
/// It also computes the light that travels along the line, with whoever is on it: see the crate's page for what that
/// means.
#[derive(Debug)]
pub struct AliceEnd {
    end: Running,
}

/// The receiving end of a link, running in the background. Dropping it ends it at once; [`Self::shutdown`] says goodbye
/// first.
#[derive(Debug)]
pub struct BobEnd {
    end: Running,
}

#[derive(Debug)]
struct Running {
    events: mpsc::Receiver<PeerEvent>,
    wishes: mpsc::Sender<Wish>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Option<u64>>,
    local_addr: Option<SocketAddr>,
}

impl AliceEnd {
    /// Starts the end. Must be called within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// A setting, certificate or key that cannot be. Whatever happens later is told by [`Self::event`].
    pub fn start(setup: EndSetup, light: LightSetup) -> Result<Self, Error> {
        // Each run has its own. This one is to find now what is wrong with the set-up.
        Lamp::new(light, &setup.link, &setup.distil)?;
        Running::start(setup, Some(light)).map(|end| Self { end })
    }

    /// The next thing that happened; `None` once the end has stopped.
    pub async fn event(&mut self) -> Option<PeerEvent> {
        self.end.events.recv().await
    }

    /// Puts somebody on the line, or takes them off it, from the next stretch of light on.
    pub async fn set_eve(&self, eve: Option<Eve>) {
        let _stopped = self.end.wishes.send(Wish::Eve(eve)).await;
    }

    /// Brings honest trouble to the line, or mends it, from the next stretch of light on.
    pub async fn set_trouble(&self, trouble: Option<Trouble>) {
        let _stopped = self.end.wishes.send(Wish::Trouble(trouble)).await;
    }

    /// Where the end listens, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.end.local_addr
    }

    /// Says goodbye to the far end, and returns when all is closed. A block that is not finished is lost.
    ///
    /// Returns the number of the last block that this end gave out, unless the far end is known to have it: its key
    /// must not be used before both ends have compared, as with [`PeerEvent::Unsettled`].
    pub async fn shutdown(self) -> Option<u64> {
        self.end.shutdown().await
    }
}

impl BobEnd {
    /// Starts the end. Must be called within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// A setting, certificate or key that cannot be. Whatever happens later is told by [`Self::event`].
    pub fn start(setup: EndSetup) -> Result<Self, Error> {
        Running::start(setup, None).map(|end| Self { end })
    }

    /// The next thing that happened; `None` once the end has stopped.
    pub async fn event(&mut self) -> Option<PeerEvent> {
        self.end.events.recv().await
    }

    /// Where the end listens, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.end.local_addr
    }

    /// Says goodbye to the far end, and returns when all is closed. A block that is not finished is lost.
    pub async fn shutdown(self) {
        self.end.shutdown().await;
    }
}

impl Running {
    fn start(setup: EndSetup, light: Option<LightSetup>) -> Result<Self, Error> {
        setup.link.validate()?;
        setup.distil.validate()?;
        let tls = Tls::new(&setup.identity, &setup.peer_name)?;
        let local_addr = setup.connect.local_addr();
        let (event, events) = mpsc::channel(EVENTS);
        let (wishes, wish) = mpsc::channel(COMMANDS);
        let (stop, stopped) = watch::channel(false);
        let gate = Gate::new(tls.clone(), &setup.secret);
        let link = Parts { link: setup.link, distil: setup.distil, light, secret: setup.secret, seed: setup.seed, tls };
        let driver = Driver::new(link, event, wish, stopped)?;
        let connect = setup.connect;
        let door = Door::new(connect, gate);
        let task = tokio::spawn(driver.run(door));
        Ok(Self { events, wishes, stop, task, local_addr })
    }

    async fn shutdown(self) -> Option<u64> {
        let Self { events, wishes, stop, task, .. } = self;
        // Who waits to tell an event shall not wait for ever.
        drop(events);
        stop.send_replace(true);
        let unsettled = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "an end of the link ended badly");
            None
        });
        drop(wishes);
        unsettled
    }
}
