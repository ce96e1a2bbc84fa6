//! Loudspeaker and microphone: 48 kHz mono `i16` through a bounded ring, to and from the machine's sound system.
//!
//! `PulseAudio` (or `PipeWire` in its place) is asked first, ALSA where neither answers. A machine without sound gets
//! [`DeviceError::NoSoundSystem`] or [`DeviceError::NotFound`] and can do everything else. The audio thread takes no
//! lock, allocates nothing and writes no log: it moves samples between the device and the ring, and counts.

mod choice;
mod microphone;
mod speaker;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, DeviceId, ErrorKind, Host};

pub use self::microphone::Microphone;
pub use self::speaker::Speaker;
use crate::{Result, SAMPLE_RATE, error::DeviceError};

/// Samples that wait at most between us and a device: 200 ms.
pub const RING_SAMPLES: usize = SAMPLE_RATE as usize / 5;
/// Samples that a device is asked to take or give at a time: 10 ms. Left to itself, `PulseAudio` takes 2 s.
pub const PERIOD_SAMPLES: u32 = SAMPLE_RATE / 100;
/// How long a sound system may take to open a device.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// A device that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What to hand to [`Speaker::open`] or [`Microphone::open`]; stays the same from one start to the next.
    pub id: String,
    /// What to show to a person.
    pub name: String,
    /// Whether it is the one used when none is chosen.
    pub is_default: bool,
    /// Whether this "microphone" is in truth what a loudspeaker plays. Never taken unless chosen by its id.
    pub is_monitor: bool,
}

/// The loudspeakers and headsets of this machine.
pub fn speakers() -> Result<Vec<DeviceInfo>> {
    let host = host()?;
    let default = host.default_output_device();
    let devices = host.output_devices().map_err(|error| no_sound_system(&error))?;
    Ok(describe(devices, default.as_ref()))
}

/// The microphones of this machine, and the monitors of its loudspeakers.
pub fn microphones() -> Result<Vec<DeviceInfo>> {
    let host = host()?;
    let default = host.default_input_device();
    let devices = host.input_devices().map_err(|error| no_sound_system(&error))?;
    Ok(describe(devices, default.as_ref()))
}

fn describe(devices: impl Iterator<Item = Device>, default: Option<&Device>) -> Vec<DeviceInfo> {
    let default = default.and_then(|device| device.id().ok());
    let info = |device: Device| {
        let id = device.id().ok()?;
        Some(DeviceInfo {
            name: name_of(&device),
            is_default: default.as_ref() == Some(&id),
            is_monitor: is_monitor(&id),
            id: id.to_string(),
        })
    };
    devices.filter_map(info).collect()
}

fn host() -> Result<Host> {
    // cpal's own choice is `PulseAudio` if it answers, else ALSA, and where both fail it panics; so ask one by one.
    let mut reason = "none is built in".to_owned();
    let mut known = cpal::ALL_HOSTS.to_vec();
    known.sort_by_key(|id| !id.to_string().eq_ignore_ascii_case("pulseaudio"));
    for id in known {
        match cpal::host_from_id(id) {
            Ok(host) => return Ok(host),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(DeviceError::NoSoundSystem { reason }.into())
}

fn no_sound_system(error: &cpal::Error) -> DeviceError {
    DeviceError::NoSoundSystem { reason: error.to_string() }
}

/// The device of this id, or the default one.
fn find(kind: &'static str, id: Option<&str>, default: impl Fn(&Host) -> Option<Device>) -> Result<Device> {
    let host = host()?;
    let device = match id {
        None => default(&host),
        Some(id) => id.parse::<DeviceId>().ok().and_then(|id| host.device_by_id(&id)),
    };
    device.ok_or_else(|| DeviceError::NotFound { kind, name: id.map(str::to_owned) }.into())
}

/// Why a device that was found could not be opened. Where there is no sound at all ALSA still names a default device.
fn not_opened(kind: &'static str, id: Option<&str>, name: &str, error: &cpal::Error) -> DeviceError {
    match error.kind() {
        ErrorKind::DeviceNotAvailable => DeviceError::NotFound { kind, name: id.map(str::to_owned) },
        ErrorKind::HostUnavailable => no_sound_system(error),
        _ => DeviceError::Failed { name: name.to_owned(), reason: error.to_string() },
    }
}

fn name_of(device: &Device) -> String {
    device.description().map_or_else(|_| "a device without a name".to_owned(), |device| device.name().to_owned())
}

/// `PulseAudio` offers what each loudspeaker plays as a source of this name.
fn is_monitor(id: &DeviceId) -> bool {
    id.id().ends_with(".monitor")
}

/// Both ends can move to the thread that uses them.
const _: () = {
    const fn can_move<T: Send>() {}
    can_move::<Speaker>();
    can_move::<Microphone>();
};

/// What the audio thread reports, without a lock.
#[derive(Default)]
struct Health {
    /// Samples that were not there in time, or had no room.
    missed: AtomicU64,
    /// Why the device stopped, if it did. Set once, so nobody ever waits for it.
    failed: OnceLock<ErrorKind>,
}

impl Health {
    fn report(&self, kind: ErrorKind) {
        match kind {
            // Still working; a gap in the sound shows in `missed`.
            ErrorKind::Xrun | ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => {}
            _ => {
                let _ = self.failed.set(kind);
            }
        }
    }

    fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn check(&self, name: &str) -> Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(kind) => Err(DeviceError::Failed { name: name.to_owned(), reason: kind.to_string() }.into()),
        }
    }
}
