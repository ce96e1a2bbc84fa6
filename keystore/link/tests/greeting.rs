//! Somebody on the path, or with a stolen certificate, but without the start-up secret: what he cannot do to it, and
//! what he can do to blocks.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise, and prints its seed")]

#[expect(dead_code, reason = "each test program uses its part of this")]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vernam_link::{Connect, StartupSecret, TlsIdentity};
use world::{Story, World, anywhere, blocks_in_common, dial};

/// On the wire: a frame's header of 5 bytes, then TLS's content type and tag of 17.
const AROUND_PAYLOAD: usize = 22;
/// One byte and a number.
const READY: usize = AROUND_PAYLOAD + 9;
/// The header of a message, and a tag with the number of its pad.
const COMMIT: usize = 59;
const APPLICATION_DATA: u8 = 23;

/// What somebody on the path sees of a record.
#[derive(Clone, Copy)]
struct Seen {
    /// Which connection since he is there, from 0.
    connection: usize,
    from_caller: bool,
    kind: u8,
    length: usize,
}

/// A TCP proxy that sees TLS records, and cuts a connection instead of passing one on.
struct OnThePath {
    addr: SocketAddr,
    port: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl OnThePath {
    async fn new(to: SocketAddr, cuts: impl Fn(Seen) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let port = Arc::new(AtomicU16::new(to.port()));
        let far_port = Arc::clone(&port);
        let task = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", far_port.load(Ordering::SeqCst))).await else {
                    continue;
                };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                let seen = |from_caller| Seen { connection, from_caller, kind: 0, length: 0 };
                tokio::select! {
                    () = pass_on(near_read, far_write, seen(true), &cuts) => {}
                    () = pass_on(far_read, near_write, seen(false), &cuts) => {}
                }
                connection += 1;
            }
        });
        Self { addr, port, task }
    }

    /// Sends whoever calls from now on there.
    fn lead_to(&self, to: SocketAddr) {
        self.port.store(to.port(), Ordering::SeqCst);
    }
}

impl Drop for OnThePath {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: Seen, cuts: impl Fn(Seen) -> bool) {
    loop {
        let mut head = [0; 5];
        if from.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let mut record = [&head[..], &vec![0; length]].concat();
        if from.read_exact(&mut record[5..]).await.is_err() || cuts(Seen { kind: head[0], length, ..seen }) {
            return;
        }
        if to.write_all(&record).await.is_err() {
            return;
        }
    }
}

fn starts_left(world: &World) -> [u64; 2] {
    ["kme-a", "kme-b"].map(|name| StartupSecret::load(world.secret_path(name)).unwrap().starts_left())
}

