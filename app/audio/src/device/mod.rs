//! Loudspeakers and microphones, through the machine's sound system: `PulseAudio` (or `PipeWire` in its place) first,
//! ALSA where it does not answer.
//!
//! It knows nothing of calls and does not decide when to ring. A machine without sound gets
//! [`DeviceError::NoSoundSystem`] or [`DeviceError::NotFound`] and can do everything else.
//!
//! [`Speaker`] and [`Microphone`] are one device each, for as long as it is there. [`Handset`] is what a call needs:
//! both, changed and unplugged at any time, each with a clock of its own.
//!
//! ```text
//!  microphone ─► audio thread ─► ring ─► resampler ─► capture() ─► Processor ─► the call
//!                 (mixes down)     │        ▲                         ▲
//!                                  └► DriftController                 │ what is about to be heard
//!                                                                     │
//!  loudspeaker ◄─ audio thread ◄─ ring ◄─ resampler ◄─ play() ◄───────┴───────── the call
//!                                  └► DriftController
//!  manager thread: lists the devices, opens, closes, watches; never touches sound
//! ```
//!
//! A microphone that was chosen and is gone is not replaced without asking: another is offered, and nothing is heard
//! until the person says yes.
//!
//! Devices are opened as they are: own rate, own channels, own sample format. The audio thread takes no lock,
//! allocates nothing and writes no log: it moves samples between the device and the ring, and counts.

mod bridge;
mod choice;
mod connection;
mod drift;
mod handset;
mod manager;
mod microphone;
mod mixdown;
mod part;
mod pick;
mod pulse;
mod ringer;
mod speaker;
mod stand_in;
mod stream;
mod system;
#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "virtual time and sines are made in f64"
)]
mod tests;

pub use self::handset::{DeviceFlow, Handset, HandsetControl, HandsetSettings, HandsetStatus};
pub use self::microphone::Microphone;
pub use self::part::{Choice, HandsetEvent, MAX_EVENTS, Part, StandIn};
pub use self::ringer::Ringer;
pub use self::speaker::Speaker;
use self::system::{Listed, Listing, System};
use crate::{Result, SAMPLE_RATE, error::DeviceError};

/// Samples at 48 kHz that wait at most between us and a [`Speaker`] or [`Microphone`]: 200 ms.
pub const RING_SAMPLES: usize = SAMPLE_RATE as usize / 5;

/// What a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// It records.
    Microphone,
    /// It plays.
    Speaker,
}

impl DeviceKind {
    /// What it is called in sentences.
    pub fn word(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Speaker => "loudspeaker",
        }
    }
}

/// A device that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What to hand to [`Speaker::open`], [`Microphone::open`] or [`Choice::Id`]; stays the same from one start to
    /// the next.
    pub id: String,
    /// What to show to a person.
    pub name: String,
    /// What it does.
    pub kind: DeviceKind,
    /// Whether it is the one used when none is chosen.
    pub is_default: bool,
    /// Whether this "microphone" is in truth what a loudspeaker plays. Never taken unless chosen by its id.
    pub is_monitor: bool,
    /// Its own sample rate, Hz.
    pub rate: u32,
    /// Its own number of channels.
    pub channels: u16,
}

/// All loudspeakers, then all microphones, then the monitors of the loudspeakers. Answers within some seconds, also
/// where the sound system hangs.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    let Listing { microphones, speakers } = list()?;
    let mut devices: Vec<_> = speakers.into_iter().chain(microphones).map(|listed| listed.info).collect();
    devices.sort_by_key(|device| (device.kind == DeviceKind::Microphone, device.is_monitor));
    Ok(devices)
}

/// The loudspeakers and headsets of this machine.
pub fn speakers() -> Result<Vec<DeviceInfo>> {
    Ok(list()?.speakers.into_iter().map(|listed| listed.info).collect())
}

/// The microphones of this machine, and the monitors of its loudspeakers.
pub fn microphones() -> Result<Vec<DeviceInfo>> {
    Ok(list()?.microphones.into_iter().map(|listed| listed.info).collect())
}

fn list() -> Result<Listing> {
    connected(System::list).map(|(_, listing)| listing)
}

/// Asks the sound system; once more over a new connection where the old one is broken, as after a restart of it.
fn connected<T>(ask: impl Fn(&System) -> Result<T>) -> Result<(std::sync::Arc<System>, T)> {
    let system = System::connection()?;
    if let Ok(answer) = ask(&system) {
        return Ok((system, answer));
    }
    system.broken();
    let system = System::connection()?;
    let answer = ask(&system)?;
    Ok((system, answer))
}

/// The device of this id, or the default one; and the system to open it with.
fn find(kind: DeviceKind, id: Option<&str>) -> Result<(std::sync::Arc<System>, Listed)> {
    let (system, listing) = connected(System::list)?;
    let listed = match kind {
        DeviceKind::Microphone => listing.microphones,
        DeviceKind::Speaker => listing.speakers,
    };
    let wanted = |device: &Listed| match id {
        Some(id) => device.info.id == id,
        None => device.info.is_default && !device.info.is_monitor,
    };
    match listed.into_iter().find(wanted) {
        Some(device) => Ok((system, device)),
        None => Err(DeviceError::NotFound { kind: kind.word(), name: id.map(str::to_owned) }.into()),
    }
}

/// All ends can move to the thread that uses them.
const _: () = {
    const fn can_move<T: Send>() {}
    can_move::<Speaker>();
    can_move::<Microphone>();
    can_move::<Handset>();
    can_move::<HandsetControl>();
    can_move::<Ringer>();
};
