//! The client against KMEs that err in every way seen or feared.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vernam_ca::{Identity, LabCa};
use vernam_etsi014::{ClientError, KmeClient, MAX_REPLY_BYTES, SaeId, SetupError, Timeouts};
use vernam_key::KeyId;

const ONE: &str = "bc490419-7d60-487f-adc1-4ddcc177c139";
const TWO: &str = "0a782fb5-3434-48fe-aa4d-14f41d46cf92";

/// A KME that says one thing, whatever it is asked.
struct Parrot {
    ca: LabCa,
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Parrot {
    /// `answers` are whole HTTP messages, one a request; a connection ends after each.
    async fn new(answers: Vec<Vec<u8>>) -> Self {
        let ca = LabCa::new("vendor network").unwrap();
        let Identity { chain, key } = ca.issue("kme").unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca.root()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            for answer in answers {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
                read_request(&mut tls).await;
                let _client_may_hang_up = tls.write_all(&answer).await;
                let _same = tls.shutdown().await;
            }
            std::future::pending::<()>().await;
        });
        Self { ca, address, task }
    }

    async fn saying(body: &str) -> Self {
        Self::new(vec![message(200, "", body)]).await
    }

    fn client(&self) -> KmeClient {
        let Identity { chain, key } = self.ca.issue("alice").unwrap();
        let timeouts = Timeouts { connect: Duration::from_secs(2), request: Duration::from_secs(5) };
        KmeClient::with_timeouts(&self.address, vec![self.ca.root()], chain, key, timeouts).unwrap()
    }
}

async fn read_request(from: &mut (impl AsyncReadExt + Unpin)) {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let Ok(len) = from.read(&mut piece).await else { return };
        text.extend_from_slice(&piece[..len]);
        let all = String::from_utf8_lossy(&text).to_ascii_lowercase();
        if let Some((head, body)) = all.split_once("\r\n\r\n") {
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= declared.parse().unwrap() {
                return;
            }
        }
        if len == 0 {
            return;
        }
    }
}

