//! Everything the house promises, in one binary. `tests/README.md` is the map.

mod calls;
mod clients;
mod crash;
mod demo;
mod engine;
mod files;
mod house;
mod link_ends;
mod network;
mod session;
