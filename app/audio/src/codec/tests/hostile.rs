//! Packets that no encoder made: nothing panics, nothing that is refused changes the decoder, and it works on after.

use super::*;

/// Makes another packet of this one: as it is, with flipped bits, cut short, with noise behind some point, or all
/// noise, sometimes longer than allowed.
fn mangle(packet: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut packet = packet.to_vec();
    match random.random_range(0..6) {
        0 => {}
        1 | 2 => {
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..packet.len());
                packet[at] ^= 1 << random.random_range(0..8);
            }
        }
        3 => packet.truncate(random.random_range(0..packet.len())),
        4 => {
            let from = random.random_range(1..packet.len());
            packet[from..].iter_mut().for_each(|byte| *byte = random.random());
        }
        _ => packet = (0..random.random_range(0..MAX_PACKET_LEN + 50)).map(|_| random.random()).collect(),
    }
    packet
}

#[test]
fn mangled_packets_never_panic() {
    println!("seed {SEED:#x}");
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let (mut played, mut revived) = (0, 0);
    for frame in FrameLength::ALL {
        let settings = CodecSettings::new(48_000, frame, true, 20, 1).unwrap().with_dred(MAX_DRED).unwrap();
        let packets = encode_all(settings, &all_sorts());
        for effort in DecoderEffort::ALL {
            let mut decoder = VoiceDecoder::with_effort(frame, effort).unwrap();
            let mut pcm = vec![0; frame.samples()];
            for packet in packets.iter().cycle().take(200) {
                let packet = mangle(packet, &mut random);
                let _ = has_recovery(&packet);
                let before = random.random_range(0..60);
                match random.random_range(0..4) {
                    0 => revived += usize::from(decoder.revive(&packet, before, &mut pcm).unwrap_or(false)),
                    1 => drop(decoder.recover(&packet, &mut pcm)),
                    2 => decoder.conceal(&mut pcm).unwrap(),
                    _ => {}
                }
                played += usize::from(decoder.decode(&packet, &mut pcm).is_ok());
            }
            assert!(decoder.conceal(&mut pcm).is_ok());
        }
    }
    println!("{played} decoded, {revived} revived");
    assert!(played > 500 && revived > 20);
}

#[test]
fn what_is_refused_leaves_the_decoder_as_it_was() {
    let settings = CodecSettings::hard_network();
    let packets = encode_all(settings, &speech(3..5));
    let other = encode_all(settings.with_frame(FrameLength::Ms40), &speech(3..5));
    let long = vec![0; MAX_PACKET_LEN + 1];
    let (mut plain, mut disturbed) =
        (VoiceDecoder::new(settings.frame()).unwrap(), VoiceDecoder::new(settings.frame()).unwrap());
    let mut pcm = [vec![0; 960], vec![0; 960]];
    for (packet, other) in packets.iter().zip(other.iter().cycle()) {
        plain.decode(packet, &mut pcm[0]).unwrap();
        let wrong = disturbed.decode(other, &mut pcm[1]).unwrap_err();
        assert_eq!(wrong.to_string(), "a voice packet holds 1920 samples of sound where the call agreed on 960");
        assert!(matches!(disturbed.decode(&[], &mut pcm[1]), Err(Error::Codec(CodecError::NotOpus { len: 0 }))));
        assert!(matches!(disturbed.decode(&long, &mut pcm[1]), Err(Error::Codec(CodecError::PacketTooLong { .. }))));
        assert!(disturbed.decode(packet, &mut [0; 959]).is_err());
        for bad in [other.as_slice(), &[], &long] {
            assert!(disturbed.recover(bad, &mut pcm[1]).is_err());
            assert!(disturbed.revive(bad, 1, &mut pcm[1]).is_err());
        }
        assert!(disturbed.revive(packet, 1, &mut [0; 959]).is_err());
        disturbed.decode(packet, &mut pcm[1]).unwrap();
        assert_eq!(pcm[0], pcm[1]);
    }
}
