//! The network goes away and comes back, or is another: the call goes on.

use std::time::Duration;

use vernam_tests::telephone::{Habits, Handset, Town};
use vernam_tests::wire::{Impairment, Way, Wire};

use super::{PROGRAM, speech};

/// A call that runs, with sound from files and no devices.
struct Call {
    alice: Handset,
    bob: Handset,
    wire: Wire,
    // Last, so that it goes last.
    _town: Town,
}

impl Call {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let town = Town::new(PROGRAM, &[Habits::default(), Habits::default()]).unwrap();
        let said = speech("reader").display().to_string();
        let (bob, address) = town.answer(None, &["--auto", "--once", "--speech", &said]).unwrap();
        let wire = Wire::to(address, seed).unwrap();
        wire.set_both(Impairment::NONE.taking(Duration::from_millis(15), Duration::from_millis(5)));
        let alice = town.call(None, wire.addr, &["--suite", "aes-256-gcm", "--speech", &said]).unwrap();
        let call = Self { alice, bob, wire, _town: town };
        for person in [&call.alice, &call.bob] {
            person.wait("answered");
        }
        call.until_heard(25);
        call
    }

    fn both(&mut self) -> [&mut Handset; 2] {
        [&mut self.alice, &mut self.bob]
    }

    /// Waits until each has received so many packets more.
    fn until_heard(&self, more: u64) {
        for person in [&self.alice, &self.bob] {
            let before = received(person);
            person.wait_for(&format!("{more} packets more"), |event| {
                event["event"] == "tick" && event["received"].as_u64().unwrap_or(0) >= before + more
            });
        }
    }

    fn end(self) {
        assert!(self.alice.all("ended").is_empty() && self.bob.all("ended").is_empty(), "nobody hung up");
        self.alice.end().unwrap();
        self.bob.wait("ended");
    }
}

/// Packets received, as the last tick has it.
fn received(person: &Handset) -> u64 {
    person.tick().and_then(|tick| tick["received"].as_u64()).unwrap_or(0)
}

#[test]
fn a_network_that_vanishes_for_ten_seconds_does_not_end_the_call() {
    let mut call = Call::new(81);
    for person in call.both() {
        person.forget();
    }
    call.wire.set_dead(true);
    for person in [&call.alice, &call.bob] {
        person.wait("reconnecting");
    }
    std::thread::sleep(Duration::from_secs(7));
    assert!(call.wire.counts(Way::Forth).swallowed > 0);
    for person in call.both() {
        person.forget();
    }
    call.wire.set_dead(false);
    for person in [&call.alice, &call.bob] {
        person.wait("answered");
    }
    call.until_heard(100);
    call.end();
}

#[test]
fn a_caller_whose_address_changes_is_heard_as_before() {
    let mut call = Call::new(82);
    let connections = [&call.alice, &call.bob].map(|person| person.all("connected").len());
    for person in call.both() {
        person.forget();
    }
    let moved = call.wire.move_caller().unwrap();
    println!("the caller is at {moved} now");
    call.until_heard(150);
    assert_eq!(
        connections,
        [&call.alice, &call.bob].map(|person| person.all("connected").len()),
        "the same connection"
    );
    for person in [&call.alice, &call.bob] {
        assert!(person.all("reconnecting").is_empty(), "nobody noticed anything:\n{}", person.story());
    }
    call.end();
}
