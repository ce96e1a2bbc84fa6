//! Values as people write them, and what to tell when they do not fit.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use vernam_qkd::{DeviceProfile, Eve, optics::Trouble};
use vernam_session::Suite;

/// What protects a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SuiteChoice {
    /// One-time pad with a Wegman-Carter tag
    Otp,
    /// AES-256-GCM under a fresh quantum key a minute
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 under a fresh quantum key a minute
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl From<SuiteChoice> for Suite {
    fn from(choice: SuiteChoice) -> Self {
        match choice {
            SuiteChoice::Otp => Self::Otp,
            SuiteChoice::Aes256Gcm => Self::Aes256Gcm,
            SuiteChoice::ChaCha20Poly1305 => Self::ChaCha20Poly1305,
        }
    }
}

/// Largest file that the demo sends under one-time pad: its pad must be made by running the link ahead.
pub(super) const MAX_FILE_BYTES: u64 = 50_000_000;

/// The profile of that name or in that file, if it yields key over `length_km`.
pub(super) fn device(choice: &str, length_km: f64) -> Result<DeviceProfile, String> {
    let profile = any_device(choice)?;
    if profile.key_rate_bps(profile.loss_db(length_km, 0.0)) > 0.0 {
        Ok(profile)
    } else {
        Err(format!("the device {} yields no key over {length_km} km: choose a shorter --length", profile.name))
    }
}

/// The profile of that name or in that file.
pub(super) fn any_device(choice: &str) -> Result<DeviceProfile, String> {
    let profile = if choice.contains(['/', '\\', '.']) {
        let text = std::fs::read_to_string(choice)
            .map_err(|error| format!("the device file \u{201c}{choice}\u{201d} cannot be read: {error}"))?;
        DeviceProfile::from_toml(&text)
    } else {
        DeviceProfile::named(choice)
    };
    profile.map_err(|error| error.to_string())
}

/// A parser for a number from `least` to `most`, with or without its unit behind it.
pub(super) fn ranged(
    unit: &'static str,
    least: f64,
    most: f64,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.strip_suffix(unit).unwrap_or(text).trim();
        match number.parse::<f64>() {
            Ok(value) if (least..=most).contains(&value) => Ok(value),
            Ok(_) => Err(format!("{least} to {most} {unit} are possible")),
            Err(_not_a_number) => Err(format!("a number from {least} to {most} is needed, in {unit}")),
        }
    }
}

pub(super) fn bit_rate(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(rate @ 6_000..=64_000) => Ok(rate),
        _ => Err("6000 to 64000 bits a second are possible".to_owned()),
    }
}

/// A size in bytes, such as 500MB or 10GB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write it like 10GB, 500MB, 800kB or 1200000".to_owned();
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// A parser for a size from `least` to `most` bytes, which are `possible`.
pub(super) fn size_within(
    least: u64,
    most: u64,
    possible: &'static str,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| match size(text)? {
        bytes if (least..=most).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{possible} are possible")),
    }
}

/// A file that can be read, now.
pub(super) fn file_to_read(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Err("this is a folder; a file is needed".to_owned());
    }
    match std::fs::File::open(&path) {
        Ok(_readable) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Err("there is no such file".to_owned()),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

/// That a file of this name can be made: nothing is there, and its folder takes one now.
pub(super) fn file_to_make(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        return Err(format!("\u{201c}{shown}\u{201d} is there already, and is never overwritten"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("\u{201c}{shown}\u{201d} cannot be made: there is no folder {}", folder.display()));
    }
    // A file without a name, which is gone at once: only trying tells whether one may.
    tempfile::tempfile_in(folder).map_err(|error| format!("\u{201c}{shown}\u{201d} cannot be made: {error}"))?;
    Ok(())
}

/// Where to wait for somebody, as `ADDRESS:PORT`.
pub(super) fn place_to_listen(text: &str) -> Result<String, String> {
    match port_of(text) {
        Some(_any) => Ok(text.to_owned()),
        None => Err("an address and a port are needed, like 0.0.0.0:7010 or [::]:7010".to_owned()),
    }
}

/// Where to call somebody, as `HOST:PORT`.
pub(super) fn place_to_call(text: &str) -> Result<String, String> {
    match port_of(text) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("a host and a port are needed, like bob.example:7010 or 192.0.2.7:7010".to_owned()),
    }
}

