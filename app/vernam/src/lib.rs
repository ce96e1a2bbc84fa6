//! The quantum-keyed telephone: command line and demo.
//!
//! This crate parses the command line ([`cli`]), is a telephone in a terminal ([`call`]) and shows a whole network on
//! one machine ([`demo`]). It holds no protocol, and no cryptography but the sealing of the history of calls
//! ([`history`]): the rest are the crates below it.
//!
//! ```text
//!  main ─► cli ─► DemoOptions ─► demo::run ──events──► demo::show ─► screen │ lines │ JSON Lines │ film
//!                                    └─► KMEs, link, two clients (the crates below)
//! ```

pub mod call;
pub mod cli;
pub mod complaint;
pub mod demo;
pub mod devices;
pub mod history;
pub mod kme;
pub mod link;
pub mod memory;
pub mod send;
pub mod stock;
