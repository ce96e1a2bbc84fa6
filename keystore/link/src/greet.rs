//! The greeting: the two ends find out whether they fit, and which run begins or goes on.
//!
//! Both have proved by now that they hold the start-up secret (`proof.rs`). Each says [`Control::Hello`], hears the
//! other's, and judges by itself whether they fit and what to do (`course.rs`); what they compare is the same, so both
//! come to the same end. If both still hold the run from before, it goes on. Else a new one begins: both take the same
//! piece out of the start-up secret, and only when that is durable say [`Control::Ready`]. The place of the piece gives
//! the run its number. If the connection is lost before both are ready, the new run waits for the next greeting.

use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use vernam_qkd::distil::EndConfig;

use crate::conn::{Conn, Reading, Writing};
use crate::course::{Course, Place};
use crate::door::Caller;
use crate::driver::{Driver, Halt, Run};
use crate::frame::{self, Channel, Frame, FrameError};
use crate::hello::{Control, Hello, Role};
use crate::lamp::Lamp;
use crate::limits::{GOODBYE, HANDSHAKE};
use crate::secret::START_BYTES;
use crate::side::Side;
use crate::tls::Tls;
use crate::{Error, Refusal};

/// A connection ready for use, and whether the old run goes on.
type Greeted = Result<(Conn, bool), Refusal>;

impl Driver {
    /// Greets. Cancelling it costs a piece of the start-up secret at most, and ends the driver.
    pub(crate) async fn greet(&mut self, caller: Caller) -> Result<Greeted, Halt> {
        let (mut reading, mut writing) = tokio::io::split(caller.stream);
        let peer = &caller.peer;
        let ours = self.hello()?;
        let word = Control::Hello(Box::new(ours.clone())).frame();
        let theirs = match exchange(&self.tls, peer, &mut reading, &mut writing, word).await {
            Ok(Control::Hello(theirs)) => theirs,
            Ok(Control::Goodbye(why)) => return Ok(Err(Refusal::ByPeer(why))),
            Ok(_) => {
                return Ok(Err(Refusal::Unlike("the far end does not greet: is it of another version?".to_owned())));
            }
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fit = match ours.objection(&theirs) {
            Some(objection) => Err(objection),
            None => ours.place.course(&theirs.place, self.role() == Role::Alice),
        };
        let course = match fit {
            Ok(course) => course,
            Err(objection) => {
                goodbye(&mut reading, &mut writing, "the two ends do not fit; this one has said why").await;
                return Ok(Err(Refusal::Unlike(objection)));
            }
        };
        let run = match self.prepare(course).await {
            Ok(run) => run,
            Err(error) => {
                goodbye(&mut reading, &mut writing, &error.to_string()).await;
                return Err(Halt::Failed(error));
            }
        };
        match exchange(&self.tls, peer, &mut reading, &mut writing, Control::Ready(run).frame()).await {
            Ok(Control::Ready(theirs)) if theirs == run => {}
            Ok(Control::Goodbye(why)) => return Ok(Err(Refusal::ByPeer(why))),
            Ok(_) => return Ok(Err(Refusal::Unlike("the far end is ready for another run than ours".to_owned()))),
            Err(refusal) => return Ok(Err(refusal)),
        }
        let resumed = self.run.as_ref().is_some_and(|ours| ours.number == run);
        if !resumed {
            self.end_run().await?;
            self.run = self.prepared.take();
        }
        if let Some(ours) = &mut self.run {
            ours.skip_to(theirs.place.slot_in(run));
        }
        Ok(Ok((Conn::new(reading, writing), resumed)))
    }

    fn hello(&self) -> Result<Hello, Halt> {
        let secret = self.secret.as_ref().ok_or_else(|| Halt::Failed(Error::Fault("the secret is away".to_owned())))?;
        let number = |run: &Option<Run>| run.as_ref().map_or(0, |run| run.number);
        Ok(Hello {
            role: self.role(),
            place: Place {
                used: secret.used(),
                run: number(&self.run),
                slot: self.run.as_ref().map_or(0, Run::slot),
                prepared: number(&self.prepared),
            },
            summary: self.summary.clone(),
            settings: self.settings.clone(),
        })
    }

    /// Sees to it that the run that `course` leads to is at hand; its number.
    async fn prepare(&mut self, course: Course) -> Result<u64, Error> {
        let from = match course {
            Course::Use(run) => return Ok(run),
            Course::Take { from } => from,
        };
        let run = self.begin(from).await?;
        Ok(self.prepared.insert(run).number)
    }

    /// Takes a piece out of the start-up secret, and makes the state machines of a new run with it.
    async fn begin(&mut self, from: u64) -> Result<Run, Error> {
        let Some(mut secret) = self.secret.take() else { return Err(Error::Fault("the secret is away".to_owned())) };
        let taking = spawn_blocking(move || {
            let piece = secret.take(from);
            (secret, piece)
        });
        let (secret, piece) = taking.await.map_err(|error| Error::Fault(error.to_string()))?;
        // What is used up to after taking tells where the piece lies: the same at both ends.
        let number = secret.used() / START_BYTES as u64;
        self.secret = Some(secret);
        let piece = piece?;
        let lamp = match self.light {
            Some(light) => Some(Lamp::new(light, &self.link, &self.distil)?),
            None => None,
        };
        let distil = EndConfig { first_block: first_block(number), ..self.distil };
        let side = match self.role() {
            Role::Alice => Side::alice(&self.link, distil, piece, self.seed, number)?,
            Role::Bob => Side::bob(&self.link, distil, piece, self.seed, number)?,
        };
        Ok(Run::new(number, side, lamp))
    }
}

/// The number of the first block of a run: above those of all runs before, none of which lasts four billion blocks.
fn first_block(run: u64) -> u64 {
    (run << 32) + 1
}

/// Says one word, and hears one.
pub(crate) async fn exchange(
    tls: &Tls,
    peer: &str,
    reading: &mut Reading,
    writing: &mut Writing,
    word: Frame,
) -> Result<Control, Refusal> {
    let both = async {
        // Reads even if nothing can be written: the far end may have said why.
        let written = frame::write(writing, &word).await;
        let heard = frame::read(reading).await?;
        if heard.channel == Channel::Control { Ok(heard.payload) } else { written.map(|()| Vec::new()) }
    };
    let broken = |reason: String| Refusal::Broken { peer: peer.to_owned(), reason };
    match timeout(HANDSHAKE, both).await {
        Err(_late) => Err(broken("it does not answer in time".to_owned())),
        Ok(Err(FrameError::Io(error))) => Err(Refusal::Identity { peer: peer.to_owned(), fault: tls.in_words(&error) }),
        Ok(Err(other)) => Err(broken(other.to_string())),
        Ok(Ok(word)) => Control::decode(&word).map_err(|what| Refusal::Unlike(format!("the far end sent {what}"))),
    }
}

/// Tells the far end why, and waits until it has hung up, so that it gets to hear it.
pub(crate) async fn goodbye(reading: &mut Reading, writing: &mut Writing, why: &str) {
    let frame = Control::Goodbye(why.to_owned()).frame();
    let last = async {
        frame::write(writing, &frame).await?;
        writing.shutdown().await?;
        while frame::read(reading).await.is_ok() {}
        Ok::<(), FrameError>(())
    };
    let _best_effort = timeout(GOODBYE, last).await;
}
