//! The machine's sound system: what devices there are, and how they are opened.
//!
//! `PulseAudio` (or `PipeWire` in its place) is asked first, ALSA where it does not answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, DeviceId, ErrorKind, Host, HostId};

use super::choice::choose;
use super::pulse::Server;
use super::stream::{self, Health, Input, OPEN_TIMEOUT, Output};
use super::{DeviceInfo, DeviceKind};
use crate::{Error, Result, SAMPLE_RATE, error::DeviceError};

/// A device, and what it is called inside the sound system: another one that later has its name has another index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) info: DeviceInfo,
    pub(super) index: Option<u32>,
}

/// All devices at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(super) microphones: Vec<Listed>,
    pub(super) speakers: Vec<Listed>,
}

/// A connection to the sound system. It does not survive a restart of it: connect anew.
pub(super) struct System {
    host: Host,
    pulse: Option<Server>,
    /// Connections that play on no loudspeaker at this moment.
    spare: Spare,
}

/// cpal's library never ends a connection's thread while the server lives, so connections are used again.
type Spare = Arc<Mutex<Vec<Host>>>;

/// A connection in use by one stream: `PulseAudio` refuses a second one on another loudspeaker, because cpal gives
/// all streams of a connection the same group, and the streams of a group must share a loudspeaker.
struct Leased {
    host: Option<Host>,
    spare: Spare,
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).extend(self.host.take());
    }
}

/// The one connection of this process: each has a thread that its library never ends while the server lives.
static CONNECTION: Mutex<Option<Arc<System>>> = Mutex::new(None);

/// Whether a sound server answered once. Then ALSA is no longer a way out when it does not: the server restarts, and
/// an ALSA device held open by us would keep its sound card from it.
static HAD_SERVER: AtomicBool = AtomicBool::new(false);

impl System {
    /// The connection of this process, made if there is none. Bounded by [`OPEN_TIMEOUT`].
    pub(super) fn connection() -> Result<Arc<Self>> {
        if let Some(system) = CONNECTION.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok(Arc::clone(system));
        }
        let system = Arc::new(bounded(Self::connect)?);
        *CONNECTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&system));
        Ok(system)
    }

    /// Says that this connection is no longer one: the next caller of [`Self::connection`] makes another.
    pub(super) fn broken(self: &Arc<Self>) {
        let mut current = CONNECTION.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|system| Arc::ptr_eq(system, self)) {
            *current = None;
        }
    }

    fn connect() -> Result<Self> {
        // cpal's own choice is `PulseAudio` if it answers, else ALSA, and where both fail it panics; so ask one by one.
        let mut reason = "none is built in".to_owned();
        let mut known = cpal::ALL_HOSTS.to_vec();
        known.sort_by_key(|id| *id != HostId::PulseAudio);
        if HAD_SERVER.load(Ordering::Relaxed) {
            known.retain(|id| *id == HostId::PulseAudio);
        }
        for id in known {
            let connected = cpal::host_from_id(id).map_err(|error| no_sound_system(&error).into()).and_then(|host| {
                let pulse = (id == HostId::PulseAudio).then(Server::connect).transpose()?;
                Ok(Self { host, pulse, spare: Spare::default() })
            });
            match connected {
                Ok(system) => {
                    HAD_SERVER.fetch_or(system.pulse.is_some(), Ordering::Relaxed);
                    return Ok(system);
                }
                Err(Error::Device(DeviceError::NoSoundSystem { reason: why })) => reason = why,
                Err(error) => return Err(error),
            }
        }
        Err(DeviceError::NoSoundSystem { reason }.into())
    }

    /// All devices, as they are now. Bounded.
    pub(super) fn list(&self) -> Result<Listing> {
        if let Some(pulse) = &self.pulse {
            return pulse.list();
        }
        let failed = |error: cpal::Error| no_sound_system(&error);
        let (microphone, speaker) = (self.host.default_input_device(), self.host.default_output_device());
        let microphones = self.host.input_devices().map_err(failed)?;
        let speakers = self.host.output_devices().map_err(failed)?;
        Ok(Listing {
            microphones: describe(microphones, DeviceKind::Microphone, microphone.as_ref()),
            speakers: describe(speakers, DeviceKind::Speaker, speaker.as_ref()),
        })
    }

    /// Whether looking at all devices is cheap enough to do it several times a second.
    pub(super) fn lists_quickly(&self) -> bool {
        self.pulse.is_some()
    }

    /// Opens a microphone. May block for seconds.
    pub(super) fn record(&self, device: &Listed, health: Arc<Health>) -> Result<Input> {
        if let Some(pulse) = &self.pulse {
            return pulse.record(device, health);
        }
        let (found, failed) = find(&self.host, &device.info)?;
        let offers = found.supported_input_configs().map_err(&failed)?;
        let (config, format) = choose(&device.info.name, found.default_input_config().ok().as_ref(), offers)?;
        Ok(stream::record(&found, config, format, health).map_err(failed)?)
    }

    /// Opens a loudspeaker. May block for seconds.
    pub(super) fn play(&self, device: &Listed, health: Arc<Health>) -> Result<Output> {
        let leased = self.lease()?;
        let (found, failed) = find(leased.host.as_ref().unwrap_or(&self.host), &device.info)?;
        let offers = found.supported_output_configs().map_err(&failed)?;
        let (config, format) = choose(&device.info.name, found.default_output_config().ok().as_ref(), offers)?;
        let mut output = stream::play(&found, config, format, health).map_err(failed)?;
        // In this order: the connection is spare once the stream is closed.
        output.keep = Box::new((output.keep, leased));
        Ok(output)
    }

    fn lease(&self) -> Result<Leased> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let host = match spare {
            Some(host) => host,
            None => cpal::host_from_id(self.host.id()).map_err(|error| no_sound_system(&error))?,
        };
        Ok(Leased { host: Some(host), spare: Arc::clone(&self.spare) })
    }
}

