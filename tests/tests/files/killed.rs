//! Either side is killed at random in the middle of transfers of a folder; it is started anew, and the same folder arrives.

use std::net::SocketAddr;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use vernam_tests::telephone::Handset;
use vernam_tests::wire::Wire;

use super::{ANY, FAR, Place, last, spent, tree};

/// What is sent, and how often somebody dies meanwhile.
pub(super) struct Plan {
    pub(super) suite: &'static str,
    pub(super) kills: usize,
    pub(super) files: usize,
    /// Bytes of a file, less than that.
    pub(super) longest: usize,
    /// Blocks of key between the KMEs.
    pub(super) blocks: u64,
    pub(super) seed: u64,
}

/// Both sides, and who has died how often.
struct Run<'a> {
    place: &'a Place,
    plan: &'a Plan,
    random: ChaCha20Rng,
    bob: Option<Handset>,
    address: SocketAddr,
    wire: Wire,
    kills: [usize; 2],
}

/// Carries a plan out; how often Alice and Bob were killed.
pub(super) fn run(plan: &Plan) -> [usize; 2] {
    println!("seed {}, {}", plan.seed, plan.suite);
    let place = Place::new(plan.blocks);
    let mut random = ChaCha20Rng::seed_from_u64(plan.seed);
    let top = place.plant("tree", &mut random, plan.files, plan.longest);
    let wanted = tree(&top);
    let (bob, address) = place.receive(ANY, &[]);
    let wire = Wire::to(address, plan.seed).unwrap();
    wire.set_both(FAR);
    let mut run = Run { place: &place, plan, random, bob: Some(bob), address, wire, kills: [0, 0] };
    let mut transfers = 0;
    while run.kills[0] + run.kills[1] < plan.kills {
        run.once(&top.display().to_string());
        transfers += 1;
        assert_eq!(tree(&place.inbox.join("tree")), wanted, "transfer {transfers}, {:?} kills", run.kills);
        // The receiver's last step, which the sender does not wait for.
        assert_eq!(place.beside("tree"), Vec::<std::path::PathBuf>::new(), "transfer {transfers}");
        std::fs::remove_dir_all(place.inbox.join("tree")).unwrap();
    }
    let kills = run.kills;
    run.bob.take().unwrap().end().unwrap();
    let [sent, received] = spent::audit(&place.town);
    println!(
        "{transfers} transfers, {} and {} kills of sender and receiver: whole, {sent} and {received} bytes of key, none twice",
        kills[0], kills[1]
    );
    kills
}

impl Run<'_> {
    /// One transfer, in which up to four deaths happen.
    fn once(&mut self, top: &str) {
        let mut blows = self.random.random_range(1..=4);
        let fresh = [top, "--suite", self.plan.suite, "--wait-for-key"];
        let mut alice = self.place.send(self.wire.addr, &fresh);
        loop {
            if blows > 0 {
                blows -= 1;
                self.choose_a_moment(&mut alice);
                if self.random.random_bool(0.5) {
                    self.kills[0] += 1;
                    alice.kill().unwrap();
                    alice = self.place.send(self.wire.addr, &[]);
                } else {
                    self.kills[1] += 1;
                    self.bob.take().unwrap().kill().unwrap();
                    self.bob = Some(self.place.receive(self.address, &[]).0);
                }
                continue;
            }
            let (status, told) = alice.status().unwrap();
            assert_eq!(status, 0, "{}", story(&told));
            if last(&told, "nothing").is_null() {
                let ended = last(&told, "ended");
                assert_eq!(
                    (&ended["whole"], &ended["failed"]),
                    (&Value::Bool(true), &Value::from(0)),
                    "{}",
                    story(&told)
                );
                return;
            }
            // Killed before she had remembered what to send, or when all was there already.
            if self.place.inbox.join("tree").exists() {
                return;
            }
            alice = self.place.send(self.wire.addr, &fresh);
        }
    }

    /// Anywhere: before the conversation stands, before the files go, among them, or at the end.
    fn choose_a_moment(&mut self, alice: &mut Handset) {
        let until = Duration::from_millis(self.random.random_range(0..1_500));
        let waits_for_files = self.random.random_bool(0.6);
        let begin = std::time::Instant::now();
        // Where it is over before anything moves, the moment is the end.
        while waits_for_files && begin.elapsed() < Duration::from_secs(20) && alice.ended().unwrap().is_none() {
            let moves = |event: &Value| event["event"] == "status" && event["state"] == "moving";
            if alice.all("status").iter().any(|(_, event)| moves(event)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(until);
    }
}

fn story(told: &[Value]) -> String {
    let told = told.iter().filter(|event| event["event"] != "progress").map(ToString::to_string);
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_folder_arrives_whole_though_either_side_is_killed() {
    let plan = Plan { suite: "aes-256-gcm", kills: 6, files: 60, longest: 400_000, blocks: 64, seed: 601 };
    run(&plan);
}

#[test]
fn a_folder_arrives_whole_under_one_time_pad_and_no_pad_serves_twice() {
    let plan = Plan { suite: "otp", kills: 4, files: 40, longest: 80_000, blocks: 400, seed: 602 };
    run(&plan);
}
