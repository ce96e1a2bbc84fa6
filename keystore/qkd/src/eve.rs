//! Someone on the fibre.

use thiserror::Error;

use crate::decoy::Channel;

/// An eavesdropper who intercepts a share of the pulses, measures each in a basis of her own choice, and sends on what
/// she found.
///
/// She is a good one: her detectors miss nothing and err never, and what she sends on carries as many photons as what
/// she caught, so that every gain stays as it was. What gives her away is that she cannot know the basis.
///
/// Of the pulses that she takes and that pass sifting, half she measured in Alice's basis: she learns the bit and
/// resends it right, and Bob errs as often as ever, `e_d`. The other half she measured in the wrong basis: what she
/// resends gives Bob a random bit, right or wrong with 1/2. So with a share `p` intercepted
///
/// `e_d' = (1 − p) e_d + p (e_d/2 + 1/4) = e_d + (p/4)(1 − 2 e_d)`
///
/// for clicks caused by light, whatever the intensity; those without light err with 1/2 as before. So the QBER rises
/// by about p/4, to 25 % and a little more when she takes all, and she knows p/2 of the sifted bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eve {
    intercepted: f64,
}

/// A share must lie between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("an eavesdropper cannot intercept a share of {0} of the pulses: give a number from 0 to 1")]
pub struct InvalidShare(pub f64);

impl Eve {
    /// One who intercepts and resends a share of the pulses, from 0 (none) to 1 (all).
    pub fn intercept_resend(share: f64) -> Result<Self, InvalidShare> {
        if (0.0..=1.0).contains(&share) { Ok(Self { intercepted: share }) } else { Err(InvalidShare(share)) }
    }

    /// The share of the pulses that she intercepts.
    pub fn intercepted(&self) -> f64 {
        self.intercepted
    }

    /// The share of the sifted bits that she knows: those she measured in the right basis.
    pub fn knowledge(&self) -> f64 {
        self.intercepted / 2.0
    }

    /// The channel as Alice and Bob find it with her on the line.
    pub fn on(&self, channel: &Channel) -> Channel {
        Channel { e_d: channel.e_d + self.intercepted / 4.0 * (1.0 - 2.0 * channel.e_d), ..*channel }
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
}
