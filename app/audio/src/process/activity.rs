//! Whether somebody speaks, for a microphone that opens by voice.
//!
//! It decides by the level alone, above a noise floor that it follows by itself. It looks at nothing that is yet to
//! come, so it adds no delay; in return it opens at the first loud block, be it a word or a cough.

use crate::process::slot::BLOCK;
use crate::{FrameLength, SAMPLE_RATE};

/// So far above the noise floor a block is voice, dB. The level of steady noise over 10 ms strays by 1 dB.
const OPEN_DB: f64 = 7.0;
/// So far above it an open gate stays open: the soft ends of words.
const STAY_DB: f64 = 4.0;
/// Nothing below is voice, dB below full scale: a microphone in a silent room.
const LEAST_DBFS: f64 = -60.0;
/// The gate stays open for so long after the last voice, milliseconds: the pauses inside words and short sentences.
const HANG_OVER_MS: u32 = 300;
/// The floor rises by so much a second while it is below the sound: slower than a sentence lasts, fast enough for a
/// fan that starts.
const FLOOR_RISE_DB_PER_SECOND: f64 = 3.0;
/// The share of the way down that the floor goes in each block when the sound is below it.
const FLOOR_FALL: f64 = 0.2;
/// Where the floor starts, and no lower: below it lies only what is no voice anyhow.
const LOWEST_FLOOR_DBFS: f64 = LEAST_DBFS - OPEN_DB;
/// The floor goes no higher: whoever shouts without a pause is still heard.
const HIGHEST_FLOOR_DBFS: f64 = -30.0;
/// Below this frequency little counts, hertz: hum and rumble. Two filters of first order, 25 dB at 50 Hz.
const HIGH_PASS_HZ: f64 = 200.0;

/// Blocks a second.
const BLOCKS_PER_SECOND: f64 = 100.0;

/// Whether somebody speaks, frame by frame, with an attack and a hang-over that keep words whole.
///
/// The attack is one block of 10 ms: the frame in which a word begins is voice. The hang-over is 300 ms.
pub struct VoiceActivity {
    /// Noise floor, dB below full scale.
    floor: f64,
    /// Blocks that the gate stays open yet.
    open: u32,
    /// The high-pass filters' memories: last value in, last value out.
    filters: [(f64, f64); 2],
    hang_over: u32,
}

impl VoiceActivity {
    /// For frames of one length.
    pub fn new(frame: FrameLength) -> Self {
        let hang_over = HANG_OVER_MS.next_multiple_of(frame.millis()) / 10;
        Self { floor: LOWEST_FLOOR_DBFS, open: 0, filters: [(0.0, 0.0); 2], hang_over }
    }

    /// Whether this frame is to be sent.
    pub fn is_voice(&mut self, pcm: &[i16]) -> bool {
        let mut voice = false;
        for block in pcm.chunks(BLOCK) {
            voice |= self.block(block);
        }
        voice
    }

    /// The noise floor that it goes by, dB below full scale.
    pub fn noise_floor_dbfs(&self) -> f64 {
        self.floor
    }

    fn block(&mut self, block: &[i16]) -> bool {
        let level = self.level(block);
        let was_open = self.open > 0;
        let margin = if was_open { STAY_DB } else { OPEN_DB };
        let voice = level > (self.floor + margin).max(LEAST_DBFS);
        self.open = if voice { self.hang_over } else { self.open.saturating_sub(1) };
        let floor = if level < self.floor {
            self.floor + FLOOR_FALL * (level - self.floor)
        } else {
            level.min(self.floor + FLOOR_RISE_DB_PER_SECOND / BLOCKS_PER_SECOND)
        };
        self.floor = floor.clamp(LOWEST_FLOOR_DBFS, HIGHEST_FLOOR_DBFS);
        voice || was_open
    }

    /// Mean level of a block above [`HIGH_PASS_HZ`], dB below full scale.
    fn level(&mut self, block: &[i16]) -> f64 {
        let pole = 1.0 - std::f64::consts::TAU * HIGH_PASS_HZ / f64::from(SAMPLE_RATE);
        let mut energy = 0.0;
        for &sample in block {
            let mut value = f64::from(sample) / 32_768.0;
            for (before, out) in &mut self.filters {
                *out = value - *before + pole * *out;
                *before = value;
                value = *out;
            }
            energy += value * value;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 480")]
        let mean = energy / block.len().max(1) as f64;
        10.0 * mean.max(1e-12).log10()
    }
}

#[cfg(test)]
mod tests;
