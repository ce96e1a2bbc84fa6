//! A private sound system for tests and benches: `PulseAudio` with loudspeakers and microphones that exist in software
//! only, which can be unplugged, plugged in again, and whose server can be killed.
//!
//! A process cannot change its own environment safely, so whoever is to use the devices is started as a child with
//! [`Sound::surround`]. Nothing here touches a sound system of the machine. Everything started ends when it is dropped, by
//! its process ID.
//!
//! ```text
//!   Sound::say ─► sink NAME.in ─► source NAME      a microphone      ─► the program under test
//!   Sound::listen ◄─ source NAME.monitor ◄─ sink NAME   a loudspeaker ◄─ the program under test
//! ```

pub mod chirp;
mod device;
mod stream;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

pub use self::device::Device;
pub use self::stream::{Listener, Recording, Said, Times};

/// Samples a second of everything that is said and recorded here, whatever the devices' own rates.
pub const RATE: u32 = vernam_audio::SAMPLE_RATE;
/// How long the server may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What must be installed.
const TOOLS: [&str; 4] = ["pulseaudio", "pactl", "pacat", "parec"];

/// Ends its process, and only that, when dropped.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _it_ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The sound system.
#[derive(Debug)]
pub struct Sound {
    server: Option<Ended>,
    plugged: Vec<Plugged>,
    /// Which devices are used where none is named.
    defaults: [Option<String>; 2],
    folder: TempDir,
}

/// A device and the server's numbers of what it is made of, the last loaded first. Empty while it is unplugged.
#[derive(Debug)]
struct Plugged {
    device: Device,
    modules: Vec<String>,
}

/// Whether this machine has what a private sound system is made of; else what to install.
pub fn is_available() -> Result<(), String> {
    let missing = TOOLS
        .iter()
        .find(|tool| Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err());
    match missing {
        None => Ok(()),
        Some(tool) => Err(format!("{tool} is not installed (apt install pulseaudio pulseaudio-utils)")),
    }
}

impl Sound {
    /// Starts a server with these devices. The first loudspeaker and the first microphone are the default ones.
    pub fn start(devices: &[Device]) -> anyhow::Result<Self> {
        is_available().map_err(anyhow::Error::msg)?;
        let folder = tempfile::Builder::new().prefix("vernam-sound-").tempdir()?;
        let first = |is_speaker| {
            devices.iter().find(|device| device.is_speaker() == is_speaker).map(|device| device.name().to_owned())
        };
        let defaults = [first(true), first(false)];
        let plugged = devices.iter().map(|device| Plugged { device: device.clone(), modules: Vec::new() }).collect();
        let mut sound = Self { server: None, plugged, defaults, folder };
        sound.start_server()?;
        Ok(sound)
    }

