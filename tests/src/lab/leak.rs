//! Looking for secrets where they must not be: as bytes, and as the texts that programs make of bytes.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Bytes in a row that count as a leak: 64 bits do not meet by chance.
pub const WINDOW: usize = 8;

/// A set of secrets, to be looked for by any [`WINDOW`] bytes of them.
#[derive(Default)]
pub struct Secrets(HashSet<[u8; WINDOW]>);

impl Secrets {
    /// Adds a secret. Stretches that are hardly random (a run of zeros in a silent Opus packet) would be found anywhere,
    /// and do not count.
    pub fn add(&mut self, secret: &[u8]) {
        for window in secret.array_windows::<WINDOW>() {
            let distinct: HashSet<u8> = window.iter().copied().collect();
            if distinct.len() >= WINDOW - 2 {
                self.0.insert(*window);
            }
        }
    }

    /// Windows that are looked for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where `data` holds one of them as it is.
    pub fn find_raw(&self, data: &[u8]) -> Option<usize> {
        data.array_windows::<WINDOW>().position(|window| self.0.contains(window))
    }

    /// The same in text, also where it stands as hexadecimal digits, as a list of decimal numbers (`Debug` of a slice),
    /// as an escaped string (`Debug` of `Bytes`), or as Base64. Gives the spelling and what surrounds it.
    pub fn find_in_text(&self, text: &str) -> Option<String> {
        let found = |how: &str, line: &str| Some(format!("{how}: {}", line.chars().take(300).collect::<String>()));
        for line in text.lines() {
            if self.find_raw(line.as_bytes()).is_some() {
                return found("raw", line);
            }
            if hex_runs(line).any(|bytes| self.find_raw(&bytes).is_some()) {
                return found("hexadecimal", line);
            }
            if self.find_raw(&decimals(line)).is_some() {
                return found("decimal", line);
            }
            if line.contains('\\') && self.find_raw(&unescaped(line)).is_some() {
                return found("escaped", line);
            }
            if base64_runs(line).any(|bytes| self.find_raw(&bytes).is_some()) {
                return found("Base64", line);
            }
        }
        None
    }

    /// The files below `folder` that hold one of them.
    pub fn find_in_files(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if let Some(at) = self.find_raw(&std::fs::read(&path).expect("a file that was listed")) {
                    found.push(format!("{} at byte {at}", path.display()));
                }
            }
        }
        found
    }
}

/// Bytes spelled as runs of hexadecimal digits, both ways of pairing them.
fn hex_runs(line: &str) -> impl Iterator<Item = Vec<u8>> {
    let runs = line.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() >= 2 * WINDOW);
    runs.flat_map(|run| [run, &run[1..]]).map(|digits| {
        digits.as_bytes().chunks_exact(2).filter_map(|two| Some(hex_digit(two[0])? << 4 | hex_digit(two[1])?)).collect()
    })
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// All numbers of a line that are bytes, in a row; also those spelled `0x1f` or `1f` after a comma.
fn decimals(line: &str) -> Vec<u8> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| match word.strip_prefix("0x") {
            Some(hex) => u8::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        })
        .collect()
}

/// A line with its `\x1f`, `\n`, `\0` and `\"` made bytes again.
fn unescaped(line: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let [first, more @ ..] = rest {
        let (byte, skip) = match (first, more) {
            (b'\\', [b'x', high, low, ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'\\', 1),
            },
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'0', ..]) => (0, 2),
            (b'\\', [quoted @ (b'\\' | b'"' | b'\''), ..]) => (*quoted, 2),
            (other, _) => (*other, 1),
        };
        out.push(byte);
        rest = &rest[skip..];
    }
    out
}

/// Bytes spelled in Base64, from each of the four places where a group of digits may begin.
fn base64_runs(line: &str) -> impl Iterator<Item = Vec<u8>> {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let runs = line.split(move |c| !is_digit(c)).filter(|run| run.len() >= WINDOW * 4 / 3 + 4);
    runs.flat_map(|run| (0..4).map(move |skip| from_base64(&run[skip..])))
}

fn from_base64(digits: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let group = |four: &[u8]| {
        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(value(*digit)));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes
    };
    digits.as_bytes().chunks_exact(4).flat_map(group).collect()
}

/// Everything that is logged, at every level, by every crate.
#[derive(Clone, Default)]
pub struct LogBook(Arc<Mutex<Vec<u8>>>);

impl LogBook {
    /// Begins to write down everything that this process logs. Once a process.
    pub fn begin() -> Self {
        use tracing_subscriber::util::SubscriberInitExt;
        let book = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(book.clone())
            .finish();
        subscriber.try_init().expect("no other test of this process writes down its logs");
        book
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for LogBook {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogBook {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let secret: Vec<u8> = (0..24).map(|n: u8| n.wrapping_mul(77).wrapping_add(131)).collect();
        let mut secrets = Secrets::default();
        secrets.add(&secret);
        let part = &secret[5..18];
        let base64 = "uYW5j2lmcpq9CAoYBQ"; // decodes to nothing of ours
        assert_eq!(secrets.find_in_text(&format!("key {base64} {:?}", [1, 2, 3])), None);
        let hex: String = part.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let escaped: String = part.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
        for text in [
            format!("0{hex}"),
            hex.to_uppercase(),
            format!("{part:?}"),
            format!("{part:x?}").replace('[', "[0x").replace(", ", ", 0x"),
            format!("b\"{escaped}\""),
            format!("\"key\": \"{}\"", to_base64(part)),
            format!("\"key\": \"{}\"", to_base64(&secret)),
        ] {
            assert!(secrets.find_in_text(&format!("line\nDEBUG {text}\n")).is_some(), "{text}");
        }
        assert_eq!(secrets.find_raw(part), Some(0));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("deep/file"), [b"xx", part].concat()).unwrap();
        assert_eq!(secrets.find_in_files(folder.path()).len(), 1);
    }

    fn to_base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let mut group = [0; 4];
            group[1..=three.len()].copy_from_slice(three);
            let bits = u32::from_be_bytes(group);
            for place in 0..=three.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
            }
        }
        text
    }
}
