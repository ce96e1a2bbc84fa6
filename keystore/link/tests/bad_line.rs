//! Connections that break, and somebody who meddles with them: never unequal keys, and key again afterwards.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise, and prints its seed")]

mod world;

use vernam_link::{AliceEnd, BobEnd, Loss};
use world::{Story, Wire, World, anywhere, blocks_in_common, dial};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_of_a_block_comes_back() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let wire = Wire::new(addr).await;
    let (mut alice, mut bob) = (world.alice(dial(wire.addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    // In the middle of sifting; when Alice has the block, but Bob has not heard her last word; and in sifting again.
    for cuts in 1..=3 {
        let (progress, blocks) = (at_a.progress + 5, at_a.blocks.len() + 1);
        let now = |told: &Story| if cuts == 2 { told.blocks.len() >= blocks } else { told.progress >= progress };
        let back = |told: &Story| told.lost.len() >= cuts && told.connected.len() > cuts;
        tokio::join!(
            async {
                at_a.hear(&mut alice, now).await;
                wire.cut();
                at_a.hear(&mut alice, back).await;
            },
            at_b.hear(&mut bob, back)
        );
    }
    two_more(&mut at_a, &mut alice, &mut at_b, &mut bob).await;

    let run_goes_on = [(1, false), (1, true), (1, true), (1, true)];
    assert_eq!((at_a.connected.as_slice(), at_b.connected.as_slice()), (&run_goes_on[..], &run_goes_on[..]));
    assert!(blocks_in_common(&at_a, &at_b) >= 2);
    assert!(at_a.discarded.len() + at_b.discarded.len() >= 2, "blocks were lost");
    only_void_blocks_are_alone(&at_a, &at_b);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_comes_back_replaces_the_connection_that_hangs() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let wire = Wire::new(addr).await;
    let (mut alice, mut bob) = (world.alice(dial(wire.addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        async {
            at_a.hear(&mut alice, |told| told.progress >= 3).await;
            wire.hang();
            at_a.hear(&mut alice, |told| told.connected.len() == 2).await;
        },
        at_b.hear(&mut bob, |told| told.connected.len() == 2)
    );
    assert!(matches!(at_b.lost[..], [Loss::Replaced]), "{:?}", at_b.lost);
    two_more(&mut at_a, &mut alice, &mut at_b, &mut bob).await;
    assert!(blocks_in_common(&at_a, &at_b) >= 1);
    only_void_blocks_are_alone(&at_a, &at_b);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_noticed() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let wire = Wire::new(addr).await;
    let (mut alice, mut bob) = (world.alice(dial(wire.addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        async {
            at_a.hear(&mut alice, |told| !told.blocks.is_empty()).await;
            wire.flip();
            at_a.hear(&mut alice, |told| told.connected.len() == 2).await;
        },
        at_b.hear(&mut bob, |told| told.connected.len() == 2)
    );
    assert!(
        matches!(&at_b.lost[0], Loss::Broken(why) if why.contains("somebody meddles with the connection")),
        "{:?}",
        at_b.lost
    );
    two_more(&mut at_a, &mut alice, &mut at_b, &mut bob).await;
    assert!(blocks_in_common(&at_a, &at_b) >= 2);
    only_void_blocks_are_alone(&at_a, &at_b);
    tokio::join!(alice.shutdown(), bob.shutdown());
}

/// Goes on until both ends have blocks that neither had begun.
async fn two_more(at_a: &mut Story, alice: &mut AliceEnd, at_b: &mut Story, bob: &mut BobEnd) {
    let (a, b) = (at_a.names(), at_b.names());
    let (run, last) = a.last().max(b.last()).copied().unwrap_or((1, 0));
    let enough = |told: &Story| told.names().last().is_some_and(|name| *name >= (run, last + 2));
    tokio::join!(at_a.hear(alice, enough), at_b.hear(bob, enough));
}

/// Of all blocks before the last, those that only one end has are ones that this end was told to take back.
fn only_void_blocks_are_alone(at_a: &Story, at_b: &Story) {
    let (a, b) = (at_a.names(), at_b.names());
    let last = a.last().min(b.last()).copied();
    let alone = |names: &[(u64, u64)], others: &[(u64, u64)]| -> Vec<(u64, u64)> {
        names.iter().filter(|name| Some(**name) <= last && !others.contains(name)).copied().collect()
    };
    assert!(alone(&a, &b).iter().all(|name| at_a.void.contains(name)), "{a:?} {b:?} {:?}", at_a.void);
    assert_eq!(alone(&b, &a), [], "{a:?} {b:?}");
}
