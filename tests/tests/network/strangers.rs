//! Beside somebody else's download nobody starves: not the voice, not the file, not the stranger.

use std::sync::Arc;

use vernam_quic::{CallSwitch, Lane};
use vernam_tests::virtual_net::{LinkTerms, Net, Traffic};

use super::{FRAME, LAST_FRAMES, SEED, Scene, link, ms};

#[test]
fn beside_a_download_the_file_keeps_a_share_and_the_voice_waits_no_longer_than_without_the_file() {
    for queue in [20, 40, 80, 320] {
        let terms = link(10_000_000, ms(40), ms(queue));
        let alone = Scene::new(terms).talk().with_stranger().watch(ms(60_000));
        let mut scene = Scene::new(terms).talk().with_stranger();
        scene.net.run(ms(2_000));
        scene.net.forget(scene.voice);
        let seen = scene.with_file().watch(ms(60_000));
        let told = format!(
            "queue {queue} ms: voice {:?} (without a file {:?}), lost {:.4}, file {:.2}, stranger {:.2} Mbit/s",
            seen.delays.quantile(0.99),
            alone.delays.quantile(0.99),
            seen.delays.lost(),
            seen.file,
            seen.stranger
        );
        assert!(seen.file >= 1.5, "{told}");
        assert!(seen.stranger >= 3.0, "{told}");
        assert!(seen.delays.lost() < 0.005, "{told}");
        assert!(seen.delays.quantile(0.99) <= alone.delays.quantile(0.99) + ms(5), "{told}");
    }
}

#[test]
fn when_the_stranger_has_gone_the_queue_is_short_again() {
    let mut scene = Scene::new(link(10_000_000, ms(40), ms(100))).talk().with_stranger().with_file();
    scene.net.run(ms(20_000));
    scene.net.send(scene.stranger, None);
    // What it had given to its connection is still sent; then it takes up to 16 s until the next look.
    scene.net.run(ms(45_000));
    scene.net.forget(scene.voice);
    let seen = scene.watch(ms(20_000));
    assert!(seen.stranger < 0.01, "{:.2} Mbit/s", seen.stranger);
    assert!(seen.delays.quantile(0.99) <= ms(32), "{:?}", seen.delays.quantile(0.99));
    assert!(seen.file >= 9.0, "{:.2} Mbit/s", seen.file);
}

/// Quinn's Cubic hardly grows for a sender who does not fill its window, and shrinks with each loss.
#[test]
fn a_voice_is_not_held_back_by_its_own_losses() {
    let way = ms(150);
    let terms = LinkTerms { rate: 1_000_000, way, queue: ms(100), loss: 0.03 };
    let waited = |ours: bool| {
        let mut net = Net::new(terms, terms, SEED);
        let mut plain = quinn::TransportConfig::default();
        plain.datagram_send_buffer_size(4 * 1024);
        let transport = if ours { Lane::Main.transport(&CallSwitch::new()) } else { Arc::new(plain) };
        let voice = net.connect(Arc::clone(&transport), transport);
        net.settle();
        net.send(voice, Some(Traffic::Voice(FRAME)));
        net.run(ms(60_000));
        let delays = net.delays(voice, LAST_FRAMES);
        assert!(delays.lost() < 0.05, "{} lost", delays.lost());
        delays.quantile(0.99).saturating_sub(way)
    };
    let (ours, plain) = (waited(true), waited(false));
    assert!(ours < ms(10), "{ours:?} for nothing");
    assert!(plain > ms(100), "plain quinn makes it wait {plain:?}: the test shows nothing");
}
