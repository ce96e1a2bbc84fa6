//! Carry-less multiplication by the processor: `PCLMULQDQ` on `x86_64`, `PMULL` on `aarch64`.
//!
//! The only file of the workspace with code that the compiler does not check, one call. It is sound because of what it
//! takes to get there: the call's one condition is that the processor has the instruction, the only way to a
//! [`Multiplier`] is [`Multiplier::detect`], and that asks the processor. Nothing here touches memory by pointer.
#![expect(
    unsafe_code,
    reason = "a function compiled for an instruction can be called safely only from one that is too"
)]

use crate::clmul::Job;

/// Proof that this processor multiplies without carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiplier(());

impl Multiplier {
    /// Asks the processor; the answer is remembered by the standard library.
    pub(crate) fn detect() -> Option<Self> {
        arch::detected().then_some(Self(()))
    }

    /// Does `job` with the processor's instruction.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_unsafe, reason = "without an instruction the call is an ordinary one")
    )]
    #[expect(clippy::unused_self, reason = "it is the proof")]
    pub(crate) fn run(self, job: impl Job) {
        // SAFETY: `arch::run` asks for nothing but the instruction, and `self` exists, so `detect` found it.
        unsafe { arch::run(job) }
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_unpackhi_epi64,
        _mm_xor_si128,
    };

    use crate::clmul::Job;
    use crate::field::{MODULUS_LOW, Twiddle};

    pub(super) fn detected() -> bool {
        std::arch::is_x86_feature_detected!("pclmulqdq")
    }

    /// The instruction's numbering of 64-bit halves: 0x01 is the high half of the first factor, 0x10 of the second.
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn run(job: impl Job) {
        let low = |vector: __m128i| _mm_cvtsi128_si64(vector).cast_unsigned();
        let word = |word: u64| _mm_cvtsi64_si128(word.cast_signed());
        let modulus = word(MODULUS_LOW);
        job.run(
            |a, b| {
                let product = _mm_clmulepi64_si128(word(a), word(b), 0x00);
                (low(product), low(_mm_unpackhi_epi64(product, product)))
            },
            |a, Twiddle { factor, quotient }| {
                let twiddle = _mm_set_epi64x(quotient.cast_signed(), factor.cast_signed());
                let product = _mm_clmulepi64_si128(word(a), twiddle, 0x00);
                let multiple = _mm_clmulepi64_si128(word(a), twiddle, 0x10);
                low(_mm_xor_si128(product, _mm_clmulepi64_si128(multiple, modulus, 0x01)))
            },
        );
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use std::arch::aarch64::vmull_p64;

    use crate::clmul::{Job, halves};
    use crate::field::{MODULUS_LOW, Twiddle};

    pub(super) fn detected() -> bool {
        std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
    }

    #[target_feature(enable = "neon,aes")]
    pub(super) fn run(job: impl Job) {
        job.run(
            |a, b| halves(vmull_p64(a, b)),
            |a, Twiddle { factor, quotient }| {
                let (_, multiple) = halves(vmull_p64(a, quotient));
                halves(vmull_p64(a, factor) ^ vmull_p64(multiple, MODULUS_LOW)).0
            },
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    use crate::clmul::{self, Job};

    pub(super) fn detected() -> bool {
        false
    }

    pub(super) fn run(job: impl Job) {
        job.run(clmul::wide, clmul::scale);
    }
}
