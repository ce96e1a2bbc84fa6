//! The ledger's decisions, as stories of two or three KMEs, in memory, in a SQLite file and in PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod hostile;
mod housekeeping;
mod lost;
mod master;
mod model;
mod outbox;
mod pool;
mod relays;
mod scale;
mod slave;
#[path = "../support/mod.rs"]
mod support;
mod voids;
mod world;