fn message(status: u16, head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\n{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn keys(keys: &[(&str, &str)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(id, key)| format!(r#"{{"key_ID":"{id}","key":"{key}"}}"#)).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn bob() -> SaeId {
    "bob".parse().unwrap()
}

#[tokio::test]
async fn answers_to_get_key_are_checked() {
    let good = keys(&[(ONE, "AQI="), (TWO, "AwQ=")]);
    let got = Parrot::saying(&good).await.client().enc_keys(&bob(), 2, 16).await.unwrap();
    assert_eq!((got[0].key.expose("test"), got[1].key.expose("test")), (&[1, 2][..], &[3, 4][..]));
    for (body, words) in [
        (keys(&[(ONE, "AQI=")]), "1 keys instead of 2"),
        (keys(&[]), "0 keys instead of 2"),
        (keys(&[(ONE, "AQI="), (ONE, "AwQ=")]), "comes twice"),
        (keys(&[(ONE, "AQI="), (TWO, "AwQF")]), "24 bits instead of 16"),
        (keys(&[(ONE, "AQI="), (TWO, "A")]), "not valid base64"),
        (keys(&[("17", "AQI="), (TWO, "AwQ=")]), "not a UUID"),
        ("<html></html>".to_owned(), "not valid JSON"),
        (String::new(), "not valid JSON"),
    ] {
        match Parrot::saying(&body).await.client().enc_keys(&bob(), 2, 16).await {
            Err(error @ ClientError::BadReply { .. }) => assert!(error.to_string().contains(words), "{error}"),
            Err(other) => panic!("{body}: {other}"),
            Ok(_) => panic!("{body}: accepted"),
        }
    }
}

#[tokio::test]
async fn keys_with_key_ids_come_in_the_asked_order() {
    let ids: [KeyId; 2] = [ONE.parse().unwrap(), TWO.parse().unwrap()];
    let shuffled = keys(&[(&TWO.to_uppercase(), "AwQ="), (ONE, "AQI")]);
    let got = Parrot::saying(&shuffled).await.client().dec_keys(&bob(), &ids).await.unwrap();
    assert_eq!((got[0].key_id, got[1].key_id), (ids[0], ids[1]));
    assert_eq!(got[0].key.expose("test"), [1, 2]);
    for (body, words) in [
        (keys(&[(ONE, "AQI=")]), "is missing"),
        (keys(&[(ONE, "AQI="), (ONE, "AQI=")]), "comes twice"),
        (keys(&[(ONE, "AQI="), (TWO, "AQI="), (&ONE.replace('b', "c"), "")]), "not asked for"),
    ] {
        let error = Parrot::saying(&body).await.client().dec_keys(&bob(), &ids).await.err().unwrap();
        assert!(matches!(error, ClientError::BadReply { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn senseless_requests_are_not_sent() {
    let parrot = Parrot::new(Vec::new()).await;
    let client = parrot.client();
    for (number, size) in [(0, 256), (1, 0), (1, 12)] {
        assert!(matches!(client.enc_keys(&bob(), number, size).await, Err(ClientError::BadRequest { .. })));
    }
    let one = ONE.parse().unwrap();
    for ids in [&[][..], &[one, one]] {
        assert!(matches!(client.dec_keys(&bob(), ids).await, Err(ClientError::BadRequest { .. })));
    }
}

#[tokio::test]
async fn refusals_keep_the_kmes_words() {
    let body = r#"{"message":"out of key","details":[{"abc_left":0}]}"#;
    let parrot = Parrot::new(vec![message(503, "retry-after: 7\r\n", body), message(502, "", "<html>")]).await;
    let client = parrot.client();
    match client.enc_keys(&bob(), 1, 256).await {
        Err(ClientError::Refused { status: 503, message, details, retry_after }) => {
            assert_eq!((message.as_str(), details.len(), retry_after), ("out of key", 1, Some(Duration::from_secs(7))));
        }
        _ => panic!("not refused as it should be"),
    }
    let plain = client.status(&bob()).await.unwrap_err();
    assert!(matches!(plain, ClientError::Refused { status: 502, retry_after: None, .. }), "{plain}");
}

#[tokio::test]
async fn a_connection_closed_under_us_is_tried_once_more() {
    let answer = message(200, "", &keys(&[(ONE, "AQI=")]));
    let parrot = Parrot::new(vec![Vec::new(), answer]).await;
    assert_eq!(parrot.client().enc_keys(&bob(), 1, 16).await.unwrap().len(), 1);
    let parrot = Parrot::new(vec![Vec::new(), Vec::new()]).await;
    let error = parrot.client().enc_keys(&bob(), 1, 16).await.err().unwrap();
    assert!(matches!(error, ClientError::Unreachable { maybe_sent: true, .. }), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let parrot = Parrot::saying(&" ".repeat(MAX_REPLY_BYTES + 1)).await;
    let error = parrot.client().status(&bob()).await.unwrap_err();
    assert!(matches!(error, ClientError::BadReply { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ca = LabCa::new("no network").unwrap();
    let client = |address: &str, ca: &LabCa| {
        let Identity { chain, key } = ca.issue("alice").unwrap();
        let timeouts = Timeouts { connect: Duration::from_millis(200), request: Duration::from_millis(200) };
        KmeClient::with_timeouts(address, vec![ca.root()], chain, key, timeouts).unwrap()
    };
    let silent = client(&address, &ca).status(&bob()).await.unwrap_err();
    assert!(matches!(silent, ClientError::Unreachable { maybe_sent: true, .. }), "{silent}");
    drop(listener);
    let closed = client(&address, &ca).status(&bob()).await.unwrap_err();
    assert!(matches!(closed, ClientError::Unreachable { maybe_sent: false, .. }), "{closed}");
}

#[tokio::test]
async fn a_kme_of_another_network_is_not_trusted() {
    let parrot = Parrot::saying("{}").await;
    let ca = LabCa::new("ours").unwrap();
    let Identity { chain, key } = ca.issue("alice").unwrap();
    let client = KmeClient::new(&parrot.address, vec![ca.root()], chain, key).unwrap();
    let error = client.status(&bob()).await.unwrap_err().to_string();
    assert!(error.contains("not signed by the given root"), "{error}");
}

/// Self-signed, version 1, for the name "alice".
const VERSION_1: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIBHDCBwwIUI4MCqtwhK2T1CuwH6pG8dIUcrw4wCgYIKoZIzj0EAwIwEDEOMAwG
A1UEAwwFYWxpY2UwIBcNMjYxMTIzMDczNTI5WhgPMjEyNjEwMzAwNzM1MjlaMBAx
DjAMBgNVBAMMBWFsaWNlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+PSWHfOC
SJehZUfCtzNP/4/09FXLJavXj/RLC7BHP+/GAA58QAaofliqx6iAmhMbAX+DxFhN
8dksY5THZn9QtTAKBggqhkjOPQQDAgNIADBFAiAq4Vb5LNdJumvYUf9MOxboBIY5
wfXB6WTVEbJtiaE8fAIhAJdB2V+HgrFw/DFALbjFcSQ9g3iVMxOSVuyTvBERqZvF
-----END CERTIFICATE-----
";

#[test]
fn a_version_1_certificate_is_named_as_the_trouble() {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    let ca = LabCa::new("ours").unwrap();
    let chain = vec![CertificateDer::from_pem_slice(VERSION_1).unwrap()];
    let refused = KmeClient::new("kme:443", vec![ca.root()], chain, ca.issue("alice").unwrap().key);
    let Err(SetupError::Certificate { reason, .. }) = refused else { panic!("accepted") };
    assert!(reason.contains("version 1"), "{reason}");
}

#[test]
fn what_is_not_pem_is_refused_in_words() {
    let nothing = KmeClient::from_pem("kme:443", VERSION_1, VERSION_1, b"no key here");
    assert!(matches!(nothing, Err(SetupError::Certificate { what: "private key", .. })));
}
