//! Two KMEs with a link between them, on loopback, and the PEM files of the people who use them.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is the test's own")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vernam_ca::LabCa;
use vernam_tests::kmes::{self, Kmes};

/// Blocks of key between them: 2 Mbit for each direction.
const BLOCKS: u64 = 4;

/// Alice and Carol are served by the KME `kme-a`, Bob and Dave by `kme-b`.
const AT_A: [&str; 2] = ["alice", "carol"];
const AT_B: [&str; 2] = ["bob", "dave"];

/// What clients of two KMEs need.
pub(super) struct World {
    pub(super) a: SocketAddr,
    pub(super) b: SocketAddr,
    folder: TempDir,
    kmes: Kmes,
}

impl World {
    pub(super) async fn new() -> Self {
        let ca = LabCa::new("the clients' network").unwrap();
        let kmes = Kmes::start(&ca, [&AT_A, &AT_B], BLOCKS).await.unwrap();
        let folder = folder(&ca, &["alice", "bob", "carol", "dave", "mallory"]);
        Self { a: kmes.a, b: kmes.b, folder, kmes }
    }

    /// The folder with `root.pem`, and `NAME.pem` and `NAME.key` for each.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments of `vernam kme doctor` for Alice and Bob, and Dave as the third.
    pub(super) fn doctor_args(&self) -> Vec<String> {
        let mut args = vec![format!("https://{}", self.a), "--slave-url".to_owned(), format!("https://{}", self.b)];
        args.extend(identities(self.folder(), &[("master", "alice"), ("slave", "bob"), ("third", "dave")]));
        args
    }

    pub(super) async fn end(self) {
        self.kmes.end().await;
    }
}

/// `--root FILE`, and `--ROLE CERT KEY` for each.
pub(super) fn identities(folder: &Path, roles: &[(&str, &str)]) -> Vec<String> {
    let file = |name: String| folder.join(name).to_str().unwrap().to_owned();
    let of =
        |(role, name): &(&str, &str)| [format!("--{role}"), file(format!("{name}.pem")), file(format!("{name}.key"))];
    ["--root".to_owned(), file("root.pem".to_owned())].into_iter().chain(roles.iter().flat_map(of)).collect()
}

/// A new folder with the root's certificate, and a certificate and key for each name.
pub(super) fn folder(ca: &LabCa, names: &[&str]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("vernam-clients-").tempdir().unwrap();
    std::fs::write(folder.path().join("root.pem"), ca.root_pem()).unwrap();
    for name in names {
        write_identity(folder.path(), ca, name);
    }
    folder
}

/// Writes `NAME.pem` and `NAME.key`; returns the certificate.
pub(super) fn write_identity(folder: &Path, ca: &LabCa, name: &str) -> CertificateDer<'static> {
    kmes::write_identity(folder, ca, name).unwrap()
}

pub(super) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A folder for what is built or installed once, and kept between runs.
pub(super) fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The folder `tests/interop`.
pub(super) fn interop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// Runs a program while the KMEs go on.
pub(super) async fn output(mut program: Command) -> Output {
    let name = program.get_program().to_owned();
    let run = tokio::task::spawn_blocking(move || program.output());
    run.await.unwrap().unwrap_or_else(|error| panic!("{} cannot be run: {error}", name.display()))
}

/// The JSON that a program printed; fails with its words if it did not end well.
pub(super) async fn json(program: Command) -> Value {
    let output = output(program).await;
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{wrong}", output.status);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}\n{wrong}"))
}
