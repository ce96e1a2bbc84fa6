//! Two ends that find each other: key flows, the same at both.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise, and prints its seed")]

#[expect(dead_code, reason = "each test program uses its part of this")]
mod world;

use std::time::Duration;

use vernam_link::{AliceEnd, BobEnd, LightSetup, Loss, Pace};
use vernam_qkd::{DiscardReason, Eve};
use world::{Story, World, anywhere, blocks_in_common, dial};

#[tokio::test(flavor = "multi_thread")]
async fn blocks_flow_and_are_equal() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let (mut alice, mut bob) = (world.alice(dial(addr)), world.bob(listen));
    assert_eq!(bob.local_addr(), Some(addr));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| told.blocks.len() >= 3),
        at_b.hear(&mut bob, |told| told.blocks.len() >= 3)
    );

    assert_eq!((&at_a.connected, &at_b.connected), (&vec![(1, false)], &vec![(1, false)]));
    assert_eq!(at_a.names()[..3], [1, 2, 3].map(|block| (1, (1 << 32) + block)));
    assert!(blocks_in_common(&at_a, &at_b) >= 3);
    assert!(at_a.progress > 0 && at_b.progress > 0);
    assert!(at_a.lost.is_empty() && at_b.lost.is_empty());
    assert!(at_a.discarded.is_empty() && at_b.discarded.is_empty());
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listening_end_may_be_alice_and_light_may_keep_real_time() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let mut setups = [world.setup("kme-a", "kme-b", listen), world.setup("kme-b", "kme-a", dial(addr))];
    for setup in &mut setups {
        // Ten megahertz, as the distilling sees it too: some hundred thousand clicks a second.
        setup.link.device.pulse_rate_hz = 1e7;
        setup.distil.slots_per_second = 1e7 * setup.link.device.duty;
    }
    let [a, b] = setups;
    let light = LightSetup { pace: Pace::RealTime, stretch: Duration::from_millis(20) };
    let (mut alice, mut bob) = (AliceEnd::start(a, light).unwrap(), BobEnd::start(b).unwrap());
    assert_eq!(alice.local_addr(), Some(addr));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.blocks.is_empty()),
        at_b.hear(&mut bob, |told| !told.blocks.is_empty())
    );
    assert_eq!(blocks_in_common(&at_a, &at_b), 1);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eavesdropper_is_noticed_at_both_ends_and_key_comes_back_without_her() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let (mut alice, mut bob) = (world.alice(dial(addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    alice.set_eve(Some(Eve::intercept_resend(1.0).unwrap())).await;
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.discarded.is_empty()),
        at_b.hear(&mut bob, |told| !told.discarded.is_empty())
    );
    for told in [&at_a, &at_b] {
        assert!(matches!(told.discarded[0], DiscardReason::QberTooHigh { .. }), "{:?}", told.discarded);
        assert!(told.blocks.is_empty());
    }
    alice.set_eve(None).await;
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.blocks.is_empty()),
        at_b.hear(&mut bob, |told| !told.blocks.is_empty())
    );
    assert!(blocks_in_common(&at_a, &at_b) >= 1);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_anew_begins_a_new_run_with_new_secrets() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let (mut alice, mut bob) = (world.alice(dial(addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.blocks.is_empty()),
        at_b.hear(&mut bob, |told| !told.blocks.is_empty())
    );

    let stopping = tokio::spawn(bob.shutdown());
    at_a.hear(&mut alice, |told| !told.lost.is_empty()).await;
    assert!(matches!(&at_a.lost[0], Loss::Goodbye(why) if why == "it was stopped"), "{:?}", at_a.lost);
    stopping.await.unwrap();

    let listen = vernam_link::Connect::listen(&addr.to_string()).await.unwrap();
    let mut bob = world.bob(listen);
    let first_run = at_a.blocks.len();
    tokio::join!(
        at_a.hear(&mut alice, |told| told.blocks.len() > first_run),
        at_b.hear(&mut bob, |told| told.connected.len() == 2 && told.blocks.last().is_some_and(|(run, ..)| *run == 2))
    );
    assert_eq!(at_a.connected, [(1, false), (2, false)]);
    assert_eq!(at_b.connected, [(1, false), (2, false)]);
    assert_eq!(at_a.names()[first_run], (2, (2 << 32) + 1), "numbers go on above those of the run before");
    assert!(blocks_in_common(&at_a, &at_b) >= 2);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn light_ends_where_it_was_told_to() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let light =
        LightSetup { pace: Pace::AsFastAsPossible { until: Duration::from_millis(3) }, ..LightSetup::default() };
    let mut alice = AliceEnd::start(world.setup("kme-a", "kme-b", dial(addr)), light).unwrap();
    let mut bob = world.bob(listen);
    let mut told = Story::default();
    let mut heard = Story::default();
    tokio::join!(told.hear(&mut alice, |told| told.light_ended), heard.hear(&mut bob, |heard| heard.progress > 0));
    assert!(!told.connected.is_empty());
    tokio::join!(alice.shutdown(), bob.shutdown());
}
