//! A peer's certificate that its issuer has revoked: it opens no door, neither when the peer calls nor when it is called.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod world;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use vernam_etsi014::KmeClient;
use vernam_kme::TlsIdentity;
use world::{World, sae, unavailable};

/// Serial numbers.
const KME_A: u64 = 1;
const KME_B: u64 = 2;
const ALICE: u64 = 3;
const BOB: u64 = 4;

/// An issuer that can revoke.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an issuer with lists");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn identity(&self, name: &str, serial: u64, revoked: &[u64]) -> TlsIdentity {
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.0).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        TlsIdentity { roots: vec![self.0.der().clone()], chain, key, crls: vec![self.list(revoked)] }
    }

    fn client(&self, name: &str, serial: u64, kme: std::net::SocketAddr) -> KmeClient {
        let TlsIdentity { roots, chain, key, .. } = self.identity(name, serial, &[]);
        KmeClient::new(&kme.to_string(), roots, chain, key).unwrap()
    }

    fn list(&self, revoked: &[u64]) -> CertificateRevocationListDer<'static> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1), // long over: it counts all the same
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().der().clone()
    }
}

#[tokio::test]
async fn a_peer_whose_certificate_is_revoked_is_not_asked() {
    let mut world = World::new().await;
    world.make_block().await;
    let ca = Ca::new();
    let (a, b) = (world.a(), world.b());
    a.kme.reload(world.config(0), ca.identity("kme-a", KME_A, &[])).unwrap();
    b.kme.reload(world.config(1), ca.identity("kme-b", KME_B, &[])).unwrap();
    let (alice, bob) = (ca.client("alice", ALICE, a.addr), ca.client("bob", BOB, b.addr));
    assert_eq!(alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    assert_eq!(bob.enc_keys(&sae("alice"), 1, 256).await.unwrap().len(), 1);

    // A hears of it; its connection to B, which is good yet, is not used any more.
    a.kme.reload(world.config(0), ca.identity("kme-a", KME_A, &[77, KME_B])).unwrap();
    let before = a.books().await;
    let words = unavailable(alice.enc_keys(&sae("bob"), 1, 256).await);
    assert!(words.contains("has revoked the KME's certificate"), "{words}");
    assert_eq!(a.books().await, before, "what was cut is back in the pool");
    // Nor is B let in.
    let words = unavailable(bob.enc_keys(&sae("alice"), 1, 256).await);
    assert!(words.contains("our certificate was revoked"), "{words}");

    // With a new certificate all is well, once B has told A what became of Bob's wish.
    b.kme.reload(world.config(1), ca.identity("kme-b", 5, &[])).unwrap();
    world.all_told().await;
    assert_eq!(alice.enc_keys(&sae("bob"), 1, 256).await.unwrap().len(), 1);
    assert_eq!(bob.enc_keys(&sae("alice"), 1, 256).await.unwrap().len(), 1);
    world.end().await;
}
