//! One line of the trail: how it is made, chained and sealed; and the head, which says where the trail ends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::hmac;
use serde_json::{Map, Value, json};
use vernam_key::SecretBytes;

use super::SALT_LEN;
use crate::identity::names::hex;

/// The longest line: 65,536 `key_ID`s, which no limit exceeds, take 2.5 MB.
pub(super) const MAX_LINE: usize = 8 << 20;
/// What `prev` of the first line is.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands before the MAC, which is the last part of a line.
const MAC: &str = ",\"mac\":\"";
/// Hex digits of a MAC.
const MAC_LEN: usize = 64;
/// The longest head, in bytes.
const MAX_HEAD: u64 = 1024;

/// The SHA-256 of a line, without its end.
pub(super) fn hash(line: &[u8]) -> String {
    hex(digest(&SHA256, line).as_ref())
}

/// Where the next line goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) prev: String,
}

impl Chain {
    pub(super) fn start() -> Self {
        Self { seq: 0, prev: NO_LINE.to_owned() }
    }

    pub(super) fn after(seq: u64, line: &[u8]) -> Self {
        Self { seq: seq + 1, prev: hash(line) }
    }
}

/// Makes and checks MACs.
pub(super) struct Sealer(hmac::Key);

impl Sealer {
    pub(super) fn new(key: &SecretBytes) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose("to seal the audit trail")))
    }

    /// The line, without its end; `chain` goes on.
    pub(super) fn line(&self, chain: &mut Chain, at: Duration, event: &str, about: &Map<String, Value>) -> Vec<u8> {
        let mut text = format!("{{\"seq\":{},\"time\":\"{}\",\"event\":{}", chain.seq, rfc3339(at), Value::from(event));
        for (name, value) in about {
            text.push(',');
            text.push_str(&Value::from(name.as_str()).to_string());
            text.push(':');
            text.push_str(&value.to_string());
        }
        text.push_str(",\"prev\":\"");
        text.push_str(&chain.prev);
        text.push('"');
        let mac = hex(hmac::sign(&self.0, text.as_bytes()).as_ref());
        text.push_str(MAC);
        text.push_str(&mac);
        text.push_str("\"}");
        let line = text.into_bytes();
        *chain = Chain::after(chain.seq, &line);
        line
    }

    /// The number of a line whose MAC is good; else what is wrong with it.
    pub(super) fn check(&self, line: &[u8]) -> Result<u64, &'static str> {
        let parsed: Value = serde_json::from_slice(line).map_err(|_why| "is no line of a trail")?;
        let seq = parsed.get("seq").and_then(Value::as_u64).ok_or("is no line of a trail")?;
        let (sealed, mac) = parts(line).ok_or("is no line of a trail")?;
        let mac = unhex(mac).ok_or("is no line of a trail")?;
        hmac::verify(&self.0, sealed, &mac)
            .map(|()| seq)
            .map_err(|_why| "was altered, or was written under another key-encryption key")
    }

    fn head_text(seq: u64, hash: &str, length: u64) -> String {
        format!("head {seq} {hash} {length}")
    }

    /// The head of a trail that ends with the line before `chain`, `length` bytes long.
    pub(super) fn head(&self, chain: &Chain, length: u64) -> Option<Head> {
        let seq = chain.seq.checked_sub(1)?;
        let mac = hmac::sign(&self.0, Self::head_text(seq, &chain.prev, length).as_bytes());
        Some(Head { seq, hash: chain.prev.clone(), length, mac: hex(mac.as_ref()) })
    }

    /// The number of the last line, if the head's MAC is good.
    pub(super) fn check_head(&self, head: &Head) -> Result<u64, &'static str> {
        let mac = unhex(head.mac.as_bytes()).ok_or("is none of a trail")?;
        hmac::verify(&self.0, Self::head_text(head.seq, &head.hash, head.length).as_bytes(), &mac)
            .map(|()| head.seq)
            .map_err(|_why| "was altered, or was written under another key-encryption key")
    }
}

/// What the MAC is over, and the MAC.
pub(super) fn parts(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, mac) = line.strip_suffix(b"\"}")?.split_at_checked(line.len().checked_sub(MAC_LEN + 2)?)?;
    Some((rest.strip_suffix(MAC.as_bytes())?, mac))
}

