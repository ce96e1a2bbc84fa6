//! Someone on the fibre.

use std::fmt;

use thiserror::Error;

use crate::decoy::Channel;

mod attack;
mod notes;

pub(crate) use attack::{Arrives, Cause, Holds, Passage, causes};
pub use notes::{EveNotes, Note};

/// An eavesdropper: what she does, see [`Attack`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eve {
    attack: Attack,
}

/// What an eavesdropper does, with whatever physics allows and no equipment builds yet.
///
/// Bob's detectors also click by themselves. Such a click owes nothing to the pulse in its slot, but it becomes a bit of
/// the key, and of that she knows as much as of any other: Alice's bit, if she has a photon of the pulse, one that she
/// blocked among them, or its setting.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attack {
    /// Intercepts a share of the pulses, measures each in a basis of her own choice, X or Z with 1/2, and sends on what
    /// she found.
    ///
    /// She is a good one: her detectors miss nothing and err never, and what she sends on carries as many photons as
    /// what she caught, so that every gain stays as it was. What gives her away is that she cannot know the basis.
    ///
    /// Of the pulses that she takes and that pass sifting, half she measured in Alice's basis: she learns the bit and
    /// resends it right, and Bob errs as often as ever, `e_d`. The other half she measured in the wrong basis: what
    /// she resends gives Bob a random bit, right or wrong with 1/2. So with a share `p` intercepted
    ///
    /// `e_d' = (1 − p) e_d + p (e_d/2 + 1/4) = e_d + (p/4)(1 − 2 e_d)`
    ///
    /// for clicks caused by light, whatever the intensity; those without light err with 1/2 as before. So the QBER
    /// rises by about p/4, to 25 % and a little more when she takes all, and she knows p/2 of the sifted bits.
    InterceptResend {
        /// The share, 0 to 1.
        share: f64,
    },
    /// Counts the photons of each pulse without disturbing them, blocks as many single ones as she can, keeps one of
    /// every pulse of several until the bases are announced, and sends on the others, over a line without loss
    /// (G. Brassard, N. Lütkenhaus, T. Mor and B. C. Sanders, Phys. Rev. Lett. 85, 1330, 2000).
    ///
    /// She blocks as many as keep the gain of the *signal* pulses as it was. On a long line pulses of several photons
    /// are enough, and she knows every bit that light made, with the QBER as ever. On a shorter line she lets some
    /// single photons pass, on a very short one she even has to leave some pulses of several alone. The gain of the
    /// decoys she cannot keep too, for she does not know which they are: that is what they are for. She has no power
    /// over Bob's dark counts.
    PhotonNumberSplitting,
    /// Counts the photons of each pulse, keeps one of every pulse of several until the bases are announced, and lets just
    /// so many through, over a line without loss, that pulses of `n` photons click as often as ever:
    /// `Y_n = 1 − (1 − η)^n`, of single ones a share `T`, the transmittance of the line. Every gain and every QBER stays
    /// what it was, of signals and decoys alike: she is the one against whom decoys bound the single photons, and all
    /// that she leaves unknown are these and the dark counts of empty pulses.
    ///
    /// She has `n − 1` photons left to make Bob click, with probability `1 − (1 − η_Bob)^(n−1)`. Where that is too little,
    /// as for `n = 2` on a line that loses less than 3 dB, she leaves as few pulses of `n` untouched as she must, and
    /// sends them on without loss.
    UnseenPhotonNumberSplitting,
    /// Puts a beam splitter in the place of the line's loss, and keeps what it takes out until the bases are announced:
    /// nothing changes for Bob. She knows the bits of clicks whose pulse left her at least one photon, a share of
    /// `1 − e^(−(1−T)k)` for mean photon number `k` and transmittance `T`. Privacy amplification pays for it.
    BeamSplitting,
    /// Blinds Bob's detectors with bright light, measures every pulse in a random basis, and lets a detector click with
    /// a bright pulse that does nothing in the other basis (L. Lydersen et al., Nature Photonics 4, 686, 2010).
    ///
    /// Bob clicks if he chooses her basis, so she measures twice as many pulses as he would have; her detectors miss
    /// nothing, so there are enough. All gains stay, those of the empty pulses too; only where more than half of the
    /// pulses of some photon number would click do they fall a little. She adds no errors, takes away those that she
    /// can, and knows every bit of Bob's. What gives her away is the light.
    Blinding,
    /// Shines light into Alice's box and reads the settings of each pulse from what comes back, with probability
    /// `1 − e^(−photons)`. Nothing changes for Bob.
    TrojanHorse {
        /// Mean photons per pulse that come back.
        photons: f64,
    },
}

/// A share must lie between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("an eavesdropper cannot intercept a share of {0} of the pulses: give a number from 0 to 1")]
pub struct InvalidShare(pub f64);

/// A mean photon number must be a number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{0} photons a pulse cannot come back from a Trojan horse: give a number from 0 on")]
pub struct InvalidPhotons(pub f64);

impl Eve {
    /// One who intercepts and resends a share of the pulses, from 0 (none) to 1 (all): [`Attack::InterceptResend`].
    pub fn intercept_resend(share: f64) -> Result<Self, InvalidShare> {
        let valid = (0.0..=1.0).contains(&share);
        if valid { Ok(Self { attack: Attack::InterceptResend { share } }) } else { Err(InvalidShare(share)) }
    }

