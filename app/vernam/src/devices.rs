//! `vernam devices`: the loudspeakers and microphones of this machine.

pub mod noise;

use std::io::{self, Write as _};

use serde::Serialize;
use vernam_audio::device::{self, DeviceInfo};

use crate::cli::DevicesOptions;
use crate::complaint;

/// What is listed.
#[derive(Debug, Serialize)]
struct Listed {
    microphones: Vec<Device>,
    speakers: Vec<Device>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// What the sound system calls it.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Whether it is used when none is named.
    pub(crate) default: bool,
    /// Whether it is what a loudspeaker plays.
    pub(crate) monitor: bool,
}

impl From<DeviceInfo> for Device {
    fn from(info: DeviceInfo) -> Self {
        Self { id: info.id, name: info.name, default: info.is_default, monitor: info.is_monitor }
    }
}

/// `vernam devices`; returns the exit status.
///
/// # Errors
/// If no sound system answers, with how to go on without one.
pub fn devices(options: DevicesOptions) -> anyhow::Result<u8> {
    let hushed = noise::hush();
    let list = |found: vernam_audio::Result<Vec<DeviceInfo>>| -> anyhow::Result<Vec<Device>> {
        let found = found.map_err(without_sound)?;
        Ok(found.into_iter().map(Device::from).collect())
    };
    let listed = Listed { microphones: list(device::microphones())?, speakers: list(device::speakers())? };
    drop(hushed);
    if !options.json && listed.microphones.is_empty() && listed.speakers.is_empty() {
        anyhow::bail!("{}", no_devices());
    }
    let text = if options.json {
        complaint::escaped_json(serde_json::to_string_pretty(&listed)? + "\n")
    } else {
        text(&listed)
    };
    // Whoever does not read it to its end has what he wanted.
    let _gone = io::stdout().write_all(text.as_bytes());
    Ok(0)
}

/// There is a sound system, and nothing at it.
pub(crate) fn no_devices() -> String {
    format!("this machine has neither microphone nor loudspeaker. {HOW_ON}")
}

/// How to go on without devices.
const HOW_ON: &str = "A call goes on without devices: --no-sound, or --speech FILE.wav and --heard FILE.wav";

/// Why there is no sound, and how to go on.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn without_sound(error: vernam_audio::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}. {HOW_ON}")
}

fn text(listed: &Listed) -> String {
    let mut text = String::new();
    for (title, devices) in [("Microphones", &listed.microphones), ("Loudspeakers and headsets", &listed.speakers)] {
        text.extend([title, "\n"]);
        if devices.is_empty() {
            text += "  none\n";
        }
        for device in devices {
            let default = if device.default { "*" } else { " " };
            // What it would send is not a voice but what everybody hears anyway.
            let monitor = if device.monitor { "  (monitor: what a loudspeaker plays)" } else { "" };
            let [name, id] = [&device.name, &device.id].map(|text| complaint::one_line(text));
            text.extend([default, " ", &*name, monitor, "\n    ", &*id, "\n"]);
        }
        text += "\n";
    }
    text + "* is the default. A name or id goes after --microphone, --speaker or --ringer, or into [sound] of home.toml.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_monitors_are_marked() {
        let device =
            |id: &str, default, monitor| Device { id: id.to_owned(), name: id.to_uppercase(), default, monitor };
        let listed = Listed {
            microphones: vec![device("mic", true, false), device("spk.monitor", false, true)],
            speakers: Vec::new(),
        };
        let text = text(&listed);
        assert!(text.contains("* MIC\n    mic\n") && text.contains("  SPK.MONITOR  (monitor"), "{text}");
        assert!(text.contains("Loudspeakers and headsets\n  none"), "{text}");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}mic\r\n\u{9b}31m";
        let device = Device { id: hostile.to_owned(), name: hostile.to_owned(), default: false, monitor: false };
        let text = text(&Listed { microphones: vec![device], speakers: Vec::new() });
        assert!(text.contains("�]0;owned�mic���31m"), "{text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
