//! Control frames: the greeting, in which two ends find out whether they fit, and the few words after it.

use vernam_qkd::LinkConfig;
use vernam_qkd::distil::EndConfig;

use crate::course::Place;
use crate::frame::{Channel, Frame};
use crate::limits::{MAX_SETTINGS, MAX_SUMMARY, SHOWN_CHARS};
use crate::proof::MAC_BYTES;
use crate::secret::SecretId;

/// The version of what is spoken over the connection. Raise it with every change of a frame or a message.
pub(crate) const VERSION: u16 = 2;

/// Differences that a refusal lists at most.
const MAX_DIFFERENCES: usize = 4;

/// What begins the first word of any version.
const MAGIC: &[u8; 8] = b"vernamlk";

/// Which end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The sending end.
    Alice,
    /// The receiving end.
    Bob,
}

/// The words of the control channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// What an end says first: which start-up secret it holds, and that it does.
    Proof {
        /// Which; public.
        secret: SecretId,
        /// That it does, see `proof.rs`.
        mac: [u8; MAC_BYTES],
    },
    /// What an end says of itself, once the far end has proved who it is.
    Hello(Box<Hello>),
    /// The end is ready for the run of this number. Said once the start-up secret is struck out for it.
    Ready(u64),
    /// Bob has measured the light up to this slot.
    Taken(u64),
    /// A sign of life.
    Alive,
    /// The end closes the connection, and says why.
    Goodbye(String),
}

/// What an end tells of itself. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) role: Role,
    /// Where this end is, and what it could go on with.
    pub(crate) place: Place,
    /// In short, what the link is set to, for people.
    pub(crate) summary: String,
    /// All that both ends must be set to alike, see [`settings`].
    pub(crate) settings: String,
}

impl Role {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }
}

/// All settings of a link that both ends must have alike: `name: value`, one a line. The device's description is left
/// out, for it is of no consequence.
pub(crate) fn settings(link: &LinkConfig, distil: &EndConfig) -> String {
    let mut link = link.clone();
    link.device.description.clear();
    // `Debug` shows every field, also those that are yet to come, and floats to the last bit.
    let text = format!("{link:?}{distil:?}");
    let (mut all, mut one, mut in_list) = (String::new(), String::new(), false);
    for letter in text.chars() {
        in_list = letter == '[' || in_list && letter != ']';
        if in_list || !matches!(letter, '{' | '}' | ',') {
            one.push(letter);
            continue;
        }
        // `outer: Type` before a brace is no setting by itself.
        if letter != '{' && one.contains(": ") {
            all.push_str(one.trim());
            all.push('\n');
        }
        one.clear();
    }
    all
}

/// What a link is set to, in a few words.
pub(crate) fn summary(link: &LinkConfig) -> String {
    let extra = if link.extra_loss_db > 0.0 { format!(" and {} dB", link.extra_loss_db) } else { String::new() };
    let mut text = format!("{} at {} km{extra}", link.device.name, link.length_km);
    text.truncate(text.floor_char_boundary(MAX_SUMMARY));
    text
}

impl Hello {
    /// What stands between two ends that greet so; `None` if nothing does.
    pub(crate) fn objection(&self, theirs: &Self) -> Option<String> {
        if self.role == theirs.role {
            return Some(format!("both ends are set to be {}: one must be alice, the other bob", self.role.name()));
        }
        if self.settings != theirs.settings {
            let differences = differences(&self.settings, &theirs.settings).join(", ");
            let (ours, far) = (shown(&self.summary), shown(&theirs.summary));
            return Some(if ours == far {
                format!("both ends are set to {ours}, but they differ in {differences}: make them equal")
            } else {
                format!(
                    "the far end is set to {far}, this one to {ours}: make them equal (they differ in {differences})"
                )
            });
        }
        None
    }
}

/// Where two descriptions differ, in words.
fn differences(ours: &str, theirs: &str) -> Vec<String> {
    let split = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (shown(name), shown(value))
    };
    let mut pairs = ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs);
    let mut found: Vec<String> = Vec::new();
    for (ours, theirs) in pairs.by_ref().take(MAX_DIFFERENCES) {
        let ((name, here), (other, there)) = (split(ours), split(theirs));
        if name != other {
            break;
        }
        found.push(format!("{name}: {here} here, {there} there"));
    }
    if found.is_empty() {
        found.push("which settings there are: the programs are of different versions".to_owned());
    } else if pairs.next().is_some() {
        found.push("and more".to_owned());
    }
    found
}

/// A text of the far end's, fit to be shown.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

impl Control {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Proof { secret, mac } => {
                out.push(0);
                out.extend_from_slice(MAGIC);
                out.extend_from_slice(&VERSION.to_be_bytes());
                out.extend_from_slice(secret);
                out.extend_from_slice(mac);
            }
            Self::Hello(hello) => {
                out.push(5);
                out.push(u8::from(hello.role == Role::Bob));
                let Place { used, run, slot, prepared } = hello.place;
                out.extend([used, run, slot, prepared].into_iter().flat_map(u64::to_be_bytes));
                for text in [&hello.summary, &hello.settings] {
                    let length = u16::try_from(text.len()).expect("both lengths were bounded when they were made");
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Self::Ready(run) => {
                out.push(1);
                out.extend_from_slice(&run.to_be_bytes());
            }
            Self::Taken(slot) => {
                out.push(2);
                out.extend_from_slice(&slot.to_be_bytes());
            }
            Self::Alive => out.push(3),
            Self::Goodbye(why) => {
                out.push(4);
                out.extend(why.chars().take(SHOWN_CHARS).collect::<String>().as_bytes());
            }
        }
        out
    }

