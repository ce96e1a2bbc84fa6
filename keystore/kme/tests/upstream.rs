//! Another vendor's KME at each end as a source: over TLS, with answers that are lost and ends that die at every point.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[expect(dead_code, reason = "each test program uses its part of this")]
mod feeding;
mod world;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use feeding::{Books, Fault, Feed, Line, Pair, bad_line, books, good_line};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use vernam_kme::LinkState;
use vernam_kme::sources::UpstreamRole::{Master, Slave};
use world::{World, report};

const SEED: u64 = 20_261_123;

/// The master's end is Alice, and the slave's Bob, to the vendor's KMEs.
struct Vendor {
    world: World,
    pair: Pair,
}

impl Vendor {
    async fn with_blocks(count: u32) -> Self {
        let mut world = World::new().await;
        for _ in 0..count {
            world.make_block().await;
        }
        Self { world, pair: Pair::default() }
    }

    fn master(&self, line: Line, dies: Option<(u32, bool)>) -> Feed {
        let source = self.pair.source(Pair::config(Master), self.world.alice(), line);
        Feed::start(source, Arc::clone(&self.pair.master), dies)
    }

    fn slave(&self, dies: Option<(u32, bool)>) -> Feed {
        let source = self.pair.source(Pair::config(Slave), self.world.bob(), good_line());
        Feed::start(source, Arc::clone(&self.pair.slave), dies)
    }

    /// Blocks of one number are equal, and no key of the vendor's is in two places of one end.
    fn check(&self) -> usize {
        let (master, slave) = (books(&self.pair.master), books(&self.pair.slave));
        let (mut places, mut common) = (HashMap::new(), 0);
        for (number, block) in &master.blocks {
            if let Some(other) = slave.blocks.get(number) {
                assert!(block == other, "block {number} differs");
                common += 1;
            }
        }
        for books in [&master, &slave] {
            let mut words = HashSet::new();
            for (number, block) in &books.blocks {
                for word in block.chunks(8) {
                    // The vendor's blocks have no word twice.
                    assert!(words.insert(word.to_vec()), "key is in block {number} and elsewhere");
                    assert_eq!(*places.entry(word.to_vec()).or_insert(*number), *number, "two numbers for one key");
                }
            }
        }
        common
    }
}

fn last_report(books: &Books) -> Option<(LinkState, String)> {
    books.seen.reports.last().map(|report| (report.state, report.reason.clone()))
}

fn says(books: &Books, state: LinkState, words: &str) -> bool {
    last_report(books).is_some_and(|(now, reason)| now == state && reason.contains(words))
}

#[tokio::test]
async fn keys_become_blocks_at_both_ends_and_no_more_than_are_wanted() {
    let vendor = Vendor::with_blocks(2).await;
    let full = |books: &Books| books.bits() - books.used >= 1 << 16;
    let (_slave, _master) = (vendor.slave(None), vendor.master(good_line(), None));
    vendor.pair.until("full at both ends", |a, b| full(a) && full(b)).await;
    vendor
        .pair
        .until("said", |a, b| says(a, LinkState::Up, "full enough") && says(b, LinkState::Up, "keys come"))
        .await;
    assert_eq!(vendor.check(), 8, "16 keys of 512 bits a block, 65,536 bits in all");
    assert_eq!(vendor.world.a().books().await.delivered_to_master, 1 << 16);
    // A little less than full is no reason to draw; below the low mark it fills up again.
    books(&vendor.pair.master).used = 1 << 14;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(vendor.world.a().books().await.delivered_to_master, 1 << 16);
    for ledger in [&vendor.pair.master, &vendor.pair.slave] {
        books(ledger).used = (1 << 15) + 8;
    }
    vendor.pair.until("full again", |a, b| full(a) && full(b)).await;
    assert_eq!(vendor.check(), 13);
    assert!(books(&vendor.pair.master).seen.voids.is_empty() && books(&vendor.pair.slave).seen.voids.is_empty());
    vendor.world.end().await;
}

#[tokio::test]
async fn the_far_ends_pool_counts_as_well() {
    let vendor = Vendor::with_blocks(1).await;
    books(&vendor.pair.slave).blocks.insert(0, vec![0; 1 << 13]);
    let (_slave, _master) = (vendor.slave(None), vendor.master(good_line(), None));
    vendor.pair.until("it says so", |a, _| says(a, LinkState::Up, "far end's pool")).await;
    assert_eq!(vendor.world.a().books().await.delivered_to_master, 0);
    vendor.world.end().await;
}

