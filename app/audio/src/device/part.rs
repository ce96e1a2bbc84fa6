//! What a person chooses and is told about the devices of a call.

/// Events that wait at most to be asked for; the oldest are dropped.
pub const MAX_EVENTS: usize = 64;

/// Which device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// The system's default, whichever that is. Never a monitor.
    #[default]
    Default,
    /// The one of this id (see [`super::DeviceInfo`]), a monitor too if it is one. While it is not there the default
    /// stands in.
    Id(String),
    /// None.
    Off,
}

/// One of the three devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Where the voice comes from.
    Microphone,
    /// Where the contact is heard.
    Speaker,
    /// Where it rings.
    Ringer,
}

/// What happened to a device, for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandsetEvent {
    /// It works.
    Opened {
        /// Which.
        part: Part,
        /// Its name.
        name: String,
        /// Whether it stands in for the one that was chosen.
        stands_in: bool,
    },
    /// It is gone, or does not work; silence until another is open.
    Lost {
        /// Which.
        part: Part,
        /// Its name.
        name: String,
        /// Why, in plain words.
        why: String,
    },
}
