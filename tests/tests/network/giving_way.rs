//! While a call is up, a file leaves the voice alone and takes the rest.

use std::time::Duration;

use super::{Scene, link, ms};

const TEN_MBIT: u64 = 10_000_000;

/// How much more a voice frame may wait, at the 99th percentile, than without a file.
const MOST: Duration = Duration::from_millis(10);

/// The link's 10 Mbit/s, less the voice and the headers of UDP, IP and QUIC, of which a file must get 90 %.
fn share(file: f64) -> f64 {
    file / 10.0
}

#[test]
fn a_file_takes_nine_tenths_and_the_voice_waits_ten_milliseconds_more_at_most() {
    for (rtt, queues) in [(20, [10, 20, 40, 160]), (40, [20, 40, 80, 320])] {
        for queue in queues {
            let terms = link(TEN_MBIT, ms(rtt), ms(queue));
            let alone = Scene::new(terms).talk().watch(ms(10_000));
            let seen = Scene::new(terms).talk().with_file().watch(ms(30_000));
            let more = seen.delays.quantile(0.99).saturating_sub(alone.delays.quantile(0.99));
            let told = format!("round trip {rtt} ms, queue {queue} ms: {more:?} more, {:.2} Mbit/s", seen.file);
            assert!(more <= MOST, "{told}");
            assert!(share(seen.file) >= 0.9, "{told}");
            assert!(seen.delays.lost() < 0.001, "{told}, {} lost", seen.delays.lost());
        }
    }
}

#[test]
fn without_the_switch_the_same_file_fills_the_queue() {
    let scene = Scene::new(link(TEN_MBIT, ms(40), ms(100))).talk().with_file();
    scene.call.set(false);
    let mut scene = scene;
    assert!(scene.watch(ms(20_000)).delays.quantile(0.5) > ms(80), "the measure can tell the difference");
}

#[test]
fn a_call_that_begins_in_the_middle_of_a_transfer_is_heard_within_a_second() {
    let mut scene = Scene::new(link(TEN_MBIT, ms(40), ms(320))).with_file();
    scene.net.run(ms(5_000));
    let mut scene = scene.talk();
    scene.net.run(ms(1_000));
    scene.net.forget(scene.voice);
    let seen = scene.watch(ms(5_000));
    assert!(seen.delays.quantile(0.99) <= ms(30), "{:?}", seen.delays.quantile(0.99));
    assert!(share(seen.file) >= 0.9, "{:.2} Mbit/s", seen.file);

    // And when it is over, the file is as fast as Cubic, with Cubic's queue.
    scene.call.set(false);
    let seen = scene.watch(ms(20_000));
    assert!(share(seen.file) >= 0.94, "{:.2} Mbit/s", seen.file);
    let waited = scene.net.rtt(scene.file);
    assert!(waited > ms(80), "Cubic fills the queue again: {waited:?}");
}

#[test]
fn a_file_that_begins_before_the_call_and_one_after_it_share_the_link() {
    let mut scene = Scene::new(link(TEN_MBIT, ms(40), ms(100))).talk().with_file();
    scene.net.run(ms(10_000));
    // The second file of the pair goes to somebody else, under the same switch.
    let second = scene.second;
    scene.net.send(second, Some(vernam_tests::virtual_net::Traffic::Bulk));
    scene.net.run(ms(10_000));
    let before = scene.net.delivered(second);
    let seen = scene.watch(ms(30_000));
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^52")]
    let other = (scene.net.delivered(second) - before) as f64 * 8e-6 / 32.0;
    let told = format!("{:.2} and {other:.2} Mbit/s, {:?}", seen.file, seen.delays.quantile(0.99));
    assert!(seen.file > 2.0 && other > 2.0, "{told}");
    assert!(seen.delays.quantile(0.99) <= ms(40), "{told}");
}

#[test]
fn a_longer_route_is_found_out_without_starving_the_file() {
    let mut scene = Scene::new(link(TEN_MBIT, ms(20), ms(100))).talk().with_file();
    scene.net.run(ms(10_000));
    let longer = link(TEN_MBIT, ms(80), ms(100));
    scene.net.change(longer, longer);
    let seen = scene.watch(ms(70_000));
    assert!(share(seen.file) >= 0.6, "{:.2} Mbit/s while it is taken for a stranger", seen.file);
    let seen = scene.watch(ms(20_000));
    assert!(share(seen.file) >= 0.88, "{:.2} Mbit/s", seen.file);
    assert!(seen.delays.quantile(0.99) <= ms(60), "{:?}", seen.delays.quantile(0.99));
}

#[test]
fn loss_by_chance_is_not_taken_for_a_queue() {
    let mut terms = link(TEN_MBIT, ms(40), ms(100));
    terms.loss = 0.01;
    let seen = Scene::new(terms).talk().with_file().watch(ms(30_000));
    assert!(share(seen.file) >= 0.85, "{:.2} Mbit/s", seen.file);
    assert!(seen.delays.quantile(0.99) <= ms(40), "{:?}", seen.delays.quantile(0.99));
    assert!(seen.delays.lost() < 0.02, "{}", seen.delays.lost());
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let run = || {
        let seen = Scene::new(link(TEN_MBIT, ms(40), ms(40))).talk().with_file().watch(ms(5_000));
        (seen.delays.quantile(0.5), seen.delays.max(), seen.file.to_bits())
    };
    assert_eq!(run(), run());
}
