//! Seeds, memories, and light as bytes.

use proptest::prelude::*;
use vernam_qkd::optics::{Light, Receiver, Sent, Transmitter};
use vernam_qkd::{Basis, DeviceProfile, Eve, Intensity, Pulse};

use crate::setup::{device, rng};

#[test]
fn everything_follows_from_the_seed() {
    let device = DeviceProfile { afterpulse: 0.03, dead_time_us: 0.5, ..device("metro-625mhz") };
    let run = |seed: u64| {
        let mut alice = Transmitter::new(&device, 3.0, 1e-6, rng(seed));
        alice.set_eve(Some(Eve::intercept_resend(0.3).unwrap()));
        let mut bob = Receiver::new(&device, rng(seed + 1));
        let mut seen = Vec::new();
        for i in 0..5 {
            let (mut sent, light, mut notes) = alice.send(i * 100_000..(i + 1) * 100_000);
            let mut bytes = Vec::new();
            light.encode(&mut bytes);
            assert!(bytes.len() < 25 + 3 * light.len(), "two to three bytes a candidate");
            for click in bob.detect(&Light::decode(&bytes).unwrap()) {
                let pulse = sent.pulse(click.slot).unwrap();
                let known = notes.knows(click.slot, pulse.basis);
                seen.push((click.slot, click.basis, click.bit, pulse.basis, pulse.bit, pulse.intensity, known));
            }
        }
        seen
    };
    assert!(run(20) == run(20) && run(20) != run(21));
}

#[test]
fn a_memory_for_tests_holds_just_what_it_was_given() {
    let pulse = Pulse { basis: Basis::Z, bit: true, intensity: Intensity::Decoy };
    let mut sent = Sent::exactly(3..9, vec![(7, pulse), (4, pulse)]);
    let found: Vec<u64> = (0..12).filter(|slot| sent.pulse(*slot).is_some_and(|found| found == pulse)).collect();
    assert_eq!(found, [4, 7]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_light_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let device = device("metro-40mhz");
        let mut bytes = Vec::new();
        Transmitter::new(&device, 0.0, 0.0, rng(9)).send(10..3_000).1.encode(&mut bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 2);
        let tail = bytes.get(..25).unwrap_or_default().iter().chain(&noise).copied().collect::<Vec<u8>>();
        for bytes in [&bytes, &noise, &tail] {
            let Ok(light) = Light::decode(bytes) else { continue };
            let mut again = Vec::new();
            light.encode(&mut again);
            prop_assert_eq!(&again, bytes, "one light has one encoding");
            let mut bob = Receiver::new(&DeviceProfile { afterpulse: 0.4, dead_time_us: 1.0, ..device.clone() }, rng(10));
            let clicks = bob.detect(&light);
            prop_assert!(clicks.iter().all(|click| light.slots().contains(&click.slot)));
            prop_assert!(clicks.windows(2).all(|pair| pair[0].slot < pair[1].slot));
        }
    }
}
