//! `vernam kme` as a newcomer meets it: two KMEs made by `setup`, run, asked, reloaded, stopped, and their trail checked.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use vernam_etsi014::{KmeClient, SaeId};
use vernam_key::KeyId;

/// After this the test gives up; nothing waits so long that works.
const PATIENCE: Duration = Duration::from_mins(1);

fn vernam(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vernam")).args(args).output().expect("the program can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `look` finds something.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A lab made by `vernam kme setup`, on ports that are free.
struct Lab {
    _tmp: tempfile::TempDir,
    folder: PathBuf,
    ports: [u16; 4],
}

impl Lab {
    fn new() -> Self {
        let tmp = tempfile::tempdir().expect("a folder");
        let folder = tmp.path().join("lab");
        let made = vernam(&["kme", "setup", &folder.display().to_string(), "--port", "18443"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let said = text(&made.stdout);
        assert!(said.contains("vernam kme --config") && said.contains("curl --cacert"), "{said}");
        // Held until all four are chosen, so that they differ.
        let held: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let ports: Vec<u16> = held.iter().map(|port| port.local_addr().expect("bound").port()).collect();
        let ports: [u16; 4] = ports.try_into().expect("four");
        for kme in ["kme-a", "kme-b"] {
            let path = folder.join(kme).join("kme.toml");
            let mut config = fs::read_to_string(&path).expect("it was made");
            for (old, new) in (18443..).zip(ports) {
                config = config.replace(&old.to_string(), &new.to_string());
            }
            fs::write(path, config).expect("it can be written");
        }
        Self { _tmp: tmp, folder, ports }
    }

    fn config(&self, kme: &str) -> PathBuf {
        self.folder.join(kme).join("kme.toml")
    }

    /// The far ends of a link write the same block into both folders.
    fn make_block(&self, number: u64) {
        let bits: Vec<u8> = (0..8192_u64).flat_map(|word| (number << 32 | word).to_be_bytes()).collect();
        for kme in ["kme-a", "kme-b"] {
            let keys = self.folder.join(kme).join("keys");
            let unfinished = keys.join(".block.unfinished");
            fs::write(&unfinished, &bits).expect("it can be written");
            fs::set_permissions(&unfinished, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
            fs::rename(&unfinished, keys.join(format!("block-{number:020}.key"))).expect("it is there");
        }
    }

    fn client(&self, sae: &str, port: u16) -> KmeClient {
        let read = |name: &str| fs::read(self.folder.join(sae).join(name)).expect("it was made");
        KmeClient::from_pem(&format!("localhost:{port}"), &read("ca.pem"), &read("cert.pem"), &read("key.pem"))
            .expect("an identity")
    }
}

/// A KME as a process; killed when dropped.
struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    fn start(config: &Path, args: &[&str], notify: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vernam"));
        command.args(["--log", "info", "kme", "--config"]).arg(config).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        let mut child = command.spawn().expect("the program can be run");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, shared) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                shared.lock().expect("no panic").push_str(&(line + "\n"));
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < PATIENCE, "{words:?} was not logged:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let status = until("the end", || self.child.try_wait().expect("it was started here"));
        self.reader.take().expect("once").join().expect("no panic");
        (status.code(), self.log())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(tcp, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn sae(name: &str) -> SaeId {
    name.parse().expect("an ID")
}

#[test]
fn two_kmes_from_setup_to_audit() {
    let lab = Lab::new();
    let socket_path = lab.folder.join("notify");
    let notify = UnixDatagram::bind(&socket_path).expect("a socket");
    notify.set_read_timeout(Some(PATIENCE)).expect("a time");
    let told = || {
        let mut buffer = [0; 256];
        let len = notify.recv(&mut buffer).expect("systemd is told");
        text(&buffer[..len])
    };
    let a = Running::start(&lab.config("kme-a"), &[], Some(&socket_path));
    let b = Running::start(&lab.config("kme-b"), &["--log-format", "json"], None);
    assert!(told().starts_with("READY=1"));
    b.wait_for("the KME serves");
    let limits = fs::read_to_string(format!("/proc/{}/limits", a.child.id())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "a core file would hold key");
    lab.make_block(1);
    let key = block_on(exchange(&lab));

    let page =
        until("the metrics", || get(lab.ports[2], "/metrics").filter(|page| page.contains("delivered_keys_total")));
    assert!(page.contains("vernam_kme_delivered_keys_total{link=\"kme-b\",sae=\"alice\"} 1"), "{page}");
    assert!(page.contains("vernam_kme_pool_bits{link=\"kme-b\",half=\"own\"}"), "{page}");
    until("readiness", || get(lab.ports[2], "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));

    reloads(&lab, &a, &told);

    let (status, log) = a.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(told().starts_with("STOPPING=1"));
    let (status, json) = b.end();
    assert_eq!(status, Some(0), "{json}");
    let lines = json.lines().collect::<Vec<_>>();
    for line in &lines {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed["level"].is_string() && parsed["message"].is_string(), "{line}");
    }
    for told in [&log, &json, &page] {
        assert!(!told.contains(&STANDARD.encode(&key)), "key was shown");
    }
    audits(&lab);
}

/// Alice gets a key and Bob the same; nobody gets it twice. Returns its bytes.
async fn exchange(lab: &Lab) -> Vec<u8> {
    let (alice, bob) = (lab.client("alice", lab.ports[0]), lab.client("bob", lab.ports[1]));
    let began = Instant::now();
    while !matches!(alice.status(&sae("bob")).await, Ok(status) if status.stored_key_count > 0) {
        assert!(began.elapsed() < PATIENCE, "no key came: {:?}", alice.status(&sae("bob")).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let delivered = loop {
        match alice.enc_keys(&sae("bob"), 1, 256).await {
            Ok(keys) => break keys,
            Err(error) => {
                assert!(began.elapsed() < PATIENCE, "no key was delivered: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let ids: Vec<KeyId> = delivered.iter().map(|key| key.key_id).collect();
    let collected = bob.dec_keys(&sae("alice"), &ids).await.expect("the same key");
    assert!(bob.dec_keys(&sae("alice"), &ids).await.is_err(), "a second time");
    let bytes = |key: &vernam_etsi014::DeliveredKey| key.key.expose("to compare in a test").to_vec();
    assert_eq!(bytes(&delivered[0]), bytes(&collected[0]));
    bytes(&collected[0])
}

/// A bad configuration changes nothing; a good one counts, by signal and by itself.
fn reloads(lab: &Lab, a: &Running, told: &impl Fn() -> String) {
    let path = lab.config("kme-a");
    let good = fs::read_to_string(&path).expect("it was made");
    fs::write(&path, good.replace("saes = [\"alice\"]", "seas = [\"alice\"]")).expect("it can be written");
    a.signal(Signal::HUP);
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(told().starts_with("READY=1"));
    a.wait_for("did you mean saes?");
    a.wait_for("what was in force stays in force");
    assert!(block_on(lab.client("alice", lab.ports[0]).status(&sae("bob"))).is_ok());
    // Without a signal: files are looked at.
    fs::write(&path, good.replace("[\"alice\"]", "[\"alicia\"]")).expect("it can be written");
    a.wait_for("configuration and certificates were read anew");
    assert!(block_on(lab.client("alice", lab.ports[0]).status(&sae("bob"))).is_err(), "alice is not served any more");
    while !told().starts_with("READY=1") {}
}

fn audits(lab: &Lab) {
    let config = lab.config("kme-a").display().to_string();
    let verify = || vernam(&["kme", "audit", "verify", "--config", &config]);
    let whole = verify();
    assert!(whole.status.success() && text(&whole.stdout).starts_with("whole"), "{}", text(&whole.stdout));
    let trail = lab.folder.join("kme-a/audit.jsonl");
    let written = fs::read_to_string(&trail).expect("it was written");
    for event in ["opened", "started", "delivered", "refused", "reloaded", "stopping"] {
        assert!(written.contains(&format!("\"event\":\"{event}\"")), "{event}\n{written}");
    }
    fs::write(&trail, written.replacen("alice", "malic", 1)).expect("it can be written");
    let broken = verify();
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        text(&broken.stdout).contains("BROKEN") && text(&broken.stdout).contains("line "),
        "{}",
        text(&broken.stdout)
    );
}

#[test]
fn a_kme_that_was_killed_goes_on_with_its_trail() {
    let lab = Lab::new();
    let config = lab.config("kme-a");
    for _ in 0..2 {
        let mut a = Running::start(&config, &[], None);
        a.wait_for("the KME serves");
        // The line that it started is in the file before it is durable.
        until("the trail", || {
            fs::read_to_string(lab.folder.join("kme-a/audit.jsonl")).ok().filter(|trail| trail.contains("started"))
        });
        a.child.kill().expect("it runs");
        a.child.wait().expect("it was started here");
    }
    let (status, log) = {
        let a = Running::start(&config, &[], None);
        a.wait_for("the KME serves");
        let second = Running::start(&config, &[], None);
        second.wait_for("in use by another process");
        a.end()
    };
    assert_eq!(status, Some(0), "{log}");
    let whole = vernam(&["kme", "audit", "verify", "--config", &config.display().to_string()]);
    assert!(whole.status.success(), "{}", text(&whole.stdout));
}

#[test]
fn a_wrong_key_is_called_that_and_not_a_broken_trail() {
    let lab = Lab::new();
    let a = Running::start(&lab.config("kme-a"), &[], None);
    a.wait_for("the KME serves");
    let (status, log) = a.end();
    assert_eq!(status, Some(0), "{log}");
    fs::write(lab.folder.join("kme-a/kek"), [8; 32]).expect("it can be written");
    let a = Running::start(&lab.config("kme-a"), &[], None);
    a.wait_for("sealed under another key-encryption key");
    assert!(!a.log().contains("audit trail"), "{}", a.log());
}

#[test]
fn certificates_and_configurations_are_looked_at() {
    let lab = Lab::new();
    let config = |kme: &str| lab.config(kme).display().to_string();
    let alice = lab.folder.join("alice/cert.pem").display().to_string();
    let here = vernam(&["kme", "inspect-cert", &alice, "--config", &config("kme-a")]);
    let said = text(&here.stdout);
    assert!(here.status.success() && said.contains("SAE alice, by its common name"), "{said}");
    assert!(said.contains("X.509 v3") && said.contains("sha256:") && said.contains("ECDSA P-256"), "{said}");
    let there = vernam(&["kme", "inspect-cert", &alice, "--config", &config("kme-b")]);
    assert_eq!(there.status.code(), Some(1));
    assert!(text(&there.stdout).contains("SAE alice is served by kme-a, not here"), "{}", text(&there.stdout));
    let key = lab.folder.join("alice/key.pem").display().to_string();
    let wrong = vernam(&["kme", "inspect-cert", &key]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("private key"), "{}", text(&wrong.stderr));

    let right = vernam(&["kme", "check", &config("kme-a")]);
    assert!(right.status.success() && text(&right.stdout).contains("is right"), "{}", text(&right.stdout));
    let path = lab.config("kme-a");
    let good = fs::read_to_string(&path).expect("it was made");
    let elsewhere = good.replace("path = \"ledger.db\"", "path = \"nowhere/ledger.db\"");
    let elsewhere = elsewhere.replace("file = \"kek\"", "environment = \"VERNAM_NO_SUCH_VARIABLE\"");
    fs::write(&path, elsewhere).expect("it can be written");
    let early = vernam(&["kme", "check", &config("kme-a")]);
    let said = text(&early.stdout);
    assert!(early.status.success() && said.contains("nowhere is not there"), "{said}");
    assert!(said.contains("VERNAM_NO_SUCH_VARIABLE"), "{said}");
    fs::write(&path, good.replace("certificate = ", "certifikate = ")).expect("it can be written");
    let wrong = vernam(&["kme", "check", &config("kme-a")]);
    let said = text(&wrong.stderr);
    assert!(!wrong.status.success() && said.contains("kme.toml:7:1: unknown key") && said.contains("^^^"), "{said}");
    assert!(said.contains("did you mean certificate?"), "{said}");
    let example = vernam(&["kme", "example"]);
    assert!(example.status.success() && text(&example.stdout).contains("[ledger.kek]"));
    let nothing = vernam(&["kme"]);
    assert!(!nothing.status.success() && text(&nothing.stderr).contains("--config"), "{}", text(&nothing.stderr));
}
