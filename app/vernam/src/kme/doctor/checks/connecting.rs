//! TLS: which version, and who is let in.

use std::{sync::Arc, time::Duration};

use rand::Rng as _;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use vernam_ca::LabCa;

use crate::kme::doctor::{
    catalogue::{TLS_NOBODY, TLS_OLD, TLS_STRANGER, TLS_VERSION},
    exam::{Exam, Finding, told},
    report::Outcome,
    sae,
    wire::{Ask, Caller, Target, Trouble},
};

/// How long to wait for an answer to a hello of an old version.
const OLD_HELLO_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(exam: &mut Exam, roots: &Arc<RootCertStore>) {
    version(exam).await;
    old(exam).await;
    let nobody = sae::config(roots, None).map_err(|error| error.to_string());
    let finding = refused(exam, nobody).await;
    exam.row(TLS_NOBODY, finding, "demand a client certificate in the TLS handshake.");
    let stranger = stranger(exam, roots);
    let finding = refused(exam, stranger).await;
    let advice = "check client certificates against the network's own issuers; a name in a certificate that anybody can \
                  make proves nothing.";
    exam.row(TLS_STRANGER, finding, advice);
}

async fn version(exam: &mut Exam) {
    let mut seen = Vec::new();
    for party in [&exam.master, &exam.slave] {
        let finding = match party.caller.line().await {
            Ok(line) => match line.version {
                Some(ProtocolVersion::TLSv1_3) => Finding::new(Outcome::Pass, "TLS 1.3"),
                Some(ProtocolVersion::TLSv1_2) => Finding::new(Outcome::Pass, "TLS 1.2"),
                other => Finding::new(Outcome::Fail, format!("{other:?}")),
            },
            Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
        };
        seen.push(finding);
    }
    exam.row(TLS_VERSION, Finding::worst(seen), "offer TLS 1.3, and TLS 1.2 for old clients.");
}

async fn old(exam: &mut Exam) {
    let advice = "switch off all versions of TLS before 1.2.";
    let finding = match old_hello(&exam.master.caller.target).await {
        Ok(true) => Finding::new(Outcome::Fail, "TLS 1.1 was accepted"),
        Ok(false) => Finding::new(Outcome::Pass, "refused"),
        Err(trouble) => Finding::new(Outcome::Skipped, trouble.to_string()),
    };
    exam.row(TLS_OLD, finding, advice);
}

/// Says hello in TLS 1.1; whether the server takes it up.
async fn old_hello(target: &Target) -> Result<bool, Trouble> {
    let mut tcp = target.tcp(OLD_HELLO_LIMIT).await?;
    let mut head = [0; 6];
    let exchange = async {
        tcp.write_all(&hello(&target.host)).await?;
        tcp.read_exact(&mut head).await
    };
    Ok(match timeout(OLD_HELLO_LIMIT, exchange).await {
        // A handshake record (RFC 4346, section 6.2.1) that begins with a ServerHello (section 7.4).
        Ok(Ok(_)) => head[0] == 22 && head[5] == 2,
        // Closed, or no word: it was not taken up.
        Ok(Err(_)) | Err(_) => false,
    })
}

/// A `ClientHello` of TLS 1.1 (RFC 4346, section 7.4.1.2), with the suites that servers of its time knew.
fn hello(host: &str) -> Vec<u8> {
    const SUITES: [u16; 8] = [0xc013, 0xc014, 0xc009, 0xc00a, 0x002f, 0x0035, 0x000a, 0x00ff];
    // supported_groups: secp256r1, secp384r1; ec_point_formats: uncompressed (RFC 8422, section 5.1).
    let mut extensions = vec![0, 10, 0, 6, 0, 4, 0, 23, 0, 24, 0, 11, 0, 2, 1, 0];
    if host.parse::<std::net::IpAddr>().is_err() && host.len() < 256 {
        // server_name (RFC 6066, section 3)
        let name = with_len(host.as_bytes());
        let list = with_len(&[&[0], name.as_slice()].concat());
        extensions.extend([&[0, 0], with_len(&list).as_slice()].concat());
    }
    let mut random = [0; 32];
    rand::rng().fill_bytes(&mut random);
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body = [&[3, 2], random.as_slice(), &[0], &with_len(&suites), &[1, 0], &with_len(&extensions)].concat();
    let handshake = [&[1, 0], with_len(&body).as_slice()].concat();
    [&[22, 3, 1], with_len(&handshake).as_slice()].concat()
}

/// `bytes` behind their length, two bytes long.
fn with_len(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes(), bytes].concat()
}

/// The master's name, in a certificate that was just made up.
fn stranger(exam: &Exam, roots: &Arc<RootCertStore>) -> Result<Arc<ClientConfig>, String> {
    let ca = LabCa::new("an issuer that nobody knows").map_err(|error| error.to_string())?;
    let made = ca.issue(exam.master.id.as_str()).or_else(|_odd_name| ca.issue("somebody"));
    let made = made.map_err(|error| error.to_string())?;
    sae::config(roots, Some((made.chain, made.key))).map_err(|error| error.to_string())
}

/// Asks for the status with `tls`; it must not be given.
async fn refused(exam: &Exam, tls: Result<Arc<ClientConfig>, String>) -> Finding {
    let tls = match tls {
        Ok(tls) => tls,
        Err(why) => return Finding::new(Outcome::Skipped, why),
    };
    let caller = Caller::new(exam.master.caller.target.clone(), tls, exam.master.caller.limit());
    match caller.ask_anew(&Ask::get(exam.to_slave("status"))).await {
        Err(Trouble::Broken(_)) => Finding::new(Outcome::Pass, "the connection was refused"),
        Err(Trouble::Late) => Finding::new(Outcome::Differs, "neither an answer nor a refusal in time"),
        Ok(answer) if answer.status == 401 => Finding::new(Outcome::Pass, told(&answer)),
        Ok(answer) if answer.status == 200 => Finding::new(Outcome::Fail, "the status was given (200)"),
        Ok(answer) => Finding::new(Outcome::Differs, format!("{} instead of 401", told(&answer))),
    }
}
