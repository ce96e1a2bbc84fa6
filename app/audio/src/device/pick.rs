//! Picks the device for a choice among those that are there.

use super::Choice;
use super::system::Listed;

/// What to use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick<'a> {
    /// The one that was chosen.
    Chosen(&'a Listed),
    /// The system's default, as nothing else was chosen.
    Default(&'a Listed),
    /// The chosen one is not there.
    Away {
        /// The system's default, if it may stand in.
        other: Option<&'a Listed>,
    },
    /// None, as was chosen.
    Off,
    /// None is there; a monitor is not one unless chosen.
    Missing,
}

/// The chosen one if it is there; the default only where it is no monitor: sent out it would be the contact's own
/// voice. While another that works is open in its place, a default that is a monitor changes nothing.
pub(super) fn pick<'a>(choice: &Choice, devices: &'a [Listed]) -> Pick<'a> {
    let default = || devices.iter().find(|device| device.info.is_default && !device.info.is_monitor);
    match choice {
        Choice::Off => Pick::Off,
        Choice::Default => default().map_or(Pick::Missing, Pick::Default),
        Choice::Id(id) => {
            let chosen = devices.iter().find(|device| device.info.id == *id);
            chosen.map_or_else(|| Pick::Away { other: default() }, Pick::Chosen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceInfo, DeviceKind};

    fn devices() -> Vec<Listed> {
        let device = |id: &str, is_default, is_monitor| Listed {
            info: DeviceInfo {
                id: id.to_owned(),
                name: id.to_owned(),
                kind: DeviceKind::Microphone,
                is_default,
                is_monitor,
                rate: 48_000,
                channels: 1,
            },
            index: None,
        };
        vec![device("desk", true, false), device("headset", false, false), device("ear.monitor", false, true)]
    }

    fn name(pick: &Pick<'_>) -> String {
        match pick {
            Pick::Chosen(device) => format!("chosen {}", device.info.id),
            Pick::Default(device) => format!("default {}", device.info.id),
            Pick::Away { other } => format!("away {}", other.map_or("nothing", |device| &device.info.id)),
            Pick::Off => "off".to_owned(),
            Pick::Missing => "missing".to_owned(),
        }
    }

    #[test]
    fn the_chosen_one_else_the_default_and_a_monitor_only_by_its_id() {
        let mut devices = devices();
        let id = |id: &str| Choice::Id(id.to_owned());
        assert_eq!(name(&pick(&Choice::Default, &devices)), "default desk");
        assert_eq!(name(&pick(&id("headset"), &devices)), "chosen headset");
        assert_eq!(name(&pick(&id("gone"), &devices)), "away desk");
        assert_eq!(name(&pick(&id("ear.monitor"), &devices)), "chosen ear.monitor");
        assert_eq!(name(&pick(&Choice::Off, &devices)), "off");

        devices[0].info.is_default = false;
        devices[2].info.is_default = true;
        assert_eq!(name(&pick(&Choice::Default, &devices)), "missing");
        assert_eq!(name(&pick(&id("gone"), &devices)), "away nothing");
    }
}
