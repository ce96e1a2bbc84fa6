//! The stages: `sonora` (the sound processing of WebRTC in Rust) and `nnnoiseless` (`RNNoise` in Rust), one thing each.
//!
//! Each of sonora's parts has an instance of its own, so that switching one does not set the others back.

use nnnoiseless::DenoiseState;
use sonora::config::{
    AdaptiveDigital, EchoCanceller as EchoSettings, GainController2, HighPassFilter, MaxProcessingRate, Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};

use super::slot::{BLOCK, Block, Stage};
use crate::SAMPLE_RATE;

/// Gain before the level of the speech is known, dB: enough for a quiet microphone, not enough to spoil a loud one.
const INITIAL_GAIN_DB: f32 = 6.0;
/// Highest gain, dB. A microphone that needs more gives noise and little else.
const MAX_GAIN_DB: f32 = 30.0;

const MONO: StreamConfig = StreamConfig::new(SAMPLE_RATE, 1);

/// All of the sound, not only up to 16 kHz.
fn full_band() -> Pipeline {
    Pipeline { maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz, ..Pipeline::default() }
}

fn sonora(config: Config) -> AudioProcessing {
    let config = Config { pipeline: full_band(), ..config };
    AudioProcessing::builder().config(config).capture_config(MONO).render_config(MONO).build()
}

fn capture(sonora: &mut AudioProcessing, block: &mut Block) -> Option<()> {
    let before = *block;
    sonora.process_capture_f32(&[&before], &mut [block]).ok()
}

/// Takes the loudspeaker's sound out: AEC3.
pub(super) struct EchoCanceller(AudioProcessing);

impl EchoCanceller {
    /// What the loudspeaker is about to play.
    pub(super) fn render(&mut self, block: &Block) -> Option<()> {
        let mut unchanged = [0.0; BLOCK];
        self.0.process_render_f32(&[block], &mut [&mut unchanged]).ok()
    }
}

impl Stage for EchoCanceller {
    fn build() -> Option<Self> {
        // The high-pass filter that it would enforce is the stage before it.
        let settings = EchoSettings { enforce_high_pass_filtering: false, ..EchoSettings::default() };
        Some(Self(sonora(Config { echo_canceller: Some(settings), ..Config::default() })))
    }

    fn run(&mut self, block: &mut Block) -> Option<()> {
        capture(&mut self.0, block)
    }
}

/// Takes out what is below speech.
pub(super) struct HighPass(AudioProcessing);

impl Stage for HighPass {
    fn build() -> Option<Self> {
        Some(Self(sonora(Config { high_pass_filter: Some(HighPassFilter::default()), ..Config::default() })))
    }

    fn run(&mut self, block: &mut Block) -> Option<()> {
        capture(&mut self.0, block)
    }
}

/// Evens the loudness out: AGC2, digital gain and limiter. It moves by at most 6 dB a second and does not lift what it
/// takes for noise; the mixer of the system is left alone.
pub(super) struct GainControl(AudioProcessing);

impl Stage for GainControl {
    fn build() -> Option<Self> {
        let adaptive = AdaptiveDigital {
            initial_gain_db: INITIAL_GAIN_DB,
            max_gain_db: MAX_GAIN_DB,
            ..AdaptiveDigital::default()
        };
        let gain = GainController2 { adaptive_digital: Some(adaptive), ..GainController2::default() };
        Some(Self(sonora(Config { gain_controller2: Some(gain), ..Config::default() })))
    }

    fn run(&mut self, block: &mut Block) -> Option<()> {
        capture(&mut self.0, block)
    }
}

/// Takes noise out of speech: `RNNoise`, with the network that comes with it.
pub(super) struct NoiseSuppressor(Box<DenoiseState<'static>>);

impl Stage for NoiseSuppressor {
    fn build() -> Option<Self> {
        Some(Self(DenoiseState::new()))
    }

    fn run(&mut self, block: &mut Block) -> Option<()> {
        // It wants the range of 16 bit samples.
        let before = block.map(|value| value * 32_768.0);
        self.0.process_frame(block, &before);
        for value in block.iter_mut() {
            *value /= 32_768.0;
        }
        Some(())
    }
}
