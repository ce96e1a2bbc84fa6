//! Clicks drawn one by one against the formulas: gains and error rates, Eve's knowledge, detectors, the wire.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this crate is tests only, also where it helps them")]

mod channel;
mod detectors;
mod eve;
mod setup;
mod wire;
