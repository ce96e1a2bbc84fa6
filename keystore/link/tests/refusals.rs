//! Ends that do not fit, or are not who they should be: refused, in words that say what to do.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise, and prints its seed")]

#[expect(dead_code, reason = "each test program uses its part of this")]
mod world;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vernam_ca::LabCa;
use vernam_link::{AliceEnd, BobEnd, EndSetup, Error, START_BYTES, StartupSecret, TlsIdentity};
use vernam_qkd::{DeviceProfile, LinkConfig};
use world::{End, Story, World, anywhere, dial, fast};

/// What both ends say first, with Alice listening, who is set up by `change`.
async fn refused(world: &World, change: impl FnOnce(&mut EndSetup, &mut EndSetup)) -> (String, String) {
    let (listen, addr) = anywhere().await;
    let mut a = world.setup("kme-a", "kme-b", listen);
    let mut b = world.setup("kme-b", "kme-a", dial(addr));
    change(&mut a, &mut b);
    let (mut alice, mut bob) = (AliceEnd::start(a, fast()).unwrap(), BobEnd::start(b).unwrap());
    let texts = tokio::join!(first_refusal(&mut alice), first_refusal(&mut bob));
    tokio::join!(alice.shutdown(), bob.shutdown());
    texts
}

async fn first_refusal(end: &mut impl End) -> String {
    let mut told = Story::default();
    told.hear(end, |told| !told.refused.is_empty()).await;
    assert!(told.connected.is_empty() && told.blocks.is_empty());
    told.refused.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_are_set_differently() {
    let world = World::new();
    let (alice, bob) = refused(&world, |a, b| {
        let other = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 25.0);
        b.link = other;
        a.link = LinkConfig::new(DeviceProfile::named("metro-40mhz").unwrap(), 15.0);
    })
    .await;
    assert!(
        alice.starts_with("the far end is set to gys at 25 km, this one to metro-40mhz at 15 km: make them equal"),
        "{alice}"
    );
    assert!(
        bob.starts_with("the far end is set to metro-40mhz at 15 km, this one to gys at 25 km: make them equal"),
        "{bob}"
    );
    let untouched = StartupSecret::load(world.secret_path("kme-a")).unwrap();
    assert_eq!(untouched.starts_left(), 256, "nothing secret was spent on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_differ_in_one_number() {
    let world = World::new();
    let (alice, bob) = refused(&world, |a, b| {
        a.link.device.e_d = 0.02;
        b.link.device.e_d = 0.03;
    })
    .await;
    assert!(alice.contains("but they differ in e_d: 0.02 here, 0.03 there: make them equal"), "{alice}");
    assert!(bob.contains("but they differ in e_d: 0.03 here, 0.02 there: make them equal"), "{bob}");
}

#[tokio::test(flavor = "multi_thread")]
async fn different_startup_secrets() {
    let world = World::new();
    std::fs::remove_file(world.secret_path("kme-b")).unwrap();
    StartupSecret::generate(world.secret_path("kme-b")).unwrap();
    let (alice, bob) = refused(&world, |_a, _b| {}).await;
    for text in [alice, bob] {
        assert!(text.contains("different start-up secrets") && text.contains("copy the file of one end"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_end_of_another_name() {
    let world = World::new();
    let (alice, bob) = refused(&world, |a, _b| a.peer_name = "kme-c".to_owned()).await;
    assert!(alice.contains("shows a certificate of kme-b") && alice.contains("the far end must be kme-c"), "{alice}");
    assert!(bob.contains("broke") || bob.contains("closed"), "{bob}");

    let (alice, bob) = refused(&world, |_a, b| b.peer_name = "kme-c".to_owned()).await;
    assert!(bob.contains("shows a certificate of") && bob.contains("the far end must be kme-c"), "{bob}");
    assert!(alice.contains("refuses our certificate") || alice.contains("broke"), "{alice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority() {
    let world = World::new();
    let stranger = LabCa::new("another network").unwrap().issue("kme-b").unwrap();
    let (alice, bob) = refused(&world, |_a, b| {
        b.identity = TlsIdentity { roots: vec![world.ca.root()], chain: stranger.chain, key: stranger.key };
    })
    .await;
    assert!(alice.contains("none of our roots vouches for: give both ends certificates of the same"), "{alice}");
    assert!(bob.contains("refuses our certificate"), "{bob}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_certificate() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let mut bob = world.bob(listen);
    let mut roots = RootCertStore::empty();
    roots.add(world.ca.root()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("kme-b").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (read, text) = tokio::join!(tls.read_u8(), first_refusal(&mut bob));
    assert!(read.is_err(), "not a byte for strangers");
    assert!(text.contains("shows no certificate: give the far end its certificate and private key"), "{text}");

    // Whoever else calls meanwhile is served.
    let mut alice = world.alice(dial(addr));
    let mut told = Story::default();
    told.hear(&mut alice, |told| !told.connected.is_empty()).await;
    tokio::join!(alice.shutdown(), bob.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ends_of_the_same_role() {
    let world = World::new();
    let (listen, addr) = anywhere().await;
    let mut first = AliceEnd::start(world.setup("kme-a", "kme-b", listen), fast()).unwrap();
    let mut second = AliceEnd::start(world.setup("kme-b", "kme-a", dial(addr)), fast()).unwrap();
    let texts = tokio::join!(first_refusal(&mut first), first_refusal(&mut second));
    for text in [texts.0, texts.1] {
        assert!(text.contains("both ends are set to be alice: one must be alice, the other bob"), "{text}");
    }
    tokio::join!(first.shutdown(), second.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_used_up_stops_both_ends_with_the_reason() {
    let world = World::new();
    for name in ["kme-a", "kme-b"] {
        // The header of the file, with all but half a piece used.
        let mut file = std::fs::read(world.secret_path(name)).unwrap();
        let used = u64::try_from(vernam_link::SECRET_BYTES - START_BYTES / 2).unwrap();
        file[32..40].copy_from_slice(&used.to_be_bytes());
        let checksum = blake3::hash(&file[..48]);
        file[48..80].copy_from_slice(checksum.as_bytes());
        std::fs::write(world.secret_path(name), file).unwrap();
    }
    let (listen, addr) = anywhere().await;
    let (mut alice, mut bob) = (world.alice(dial(addr)), world.bob(listen));
    let (mut at_a, mut at_b) = (Story::default(), Story::default());
    tokio::join!(
        at_a.hear(&mut alice, |told| told.failed.is_some()),
        at_b.hear(&mut bob, |told| told.failed.is_some())
    );
    for told in [at_a, at_b] {
        assert!(told.failed.unwrap().contains("is used up: make a new one, and copy it to both ends"));
    }
    assert!(alice.next().await.is_none() && bob.next().await.is_none());
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_once() {
    let world = World::new();
    let (listen, _) = anywhere().await;
    let mut setup = world.setup("kme-a", "kme b!", listen);
    setup.peer_name = "not a name".to_owned();
    let error = BobEnd::start(setup).unwrap_err();
    assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains("such as kme-b"), "{error}");

    let mut setup = world.setup("kme-a", "kme-b", dial("127.0.0.1:1".parse().unwrap()));
    setup.identity.chain.clear();
    let error = BobEnd::start(setup).unwrap_err().to_string();
    assert!(error.contains("the certificate chain with the private key cannot be used"), "{error}");

    let mut setup = world.setup("kme-a", "kme-b", dial("127.0.0.1:1".parse().unwrap()));
    setup.link.device.eta_bob = 7.0;
    assert!(matches!(BobEnd::start(setup), Err(Error::Link(_))));
}