    /// As it travels.
    pub(crate) fn frame(&self) -> Frame {
        Frame::new(Channel::Control, self.encode())
    }

    /// Reads one; the error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(bytes);
        let cut = || "a control frame cut short".to_owned();
        let control = match reader.array::<1>().ok_or_else(cut)? {
            [0] => {
                if reader.array().ok_or_else(cut)? != *MAGIC {
                    return Err("a greeting that is none".to_owned());
                }
                let version = u16::from_be_bytes(reader.array().ok_or_else(cut)?);
                if version != VERSION {
                    return Err(format!("version {version} of the protocol, this end speaks {VERSION}"));
                }
                Self::Proof { secret: reader.array().ok_or_else(cut)?, mac: reader.array().ok_or_else(cut)? }
            }
            [1] => Self::Ready(reader.word().ok_or_else(cut)?),
            [2] => Self::Taken(reader.word().ok_or_else(cut)?),
            [3] => Self::Alive,
            [4] => Self::Goodbye(shown(&String::from_utf8_lossy(std::mem::take(&mut reader.0)))),
            [5] => Self::Hello(Box::new(reader.hello().ok_or_else(|| "a greeting that cannot be".to_owned())?)),
            [other] => return Err(format!("control frame {other}, which is unknown here")),
        };
        if reader.0.is_empty() { Ok(control) } else { Err("a control frame that is too long".to_owned()) }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn word(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self, limit: usize) -> Option<String> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (text, tail) = self.0.split_at_checked(length).filter(|_any| length <= limit)?;
        self.0 = tail;
        String::from_utf8(text.to_vec()).ok()
    }

    fn hello(&mut self) -> Option<Hello> {
        let role = match self.array()? {
            [0] => Role::Alice,
            [1] => Role::Bob,
            _ => return None,
        };
        let (used, run) = (self.word()?, self.word()?);
        let place = Place { used, run, slot: self.word()?, prepared: self.word()? };
        Some(Hello { role, place, summary: self.text(MAX_SUMMARY)?, settings: self.text(MAX_SETTINGS)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vernam_qkd::DeviceProfile;

    fn hello(device: &str, length_km: f64) -> Hello {
        let link = LinkConfig::new(DeviceProfile::named(device).unwrap(), length_km);
        let settings = settings(&link, &link.ends());
        let place = Place { used: 4096, run: 0, slot: 0, prepared: 1 };
        Hello { role: Role::Alice, place, summary: summary(&link), settings }
    }

    fn bob(hello: Hello) -> Hello {
        Hello { role: Role::Bob, ..hello }
    }

    #[test]
    fn equal_ends_have_no_objection() {
        assert_eq!(hello("gys", 25.0).objection(&bob(hello("gys", 25.0))), None);
        let greeting = hello("metro-625mhz", 25.0);
        assert!(greeting.settings.len() < MAX_SETTINGS / 2, "{}", greeting.settings.len());
        assert!(greeting.settings.contains("\nlength_km: 25.0\n"), "{}", greeting.settings);
        assert!(greeting.settings.contains("\nmu: ["), "lists stay whole: {}", greeting.settings);
    }

    #[test]
    fn objections_say_what_to_do() {
        let objection = |theirs| hello("metro-40mhz", 15.0).objection(&theirs).unwrap();
        let text = objection(bob(hello("gys", 25.0)));
        assert!(
            text.starts_with("the far end is set to gys at 25 km, this one to metro-40mhz at 15 km: make them equal"),
            "{text}"
        );
        let mut theirs = bob(hello("metro-40mhz", 15.0));
        theirs.settings = theirs.settings.replace("\nqber_alarm: 0.11\n", "\nqber_alarm: 0.1\n");
        let text = objection(theirs);
        assert!(
            text.contains("both ends are set to metro-40mhz at 15 km, but they differ in qber_alarm: 0.11 here, 0.1"),
            "{text}"
        );

        let text = objection(hello("metro-40mhz", 15.0));
        assert!(text.contains("both ends are set to be alice"), "{text}");
        let text = objection(Hello { settings: "x\u{7}: 1".to_owned(), ..bob(hello("metro-40mhz", 15.0)) });
        assert!(text.contains("different versions") && !text.contains('\u{7}'), "{text}");
    }

    #[test]
    fn control_frames_come_back_as_they_went() {
        for control in [
            Control::Proof { secret: [3; 16], mac: [4; MAC_BYTES] },
            Control::Hello(Box::new(hello("gys", 25.0))),
            Control::Ready(7),
            Control::Taken(u64::MAX),
            Control::Alive,
            Control::Goodbye("time to sleep".to_owned()),
        ] {
            let bytes = control.encode();
            assert_eq!(Control::decode(&bytes).unwrap(), control);
            if !matches!(control, Control::Goodbye(_)) {
                assert!(Control::decode(&[&bytes[..], &[0]].concat()).is_err());
                for cut in 0..bytes.len() {
                    assert!(Control::decode(&bytes[..cut]).is_err(), "{cut}");
                }
            }
        }
        let mut newer = Control::Proof { secret: [3; 16], mac: [4; MAC_BYTES] }.encode();
        newer[10] += 1;
        assert!(Control::decode(&newer).unwrap_err().contains("version 3 of the protocol, this end speaks 2"));
        assert_eq!(Control::decode(&[4, b'a', 7]), Ok(Control::Goodbye("a\u{fffd}".to_owned())));
    }
}
