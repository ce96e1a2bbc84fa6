//! Loudspeakers and microphones over a real sound system: a private `PulseAudio` whose devices lead nowhere.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sines are made in f64")]

mod ends;
mod handset;
mod support;
