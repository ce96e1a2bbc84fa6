//! The two ends of one quantum link as two processes: Alice at one KME, Bob at the other.
//!
//! Light and messages travel over one mutually authenticated connection of the link's own. This crate is the thin shell
//! of sockets, clocks and threads around `vernam-qkd`, which holds the physics and the protocol; it makes no key by
//! itself, and hands none to anybody but the owner of an end.
//!
//! ```text
//!            process at KME A                                        process at KME B
//!   ┌───────────────────────────────────┐                  ┌───────────────────────────────────┐
//!   │ AliceEnd                          │  TLS 1.3, both   │ BobEnd                            │
//!   │  Transmitter ── light ─ optical ──┼── certificates ──┼──► Receiver                       │
//!   │     │ sent                        │                  │       │ detections                │
//!   │     ▼                             │                  │       ▼                           │
//!   │  distil::Alice ◄────── classical ─┼──────────────────┼──► distil::Bob                    │
//!   │     │                             │                  │       │                           │
//!   │     ▼ PeerEvent: blocks, state    │                  │       ▼ PeerEvent: blocks, state  │
//!   └───────────────────────────────────┘                  └───────────────────────────────────┘
//! ```
//!
//! **The light is simulated at Alice's end.** What travels on the optical channel stands for photons on a fibre, and is
//! not authenticated beyond the connection: a real link would have the fibre there. So Alice's process, which computes
//! what arrives at Bob's, and whoever reads the connection, could know everything; with equipment in its place, neither
//! could. The classical messages authenticate themselves (Wegman-Carter) and would do so over any connection.
//!
//! **What both ends need**: certificates of one authority; the same [`vernam_qkd::LinkConfig`], which they compare, and
//! say what differs; and a copy each of one start-up secret ([`StartupSecret`]), of which every run takes a piece. Who
//! has a certificate but not the secret gets nowhere: the ends prove to each other, for each connection, that they hold
//! it.
//!
//! **When the connection is lost**, it comes back by itself, and the run goes on: the two state machines drop the block
//! under way, and the light goes on where it was. When a process ends, the next greeting begins a new run; whether Bob
//! has Alice's last block of the old one is then unknown ([`PeerEvent::Unsettled`]).
//!
//! ```no_run
//! use vernam_link::{Connect, EndSetup, BobEnd, PeerEvent, StartupSecret, TlsIdentity};
//! use vernam_qkd::distil::EndEvent;
//! use vernam_qkd::{DeviceProfile, LinkConfig};
//!
//! # async fn example(identity: TlsIdentity) -> Result<(), Box<dyn std::error::Error>> {
//! let link = LinkConfig::new(DeviceProfile::named("metro-40mhz")?, 15.0);
//! let connect = Connect::listen("0.0.0.0:7010").await?;
//! let secret = StartupSecret::load("link-b.secret")?;
//! let mut bob = BobEnd::start(EndSetup::new(link, connect, identity, "kme-a", secret)?)?;
//! while let Some(event) = bob.event().await {
//!     match event {
//!         PeerEvent::Distil { run, event: EndEvent::Block { block, report } } => {
//!             println!("run {run}, block {}: {} bits", block.number, report.key_bits);
//!         }
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Start reading in [`EndSetup`], then `driver.rs`.

mod conn;
mod course;
mod door;
mod driver;
mod end;
mod error;
mod event;
mod frame;
mod greet;
mod hello;
mod lamp;
mod limits;
mod proof;
mod secret;
mod setup;
mod side;
mod tls;

pub use end::{AliceEnd, BobEnd};
pub use error::{Error, Loss, Refusal};
pub use event::PeerEvent;
pub use hello::Role;
pub use secret::{SECRET_BYTES, START_BYTES, SecretError, StartupSecret};
pub use setup::{Connect, EndSetup, LightSetup, Pace, TlsIdentity};
