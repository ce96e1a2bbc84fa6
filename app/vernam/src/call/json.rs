//! The telephone as JSON Lines on standard output, for programs.
//!
//! The first line is the header `{"schema":"vernam-call","version":1}`. Every other line is one [`Stamped`] event:
//! `"t"`, seconds since the start, `"event"`, one of [`super::events::EVENTS`], and that event's own fields, which the
//! README of this crate lists. Units stand in the names: `_s`, `_ms`, `_bytes`, `_bps`, `_dbfs`. The last line is
//! `stopped`, with the exit status. A field may be added under the same version; none changes its meaning or goes away.

use super::events::Stamped;
use crate::complaint;

/// The header line.
pub const HEADER: &str = r#"{"schema":"vernam-call","version":1}"#;

/// One event as a line, without its end. What a terminal would obey is `\uXXXX` in it.
///
/// # Errors
/// As [`serde_json::to_string`].
pub fn line(stamped: &Stamped) -> serde_json::Result<String> {
    serde_json::to_string(stamped).map(complaint::escaped_json)
}
