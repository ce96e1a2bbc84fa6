//! A far end that holds the start-up secret, and sends what cannot be.

use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use vernam_ca::LabCa;
use vernam_qkd::{DeviceProfile, LinkConfig};

use super::*;
use crate::frame;
use crate::hello::Hello;
use crate::proof::Gate;
use crate::{BobEnd, Connect, EndSetup, TlsIdentity};

fn identity(ca: &LabCa, name: &str) -> TlsIdentity {
    let identity = ca.issue(name).unwrap();
    let roots: Vec<CertificateDer<'static>> = vec![ca.root()];
    TlsIdentity { roots, chain: identity.chain, key: identity.key }
}

/// Greets Bob's end as Alice's, goes on with the run that it offers, and sends nonsense for light. Returns what Bob's
/// end said of itself.
async fn greet_and_send_nonsense(gate: &Gate, addr: &str, ours: &mut Hello) -> Hello {
    let stream = gate.dial(addr).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let theirs = loop {
        let word = Control::decode(&frame::read(&mut reading).await.unwrap().payload).unwrap();
        if let Control::Hello(theirs) = word {
            break theirs;
        }
    };
    let run = theirs.place.run.max(theirs.place.prepared);
    (ours.place.run, ours.place.used) = (run, theirs.place.used);
    frame::write(&mut writing, &Control::Hello(Box::new(ours.clone())).frame()).await.unwrap();
    let Control::Ready(run) = Control::decode(&frame::read(&mut reading).await.unwrap().payload).unwrap() else {
        panic!("the greeting goes on")
    };
    frame::write(&mut writing, &Control::Ready(run).frame()).await.unwrap();
    frame::write(&mut writing, &Frame::new(Channel::Optical, vec![0xFF; 9])).await.unwrap();
    while frame::read(&mut reading).await.is_ok() {}
    *theirs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_which_nonsense_keeps_coming_is_ended() {
    let (ca, folder) = (LabCa::new("test network").unwrap(), tempfile::tempdir().unwrap());
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    StartupSecret::generate(&paths[0]).unwrap();
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    let [ours, theirs] = paths.map(|path| StartupSecret::load(path).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let link = LinkConfig::new(DeviceProfile::named("gys").unwrap(), 25.0);
    let mut hello = Hello {
        role: Role::Alice,
        place: crate::course::Place { used: 0, run: 0, slot: 0, prepared: 0 },
        summary: summary(&link),
        settings: settings(&link, &link.ends()),
    };
    let setup = EndSetup::new(link, Connect::Listen(listener), identity(&ca, "kme-b"), "kme-a", theirs).unwrap();
    let mut bob = BobEnd::start(setup).unwrap();
    let gate = Gate::new(Tls::new(&identity(&ca, "kme-a"), "kme-b").unwrap(), &ours);

    let mut runs = Vec::new();
    for _ in 0..=MAX_MALFORMED {
        runs.push(greet_and_send_nonsense(&gate, &addr, &mut hello).await.place.run);
    }
    assert_eq!(runs, [0, 1, 1, 0], "it goes on twice, and is over then");
    let mut told = Vec::new();
    while told.len() < 2 * runs.len() {
        told.push(bob.event().await.unwrap());
    }
    let connected = told.iter().filter_map(|event| match event {
        PeerEvent::Connected { run, resumed, .. } => Some((*run, *resumed)),
        _ => None,
    });
    assert_eq!(connected.collect::<Vec<_>>(), [(1, false), (1, true), (1, true), (2, false)]);
    let lost = told.iter().filter(|event| matches!(event, PeerEvent::Lost(Loss::Malformed(_)))).count();
    assert_eq!(lost, runs.len());
    bob.shutdown().await;
}
