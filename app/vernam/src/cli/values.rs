//! Values as people write them, and what to tell when they do not fit.

use vernam_qkd::DeviceProfile;

/// Largest file that the demo sends under one-time pad: its pad must be made by running the link ahead.
pub(super) const MAX_FILE_BYTES: u64 = 50_000_000;

/// The profile of that name or in that file, if it yields key over `length_km`.
pub(super) fn device(choice: &str, length_km: f64) -> Result<DeviceProfile, String> {
    let profile = if choice.contains(['/', '\\', '.']) {
        let text = std::fs::read_to_string(choice)
            .map_err(|error| format!("the device file \u{201c}{choice}\u{201d} cannot be read: {error}"))?;
        DeviceProfile::from_toml(&text)
    } else {
        DeviceProfile::named(choice)
    };
    let profile = profile.map_err(|error| error.to_string())?;
    if profile.key_rate_bps(profile.loss_db(length_km, 0.0)) > 0.0 {
        Ok(profile)
    } else {
        Err(format!("the device {} yields no key over {length_km} km: choose a shorter --length", profile.name))
    }
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

pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        _ => return Err("write it like 5MB, 800kB or 1200000".to_owned()),
    };
    let Ok(number) = digits.trim().parse::<u64>() else {
        return Err("write it like 5MB, 800kB or 1200000".to_owned());
    };
    match number.checked_mul(factor) {
        Some(bytes @ 1..=MAX_FILE_BYTES) => Ok(bytes),
        _ => Err("1 byte to 50MB are possible".to_owned()),
    }
}
