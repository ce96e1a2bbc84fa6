//! One telephone after the other as stories, and three of them in every order of events.

mod model;
mod questions;
mod stories;
mod world;

use std::time::Duration;

use vernam_session::{CallTerms, Suite};

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn terms(suite: Suite, bit_rate: u32) -> CallTerms {
    CallTerms { suite, bit_rate, frame_ms: 20, packet_len: u16::try_from(bit_rate * 20 / 8_000).unwrap() }
}

fn otp() -> CallTerms {
    terms(Suite::Otp, 16_000)
}

fn aes() -> CallTerms {
    terms(Suite::Aes256Gcm, 32_000)
}

const RING_FOR: Duration = Duration::from_secs(40);
const RECONNECT_FOR: Duration = Duration::from_secs(30);

fn settings(name: &str, max_calls: usize) -> PhoneSettings {
    PhoneSettings { name: name.to_owned(), ring_for: RING_FOR, reconnect_for: RECONNECT_FOR, max_calls }
}
