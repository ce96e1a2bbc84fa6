//! The quantum-keyed telephone: command line and demo.
//!
//! This crate parses the command line ([`cli`]) and shows a whole network on one machine ([`demo`]). It holds no
//! cryptography, no protocol and no key: those are the crates below it.
//!
//! ```text
//!  main ─► cli ─► DemoOptions ─► demo::run ──events──► demo::show ─► screen │ lines │ JSON Lines │ film
//!                                    └─► KMEs, link, two clients (the crates below)
//! ```

pub mod cli;
pub mod demo;
pub mod kme;
pub mod link;
pub mod memory;
pub mod stock;
