//! Whole calls: two `vernam` processes, real KMEs, real sound devices that exist in software only, a wire that is bad at
//! will. What is heard is scored by other people's measures; what shows on the wire is looked at from outside.
//!
//! These tests keep time with the wall clock, so they run one at a time (`.config/nextest.toml`). Where `PulseAudio` is not
//! installed those that need it say so and pass.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, and tells what it measured"
)]

mod devices;
mod lost;
mod pace;
mod profiles;
mod scored;
mod soak;

use std::path::{Path, PathBuf};

use vernam_tests::sound::{self, Device, Sound};
use vernam_tests::telephone::Habits;

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_vernam-under-test");

/// The devices of two people.
const MOUTHS: [&str; 2] = ["a_mouth", "b_mouth"];
const EARS: [&str; 2] = ["a_ear", "b_ear"];

/// A sound system with a microphone and a loudspeaker for each of two people; none, with the reason printed, where there
/// is no `PulseAudio`.
fn sound() -> Option<Sound> {
    let mouths = MOUTHS.map(Device::microphone);
    let ears = EARS.map(Device::speaker);
    sound_of(&[&mouths[..], &ears[..]].concat())
}

fn sound_of(devices: &[Device]) -> Option<Sound> {
    match sound::is_available() {
        Ok(()) => Some(Sound::start(devices).expect("a private sound system")),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// Both use their own devices, and nothing is done to the voice.
fn plain() -> [Habits; 2] {
    [0, 1].map(|person| Habits {
        microphone: Device::microphone(MOUTHS[person]).id(),
        speaker: Device::speaker(EARS[person]).id(),
        ..Habits::default()
    })
}

/// A recording of the repository.
fn speech(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech").join(format!("{name}.wav"))
}
