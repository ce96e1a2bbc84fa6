//! A gigabit a second over a tenth of a second: the windows are large enough.

use super::{Scene, link, ms};

const GIGABIT: u64 = 1_000_000_000;

#[test]
fn a_long_fast_way_is_filled() {
    let mut scene = Scene::new(link(GIGABIT, ms(100), ms(100))).with_file();
    scene.net.run(ms(1_500));
    let seen = scene.watch(ms(1_500));
    assert!(seen.file >= 800.0, "{:.0} Mbit/s", seen.file);
}

#[test]
fn a_long_fast_way_is_filled_while_giving_way_too() {
    let mut scene = Scene::new(link(GIGABIT, ms(100), ms(100))).talk().with_file();
    scene.net.run(ms(5_000));
    scene.net.forget(scene.voice);
    let seen = scene.watch(ms(1_000));
    assert!(seen.file >= 800.0, "{:.0} Mbit/s", seen.file);
    assert!(seen.delays.quantile(0.99) <= ms(65), "{:?}", seen.delays.quantile(0.99));
}
