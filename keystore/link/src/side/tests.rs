//! Light that does not follow on what came before.

use vernam_qkd::DeviceProfile;

use super::*;

const SEED: u64 = 20_261_124;

fn pair() -> (Side, Side) {
    println!("seed {SEED}");
    let link = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 25.0);
    let piece = || SecretBytes::from_vec(vec![9; 4096]);
    let alice = Side::alice(&link, link.ends(), piece(), Some(SEED), 1).unwrap();
    let bob = Side::bob(&link, link.ends(), piece(), Some(SEED), 1).unwrap();
    (alice, bob)
}

fn light(alice: &mut Side, slots: Range<u64>) -> Vec<u8> {
    alice.work(Task::Shine(slots), 0, Duration::ZERO).unwrap().light.unwrap()
}

fn measure(bob: &mut Side, payload: Vec<u8>) -> Result<Option<u64>, String> {
    bob.work(Task::Measure(payload), 0, Duration::ZERO).map(|done| done.measured)
}

#[test]
fn light_follows_on_light_and_no_stretch_is_too_long() {
    let (mut alice, mut bob) = pair();
    let second = longest_stretch(&LinkConfig::new(DeviceProfile::named("gys").unwrap(), 25.0).ends());
    let [first, next, gap] = [0..1000, 1000..2000, 2001..3000].map(|slots| light(&mut alice, slots));
    assert_eq!(measure(&mut bob, first.clone()), Ok(Some(1000)));
    assert!(measure(&mut bob, first).unwrap_err().contains("where slot 1000 comes next"));
    assert_eq!(measure(&mut bob, next), Ok(Some(2000)));
    assert!(measure(&mut bob, gap.clone()).unwrap_err().contains("slots 2001..3000, where slot 2000 comes next"));
    assert_eq!(bob.measured(), 2000, "what was refused changes nothing");
    // On a new connection, with what got lost told.
    bob.skip_to(2001);
    assert_eq!(measure(&mut bob, gap), Ok(Some(3000)));
    bob.skip_to(0);
    assert_eq!(bob.measured(), 3000, "never back");
    let long = light(&mut alice, 3000..3001 + second);
    assert!(measure(&mut bob, long).unwrap_err().contains("at once"));
}
