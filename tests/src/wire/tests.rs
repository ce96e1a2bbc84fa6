//! The wire over real sockets: what goes in comes out as told, and what was seen is written down.

use std::process::{Command, Stdio};

use super::*;

/// A wire, Bob behind it, and Alice who calls him.
fn laid(seed: u64) -> (Wire, UdpSocket, UdpSocket) {
    println!("seed {seed}");
    let (bob, alice) = (socket().unwrap(), socket().unwrap());
    for socket in [&bob, &alice] {
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    let wire = Wire::to(bob.local_addr().unwrap(), seed).unwrap();
    (wire, bob, alice)
}

/// Sends numbered datagrams of `len` bytes, a few at a time, so that no socket's buffer is ever full.
fn send(from: &UdpSocket, to: SocketAddr, numbers: std::ops::Range<u16>, len: usize) {
    for number in numbers {
        let mut datagram = vec![0; len];
        datagram[..2].copy_from_slice(&number.to_be_bytes());
        from.send_to(&datagram, to).unwrap();
        if number % 8 == 7 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The same, received meanwhile.
fn pass(
    from: &UdpSocket,
    to: SocketAddr,
    numbers: std::ops::Range<u16>,
    at: &UdpSocket,
) -> (Vec<u16>, Option<SocketAddr>) {
    std::thread::scope(|scope| {
        let received = scope.spawn(|| receive(at));
        send(from, to, numbers, 100);
        received.join().unwrap()
    })
}

/// The numbers of what arrives until nothing more does, and where the last came from.
fn receive(at: &UdpSocket) -> (Vec<u16>, Option<SocketAddr>) {
    let (mut numbers, mut last, mut datagram) = (Vec::new(), None, [0; 2_000]);
    while let Ok((_, from)) = at.recv_from(&mut datagram) {
        numbers.push(u16::from_be_bytes([datagram[0], datagram[1]]));
        last = Some(from);
    }
    (numbers, last)
}

#[test]
fn a_perfect_wire_passes_everything_both_ways() {
    let (wire, bob, alice) = laid(1);
    let (forth, seen_from) = pass(&alice, wire.addr, 0..200, &bob);
    assert_eq!(forth, (0..200).collect::<Vec<_>>());
    let (back, _) = pass(&bob, seen_from.unwrap(), 0..100, &alice);
    assert_eq!(back, (0..100).collect::<Vec<_>>());
    assert_eq!(wire.counts(Way::Forth), Counts { came: 200, delivered: 200, ..Counts::default() });
    assert_eq!(wire.counts(Way::Back), Counts { came: 100, delivered: 100, ..Counts::default() });
    let seen = wire.seen(Duration::ZERO);
    assert_eq!(seen.iter().filter(|one| one.way == Way::Forth && one.len == 100 && one.passed).count(), 200);
    assert!(seen.is_sorted_by_key(|one| one.at));
}

#[test]
fn losses_repetitions_and_overtaking_are_what_was_asked_for() {
    let (wire, bob, alice) = laid(2);
    let held_back = Duration::from_millis(5);
    wire.set(Way::Forth, Impairment::NONE.losing(Loss::Even(0.2)).repeating(0.1).reordering(0.1, held_back));
    let (forth, seen_from) = pass(&alice, wire.addr, 0..500, &bob);
    let counts = wire.counts(Way::Forth);
    println!("{counts:?}");
    assert_eq!((counts.came, counts.lost), (500, 100));
    assert_eq!(counts.delivered, 400 + counts.repeated);
    assert_eq!(forth.len() as u64, counts.delivered);
    assert!((20..=60).contains(&counts.repeated) && (20..=60).contains(&counts.held_back));
    assert!(!forth.is_sorted());
    // The other direction is still perfect.
    assert_eq!(pass(&bob, seen_from.unwrap(), 0..50, &alice).0.len(), 50);
}

#[test]
fn every_datagram_takes_the_time_it_should() {
    let (wire, bob, alice) = laid(3);
    let delay = Duration::from_millis(40);
    wire.set(Way::Forth, Impairment::NONE.taking(delay, Duration::from_millis(20)));
    let mut datagram = [0; 100];
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        alice.send_to(&[7; 100], wire.addr).unwrap();
        bob.recv_from(&mut datagram).unwrap();
        // A busy machine may deliver late, never early.
        assert!(began.elapsed() >= delay);
        least = least.min(began.elapsed());
    }
    println!("at least {least:?}");
}

#[test]
fn a_dead_wire_swallows_and_comes_back() {
    let (wire, bob, alice) = laid(4);
    assert_eq!(pass(&alice, wire.addr, 0..10, &bob).0.len(), 10);
    wire.set_dead(true);
    assert!(pass(&alice, wire.addr, 10..20, &bob).0.is_empty());
    wire.set_dead(false);
    assert_eq!(pass(&alice, wire.addr, 20..30, &bob).0, (20..30).collect::<Vec<_>>());
    assert_eq!(wire.counts(Way::Forth).swallowed, 10);
    assert_eq!(wire.seen(Duration::ZERO).iter().filter(|one| !one.passed).count(), 10);
}

#[test]
fn a_caller_who_moves_is_seen_at_another_address_and_the_old_one_is_dead() {
    let (mut wire, bob, alice) = laid(5);
    send(&alice, wire.addr, 0..1, 100);
    let before = receive(&bob).1.unwrap();
    let moved = wire.move_caller().unwrap();
    send(&alice, wire.addr, 1..2, 100);
    let after = receive(&bob).1.unwrap();
    assert_eq!(after, moved);
    assert_ne!(before, after);
    send(&bob, before, 0..5, 100);
    send(&bob, after, 5..10, 100);
    assert_eq!(receive(&alice).0, (5..10).collect::<Vec<_>>());
}

#[test]
fn the_capture_is_one_that_tshark_reads() {
    let (wire, bob, alice) = laid(6);
    send(&alice, wire.addr, 0..30, 123);
    receive(&bob);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wire.pcap");
    wire.write_pcap(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 + 30 * (16 + 28 + KEPT as u64));
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-e", "ip.src", "-e", "udp.length", "-r"]).arg(&path);
    let Ok(read) = tshark.stderr(Stdio::null()).output() else {
        return println!("tshark is not installed: only the size of the file was checked");
    };
    let lines = String::from_utf8(read.stdout).unwrap();
    assert_eq!(lines.lines().count(), 30, "{lines}");
    assert!(lines.lines().all(|line| line == "10.0.0.1\t131"), "{lines}");
}
