//! Calls that change their bit rate by themselves: by what the network loses, and by how much pad is left.

use std::time::Duration;

use vernam_audio::CodecSettings;
use vernam_engine::{Event, PhoneEvent};
use vernam_quic::{Impairment, WireSettings};
use vernam_session::Suite;
use vernam_tests::lab::voice::{Mouth, check};
use vernam_tests::lab::{Lab, Person, Setup, part};

use super::{begin, end};

/// Both people's call goes over to `bit_rate` by itself, and nobody was asked.
async fn goes_over_to(pair: &[Person; 2], suite: Suite, bit_rate: u32) {
    for person in pair {
        let is = |event: &PhoneEvent| matches!(event, PhoneEvent::Changed { terms } if terms.bit_rate == bit_rate);
        person.called("another bit rate", is).await;
        person.ticked("the new terms", |stats| stats.terms.bit_rate == bit_rate && stats.sent_under == suite).await;
        let asked = |event: &Event| {
            matches!(event, Event::Call { event: PhoneEvent::ChangeAsked { .. } | PhoneEvent::Refused { .. }, .. })
        };
        assert_eq!(person.count(asked), 0, "a question between rates of one suite");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aes_call_that_loses_a_fifth_goes_over_to_the_settings_for_hard_networks() {
    let lab = Lab::new(301);
    let setup = || Setup { adapts: true, ..Setup::with_mark(64 << 10) }.preferring(Suite::Aes256Gcm);
    // Only what Alice sends is lost: she learns of it from Bob.
    let impairment = Impairment { loss: 0.2, delay: Duration::from_millis(2), jitter: Duration::ZERO, seed: 301 };
    let wire = WireSettings { impairment: Some(impairment), ..WireSettings::default() };
    let pair = lab.talking(setup().over(wire), setup()).await;
    let tapes = begin(&pair, Suite::Aes256Gcm, [Mouth::Silence, Mouth::recorded("commands")]).await;
    goes_over_to(&pair, Suite::Aes256Gcm, CodecSettings::hard_network().bit_rate()).await;
    let so_far = tapes[1].packets_played();
    tapes[1].until_played(so_far + 25).await;
    end(&pair).await;
    for (said, heard) in [(&tapes[0], &tapes[1]), (&tapes[1], &tapes[0])] {
        check(said, heard);
        let sent = said.sent();
        let mut sizes: Vec<usize> = sent.values().map(|(packet, _)| packet.len()).collect();
        sizes.dedup();
        assert_eq!(sizes, [80, 120], "one change, in silence as in speech");
        assert!(sent.keys().copied().eq(0..u32::try_from(sent.len()).expect("a short call")), "numbers go on");
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pad_call_with_little_stock_steps_down() {
    let lab = Lab::new(302);
    // Bob's stock lasts for less than five minutes, Alice's for more: she asks all the same.
    let setup = |mark| Setup { adapts: true, ..Setup::with_mark(mark) }.preferring(Suite::Otp);
    let pair = lab.talking(setup(1 << 20), setup(256 << 10)).await;
    let tapes = begin(&pair, Suite::Otp, [Mouth::recorded("reader"), Mouth::Silence]).await;
    goes_over_to(&pair, Suite::Otp, 12_000).await;
    let so_far = tapes[1].packets_played();
    tapes[1].until_played(so_far + 25).await;
    let stats = end(&pair).await;
    for (stats, (said, heard)) in stats.iter().zip([(&tapes[1], &tapes[0]), (&tapes[0], &tapes[1])]) {
        check(said, heard);
        let mut sizes: Vec<usize> = said.sent().values().map(|(packet, _)| packet.len()).collect();
        sizes.dedup();
        assert_eq!(sizes, [40, 30], "one change, in silence as in speech");
        assert_eq!((stats.unsent, stats.missing, stats.away), (0, 0, 0), "{stats:?}");
    }
    assert_eq!(lab.vault.collected_twice(), 0);
    part(pair).await;
}
