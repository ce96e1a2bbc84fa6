//! Everything the house promises, in one binary. `tests/README.md` is the map.

mod demo;
mod engine;
mod house;
mod link_ends;
mod session;
