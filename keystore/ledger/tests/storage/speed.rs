//! How fast a ledger commits. Measured, not judged: run it with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use crate::support::{Site, for_each_place};
use crate::world::{bits, cut, deliver, deposit, links, roomy};
use vernam_key::SecretBytes;

const CALLERS: u32 = 8;
const FOR: Duration = Duration::from_secs(3);

/// Lets eight callers do `work` for a while, and returns how often that was per second.
fn per_second(work: impl Fn(u64) + Sync) -> f64 {
    let begun = Instant::now();
    let done: u64 = std::thread::scope(|scope| {
        let work = &work;
        let call = |caller: u32| {
            let mut done = 0;
            while begun.elapsed() < FOR {
                work(u64::from(caller) << 32 | done);
                done += 1;
            }
            done
        };
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || call(caller))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    u32::try_from(done).map_or(f64::INFINITY, f64::from) / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_ledger() {
    for_each_place(|site: &Site| {
        let ledger = site.open("KME_A", roomy());
        let read = per_second(|_| drop(ledger.run_blocking(links).unwrap()));
        let sae: vernam_etsi014::SaeId = "alice".parse().unwrap();
        let write = per_second(|_| {
            let sae = sae.clone();
            ledger.run_blocking(move |book| book.charge(&sae, 20_000, 256)).unwrap();
        });
        for number in 0..16 {
            deposit(&ledger, number, 1 << 20);
        }
        let key = per_second(|seed| {
            let cut = cut(&ledger, 1, 32, seed).unwrap();
            assert_eq!(deliver(&ledger, &cut).unwrap().unwrap().len(), 1);
        });
        println!(
            "{}: {CALLERS} callers: {read:.0} reads/s, {write:.0} small writes/s, {key:.0} cut+deliver/s",
            site.name
        );

        let begun = Instant::now();
        let link: vernam_etsi014::KmeId = "KME_Z".parse().unwrap();
        let block = SecretBytes::from_vec(bits(99, 1 << 20));
        ledger.run_blocking(move |book| book.deposit(&link, 99, &block, crate::world::NOW)).unwrap().unwrap();
        println!("{}: a block of 1 MiB in {:.0} ms", site.name, begun.elapsed().as_secs_f64() * 1e3);
    });
}
