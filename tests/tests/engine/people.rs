//! Who may talk to whom.

use vernam_ca::LabCa;
use vernam_engine::{Command, Event};
use vernam_quic::{Endpoint, Lane, QuicIdentity, WireSettings};
use vernam_session::Suite;
use vernam_tests::lab::{Lab, Setup, part};

fn setup() -> Setup {
    Setup::with_mark(16 << 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_is_no_contact_is_neither_called_nor_answered() {
    let lab = Lab::new(71);
    let pair = lab.pair(setup(), setup());
    pair[0].connect("mallory", pair[1].addr).await;
    let why = pair[0].disconnected().await.unwrap();
    assert!(why.contains("mallory") && why.contains("contacts"), "{why}");

    // Carol knows Bob; Bob does not know Carol.
    let carol = lab.start("carol", setup());
    carol.connect("bob", pair[1].addr).await;
    let why = carol.disconnected().await.unwrap();
    assert!(why.contains("contacts"), "{why}");
    assert_eq!(pair[1].count(|event| matches!(event, Event::Connected { .. })), 0);
    carol.stop().await;
    part_unconnected(pair).await;
}

async fn part_unconnected(pair: [vernam_tests::lab::Person; 2]) {
    for person in pair {
        person.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_person_at_an_address_is_not_talked_to() {
    let lab = Lab::new(72);
    let mut knows_carol = setup();
    knows_carol.contacts.push("carol".to_owned());
    let pair = lab.pair(knows_carol, setup());
    pair[0].connect("carol", pair[1].addr).await;
    let why = pair[0].disconnected().await.unwrap();
    assert!(why.contains("expected carol") && why.contains("bob"), "{why}");
    part_unconnected(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_refused_and_others_are_served() {
    let lab = Lab::new(73);
    let pair = lab.pair(setup(), setup());
    let other = LabCa::new("another network").unwrap();
    let issued = other.issue("alice").unwrap();
    let identity = QuicIdentity { chain: issued.chain, key: issued.key };
    // She trusts Bob's authority, but he does not trust hers.
    let any = ([127, 0, 0, 1], 0).into();
    let impostor = Endpoint::bind(any, identity, &[lab.ca.root()], WireSettings::default()).unwrap();
    let refused = match impostor.dial(pair[1].addr, "bob", Lane::Main).await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(refused.to_string().contains("refused our certificate"), "{refused}");
    pair[0].connect("bob", pair[1].addr).await;
    pair[1].saw("the conversation", |event| matches!(event, Event::Established { .. })).await;
    assert_eq!(pair[1].count(|event| matches!(event, Event::Connected { .. })), 1);
    part(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_somebody_who_is_not_connected_is_answered() {
    let lab = Lab::new(74);
    let pair = lab.pair(setup(), setup());
    pair[0].write("bob", "anybody there?").await;
    pair[0].warned("bob is not connected").await;
    pair[0].tell(Command::Disconnect { contact: "nobody".to_owned() }).await;
    pair[0].warned("nobody is not connected").await;
    part_unconnected(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_an_address_is_said_so() {
    let lab = Lab::new(75);
    let alice = lab.start("alice", setup());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    alice.connect("bob", silent.local_addr().unwrap()).await;
    // Meanwhile she is not deaf.
    alice.write("bob", "hello?").await;
    alice.warned("bob is not connected").await;
    let why = alice.disconnected().await.unwrap();
    assert!(why.contains("heard") || why.contains("reach"), "{why}");
    alice.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_share_no_suite_are_told_so() {
    let lab = Lab::new(76);
    let (mut hers, mut his) = (setup(), setup());
    hers.suites = vec![Suite::Otp];
    his.suites = vec![Suite::Aes256Gcm];
    let pair = lab.pair(hers, his);
    pair[0].connect("bob", pair[1].addr).await;
    let whys = [pair[0].disconnected().await, pair[1].disconnected().await];
    assert!(whys.iter().flatten().any(|why| why.contains("otp") && why.contains("aes")), "{whys:?}");
    part_unconnected(pair).await;
}
