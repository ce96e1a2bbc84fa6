//! Whole transfers over real folders: what arrives, what happens to it on the way, and what a crash or a full disk costs.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod changing;
mod full;
mod hostile;
mod killed;
mod support;
mod whole;
