//! Light that comes back out of Alice's box and tells Eve how a pulse was prepared.

use super::{Intensities, Security, tail};

/// How many sifted bits may come from pulses whose settings Eve knows, by basis and intensity: upper bounds.
///
/// Eve shines light into Alice's box; what is reflected passed the modulators and carries the settings of the pulse. If
/// it has a mean photon number `t`, she finds none in it with probability `e^(−t)`; in all other cases we take her to
/// know basis, bit and intensity, and call the pulse tagged, as in D. Gottesman, H.-K. Lo, N. Lütkenhaus, J. Preskill,
/// Quantum Inf. Comput. 4, 325 (2004). She may then let exactly the tagged pulses reach Bob, without any loss. So of
/// each intensity as many bits as there were tagged pulses are taken to be of her making, and the bounds are those on
/// the bits of the untagged pulses, for which the decoy argument still holds.
///
/// That is a conservative choice of this project: a state of less than one photon tells far less than everything
/// (M. Lucamarini et al., Phys. Rev. X 5, 031030, 2015), and no fibre is without loss. The tagged pulses are themselves
/// random; that they are more than this has a probability of `ε_sec²` in all, which is nothing beside `ε_sec`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tagged {
    /// Of the key basis.
    pub x: [f64; 3],
    /// Of the test basis.
    pub z: [f64; 3],
}

impl Tagged {
    /// Of a block of `pulses`, of which both ends chose the key basis with probability `key_share` and both the test
    /// basis with `test_share`, with `trojan_photons` coming back from each.
    pub fn new(
        pulses: u64,
        intensities: &Intensities,
        key_share: f64,
        test_share: f64,
        trojan_photons: f64,
        security: &Security,
    ) -> Self {
        if trojan_photons <= 0.0 {
            return Self::default();
        }
        // Six bounds.
        let b = 6f64.ln() - 2.0 * security.eps_sec.ln();
        let pulses = crate::draw::to_f64(pulses) * -(-trojan_photons).exp_m1();
        let of = |share: f64| intensities.p.map(|p| if p > 0.0 { tail::most(pulses * share * p, b) } else { 0.0 });
        Self { x: of(key_share), z: of(test_share) }
    }

    pub(super) fn is_sane(&self) -> bool {
        self.x.iter().chain(&self.z).all(|tagged| *tagged >= 0.0)
    }
}
