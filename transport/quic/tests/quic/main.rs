//! Two endpoints on loopback, and strangers built by hand from quinn and rustls.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod bad_network;
mod carrying;
mod handshake;
mod moving;
mod speed;
mod world;