    /// One who keeps a photon of every pulse that has several: [`Attack::PhotonNumberSplitting`].
    pub fn photon_number_splitting() -> Self {
        Self { attack: Attack::PhotonNumberSplitting }
    }

    /// One who does so and changes no gain at all: [`Attack::UnseenPhotonNumberSplitting`].
    pub fn unseen_photon_number_splitting() -> Self {
        Self { attack: Attack::UnseenPhotonNumberSplitting }
    }

    /// One who takes out what the fibre would have lost: [`Attack::BeamSplitting`].
    pub fn beam_splitting() -> Self {
        Self { attack: Attack::BeamSplitting }
    }

    /// One who makes Bob's detectors click at will: [`Attack::Blinding`].
    pub fn blinding() -> Self {
        Self { attack: Attack::Blinding }
    }

    /// One who reads Alice's settings from `photons` a pulse that come back out of her box: [`Attack::TrojanHorse`].
    pub fn trojan_horse(photons: f64) -> Result<Self, InvalidPhotons> {
        let valid = photons >= 0.0 && photons.is_finite();
        if valid { Ok(Self { attack: Attack::TrojanHorse { photons } }) } else { Err(InvalidPhotons(photons)) }
    }

    /// What she does.
    pub fn attack(&self) -> Attack {
        self.attack
    }

    /// The share of the pulses that she intercepts and resends: 0 for every other attack.
    pub fn intercepted(&self) -> f64 {
        if let Attack::InterceptResend { share } = self.attack { share } else { 0.0 }
    }

    /// The share of the sifted bits that she knows by intercepting and resending: those she measured in the right
    /// basis. For the other attacks it depends on the line, see [`crate::optics::Line::known_to_eve`].
    pub fn knowledge(&self) -> f64 {
        self.intercepted() / 2.0
    }

    /// The channel as Alice and Bob find it with her on the line, if she intercepts and resends: no other attack leaves
    /// a [`Channel`] behind that its three numbers describe, and this one then says what there would be without her.
    /// See [`crate::optics::Line::observe`].
    pub fn on(&self, channel: &Channel) -> Channel {
        Channel { e_d: channel.e_d + self.intercepted() / 4.0 * (1.0 - 2.0 * channel.e_d), ..*channel }
    }
}

impl fmt::Display for Eve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attack {
            Attack::InterceptResend { share } => write!(f, "intercept-resend of {} % of the pulses", share * 100.0),
            Attack::PhotonNumberSplitting => f.write_str("photon-number splitting"),
            Attack::UnseenPhotonNumberSplitting => f.write_str("unseen photon-number splitting"),
            Attack::BeamSplitting => f.write_str("beam splitting"),
            Attack::Blinding => f.write_str("detector blinding"),
            Attack::TrojanHorse { photons } => write!(f, "Trojan horse light, {photons} photons back per pulse"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qber_rises_by_a_quarter_of_what_she_takes() {
        // Monte Carlo over 2e6 pulses on a perfect link (qkd-physics.md 2.4): p = .1, .2, .5, 1.
        let perfect = Channel { eta: 0.1, y0: 0.0, e_d: 0.0 };
        for (share, sampled) in [(0.1, 0.02503), (0.2, 0.04980), (0.5, 0.12454), (1.0, 0.25009)] {
            let eve = Eve::intercept_resend(share).unwrap();
            let qber = eve.on(&perfect).observe(0.5).qber;
            assert!((qber - share / 4.0).abs() < 1e-12);
            assert!((qber - sampled).abs() < 1e-3, "{qber} against {sampled}");
            assert!((eve.knowledge() - share / 2.0).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn she_leaves_the_gains_alone_and_the_bounds_see_her() {
        let channel = Channel::new(4.2, 0.05, 1e-6, 0.01);
        let tapped = Eve::intercept_resend(0.3).unwrap().on(&channel);
        assert!((tapped.observe(0.45).gain - channel.observe(0.45).gain).abs() < f64::EPSILON);
        let bound = |c: &Channel| crate::decoy::weak_and_vacuum(&c.observe(0.45), &c.observe(0.1), c.y0).unwrap();
        assert!(bound(&tapped).e1 >= tapped.single_photon().e1);
        assert!(bound(&tapped).e1 > bound(&channel).e1 + 0.07);
        assert!((bound(&tapped).y1 - bound(&channel).y1).abs() < f64::EPSILON);
    }

    #[test]
    fn shares_outside_zero_to_one_are_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            let error = Eve::intercept_resend(share).unwrap_err();
            assert!(error.to_string().contains("from 0 to 1"));
        }
    }

    #[test]
    fn every_attack_has_a_name_and_impossible_ones_are_refused() {
        for photons in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Eve::trojan_horse(photons).unwrap_err().to_string().contains("from 0 on"));
        }
        let named = [
            (Eve::intercept_resend(0.25).unwrap(), "intercept-resend of 25 % of the pulses"),
            (Eve::photon_number_splitting(), "photon-number splitting"),
            (Eve::unseen_photon_number_splitting(), "unseen photon-number splitting"),
            (Eve::beam_splitting(), "beam splitting"),
            (Eve::blinding(), "detector blinding"),
            (Eve::trojan_horse(0.01).unwrap(), "Trojan horse light, 0.01 photons back per pulse"),
        ];
        for (eve, name) in named {
            assert_eq!(eve.to_string(), name);
            assert!(eve.intercepted() <= 0.25 && eve.knowledge() <= 0.125);
        }
    }
}