#[tokio::test]
async fn a_bad_line_and_crashes_at_every_point_never_give_two_blocks_one_number() {
    println!("seed {SEED}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let vendor = Vendor::with_blocks(6).await;
    for lives in 0..14 {
        let line = bad_line(rng.next_u64(), 30);
        let mut dies = || (rng.next_u32() % 3 > 0).then(|| (rng.next_u32() % 3 + 1, rng.next_u32() % 2 == 0));
        // Either end dies and comes back, or both do; what it was doing is lost.
        let (of_master, of_slave) = (dies(), dies());
        for ledger in [&vendor.pair.master, &vendor.pair.slave] {
            let mut ledger = books(ledger);
            (ledger.used, ledger.broken) = (ledger.bits(), lives % 2);
        }
        let blocks = books(&vendor.pair.master).blocks.len();
        let (slave, master) = (vendor.slave(of_slave), vendor.master(line, of_master));
        let enough = |a: &Books, _: &Books| {
            let dead = |dies: &Option<(u32, bool)>| dies.is_some();
            a.blocks.len() >= blocks + 3 || dead(&of_master) || dead(&of_slave)
        };
        vendor.pair.until("some blocks", enough).await;
        tokio::time::sleep(std::time::Duration::from_millis(u64::from(rng.next_u32() % 150))).await;
        drop((slave, master));
        tokio::task::yield_now().await;
        vendor.check();
    }
    // In the end, on a good line, it works, and the slave was told what the master does not have.
    for ledger in [&vendor.pair.master, &vendor.pair.slave] {
        let mut ledger = books(ledger);
        (ledger.used, ledger.broken) = (ledger.bits(), 0);
    }
    let blocks = books(&vendor.pair.master).blocks.len();
    let (_slave, _master) = (vendor.slave(None), vendor.master(good_line(), None));
    vendor.pair.until("it goes on", |a, b| a.blocks.len() > blocks + 3 && a.blocks.len() >= b.blocks.len()).await;
    let (common, all) = (vendor.check(), books(&vendor.pair.slave).blocks.len());
    assert!(common > 10, "{common} of {all}");
    println!("{common} blocks in common, {all} at the slave, {} void", books(&vendor.pair.slave).seen.voids.len());
    vendor.world.end().await;
}

/// What the master asks, in short.
fn asks(question: &Value, what: &str) -> bool {
    question["vernam_upstream"] == what
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_costs_nothing() {
    let vendor = Vendor::with_blocks(1).await;
    let count = AtomicU32::new(0);
    let line: Line = Arc::new(move |question| {
        // The first two answers about each block.
        let lost = asks(question, "collect") && count.fetch_add(1, Ordering::Relaxed) % 3 < 2;
        if lost { Fault::Answer } else { Fault::None }
    });
    let (_slave, _master) = (vendor.slave(None), vendor.master(line, None));
    vendor.pair.until("4 blocks", |a, _| a.blocks.len() >= 4).await;
    let common = vendor.check();
    assert!(common >= 4 && common <= books(&vendor.pair.slave).blocks.len());
    assert!(books(&vendor.pair.slave).seen.voids.is_empty());
    vendor.world.end().await;
}

#[tokio::test]
async fn a_block_whose_every_answer_is_lost_is_void_at_both_ends() {
    let vendor = Vendor::with_blocks(1).await;
    let line: Line = Arc::new(|question| {
        let lost = asks(question, "collect") && question["block"] == 0;
        if lost { Fault::Answer } else { Fault::None }
    });
    let (_slave, _master) = (vendor.slave(None), vendor.master(line, None));
    vendor.pair.until("2 blocks", |a, _| a.blocks.len() >= 2).await;
    assert!(books(&vendor.pair.slave).seen.voids.contains(&0));
    for ledger in [&vendor.pair.master, &vendor.pair.slave] {
        assert!(!books(ledger).blocks.contains_key(&0));
    }
    vendor.check();
    vendor.world.end().await;
}

#[tokio::test]
async fn nothing_is_drawn_for_an_end_that_is_away() {
    let vendor = Vendor::with_blocks(1).await;
    let master = vendor.master(good_line(), None);
    vendor.pair.until("it says so", |a, _| says(a, LinkState::Down, "does not answer")).await;
    assert_eq!(vendor.world.a().books().await.delivered_to_master, 0);
    let slave = vendor.slave(None);
    vendor.pair.until("blocks", |a, _| !a.blocks.is_empty()).await;
    drop((master, slave));
    vendor.world.end().await;
}

#[tokio::test]
async fn keys_that_cannot_be_collected_are_given_up_and_not_many_of_them() {
    let mut vendor = Vendor::with_blocks(1).await;
    // Bob's KME is away for Bob only: the vendor's KMEs reach each other, and keys can be drawn.
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let away = vendor.world.client("bob", elsewhere);
    let source = vendor.pair.source(Pair::config(Slave), away, good_line());
    let slave = Feed::start(source, Arc::clone(&vendor.pair.slave), None);
    let master = vendor.master(good_line(), None);
    vendor.pair.until("both say so", |a, b| says(a, LinkState::Down, "did not get") && b.seen.reports.len() > 1).await;
    let drawn = vendor.world.a().books().await.delivered_to_master;
    assert!(drawn > 0 && drawn <= 4 * 16 * 512, "{drawn}");
    drop(slave);
    let _slave = vendor.slave(None);
    vendor.pair.until("blocks", |a, b| a.blocks.len() > 1 && b.blocks.len() > 1).await;
    vendor.check();
    // The vendor's KME says no.
    drop(master);
    books(&vendor.pair.master).used = 1 << 30;
    books(&vendor.pair.slave).used = 1 << 30;
    vendor.world.stop_b().await;
    let _master = vendor.master(good_line(), None);
    vendor.pair.until("it says so", |a, _| says(a, LinkState::Down, "no key is drawn")).await;
    vendor.world.end().await;
}

#[tokio::test]
async fn an_alarm_of_the_vendors_link_is_passed_on() {
    let vendor = Vendor::with_blocks(1).await;
    vendor.world.a().report(&report(LinkState::Alarm, "somebody listens"));
    let (_slave, _master) = (vendor.slave(None), vendor.master(good_line(), None));
    vendor.pair.until("alarm", |a, _| says(a, LinkState::Alarm, "somebody listens")).await;
    assert_eq!(books(&vendor.pair.master).seen.reports.last().unwrap().qber, Some(0.021));
    vendor.world.end().await;
}

#[tokio::test]
async fn nonsense_from_the_far_end_is_refused() {
    use vernam_kme::sources::Upstream;
    let vendor = Vendor::with_blocks(1).await;
    let pooled = Arc::new(|| 0);
    let ask: vernam_kme::sources::Ask = Arc::new(|_question| Box::pin(async { Err("nobody".to_owned()) }));
    let (_source, talk) = Upstream::pair(Pair::config(Slave), vendor.world.bob(), 5, pooled, ask).unwrap();
    let talk = talk.unwrap();
    let id = "bc490419-7d60-487f-adc1-4ddcc177c139";
    let mut turn = 0;
    for (block, key_bits, ids, outcome) in [
        (5_u64, 7, format!(r#"[{{"key_ID":"{id}"}}]"#), Err("cannot be")),
        (5, 0, format!(r#"[{{"key_ID":"{id}"}}]"#), Err("cannot be")),
        (5, 256, "[]".to_owned(), Err("cannot be")),
        (5, 1 << 24, format!(r#"[{{"key_ID":"{id}"}}]"#), Err("cannot be")),
        (u64::MAX, 256, format!(r#"[{{"key_ID":"{id}"}}]"#), Err("cannot be")),
        (5, 256, r#"[{"key_ID":"x"}]"#.to_owned(), Err("no upstream source's word")),
        (4, 256, format!(r#"[{{"key_ID":"{id}"}}]"#), Ok("burned")),
    ] {
        turn += 1;
        let text = format!(
            r#"{{"session":1,"turn":{turn},"vernam_upstream":"collect","block":{block},"key_bits":{key_bits},"key_IDs":{ids}}}"#
        );
        let answer = feeding::soon(talk.answer(serde_json::from_str(&text).unwrap())).await;
        match (answer, outcome) {
            (Err(said), Err(sign)) => assert!(said.contains(sign), "{said}"),
            (Ok(said), Ok(state)) => assert_eq!(said["outcome"]["state"], state, "{said}"),
            (answer, _) => panic!("{text}: {answer:?}"),
        }
    }
    let old: Value = serde_json::from_str(r#"{"session":1,"turn":2,"vernam_upstream":"ready","void_from":0}"#).unwrap();
    assert!(talk.answer(old).await.unwrap_err().contains("overtaken"));
    vendor.world.end().await;
}