#[tokio::test(flavor = "multi_thread")]
async fn cutting_greetings_costs_one_piece_of_the_secret_however_often() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    // Neither end hears that the other is ready; then only the called one; then only the caller; neither again.
    let path = OnThePath::new(addr, |seen| {
        let ready = seen.kind == APPLICATION_DATA && seen.length == READY;
        ready
            && [[true, true], [false, true], [true, false], [true, true]]
                .get(seen.connection)
                .is_some_and(|lost| lost[usize::from(!seen.from_caller)])
    })
    .await;
    let (mut alice, mut bob) = (world.alice(dial(path.addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| told.blocks.len() >= 2),
        at_b.hear(&mut bob, |told| told.blocks.len() >= 2)
    );
    assert!(at_a.refused.len() + at_a.lost.len() >= 4, "{:?} {:?}", at_a.refused, at_a.lost);
    assert!(at_a.connected.iter().chain(&at_b.connected).all(|(run, _)| *run == 1), "{:?}", at_a.connected);
    assert!(blocks_in_common(&at_a, &at_b) >= 2);
    tokio::join!(alice.shutdown(), bob.shutdown());
    assert_eq!(starts_left(&world), [255, 255]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_bob_may_not_have_is_told_when_the_run_ends() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let cutting = Arc::new(AtomicBool::new(true));
    let cuts = Arc::clone(&cutting);
    // Alice's last word of a block never arrives.
    let path =
        OnThePath::new(addr, move |seen| seen.from_caller && seen.length == COMMIT && cuts.load(Ordering::SeqCst))
            .await;
    let (mut alice, bob) = (world.alice(dial(path.addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    at_a.hear(&mut alice, |told| !told.blocks.is_empty()).await;
    at_a.hear(&mut alice, |told| !told.lost.is_empty()).await;
    let (run, lonely) = at_a.names()[0];
    assert_eq!((run, at_a.unsettled.as_slice()), (1, &[][..]), "the run may go on yet");
    // Bob's process ends, and starts anew.
    bob.shutdown().await;
    cutting.store(false, Ordering::SeqCst);
    let (listen, addr) = anywhere().await;
    path.lead_to(addr);
    let mut bob = world.bob(listen);
    let two_of_the_next = |told: &Story| told.names().iter().filter(|(run, _)| *run > 1).count() >= 2;
    tokio::join!(at_a.hear(&mut alice, two_of_the_next), at_b.hear(&mut bob, two_of_the_next));
    assert_eq!(at_a.unsettled, [lonely]);
    assert!(at_a.void.is_empty() && at_b.unsettled.is_empty());
    assert!(!at_b.names().contains(&(1, lonely)), "he never had it");
    assert!(blocks_in_common(&at_a, &at_b) >= 1);
    // And the last block of a process that ends in good order.
    let last = at_a.names().last().map(|(_, number)| *number);
    let (left, ()) = tokio::join!(alice.shutdown(), bob.shutdown());
    assert!(left >= last, "{left:?} {last:?}");
}

/// A certificate of Alice's, and a start-up secret of the same public name, but not the same secret; it claims that
/// nearly all is used.
fn thief(world: &World, to: SocketAddr) -> vernam_link::AliceEnd {
    let mut file = std::fs::read(world.secret_path("kme-b")).unwrap();
    let used = u64::try_from(vernam_link::SECRET_BYTES - vernam_link::START_BYTES).unwrap();
    file[32..40].copy_from_slice(&used.to_be_bytes());
    let checksum = blake3::hash(&file[..48]);
    file[48..80].copy_from_slice(checksum.as_bytes());
    file[80..].fill(0x5A);
    let path = world.secret_path("thief");
    std::fs::copy(world.secret_path("kme-b"), &path).unwrap();
    std::fs::write(&path, file).unwrap();
    let mut setup = world.setup("thief", "kme-b", dial(to));
    let TlsIdentity { roots, chain, key } = world.identity("kme-a");
    setup.identity = TlsIdentity { roots, chain, key };
    vernam_link::AliceEnd::start(setup, world::fast()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_ends_no_run_and_strikes_nothing_out() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let (mut alice, mut bob) = (world.alice(dial(addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.blocks.is_empty()),
        at_b.hear(&mut bob, |told| !told.blocks.is_empty())
    );
    let mut thief = thief(&world, addr);
    let mut stolen = Story::default();
    let more = at_a.blocks.len().max(at_b.blocks.len()) + 2;
    tokio::join!(
        stolen.hear(&mut thief, |told| told.refused.len() >= 2),
        at_a.hear(&mut alice, |told| told.blocks.len() >= more),
        at_b.hear(&mut bob, |told| told.blocks.len() >= more && !told.refused.is_empty())
    );
    assert!(stolen.connected.is_empty());
    assert!(at_b.refused.iter().all(|why| why.contains("does not hold it") && why.contains("set both ends up anew")));
    assert!(at_a.lost.is_empty() && at_b.lost.is_empty(), "{:?} {:?}", at_a.lost, at_b.lost);
    assert_eq!((at_a.connected.len(), at_b.connected.len()), (1, 1));
    tokio::join!(thief.shutdown(), alice.shutdown(), bob.shutdown());
    assert_eq!(starts_left(&world), [255, 255]);
}

fn acceptor(world: &World) -> TlsAcceptor {
    let TlsIdentity { chain, key, .. } = world.identity("kme-b");
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(server))
}

fn connector(world: &World) -> TlsConnector {
    let TlsIdentity { chain, key, roots } = world.identity("kme-a");
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_client_auth_cert(chain, key)
        .unwrap();
    TlsConnector::from(Arc::new(client))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_passed_on_to_another_session_proves_nothing() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let mut bob = world.bob(listen);
    // Who has stolen the certificates of both ends passes on, word for word, what each of them says.
    let (relay, relayed_addr) = anywhere().await;
    let Connect::Listen(relay) = relay else { panic!("it listens") };
    let mut alice = world.alice(dial(relayed_addr));
    let acceptor = acceptor(&world);
    let connector = connector(&world);
    let sessions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sessions);
    let task = tokio::spawn(async move {
        while let Ok((near, _)) = relay.accept().await {
            let near = acceptor.accept(near).await.unwrap();
            let far = TcpStream::connect(addr).await.unwrap();
            let far = connector.connect("kme-b".try_into().unwrap(), far).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let (mut near, mut far) = (near, far);
            let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| !told.refused.is_empty()),
        at_b.hear(&mut bob, |told| !told.refused.is_empty())
    );
    for told in [&at_a, &at_b] {
        assert!(told.refused[0].contains("does not hold it") && told.connected.is_empty(), "{:?}", told.refused);
    }
    assert!(sessions.load(Ordering::SeqCst) >= 1);
    task.abort();
    tokio::join!(alice.shutdown(), bob.shutdown());
    assert_eq!(starts_left(&world), [256, 256]);
}
