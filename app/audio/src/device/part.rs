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
    /// stands in: a loudspeaker at once, a microphone only once the person has said yes to it
    /// ([`HandsetEvent::Offered`]).
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
        /// Whether it stands in for the one that was chosen or, where none was, for the one that was in use and is
        /// gone.
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
    /// The chosen microphone is away, and another could stand in. It is not open, and silence is said, until
    /// [`HandsetControl::confirm_stand_in`](super::HandsetControl::confirm_stand_in). Comes some time after the loss:
    /// the chosen one may only have a loose contact, or its sound system may start anew.
    Offered {
        /// Which.
        part: Part,
        /// The id of the one that could stand in.
        id: String,
        /// Its name.
        name: String,
        /// The name of the chosen one, or its id where it was never seen.
        instead_of: String,
    },
    /// What was offered can be taken no longer: the chosen one is back, another was chosen, or it is gone itself.
    Withdrawn {
        /// Which.
        part: Part,
        /// The id that was offered.
        id: String,
    },
}

/// A microphone that could stand in for the chosen one, which is away.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StandIn {
    /// What to hand to [`HandsetControl::confirm_stand_in`](super::HandsetControl::confirm_stand_in).
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name of the chosen one, or its id where it was never seen.
    pub instead_of: String,
}
