//! What is heard is, bit for bit, what Opus makes of what was said.

use std::time::Duration;

use vernam_quic::{Impairment, WireSettings};
use vernam_session::Suite;
use vernam_tests::lab::voice::{Mouth, check};
use vernam_tests::lab::{Lab, Setup, part};

use super::converse;

/// Two and a half seconds.
const PACKETS: usize = 125;

async fn is_heard(suite: Suite) {
    let lab = Lab::new(11);
    let setup = || Setup::with_mark(64 << 10).preferring(suite);
    let pair = lab.talking(setup(), setup()).await;
    let mouths = [Mouth::recorded("reader"), Mouth::recorded("commands")];
    let (tapes, stats) = converse(&pair, suite, mouths, PACKETS).await;
    for (speaker, listener) in [(0, 1), (1, 0)] {
        let heard = check(&tapes[speaker], &tapes[listener]);
        assert!(heard.packets >= PACKETS, "{heard:?}");
        let (said, got) = (&stats[speaker], &stats[listener]);
        assert_eq!((said.terms.suite, got.terms.suite), (suite, suite));
        assert!(got.received <= said.sent && got.missing == 0, "{got:?}");
        assert_eq!((got.stray, got.refused.len()), (0, 0), "{got:?}");
        assert!(got.received >= heard.packets as u64);
    }
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_under_one_time_pad_is_heard_bit_for_bit() {
    is_heard(Suite::Otp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_under_aes_is_heard_bit_for_bit() {
    is_heard(Suite::Aes256Gcm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_under_chacha_is_heard_bit_for_bit() {
    is_heard(Suite::ChaCha20Poly1305).await;
}

/// Six seconds at 5 % loss: some 30 packets of 600 are lost. That none is has odds of 1 in 10^13; that a fifth is, less.
async fn goes_on_at_loss(suite: Suite, seed: u64) {
    let lab = Lab::new(12);
    let lossy = |seed| {
        let impairment = Impairment { loss: 0.05, delay: Duration::from_millis(5), jitter: Duration::ZERO, seed };
        let wire = WireSettings { impairment: Some(impairment), ..WireSettings::default() };
        Setup::with_mark(96 << 10).preferring(suite).over(wire)
    };
    let pair = lab.talking(lossy(seed), lossy(seed + 1)).await;
    let mouths = [Mouth::recorded("reader"), Mouth::recorded("commands")];
    let (tapes, stats) = converse(&pair, suite, mouths, 280).await;
    let (mut sent, mut missing, mut mended) = (0, 0, 0);
    for (speaker, listener) in [(0, 1), (1, 0)] {
        // The replay makes each lost frame by Opus's own concealment or recovery, and finds the same samples.
        let heard = check(&tapes[speaker], &tapes[listener]);
        assert!(stats[listener].refused.is_empty(), "{:?}", stats[listener]);
        mended += heard.mended;
        sent += stats[speaker].sent;
        missing += stats[listener].missing;
    }
    assert!(missing > 0 && missing < sent / 5, "{missing} of {sent} missing at 5 % loss");
    assert!(mended > 0, "{missing} packets were lost and nothing was concealed");
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_five_percent_loss_a_pad_call_goes_on_with_opus_own_concealment() {
    goes_on_at_loss(Suite::Otp, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_five_percent_loss_an_aes_call_goes_on_with_opus_own_recovery() {
    goes_on_at_loss(Suite::Aes256Gcm, 7).await;
}