/// The port at the end of `HOST:PORT`. An IPv6 address must stand in brackets, or its end would be taken for a port.
fn port_of(text: &str) -> Option<u16> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = !host.is_empty() && !host.contains([':', ' ']);
    let in_brackets = host.starts_with('[') && host.ends_with(']');
    if bare || in_brackets { port.parse().ok() } else { None }
}

/// Who is on the line, as `KIND` or `KIND:VALUE`.
pub(super) fn eve(text: &str) -> Result<Eve, String> {
    const KINDS: &str =
        "intercept-resend[:SHARE], pns, pns-unseen, beam-splitting, blinding and trojan-horse[:PHOTONS] are possible";
    let (kind, value) = kind_and_value(text);
    let refuse = |error: String| format!("{error}; write it like {kind}:0.3");
    match (kind, value) {
        ("intercept-resend", value) => {
            let share = number(kind, value, 1.0)?;
            Eve::intercept_resend(share).map_err(|error| refuse(error.to_string()))
        }
        ("pns", None) => Ok(Eve::photon_number_splitting()),
        ("pns-unseen", None) => Ok(Eve::unseen_photon_number_splitting()),
        ("beam-splitting", None) => Ok(Eve::beam_splitting()),
        ("blinding", None) => Ok(Eve::blinding()),
        ("trojan-horse", value) => {
            let photons = number(kind, value, 0.01)?;
            if !(0.0..=100.0).contains(&photons) {
                return Err("0 to 100 photons a pulse may come back: write it like trojan-horse:0.01".to_owned());
            }
            Eve::trojan_horse(photons).map_err(|error| refuse(error.to_string()))
        }
        ("pns" | "pns-unseen" | "beam-splitting" | "blinding", Some(_)) => {
            Err(format!("{kind} takes no value: leave out what follows the colon"))
        }
        _ => Err(KINDS.to_owned()),
    }
}

/// What goes wrong with the line, as `KIND` or `KIND:VALUE`.
pub(super) fn trouble(text: &str) -> Result<Trouble, String> {
    let (kind, value) = kind_and_value(text);
    let positive = |value: f64, most: f64, unit: &str| {
        if value > 0.0 && value <= most { Ok(value) } else { Err(format!("above 0 to {most} {unit} are possible")) }
    };
    match (kind, value) {
        ("fibre-cut", None) => Ok(Trouble::FibreCut),
        ("fibre-cut", Some(_)) => Err("fibre-cut takes no value: leave out what follows the colon".to_owned()),
        ("drift", value) => {
            let degrees_per_minute = positive(number(kind, value, 2.0)?, 10_000.0, "degrees a minute")?;
            Ok(Trouble::PolarisationDrift { degrees_per_minute })
        }
        ("rising-loss", value) => {
            let db_per_minute = positive(number(kind, value, 1.0)?, 1_000.0, "dB a minute")?;
            Ok(Trouble::RisingLoss { db_per_minute })
        }
        _ => Err("fibre-cut, drift[:DEGREES] and rising-loss[:DB], each a minute, are possible".to_owned()),
    }
}

fn kind_and_value(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(kind, value)| (kind.trim(), Some(value.trim())))
}

fn number(kind: &str, value: Option<&str>, default: f64) -> Result<f64, String> {
    let Some(value) = value else { return Ok(default) };
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("\u{201c}{value}\u{201d} is no number: write it like {kind}:{default}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("0", 0), ("1200000", 1_200_000), ("800kB", 800_000), ("10GB", 10_000_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "1.5GB", "1XB", "99999999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
