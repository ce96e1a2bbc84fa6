//! Picks the device for a choice among those that are there.

use super::Choice;
use super::system::Listed;

/// What to use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick<'a> {
    /// This one.
    Device {
        /// Which.
        device: &'a Listed,
        /// Whether it stands in for the one that was chosen.
        stands_in: bool,
    },
    /// None, as was chosen.
    Off,
    /// None is there; a monitor is not one unless chosen.
    Missing,
}

/// The chosen one if it is there; else the default, unless that is a monitor: sent out it would be the contact's own
/// voice. While another that works is open in its place, a default that is a monitor changes nothing.
pub(super) fn pick<'a>(choice: &Choice, devices: &'a [Listed]) -> Pick<'a> {
    let default = || devices.iter().find(|device| device.info.is_default && !device.info.is_monitor);
    match choice {
        Choice::Off => Pick::Off,
        Choice::Default => default().map_or(Pick::Missing, |device| Pick::Device { device, stands_in: false }),
        Choice::Id(id) => match devices.iter().find(|device| device.info.id == *id) {
            Some(device) => Pick::Device { device, stands_in: false },
            None => default().map_or(Pick::Missing, |device| Pick::Device { device, stands_in: true }),
        },
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

    fn name<'a>(pick: &Pick<'a>) -> (&'a str, bool) {
        match pick {
            Pick::Device { device, stands_in } => (&device.info.id, *stands_in),
            Pick::Off => ("off", false),
            Pick::Missing => ("missing", false),
        }
    }

    #[test]
    fn the_chosen_one_else_the_default_and_a_monitor_only_by_its_id() {
        let mut devices = devices();
        let id = |id: &str| Choice::Id(id.to_owned());
        assert_eq!(name(&pick(&Choice::Default, &devices)), ("desk", false));
        assert_eq!(name(&pick(&id("headset"), &devices)), ("headset", false));
        assert_eq!(name(&pick(&id("gone"), &devices)), ("desk", true));
        assert_eq!(name(&pick(&id("ear.monitor"), &devices)), ("ear.monitor", false));
        assert_eq!(name(&pick(&Choice::Off, &devices)), ("off", false));

        devices[0].info.is_default = false;
        devices[2].info.is_default = true;
        assert_eq!(name(&pick(&Choice::Default, &devices)), ("missing", false));
        assert_eq!(name(&pick(&id("gone"), &devices)), ("missing", false));
    }
}