fn find<'a>(host: &Host, info: &'a DeviceInfo) -> Result<(Device, impl Fn(cpal::Error) -> DeviceError + 'a)> {
    let missing = || DeviceError::NotFound { kind: info.kind.word(), name: Some(info.id.clone()) };
    let id = info.id.parse::<DeviceId>().ok().ok_or_else(missing)?;
    let device = host.device_by_id(&id).ok_or_else(missing)?;
    Ok((device, |error: cpal::Error| match error.kind() {
        // Where there is no sound at all ALSA still names a default device.
        ErrorKind::DeviceNotAvailable => DeviceError::NotFound { kind: info.kind.word(), name: Some(info.id.clone()) },
        ErrorKind::HostUnavailable => no_sound_system(&error),
        _ => DeviceError::Failed { name: info.name.clone(), reason: error.to_string() },
    }))
}

/// Runs what may hang in a thread of its own and waits no longer than [`OPEN_TIMEOUT`] for it.
pub(super) fn bounded<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = sync_channel(1);
    let hung = |reason: &str| DeviceError::NoSoundSystem { reason: reason.to_owned() };
    std::thread::Builder::new()
        .name("sound-open".to_owned())
        .spawn(move || drop(done.send(work())))
        .map_err(|error| hung(&error.to_string()))?;
    match result.recv_timeout(OPEN_TIMEOUT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(hung("it does not answer").into()),
        Err(RecvTimeoutError::Disconnected) => Err(hung("its library gave up").into()),
    }
}

fn describe(devices: impl Iterator<Item = Device>, kind: DeviceKind, default: Option<&Device>) -> Vec<Listed> {
    let default = default.and_then(|device| device.id().ok());
    let listed = |device: Device| {
        let id = device.id().ok()?;
        let own = match kind {
            DeviceKind::Microphone => device.default_input_config(),
            DeviceKind::Speaker => device.default_output_config(),
        };
        let info = DeviceInfo {
            name: device.description().map_or_else(|_| id.to_string(), |device| device.name().to_owned()),
            kind,
            is_default: default.as_ref() == Some(&id),
            is_monitor: id.id().ends_with(".monitor"),
            rate: own.as_ref().map_or(SAMPLE_RATE, cpal::SupportedStreamConfig::sample_rate),
            channels: own.as_ref().map_or(1, cpal::SupportedStreamConfig::channels),
            id: id.to_string(),
        };
        Some(Listed { info, index: None })
    };
    devices.filter_map(listed).collect()
}

fn no_sound_system(error: &cpal::Error) -> DeviceError {
    DeviceError::NoSoundSystem { reason: error.to_string() }
}
