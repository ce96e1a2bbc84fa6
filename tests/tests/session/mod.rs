//! The session in the two-party world: no sockets, no clocks, no sleeps.

mod handshake;
mod hostile;
mod messages;
mod recorded;
mod stock;
mod tampering;
mod vectors;
mod voice;