    /// Puts `command` into this sound system: it finds these devices and no others.
    pub fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in ["PULSE_RUNTIME_PATH", "PULSE_STATE_PATH", "PULSE_CONFIG_PATH", "XDG_RUNTIME_DIR", "HOME"] {
            command.env(name, self.folder.path());
        }
        command
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("PULSE_SINK")
            .env_remove("PULSE_SOURCE");
        command.env("PULSE_SERVER", format!("unix:{}", self.socket().display()));
        command.env("PULSE_COOKIE", self.folder.path().join("cookie"));
        // ALSA finds nothing: what is not there must not be replaced by a device of the machine.
        command.env("ALSA_CONFIG_PATH", self.folder.path().join("no-alsa.conf"))
    }

    /// Pulls a device out. Whoever uses it is told by the server, and may be moved to another one.
    pub fn unplug(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.place(name)?;
        let modules = std::mem::take(&mut self.plugged[place].modules);
        ensure!(!modules.is_empty(), "{name} is unplugged already");
        for module in modules {
            self.control(&["unload-module", &module])?;
        }
        Ok(())
    }

    /// Puts a device back that was pulled out.
    pub fn plug(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.place(name)?;
        ensure!(self.plugged[place].modules.is_empty(), "{name} is plugged in already");
        let mut modules = Vec::new();
        for load in self.plugged[place].device.modules() {
            let load: Vec<&str> = std::iter::once("load-module").chain(load.iter().map(String::as_str)).collect();
            modules.insert(0, self.control(&load)?.trim().to_owned());
        }
        self.plugged[place].modules = modules;
        Ok(())
    }

    /// Kills the server as a crash would. Children in it lose their devices.
    pub fn kill_server(&mut self) {
        self.server = None;
        for plugged in &mut self.plugged {
            plugged.modules.clear();
        }
    }

    /// Starts a server anew after [`Self::kill_server`], at the same place, with all devices.
    pub fn start_server(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        let (folder, socket) = (self.folder.path(), self.socket());
        let _none_the_first_time = std::fs::remove_file(&socket);
        let script = folder.join("start.pa");
        let protocol = format!("load-module module-native-protocol-unix auth-anonymous=1 socket={}", socket.display());
        std::fs::write(&script, format!(".fail\n{protocol}\n"))?;
        let mut server = Command::new("pulseaudio");
        server.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--enable-memfd=no"]);
        // Not more urgent than other programs: a machine of two cores has none to spare.
        server.args(["--high-priority=no", "--realtime=no", "--log-level=error", "-F"]).arg(&script);
        self.surround(&mut server).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(Ended(server.spawn().context("PulseAudio cannot be started")?));
        let begin = Instant::now();
        while self.control(&["info"]).is_err() {
            if begin.elapsed() > PATIENCE {
                bail!("PulseAudio does not answer within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let names: Vec<String> = self.plugged.iter().map(|plugged| plugged.device.name().to_owned()).collect();
        for name in names {
            self.plug(&name)?;
        }
        for (what, name) in ["set-default-sink", "set-default-source"].into_iter().zip(self.defaults.clone()) {
            if let Some(name) = name {
                self.control(&[what, &name])?;
            }
        }
        Ok(())
    }

    /// Who uses devices now: what plays and what records, of all programs, as `pactl` prints it.
    pub fn streams(&self) -> anyhow::Result<[Vec<String>; 2]> {
        // The third column is the program; what the server's own modules do has none.
        let is_a_programs = |line: &&str| line.split('\t').nth(2) != Some("-");
        let list = |what| {
            let listed = self.control(&["list", "short", what])?;
            Ok::<_, anyhow::Error>(listed.lines().filter(is_a_programs).map(str::to_owned).collect())
        };
        Ok([list("sink-inputs")?, list("source-outputs")?])
    }

    /// Speaks into a microphone: 48 kHz, `channels` samples side by side (one goes to all of the device's channels).
    pub fn say(&self, microphone: &str, pcm: &[i16], channels: u16, times: Times) -> anyhow::Result<Said> {
        let sink = Device::sink_behind(microphone);
        let mut player = Command::new("pacat");
        player.args(["--playback", "--raw", "--latency-msec=20", "--format=s16le"]);
        player.arg(format!("--rate={RATE}")).arg(format!("--channels={channels}")).arg(format!("--device={sink}"));
        Said::start(self.surround(&mut player), pcm, times)
    }

    /// Listens to what a loudspeaker plays, from now on.
    pub fn listen(&self, speaker: &str) -> anyhow::Result<Listener> {
        self.listen_to(&format!("{speaker}.monitor"))
    }

    /// Listens to what a microphone gives, from now on: exactly what a program hears that uses it.
    pub fn listen_in(&self, microphone: &str) -> anyhow::Result<Listener> {
        self.listen_to(microphone)
    }

    /// Listens to what stands behind a microphone ([`Device::id_behind`]).
    pub fn listen_behind(&self, microphone: &str) -> anyhow::Result<Listener> {
        self.listen_to(&format!("{}.monitor", Device::sink_behind(microphone)))
    }

    fn listen_to(&self, source: &str) -> anyhow::Result<Listener> {
        let mut recorder = Command::new("parec");
        recorder.args(["--latency-msec=20", "--format=s16le", "--channels=1"]);
        recorder.arg(format!("--rate={RATE}")).arg(format!("--device={source}"));
        Listener::start(self.surround(&mut recorder))
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("native")
    }

    /// A folder that lives as long as this sound system.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn place(&self, name: &str) -> anyhow::Result<usize> {
        let place = self.plugged.iter().position(|plugged| plugged.device.name() == name);
        place.with_context(|| format!("there is no device {name}"))
    }

    fn control(&self, order: &[&str]) -> anyhow::Result<String> {
        let mut pactl = Command::new("pactl");
        let done = self.surround(&mut pactl).args(order).stdin(Stdio::null()).output()?;
        let why = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "pactl {}: {why}", order.join(" "));
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests;
