//! Texts that mean something: lengths of time, addresses, names.

use std::net::SocketAddr;
use std::time::Duration;

use vernam_etsi014::{KmeId, SaeId};

/// A text does not mean what it should.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
}

pub(super) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: help.into() })
}

/// Milliseconds of each unit, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A number and its unit, such as `500ms`, `10s`, `5m`, `24h`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let help = "write a whole number and its unit: ms, s, m, h or d, such as \"10s\" or \"30d\"";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let Some((_, ms)) = UNITS.iter().find(|(name, _)| *name == unit.trim()) else {
        return wrong(format!("\u{201c}{text}\u{201d} is no length of time"), help);
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(*ms)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => wrong(format!("\u{201c}{text}\u{201d} is no length of time"), help),
    }
}

/// A length of time as [`duration`] reads it.
pub(super) fn shown(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (unit, of) = UNITS.iter().find(|(_, of)| ms >= *of && ms % of == 0).unwrap_or(&("ms", 1));
    format!("{}{unit}", ms / of)
}

/// The ID of an SAE.
pub(super) fn sae(text: &str) -> Result<SaeId, Wrong> {
    SaeId::new(text).or_else(|error| wrong(format!("this is no SAE ID: {error}"), ""))
}

/// The ID of a KME.
pub(super) fn kme(text: &str) -> Result<KmeId, Wrong> {
    KmeId::new(text).or_else(|error| wrong(format!("this is no KME ID: {error}"), ""))
}

/// Where to listen: an address of this machine and a port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().or_else(|_no_address| {
        wrong(
            format!("\u{201c}{text}\u{201d} is no address to listen at"),
            "write an IP address and a port, such as \"0.0.0.0:8443\" (all of IPv4), \"[::]:8443\" (all) or \
             \"127.0.0.1:8443\"",
        )
    })
}

/// Whom to call: a host and a port.
pub(super) fn authority(text: &str) -> Result<String, Wrong> {
    let help = "write host:port, such as \"kme-b.example:8443\" or \"[2001:db8::1]:8443\", without https:// before it";
    let host_and_port = text.rsplit_once(':');
    let fits = host_and_port.is_some_and(|(host, port)| {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_fits = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
        };
        host_fits && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if fits { Ok(text.to_owned()) } else { wrong(format!("\u{201c}{text}\u{201d} is no host and port"), help) }
}

/// The URL of a KME: `https://host:port`.
pub(super) fn kme_url(text: &str) -> Result<String, Wrong> {
    match text.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)) {
        Some(rest) => authority(rest).map(|_checked| format!("https://{rest}")),
        None => wrong(format!("\u{201c}{text}\u{201d} is no URL of a KME"), "write \"https://host:port\""),
    }
}

/// The name in a server's certificate.
pub(super) fn server_name(text: &str) -> Result<String, Wrong> {
    match rustls_pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_invalid) => wrong(
            format!("\u{201c}{text}\u{201d} is no name that a server's certificate can have"),
            "write a DNS name or an IP address, as it stands in the peer's certificate",
        ),
    }
}

/// One of some words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Result<T, Wrong> {
    move |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            wrong(format!("\u{201c}{text}\u{201d} is not known here"), format!("write {}", known.join(" or ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("24h", 86_400_000), ("2 d", 172_800_000)]
        {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5h", "1w", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["500ms", "10s", "90s", "24h", "0ms"] {
            let time = duration(text).ok().unwrap();
            assert_eq!(duration(&shown(time)).ok(), Some(time), "{text}");
        }
        assert_eq!(shown(Duration::from_hours(720)), "30d");
    }

    #[test]
    fn addresses() {
        for text in ["kme-b:8443", "10.0.0.1:1", "[::1]:443", "a.b.example:65535"] {
            assert!(authority(text).is_ok(), "{text}");
        }
        for text in ["kme-b", "kme-b:", "kme-b:0", "kme-b:65536", ":8443", "https://kme-b:8443", "a b:1", "::1:443"] {
            assert!(authority(text).is_err(), "{text}");
        }
        assert_eq!(kme_url("https://kme:8443/").ok().as_deref(), Some("https://kme:8443"));
        for text in ["http://kme:8443", "https://kme", "kme:8443", "https://kme:8443/api"] {
            assert!(kme_url(text).is_err(), "{text}");
        }
    }
}
