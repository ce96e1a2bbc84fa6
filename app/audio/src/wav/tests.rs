use std::f64::consts::TAU;
use std::io::Cursor;

use hound::WavWriter;

use super::*;
use crate::Error;

/// A second and a half of a 440 Hz tone at half scale, as a WAV file in memory.
fn tone(spec: WavSpec, channels_with_sound: u16) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    for index in 0..spec.sample_rate * 3 / 2 {
        let value = 0.5 * (TAU * 440.0 * f64::from(index) / f64::from(spec.sample_rate)).sin();
        for channel in 0..spec.channels {
            let value = if channel < channels_with_sound { value } else { 0.0 };
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                SampleFormat::Int => {
                    let full_scale = f64::exp2(f64::from(spec.bits_per_sample) - 1.0);
                    writer.write_sample((value * full_scale).round() as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

fn spec(sample_rate: u32, channels: u16, bits_per_sample: u16, sample_format: SampleFormat) -> WavSpec {
    WavSpec { channels, sample_rate, bits_per_sample, sample_format }
}

fn load(bytes: &[u8]) -> Result<Speech> {
    Speech::from_reader(bytes)
}

#[test]
fn every_common_kind_of_file_gives_the_same_tone() {
    for sample_rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
        for (bits, format) in [
            (8, SampleFormat::Int),
            (16, SampleFormat::Int),
            (24, SampleFormat::Int),
            (32, SampleFormat::Int),
            (32, SampleFormat::Float),
        ] {
            for channels in [1, 2, 6] {
                let kind = spec(sample_rate, channels, bits, format);
                let speech = load(&tone(kind, channels)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
                let length = speech.samples().len();
                assert!(length.abs_diff(72_000) <= 8, "{kind:?}: {length}");
                // In phase, in frequency and in level: the distance from the true tone, away from the edges.
                let range = 4_800..length - 4_800;
                let error: f64 = range
                    .clone()
                    .map(|index| {
                        let tone = 16_384.0 * (TAU * 440.0 * index as f64 / 48_000.0).sin();
                        (f64::from(speech.samples()[index]) - tone).powi(2)
                    })
                    .sum();
                let rms = (error / range.len() as f64).sqrt();
                let allowed = if bits == 8 { 160.0 } else { 20.0 };
                assert!(rms < allowed, "{kind:?}: off by {rms:.1}");
            }
        }
    }
}

#[test]
fn sixteen_bit_mono_at_48_khz_is_taken_as_it_is() {
    let samples: Vec<i16> = (0..=u16::MAX).map(u16::cast_signed).collect();
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec(48_000, 1, 16, SampleFormat::Int)).unwrap();
    for sample in &samples {
        writer.write_sample(*sample).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(load(&file.into_inner()).unwrap().samples(), samples);
}

#[test]
fn a_silent_second_channel_halves_the_level_and_loses_nothing() {
    let speech = load(&tone(spec(48_000, 2, 16, SampleFormat::Int), 1)).unwrap();
    let peak = speech.samples().iter().max().copied().unwrap();
    assert!(peak.abs_diff(8_192) < 4, "{peak}");
}

#[test]
fn a_sample_that_is_no_number_is_silence() {
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec(48_000, 1, 32, SampleFormat::Float)).unwrap();
    for value in [f32::NAN, 0.5, f32::INFINITY, 7.0, -7.0] {
        writer.write_sample(value).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(load(&file.into_inner()).unwrap().samples(), [0, 16_384, 0, i16::MAX, i16::MIN]);
}

#[test]
fn what_cannot_be_loaded_is_refused_in_words() {
    let words = |bytes: &[u8]| load(bytes).err().map_or("loaded".to_owned(), |error| error.to_string());
    assert!(words(b"").contains("cannot be read") || words(b"").contains("not a WAV"), "{}", words(b""));
    assert!(words(b"OggS with something else in it").contains("not a WAV file"));
    assert!(words(&tone(spec(48_000, 33, 16, SampleFormat::Int), 1)).contains("33 channels"));
    assert!(words(&tone(spec(2_000, 1, 16, SampleFormat::Int), 1)).contains("2000 Hz"));
    let missing = Speech::load("there/is/no/such.wav").err().unwrap().to_string();
    assert!(missing.contains("such.wav"), "{missing}");

    let mut file = Cursor::new(Vec::new());
    WavWriter::new(&mut file, spec(48_000, 1, 16, SampleFormat::Int)).unwrap().finalize().unwrap();
    assert_eq!(words(&file.into_inner()), "the WAV file holds no sound");

    let whole = tone(spec(8_000, 1, 16, SampleFormat::Int), 1);
    assert!(matches!(load(&whole[..whole.len() / 2]), Err(Error::Wav(_))));
}

#[test]
fn a_header_that_promises_too_much_is_refused_before_anything_is_loaded() {
    let mut file = tone(spec(8_000, 1, 16, SampleFormat::Int), 1);
    let data = file.windows(4).position(|chunk| chunk == b"data").unwrap();
    file[data + 4..data + 8].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    assert_eq!(load(&file).err().unwrap().to_string(), "the WAV file is longer than 600 s; cut it to a shorter piece");
}

#[test]
fn frames_stop_filled_up_or_go_round() {
    let samples: Vec<i16> = (0..1_000).collect();
    let speech = Speech::from_samples(samples.clone()).unwrap();
    let frames: Vec<_> = speech.frames(FrameLength::Ms10, AtEnd::Stop).collect();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames.concat()[..1_000], samples);
    assert!(frames[2][40..].iter().all(|&sample| sample == 0));

    let mut round = speech.frames(FrameLength::Ms10, AtEnd::Loop);
    let round: Vec<_> = round.by_ref().take(100).flatten().collect();
    assert!(round.iter().zip(samples.iter().cycle()).all(|(a, b)| a == b));

    let mut none_left = speech.frames(FrameLength::Ms60, AtEnd::Stop);
    let mut pcm = vec![7; 2_880];
    assert!(none_left.next_into(&mut pcm));
    assert!(!none_left.next_into(&mut pcm));
    assert!(pcm.iter().all(|&sample| sample == 0));
}

#[test]
fn a_sink_leaves_a_whole_file_finished_or_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let samples: Vec<i16> = (0..50_000).map(|index| (index % 3_000) as i16).collect();
    for finish in [true, false] {
        let mut sink = WavSink::create(directory.path().join(format!("heard-{finish}.wav"))).unwrap();
        let path = sink.path().to_owned();
        for chunk in samples.chunks(960) {
            sink.write(chunk).unwrap();
        }
        assert_eq!(sink.samples(), 50_000);
        if finish {
            sink.finish().unwrap();
        } else {
            // As a killed process would leave it: whole up to the last full second.
            let so_far = Speech::load(&path).unwrap();
            assert_eq!(so_far.samples(), &samples[..48_000]);
            drop(sink);
        }
        assert_eq!(Speech::load(&path).unwrap().samples(), samples);
    }
    assert!(WavSink::create(directory.path().join("no/such/folder.wav")).is_err());
}
