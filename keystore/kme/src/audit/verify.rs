//! Checks a trail from its first line to its last.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde_json::Value;

use super::line::{self, Chain, Head, MAX_LINE, Sealer};
use super::{AuditError, DeriveKey};

/// A trail that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// Its lines.
    pub lines: u64,
    /// The SHA-256 of the last one, hex.
    pub hash: String,
    /// Bytes of a line at its end that was not written to its end: what a crash leaves, until the next start.
    pub torn: u64,
    /// Whether its end could be checked: there was a head.
    pub has_head: bool,
    /// Whether the MACs were checked.
    pub has_key: bool,
}

/// What is wrong with a trail, and where first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// A line is not as it was written, or not where it was.
    #[error("line {line} {what}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Lines are gone from the end.
    #[error("lines were cut off: the trail ends with line {lines}, and {written} were written")]
    CutOff {
        /// Lines that are there.
        lines: u64,
        /// Lines that the head tells of.
        written: u64,
    },
    /// The head is not as it was written.
    #[error("the .head file {0}")]
    Head(&'static str),
    /// Nothing can be checked.
    #[error(transparent)]
    Trail(#[from] AuditError),
}

/// Checks the trail `file` and its head. Without `derive` only the chain is checked, which somebody may have computed
/// anew.
pub fn verify_audit(file: &Path, derive: Option<&mut DeriveKey<'_>>) -> Result<AuditReport, Broken> {
    let failed = |reason: io::Error| Broken::Trail(AuditError::File { file: file.to_owned(), reason });
    let mut reader = BufReader::new(File::open(file).map_err(failed)?);
    let head = Head::read(&Head::file_of(file)).map_err(failed)?;
    let (mut chain, mut sealer, mut derive, mut torn) = (Chain::start(), None::<Sealer>, derive, 0);
    let has_key = derive.is_some();
    let mut head_seen = head.is_none();
    loop {
        let mut line = Vec::new();
        (&mut reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).map_err(failed)?;
        let number = chain.seq + 1;
        let broken = |what: &str| Broken::Line { line: number, what: what.to_owned() };
        if line.is_empty() {
            break;
        }
        if line.pop_if(|end| *end == b'\n').is_none() {
            if line.len() > MAX_LINE {
                return Err(broken("is longer than any line of a trail"));
            }
            torn = line.len() as u64;
            break;
        }
        if let Some(derive) = derive.take() {
            let salt = line::salt(&line).ok_or_else(|| broken("is not the first line of a trail"))?;
            sealer = Some(Sealer::new(&derive(&salt).map_err(AuditError::Key)?));
        }
        check(&line, &chain, sealer.as_ref()).map_err(|what| Broken::Line { line: number, what })?;
        chain = Chain::after(chain.seq, &line);
        if let Some(head) = head.as_ref().filter(|head| head.seq + 1 == chain.seq) {
            if head.hash != chain.prev {
                return Err(broken("is not the line that the .head file tells of: the trail was replaced from there"));
            }
            head_seen = true;
        }
    }
    if let Some(head) = &head {
        if let Some(sealer) = &sealer {
            sealer.check_head(head).map_err(Broken::Head)?;
        }
        if !head_seen {
            return Err(Broken::CutOff { lines: chain.seq, written: head.seq.saturating_add(1) });
        }
    }
    Ok(AuditReport { lines: chain.seq, hash: chain.prev, torn, has_head: head.is_some(), has_key })
}

/// Whether a line is the next of the chain, and as it was written.
fn check(line: &[u8], chain: &Chain, sealer: Option<&Sealer>) -> Result<(), String> {
    let parsed: Value = serde_json::from_slice(line).map_err(|_why| "is no JSON: it was altered".to_owned())?;
    let seq = parsed.get("seq").and_then(Value::as_u64).ok_or("has no number: it was altered")?;
    if seq != chain.seq {
        let expected = chain.seq;
        return Err(format!("has number {seq}, and {expected} is expected: lines were removed, inserted or moved"));
    }
    if let Some(sealer) = sealer {
        sealer.check(line)?;
    }
    if parsed.get("prev").and_then(Value::as_str) != Some(chain.prev.as_str()) {
        return Err("does not follow from the line before, which was altered, or is another than it was".to_owned());
    }
    Ok(())
}
