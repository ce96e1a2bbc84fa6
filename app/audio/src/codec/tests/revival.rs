//! Deep redundancy: a burst of lost frames comes back out of the first packet after it.

use super::*;

fn packets() -> Vec<Vec<u8>> {
    encode_all(CodecSettings::hard_network(), &speech(2..8))
}

#[test]
fn where_it_does_not_reach_nothing_is_touched() {
    let settings = CodecSettings::hard_network();
    let (with, without) = (packets(), encode_all(settings.with_dred(Duration::ZERO).unwrap(), &speech(2..8)));
    let (mut asked, mut not_asked) =
        (VoiceDecoder::new(settings.frame()).unwrap(), VoiceDecoder::new(settings.frame()).unwrap());
    let (mut untouched, mut pcm) = (vec![7; 960], [vec![0; 960], vec![0; 960]]);
    for (with, without) in with.iter().zip(&without) {
        for (packet, before) in [(with, 0), (with, 51), (with, u32::MAX), (without, 1), (without, 2)] {
            assert!(!asked.revive(packet, before, &mut untouched).unwrap());
        }
        asked.decode(with, &mut pcm[0]).unwrap();
        not_asked.decode(with, &mut pcm[1]).unwrap();
        assert_eq!(pcm[0], pcm[1]);
    }
    assert_eq!(untouched, [7; 960]);
}

/// A calm network must not talk the encoder out of its redundancy: the profile goes when the network is calm, not this.
#[test]
fn no_loss_hint_takes_it_away() {
    let settings = CodecSettings::hard_network();
    let mut encoder = VoiceEncoder::new(settings).unwrap();
    let mut decoder = VoiceDecoder::new(settings.frame()).unwrap();
    let (mut packet, mut pcm, mut revived) = (vec![0; settings.packet_len()], vec![0; 960], 0);
    for said in speech(2..4).chunks_exact(960) {
        encoder.hint_loss(0).unwrap();
        encoder.encode(said, &mut packet).unwrap();
        revived += usize::from(decoder.revive(&packet, 2, &mut pcm).unwrap());
        decoder.decode(&packet, &mut pcm).unwrap();
    }
    println!("{revived} of 100 packets reach back");
    assert!(revived > 70);
}

/// What is kept of a packet changes nothing: two decoders, one of which reads another packet before each question.
#[test]
fn what_was_read_once_stays_true() {
    let packets = packets();
    let mut decoders = [(false, 0), (true, 0)]
        .map(|(forgetful, revived)| (VoiceDecoder::new(FrameLength::Ms20).unwrap(), forgetful, revived));
    for burst in packets[50..].chunks_exact(10) {
        let [kept, read] = decoders.each_mut().map(|(decoder, forgetful, revived)| {
            let mut heard = vec![0; 960 * 10];
            for (index, pcm) in heard.chunks_exact_mut(960).enumerate() {
                if !(4..8).contains(&index) {
                    decoder.decode(&burst[index], pcm).unwrap();
                    continue;
                }
                if *forgetful {
                    assert!(!decoder.revive(&packets[0], 50, pcm).unwrap());
                }
                if decoder.revive(&burst[8], u32::try_from(8 - index).unwrap(), pcm).unwrap() {
                    *revived += 1;
                } else {
                    decoder.conceal(pcm).unwrap();
                }
            }
            heard
        });
        assert_eq!(kept, read);
    }
    println!("{} revived", decoders[0].2);
    assert!(decoders[0].2 > 60 && decoders[0].2 == decoders[1].2);
}

/// Loudness in decibels of each 5 ms in four bands of speech.
fn loudness(sound: &[i16]) -> Vec<[f64; 4]> {
    let mut bands = [350.0, 900.0, 1_900.0, 3_500.0].map(|centre: f64| {
        // A resonator of two poles, about an octave wide.
        let angle = std::f64::consts::TAU * centre / f64::from(SAMPLE_RATE);
        let radius = 1.0 - angle / 4.0;
        (2.0 * radius * angle.cos(), -radius * radius, 0.0, 0.0)
    });
    let five_ms = SAMPLE_RATE as usize / 200;
    let mut in_bands = |samples: &[i16]| {
        bands.each_mut().map(|(first, second, last, before)| {
            let mut energy = 1e3;
            for &sample in samples {
                let next = f64::from(sample) + *first * *last + *second * *before;
                (*before, *last) = (*last, next);
                energy += next * next;
            }
            10.0 * energy.log10()
        })
    };
    sound.chunks_exact(five_ms).map(&mut in_bands).collect()
}

/// Bursts of four lost frames: the revived sound follows the loudness of what was said, band by band, better than what
/// is made up out of the past; and both have sound where there was some.
#[test]
fn a_burst_comes_back_closer_than_it_is_concealed() {
    const PERIOD: usize = 12;
    const BURST: std::ops::Range<usize> = 6..10;
    let packets = packets();
    let play = |effort: DecoderEffort, lose: bool, revive: bool| {
        let mut decoder = VoiceDecoder::with_effort(FrameLength::Ms20, effort).unwrap();
        let mut heard = vec![0; 960 * packets.len()];
        for (index, pcm) in heard.chunks_exact_mut(960).enumerate() {
            let later = index - index % PERIOD + BURST.end;
            let before = u32::try_from(later.saturating_sub(index)).unwrap();
            match packets.get(later) {
                Some(later) if lose && BURST.contains(&(index % PERIOD)) => {
                    if !(revive && decoder.revive(later, before, pcm).unwrap()) {
                        decoder.conceal(pcm).unwrap();
                    }
                }
                _ => decoder.decode(&packets[index], pcm).unwrap(),
            }
        }
        loudness(&heard)
    };
    let whole = play(DecoderEffort::Full, false, false);
    let error = |other: &[[f64; 4]]| {
        let in_burst = |index: &usize| BURST.contains(&(index / 4 % PERIOD));
        let (mut sum, mut count) = (0.0, 0.0);
        for index in (0..whole.len()).filter(in_burst) {
            for (a, b) in whole[index].iter().zip(&other[index]) {
                sum += (a - b).abs();
                count += 1.0;
            }
        }
        sum / count
    };
    let [plain, deep, revived] =
        [(DecoderEffort::Plain, false), (DecoderEffort::Full, false), (DecoderEffort::Full, true)]
            .map(|(effort, revive)| error(&play(effort, true, revive)));
    println!("off by {plain:.2} dB with plain concealment, {deep:.2} with deep, {revived:.2} revived");
    assert!(revived < deep * 0.75 && revived < plain * 0.75);
}
