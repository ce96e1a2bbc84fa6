//! Choosing devices while the telephone runs, and what happens to them.

use tokio::task::JoinHandle;
use vernam_audio::device::{self, Choice, DeviceInfo, HandsetEvent, Part};

use super::Telephone;
use crate::call::events::CallEvent;
use crate::call::model::{Attended, DevicePart, Menu};
use crate::devices::Device;

/// A list of devices that is being made: asking a sound system may take seconds, and the call goes on meanwhile.
pub(super) struct Listing {
    part: DevicePart,
    found: JoinHandle<vernam_audio::Result<Vec<DeviceInfo>>>,
}

impl Telephone {
    /// Shows the devices to choose from, as soon as they are known.
    pub(super) fn open_menu(&mut self, part: DevicePart) {
        let list = move || if part == DevicePart::Microphone { device::microphones() } else { device::speakers() };
        self.listing = Some(Listing { part, found: tokio::task::spawn_blocking(list) });
    }

    /// Shows the list that was being made, if it is there.
    pub(super) async fn look_at_list(&mut self) -> anyhow::Result<()> {
        let Some(Listing { part, found }) = self.listing.take_if(|listing| listing.found.is_finished()) else {
            return Ok(());
        };
        match found.await? {
            Ok(found) => {
                let found: Vec<Device> = found.into_iter().map(Device::from).collect();
                let model = &mut self.stage.model;
                let used = match part {
                    DevicePart::Microphone => model.devices[0].as_deref(),
                    DevicePart::Speaker => model.devices[1].as_deref(),
                    DevicePart::Ringer => None,
                };
                model.menu = Some(menu(part, &found, &self.line.sound.chosen(engine_part(part)), used));
                Ok(())
            }
            Err(error) => self.stage.tell(CallEvent::Warning { contact: None, text: error.to_string() }),
        }
    }

    /// Tells what happened to a device.
    pub(super) fn device(&mut self, event: HandsetEvent) -> anyhow::Result<()> {
        let told = told(event);
        let alone = match &told {
            CallEvent::DeviceOffered { instead_of, .. } if self.stage.model.attended != Attended::Person => {
                Some(format!(
                    "nobody is there who could say yes to another microphone: silence is sent until {instead_of} is back"
                ))
            }
            _ => None,
        };
        self.stage.tell(told)?;
        alone.map_or(Ok(()), |text| self.stage.tell(CallEvent::Warning { contact: None, text }))
    }

    /// Uses another device from now on.
    pub(super) fn choose(&mut self, part: DevicePart, choice: Choice) {
        if let Some(ringers) = &self.line.ringers {
            match part {
                DevicePart::Microphone => {}
                DevicePart::Speaker => ringers.choose_ear(choice.clone()),
                DevicePart::Ringer => ringers.choose_ring(choice.clone()),
            }
        }
        self.line.sound.choose(engine_part(part), choice);
    }
}

fn engine_part(part: DevicePart) -> Part {
    match part {
        DevicePart::Microphone => Part::Microphone,
        DevicePart::Speaker => Part::Speaker,
        DevicePart::Ringer => Part::Ringer,
    }
}

/// The list to choose from, with what is chosen now under the mark, and what is in use said.
fn menu(part: DevicePart, found: &[Device], chosen: &Choice, used: Option<&str>) -> Menu {
    let mut ids = vec![None];
    let mut names = vec!["the system's default".to_owned()];
    for device in found {
        let monitor = if device.monitor { " (monitor: what a loudspeaker plays)" } else { "" };
        let default = if device.default { " (default)" } else { "" };
        let in_use = if used == Some(device.name.as_str()) { " (in use)" } else { "" };
        ids.push(Some(device.id.clone()));
        names.push(format!("{}{default}{in_use}{monitor}", device.name));
    }
    let marked = match chosen {
        Choice::Id(id) => ids.iter().position(|there| there.as_ref() == Some(id)),
        Choice::Default => Some(0),
        Choice::Off => None,
    };
    if let Some(marked) = marked {
        names[marked].push_str(" (chosen)");
    }
    Menu { part, ids, names, marked: marked.unwrap_or(0) }
}

/// What happened to a device, as the telephone tells it.
fn told(event: HandsetEvent) -> CallEvent {
    let name_of = |part: Part| {
        let part = match part {
            Part::Microphone => DevicePart::Microphone,
            Part::Speaker => DevicePart::Speaker,
            Part::Ringer => DevicePart::Ringer,
        };
        part.name().to_owned()
    };
    match event {
        HandsetEvent::Opened { part, name, stands_in } => {
            CallEvent::DeviceOpened { part: name_of(part), name, stands_in }
        }
        HandsetEvent::Lost { part, name, why } => CallEvent::DeviceLost { part: name_of(part), name, why },
        HandsetEvent::Offered { part, id, name, instead_of } => {
            CallEvent::DeviceOffered { part: name_of(part), id, name, instead_of }
        }
        HandsetEvent::Withdrawn { part, id } => CallEvent::DeviceWithdrawn { part: name_of(part), id },
        _ => CallEvent::Warning { contact: None, text: "a sound device changed".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_begins_at_what_is_chosen_and_says_what_is_in_use() {
        let device = |id: &str, name: &str, default| Device {
            id: id.to_owned(),
            name: name.to_owned(),
            default,
            monitor: false,
        };
        let found = [device("desk", "Desk", true), device("head", "Headset", false)];
        let part = DevicePart::Microphone;
        let listed = menu(part, &found, &Choice::Id("head".to_owned()), Some("Desk"));
        assert_eq!(listed.names, ["the system's default", "Desk (default) (in use)", "Headset (chosen)"]);
        assert_eq!(listed.marked, 2);
        let listed = menu(part, &found, &Choice::Default, Some("Desk"));
        assert_eq!((listed.marked, listed.names[0].as_str()), (0, "the system's default (chosen)"));
        // One that is away is not in the list.
        let listed = menu(part, &found, &Choice::Id("gone".to_owned()), None);
        assert!(listed.marked == 0 && !listed.names.concat().contains("chosen"), "{listed:?}");
    }
}
