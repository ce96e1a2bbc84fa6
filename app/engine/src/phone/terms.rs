//! Which terms of a call make sense, which protect less than others, and what a policy lets through.

use vernam_audio::{CodecSettings, FrameLength};
use vernam_session::{CallTerms, Suite};

use super::types::Policy;

/// How much a suite promises: one-time pad holds against any computer, the two others against those we know of.
fn strength(suite: Suite) -> u8 {
    match suite {
        Suite::Otp => 1,
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => 0,
    }
}

/// Whether `new` protects less than `old`.
pub(super) fn weaker(new: Suite, old: Suite) -> bool {
    strength(new) < strength(old)
}

/// Whether a codec could be set up like that: within its bounds, and packets of the size that follows.
pub(super) fn sane(terms: CallTerms) -> bool {
    let codec = FrameLength::from_millis(u32::from(terms.frame_ms))
        .and_then(|frame| CodecSettings::new(terms.bit_rate, frame, false, 0, 10));
    codec.is_ok_and(|codec| codec.packet_len() == usize::from(terms.packet_len))
}

/// Whether a running call may go over from `old` to `new` as far as the sound is concerned: the clock that sends and
/// plays a frame at a time goes on as it is.
pub(super) fn fits(new: CallTerms, old: CallTerms) -> bool {
    sane(new) && new.frame_ms == old.frame_ms
}

/// Whether the contact's policy and what both sides agreed on let `suite` protect a call.
pub(super) fn allowed(suite: Suite, policy: Policy, suites: &[Suite]) -> bool {
    let by_policy = match policy {
        Policy::OtpOnly => suite == Suite::Otp,
        Policy::PreferOtp | Policy::Aes => true,
    };
    by_policy && suites.contains(&suite)
}