/// The salt in the first line.
pub(super) fn salt(line: &[u8]) -> Option<[u8; SALT_LEN]> {
    let parsed: Value = serde_json::from_slice(line).ok()?;
    unhex(parsed.get("salt")?.as_str()?.as_bytes())?.try_into().ok()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Where a trail ended when it was last made durable. There may be lines after it, from the last second before a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: String,
    /// Bytes of the file up to there, with the line's end.
    pub(super) length: u64,
    mac: String,
}

impl Head {
    /// The file of the head of a trail.
    pub(super) fn file_of(trail: &Path) -> PathBuf {
        trail.with_added_extension("head")
    }

    /// `None` if there is no such file.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_HEAD).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let parsed: Option<Self> = serde_json::from_slice::<Value>(&text).ok().and_then(|value| {
            let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
            let number = |name: &str| value.get(name)?.as_u64();
            Some(Self { seq: number("seq")?, hash: text("hash")?, length: number("length")?, mac: text("mac")? })
        });
        parsed.map(Some).ok_or_else(|| io::Error::other("its .head file is none of a trail"))
    }

    /// Writes it durably in the place of the one before.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let unfinished = path.with_added_extension("new");
        let text = json!({ "seq": self.seq, "hash": self.hash, "length": self.length, "mac": self.mac }).to_string();
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&unfinished, path)
    }
}

/// The first line of a trail, if there is a whole one.
pub(super) fn first(mut file: &File) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(0))?;
    next(&mut BufReader::new(file))
}

/// The line that ends `length` bytes from the file's start.
pub(super) fn last_before(mut file: &File, length: u64) -> io::Result<Option<Vec<u8>>> {
    let most = length.min(MAX_LINE as u64 + 1);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length - most))?;
    file.take(most).read_to_end(&mut tail)?;
    Ok(tail.strip_suffix(b"\n").map(|lines| {
        let start = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        lines[start..].to_vec()
    }))
}

/// Follows the lines from byte `from` on, the first of which is to be `chain`'s, as long as each is the next of the chain
/// and as it was written. Returns where the chain then stands, and after how many bytes of the file.
pub(super) fn follow(mut file: &File, sealer: &Sealer, from: u64, mut chain: Chain) -> io::Result<(Chain, u64)> {
    file.seek(SeekFrom::Start(from))?;
    let (mut reader, mut length) = (BufReader::new(file), from);
    while let Some(line) = next(&mut reader)? {
        if sealer.check(&line) != Ok(chain.seq) || !follows(&line, &chain) {
            break;
        }
        length += line.len() as u64 + 1;
        chain = Chain::after(chain.seq, &line);
    }
    Ok((chain, length))
}

/// Whether the line names the one before.
fn follows(line: &[u8], chain: &Chain) -> bool {
    let parsed: Option<Value> = serde_json::from_slice(line).ok();
    parsed.is_some_and(|line| line.get("prev").and_then(Value::as_str) == Some(chain.prev.as_str()))
}

/// The next whole line, without its end.
fn next(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    Ok(line.pop_if(|end| *end == b'\n').map(|_end| line))
}

/// A time since the Unix epoch as RFC 3339 writes it, in UTC and milliseconds.
pub(super) fn rfc3339(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days of the proleptic Gregorian calendar, reckoned in eras of 400 years that begin with 1 March: then the leap day
    // is the last of its year.
    let day = days + 719_468; // from 1 March of the year 0 to the epoch
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0: March
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_704_067_199, "2023-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(Duration::from_millis(1234)), "1970-01-01T00:00:01.234Z");
    }

    #[test]
    fn a_line_is_sealed_and_names_the_one_before() {
        let sealer = Sealer::new(&SecretBytes::copy_of(&[7; 32]));
        let mut chain = Chain::start();
        let about = super::super::object(json!({ "who": "a\"b\n", "n": 1 }));
        let first = sealer.line(&mut chain, Duration::ZERO, "opened", &about);
        assert_eq!(chain, Chain { seq: 1, prev: hash(&first) });
        let parsed: Value = serde_json::from_slice(&first).unwrap();
        assert_eq!((&parsed["who"], &parsed["prev"]), (&json!("a\"b\n"), &json!(NO_LINE)));
        assert_eq!(sealer.check(&first), Ok(0));
        let other = Sealer::new(&SecretBytes::copy_of(&[8; 32]));
        assert!(other.check(&first).unwrap_err().contains("another key"));
        for at in 0..first.len() {
            let mut altered = first.clone();
            altered[at] ^= 1;
            assert!(sealer.check(&altered).is_err(), "byte {at}");
        }
    }
}
