//! Whatever Eve does, no key comes out of a block that she knows more of than privacy amplification assumes; and of a
//! short block, with all that she has of it as equations over GF(2), the final key is exactly uniform to her.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this crate is tests only, also where it helps them")]

#[path = "eve_and_the_bound/attacks.rs"]
mod attacks;
#[path = "eve_and_the_bound/equations.rs"]
mod equations;
#[path = "eve_and_the_bound/exact.rs"]
mod exact;
#[path = "eve_and_the_bound/truth.rs"]
mod truth;
