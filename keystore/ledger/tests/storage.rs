//! What a ledger promises of its place: whose it is, that it lasts, and what becomes of it when things fail.

#![expect(clippy::unwrap_used, reason = "a test that finds no value has failed")]

mod support;
#[path = "storage/world.rs"]
mod world;

#[path = "storage/failures.rs"]
mod failures;
#[path = "storage/opening.rs"]
mod opening;
#[path = "storage/remains.rs"]
mod remains;
#[path = "storage/restored.rs"]
mod restored;
#[path = "storage/speed.rs"]
mod speed;
