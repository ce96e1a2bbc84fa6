//! Light, from Alice's laser to Bob's detectors, click by click, with whoever is on the line.
//!
//! It does not draw pulses that nobody will ever hear of: of the hundreds of millions that a source sends in a second,
//! only those are drawn that make a detector click, or would if it were awake. It knows nothing of what Alice and Bob
//! say to each other about the clicks afterwards.
//!
//! ```text
//!  Transmitter { source, Line { fibre, trouble, Eve } }             Receiver
//!        │ send(slots)                                                 │ detect(light)
//!        ├──► Sent: what Alice remembers, drawn on demand              ├──► detections: slot, basis, bit
//!        ├──► Light: candidates, compact, for the wire ───────────────►┤
//!        └──► EveNotes: what Eve holds                                 └──► bright light seen?
//! ```
//!
//! A *slot* is the number of one pulse, counted from the start of the link. Only slots in which Alice sends are
//! counted: pauses for calibration, the profile's duty cycle, have none.
//!
//! The channel is that of [`crate::decoy`], in the same loose form: a pulse of mean photon number `k` clicks with
//! probability `Y0 + 1 − e^(−ηk)`, whatever the bases; light and noise in one slot are taken as exclusive. It is the
//! sum of both that the tests compare with the formulas.
//!
//! ```
//! use rand::SeedableRng;
//! use rand_chacha::ChaCha20Rng;
//! use vernam_qkd::{DeviceProfile, Eve};
//! use vernam_qkd::optics::{Receiver, Transmitter};
//!
//! let device = DeviceProfile::named("metro-40mhz")?;
//! let loss_db = device.loss_db(10.0, 0.0);
//! let mut alice = Transmitter::new(&device, loss_db, 0.0, ChaCha20Rng::seed_from_u64(1));
//! let mut bob = Receiver::new(&device, ChaCha20Rng::seed_from_u64(2));
//! alice.set_eve(Some(Eve::intercept_resend(1.0)?));
//!
//! let (mut sent, light, mut notes) = alice.send(0..1_000_000);
//! let (mut sifted, mut errors, mut known) = (0, 0, 0);
//! for click in bob.detect(&light) {
//!     let pulse = sent.pulse(click.slot).ok_or("no such slot")?;
//!     if pulse.basis == click.basis {
//!         sifted += 1;
//!         errors += u32::from(pulse.bit != click.bit);
//!         known += u32::from(notes.knows(click.slot, click.basis).is_some());
//!     }
//! }
//! assert!(errors * 100 > sifted * 23 && errors * 100 < sifted * 29); // a quarter and a little more
//! assert!(known * 100 > sifted * 47 && known * 100 < sifted * 53); // half
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod light;
mod line;
mod receiver;
mod sampler;
pub(crate) mod secret;
mod sent;
mod transmitter;

pub use crate::eve::{Attack, EveNotes, InvalidPhotons, Note};
pub use light::{Light, LightError};
pub use line::{Line, Trouble};
pub use receiver::Receiver;
pub use sent::Sent;
pub use transmitter::Transmitter;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroize as _;

use crate::draw::to_count;
use crate::pulse::Basis;

/// Chances are compared as whole numbers of this many bits, which leaves the low bits of a random word for coins.
const CHANCE_BITS: i32 = 48;

/// Draws the generator's next seed from itself and forgets the state: what was drawn before cannot be computed from what
/// is in memory afterwards. Done after each stretch, since used key must be gone for good.
fn renew(rng: &mut ChaCha8Rng) {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    *rng = ChaCha8Rng::from_seed(seed);
    seed.zeroize();
}

/// Puts a state in the place of the generator's that says nothing: it has no wiping of its own.
fn wipe(rng: &mut ChaCha8Rng) {
    *rng = ChaCha8Rng::from_seed([0; 32]);
    // Nobody will read the new state; the compiler must write it all the same.
    std::hint::black_box(rng);
}

/// A probability as a number to compare [`chance`] with.
fn threshold(probability: f64) -> u64 {
    to_count(probability.clamp(0.0, 1.0) * 2f64.powi(CHANCE_BITS))
}

/// The upper 48 bits of a random word.
fn chance(word: u64) -> u64 {
    word >> 16
}

/// The other of the two bases.
fn other(basis: Basis) -> Basis {
    match basis {
        Basis::X => Basis::Z,
        Basis::Z => Basis::X,
    }
}

/// A basis as one bit.
fn code(basis: Basis) -> u8 {
    u8::from(basis == Basis::Z)
}

/// The basis that a bit stands for.
fn basis_of(bit: u8) -> Basis {
    if bit & 1 == 0 { Basis::X } else { Basis::Z }
}
