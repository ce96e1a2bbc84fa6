//! Two ends over TLS, and what each is told to do with its blocks.

use std::collections::BTreeMap;

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::timeout;
use vernam_kme::sources::{Directory, DirectoryConfig};
use vernam_link::Pace;
use vernam_qkd::DeviceProfile;

use super::*;

const SEED: u64 = 20_261_123;

/// A link whose blocks are as short as blocks with key in them can be.
fn link() -> LinkConfig {
    let mut device = DeviceProfile::named("lab-1ghz").unwrap();
    device.q = 0.4;
    (device.p_signal, device.p_decoy) = (0.5, 0.3);
    device.block_bits = 100_000;
    LinkConfig::new(device, 5.0)
}

fn source(folder: &std::path::Path, role: Role, connect: Connect) -> Simulated {
    let (identity, secret) = folder::read(&folder.join(role.name()), role).unwrap();
    let mut setup = EndSetup::new(link(), connect, identity, name(far(role)), secret).unwrap();
    setup.seed = Some(SEED);
    let pace = Pace::AsFastAsPossible { until: Duration::from_hours(1) };
    Simulated::of(setup, LightSetup { pace, ..LightSetup::default() }, role, 0.11, 1).unwrap()
}

/// Takes so many blocks, refusing each once.
async fn blocks(source: &mut Simulated, count: usize) -> (BTreeMap<u64, Vec<u8>>, Vec<LinkReport>) {
    let (mut blocks, mut reports, mut refused) = (BTreeMap::new(), Vec::new(), None);
    while blocks.len() < count {
        match timeout(Duration::from_mins(1), source.next()).await.expect("it comes soon") {
            SourceEvent::Block { number, bits } if refused == Some(number) => {
                blocks.insert(number, bits.expose("test").to_vec());
                source.settled(number, Settled::Taken).await;
            }
            SourceEvent::Block { number, .. } => {
                refused = Some(number);
                source.settled(number, Settled::Again).await;
            }
            SourceEvent::Report(report) => reports.push(report),
            SourceEvent::Void { number } => panic!("block {number} is void"),
            SourceEvent::Ended(why) => panic!("{why}"),
        }
    }
    (blocks, reports)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_give_the_same_blocks_and_alice_none_that_is_not_settled() {
    println!("seed {SEED}");
    let tmp = tempfile::tempdir().unwrap();
    folder::set_up(tmp.path()).unwrap();
    let listen = Connect::listen("127.0.0.1:0").await.unwrap();
    let place = listen.local_addr().unwrap().to_string();
    let mut bob = source(tmp.path(), Role::Bob, listen);
    let mut alice = source(tmp.path(), Role::Alice, Connect::Dial(place));
    let ((of_alice, reports), (of_bob, _)) = tokio::join!(blocks(&mut alice, 2), blocks(&mut bob, 3));
    let first = (1 << ERA_SHIFT) | (1 << 32);
    assert!(of_bob.keys().copied().eq([1, 2, 3].map(|block| first + block)), "{:?}", of_bob.keys());
    assert!(of_alice.iter().all(|(number, bits)| of_bob.get(number) == Some(bits)));
    let last = reports.last().unwrap();
    assert!(last.state == LinkState::Up && last.rate_bps > 0.0 && last.qber.is_some_and(|qber| qber < last.threshold));
    assert_eq!(reports[0].state, LinkState::Down);
}

#[expect(clippy::unnecessary_wraps, reason = "as the end tells it")]
fn block(number: u64, byte: u8) -> Option<PeerEvent> {
    let device = DeviceProfile::named("metro-40mhz").unwrap();
    let rng = StdRng::seed_from_u64(SEED);
    let mut link = vernam_qkd::RateLink::new(LinkConfig::new(device, 5.0), rng).unwrap();
    link.advance(Duration::from_hours(1));
    let report = std::iter::from_fn(|| link.poll_event()).find_map(|event| match event {
        vernam_qkd::LinkEvent::Block(pair) => Some(pair.report),
        _ => None,
    });
    let block = vernam_qkd::KeyBlock { number, bits: SecretBytes::from_vec(vec![byte; 8]) };
    Some(PeerEvent::Distil { run: 1, event: EndEvent::Block { block, report: report.unwrap() } })
}

/// Numbers of blocks, and of voids.
fn given(desk: &mut Desk) -> (Vec<u64>, Vec<u64>) {
    let (mut blocks, mut voids) = (Vec::new(), Vec::new());
    while let Some(event) = desk.next() {
        match event {
            SourceEvent::Block { number, .. } => {
                desk.settled(number, Settled::Taken);
                blocks.push(number);
            }
            SourceEvent::Void { number } => voids.push(number),
            SourceEvent::Report(_) => {}
            SourceEvent::Ended(_) => break,
        }
    }
    (blocks, voids)
}

#[test]
fn a_block_is_given_when_the_next_one_settles_it_and_never_when_it_is_void() {
    let mut desk = Desk::new(Role::Alice, 0.11, 0);
    desk.take(block(1, 1));
    assert_eq!(given(&mut desk), (vec![], vec![]));
    desk.take(block(2, 2));
    assert_eq!(given(&mut desk), (vec![1], vec![]));
    desk.take(Some(PeerEvent::Distil { run: 1, event: EndEvent::Void { number: 2 } }));
    desk.take(block(3, 3));
    assert_eq!(given(&mut desk), (vec![], vec![]));
    desk.take(Some(PeerEvent::Unsettled { number: 3 }));
    desk.take(block(1 << 33, 4));
    desk.take(block((1 << 33) + 1, 5));
    assert_eq!(given(&mut desk), (vec![1 << 33], vec![]));
    desk.take(Some(PeerEvent::Distil { run: 1, event: EndEvent::Void { number: 1 } }));
    assert_eq!(given(&mut desk), (vec![], vec![1]), "one that was given before");

    let mut desk = Desk::new(Role::Bob, 0.11, 0);
    desk.take(block(1, 1));
    assert_eq!(given(&mut desk), (vec![1], vec![]));
    desk.take(block(1, 1));
    assert!(matches!(desk.next(), Some(SourceEvent::Report(_) | SourceEvent::Block { .. })));
    desk.settled(1, Settled::TooLate);
    assert!(matches!(desk.next(), Some(SourceEvent::Ended(why)) if why.contains("set era to 1")));
}

/// What `vernam link --keys` writes, read while it writes: no block that turns out void is ever taken.
#[tokio::test]
async fn a_folder_of_vernam_link_gives_only_what_is_settled() {
    use crate::link::ends::keys::KeyFolder;
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("keys");
    let keys = KeyFolder::open(&path, "0123456789abcdef0123456789abcdef").unwrap();
    let mut config = DirectoryConfig::new(&path);
    config.poll = Duration::from_millis(1);
    let mut source = Directory::open(config).unwrap();
    let mut taken = Vec::new();
    for number in 1..=60_u64 {
        let block = vernam_qkd::KeyBlock { number, bits: SecretBytes::from_vec(vec![7; 40]) };
        keys.keep(&block, false).unwrap();
        let report = LinkReport { state: LinkState::Up, ..LinkReport::unknown() };
        keys.tell(&report).unwrap();
        while let Ok(event) = timeout(Duration::from_millis(8), source.next()).await {
            if let SourceEvent::Block { number, .. } = event {
                source.settled(number, Settled::Taken).await;
                taken.push(number);
            }
        }
        match number % 4 {
            0 => assert_eq!(keys.forget(number).unwrap(), crate::link::ends::keys::Fate::Erased),
            1 => assert_eq!(keys.set_aside(number).unwrap(), crate::link::ends::keys::Fate::SetAside),
            _ => {}
        }
    }
    let void: Vec<_> = taken.iter().filter(|number| matches!(*number % 4, 0 | 1)).collect();
    assert!(void.is_empty() && taken.len() >= 25 && taken.is_sorted(), "{taken:?}");
}
