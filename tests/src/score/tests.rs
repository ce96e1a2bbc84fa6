//! The measures measure: what is the same scores best, what is damaged scores less, wherever it begins.

use std::path::Path;

use vernam_audio::{Speech, WavSink};

use super::*;

fn write(path: &Path, pcm: &[i16]) {
    let mut sink = WavSink::create(path).unwrap();
    sink.write(pcm).unwrap();
    sink.finish().unwrap();
}

#[test]
fn the_same_sound_scores_best_and_gaps_cost() {
    let folder = tempfile::tempdir().unwrap();
    let speech = Speech::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/speech/reader.wav")).unwrap();
    let said: Vec<i16> = speech.samples()[..8 * 48_000].to_vec();
    // Half a second later.
    let mut same = vec![0; 24_000];
    same.extend_from_slice(&said);
    let mut damaged = same.clone();
    for frame in damaged.chunks_mut(960).step_by(5) {
        frame.fill(0);
    }
    let path = |name: &str| folder.path().join(format!("{name}.wav"));
    for (name, pcm) in [("said", &said), ("same", &same), ("damaged", &damaged)] {
        write(&path(name), pcm);
    }
    let order = |name: &str| Order { name: name.to_owned(), said: path("said"), heard: path(name), pieces: 1 };
    let scores = score(&[order("same"), order("damaged")]).unwrap();
    println!("{scores:?}");
    let [same, damaged] = &scores[..] else { panic!("two scores") };
    assert!(same.pesq > 4.6 && same.stoi > 0.999);
    assert!((same.pieces[0].delay_ms - 500.0).abs() < 1.0);
    assert!(damaged.pesq < 2.5 && damaged.stoi < 0.95);
}
