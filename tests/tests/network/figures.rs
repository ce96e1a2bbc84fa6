//! The table in `transport/quic/README.md`. Run with `--run-ignored only --no-capture network::figures`.

use super::{Scene, Seen, link, ms};

fn row(name: &str, seen: &Seen) {
    let delay = |share: f64| seen.delays.quantile(share).as_secs_f64() * 1e3;
    println!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} |",
        delay(0.5),
        delay(0.99),
        delay(1.0),
        seen.delays.lost() * 100.0,
        seen.file,
        seen.stranger
    );
}

#[test]
#[ignore = "a table, not a test"]
fn figures() {
    let link_of = |rtt, queue| link(10_000_000, ms(rtt), ms(queue));
    for (rtt, queues) in [(20, vec![10, 20, 160]), (40, vec![20, 40, 100, 320]), (100, vec![100])] {
        row(&format!("round trip {rtt} ms: no file"), &Scene::new(link_of(rtt, 100)).talk().watch(ms(30_000)));
        for queue in queues {
            let scene = Scene::new(link_of(rtt, queue)).talk().with_file();
            scene.call.set(false);
            let mut scene = scene;
            row(&format!("queue {queue} ms, Cubic"), &scene.watch(ms(30_000)));
            let seen = Scene::new(link_of(rtt, queue)).talk().with_file().watch(ms(30_000));
            row(&format!("queue {queue} ms, giving way"), &seen);
        }
    }
    let mut lossy = link_of(40, 100);
    lossy.loss = 0.01;
    let scene = Scene::new(lossy).talk().with_file();
    scene.call.set(false);
    let mut scene = scene;
    row("1 % lost by chance, Cubic", &scene.watch(ms(30_000)));
    row("1 % lost by chance, giving way", &Scene::new(lossy).talk().with_file().watch(ms(30_000)));
    for queue in [20, 40, 80, 320] {
        let seen = Scene::new(link_of(40, queue)).talk().with_stranger().watch(ms(180_000));
        row(&format!("stranger, queue {queue} ms: no file"), &seen);
        for (name, call) in [("Cubic", false), ("giving way", true)] {
            let scene = Scene::new(link_of(40, queue)).talk().with_stranger().with_file();
            scene.call.set(call);
            let mut scene = scene;
            row(&format!("stranger, queue {queue} ms, {name}"), &scene.watch(ms(180_000)));
        }
    }
    for (name, call) in [("Cubic", false), ("giving way", true)] {
        let scene = Scene::new(link(1_000_000_000, ms(100), ms(100))).talk().with_file();
        scene.call.set(call);
        let mut scene = scene;
        scene.net.run(ms(5_000));
        scene.net.forget(scene.voice);
        row(&format!("1 Gbit/s, round trip 100 ms, from the 6th second on, {name}"), &scene.watch(ms(3_000)));
    }
}
