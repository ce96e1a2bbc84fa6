//! The run as JSON Lines on standard output, for machines.
//!
//! The first line is the header `{"schema":"vernam-demo","version":1}`. Every other line is one [`Stamped`] event:
//! `"t"`, seconds since the run began, `"event"`, one of [`EVENTS`], and that event's own fields, which the README of
//! this crate lists. Units stand in the names: `_s`, `_ms`, `_bits`, `_bytes`, `_bps`, `_km`, `_percent`. A QBER, a
//! threshold and a share are numbers from 0 to 1. The last line is the event `summary`. A field may be added under
//! the same version; none changes its meaning or goes away.

use super::events::Stamped;

/// The header line.
pub const HEADER: &str = r#"{"schema":"vernam-demo","version":1}"#;

/// Every value of `"event"`.
pub const EVENTS: [&str; 23] = [
    "started",
    "certificates_made",
    "kme_up",
    "run_ahead",
    "connected",
    "keys_confirmed",
    "act_began",
    "act_ended",
    "ringing",
    "answered",
    "call_ended",
    "link_light",
    "link_block",
    "block_discarded",
    "kme_status",
    "stock",
    "call_tick",
    "file",
    "text",
    "warning",
    "eavesdropper",
    "check",
    "summary",
];

/// One event as a line, without its end.
pub fn line(stamped: &Stamped) -> serde_json::Result<String> {
    serde_json::to_string(stamped)
}
