//! Choosing devices while the telephone runs, and what happens to them.

use vernam_audio::device::{self, Choice, DeviceInfo, HandsetEvent, Part};

use super::Telephone;
use crate::call::events::CallEvent;
use crate::call::model::{Attended, DevicePart, Menu};

impl Telephone {
    /// Shows the devices to choose from.
    pub(super) async fn open_menu(&mut self, part: DevicePart) -> anyhow::Result<()> {
        // Asking a sound system may take seconds.
        let list = move || if part == DevicePart::Microphone { device::microphones() } else { device::speakers() };
        match tokio::task::spawn_blocking(list).await? {
            Ok(found) => self.stage.model.menu = Some(menu(part, &found)),
            Err(error) => self.stage.tell(CallEvent::Warning { contact: None, text: error.to_string() })?,
        }
        Ok(())
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
        match part {
            DevicePart::Microphone => self.line.sound.choose(Part::Microphone, choice),
            DevicePart::Speaker => {
                if let Some(ringers) = &self.line.ringers {
                    ringers.choose_ear(choice.clone());
                }
                self.line.sound.choose(Part::Speaker, choice);
            }
            DevicePart::Ringer => {
                if let Some(ringers) = &self.line.ringers {
                    ringers.choose_ring(choice.clone());
                }
                self.line.sound.choose(Part::Ringer, choice);
            }
        }
    }
}

fn menu(part: DevicePart, found: &[DeviceInfo]) -> Menu {
    let mut ids = vec![None];
    let mut names = vec!["the system's default".to_owned()];
    for device in found {
        let monitor = if device.is_monitor { " (monitor: what a loudspeaker plays)" } else { "" };
        let default = if device.is_default { " (default)" } else { "" };
        ids.push(Some(device.id.clone()));
        names.push(format!("{}{default}{monitor}", device.name));
    }
    Menu { part, ids, names, marked: 0 }
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
