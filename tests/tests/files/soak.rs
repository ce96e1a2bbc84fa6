//! The long run: `make soak PART=files`.

use rand::RngExt as _;

use super::killed::{Plan, run};

#[test]
#[ignore = "takes many minutes; `make soak` runs it"]
fn hundreds_of_kills() {
    let times: usize = std::env::var("VERNAM_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(300);
    let seed = rand::rng().random();
    let aes = Plan { suite: "aes-256-gcm", kills: times * 2 / 3, files: 80, longest: 500_000, blocks: 400, seed };
    // Each kill of it can cost as much pad as the folder has bytes.
    let blocks = 200 + 40 * (times as u64 / 3);
    let otp = Plan { suite: "otp", kills: times / 3, files: 40, longest: 80_000, blocks, seed: !seed };
    for plan in [aes, otp] {
        run(&plan);
    }
}
