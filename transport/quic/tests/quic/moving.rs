//! A machine whose address changes: what it dialled goes on from the new one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use vernam_quic::{Connection, Lane, WireSettings, source_address};

use crate::world::{connect, pair, soon};

/// Frames one way, again and again, until one arrives: the first ones may be lost on the move.
async fn passes(from: &Connection, to: &Connection, byte: u8) {
    let frame = Bytes::from(vec![byte; 50]);
    let say = async {
        loop {
            from.send_voice(frame.clone()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let hear = async { while to.read_voice().await.unwrap() != frame {} };
    soon(async {
        tokio::select! {
            () = say => {}
            () = hear => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_dialled_connection_goes_on_from_another_address_and_the_other_end_follows() {
    let (alice, bob) = pair(WireSettings::default(), WireSettings::default());
    let (called, answered) = connect(&alice, &bob, Lane::Main).await;
    passes(&called, &answered, 1).await;
    let before = answered.remote_address();
    assert_eq!(before, alice.local_addr().unwrap());
    for round in 2..5 {
        alice.rebind().unwrap();
        assert_ne!(alice.local_addr().unwrap(), before, "another port stands for another address");
        passes(&called, &answered, round).await;
        passes(&answered, &called, round).await;
        assert_eq!(answered.remote_address(), alice.local_addr().unwrap());
    }
    // And she can still be dialled, and dial.
    let (back, hers) = connect_back(&bob, &alice).await;
    passes(&back, &hers, 9).await;
}

async fn connect_back(bob: &vernam_quic::Endpoint, alice: &vernam_quic::Endpoint) -> (Connection, Connection) {
    let address = alice.local_addr().unwrap();
    let (dialled, accepted) =
        soon(async { tokio::join!(bob.dial(address, "alice", Lane::Main), alice.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

#[test]
fn packets_to_this_machine_leave_from_its_loopback_address() {
    let there = SocketAddr::from(([127, 0, 0, 1], 9));
    assert_eq!(source_address(there), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
}
