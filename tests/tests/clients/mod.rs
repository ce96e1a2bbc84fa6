//! Our KME as others see it: third-party clients, and `vernam kme doctor`, which sees any vendor's KME in turn.
//!
//! `world` is two KMEs on loopback, with the files that clients take. `tests/interop/etsi014/README.md` tells where
//! clients differ from the standard.

mod bad_kme;
mod curl;
mod doctor;
mod etsi014_client;
mod python;
mod world;
