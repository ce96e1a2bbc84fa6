//! `vernam call`, `answer`, `calls` and `devices` as processes: exit status and what they say when they cannot.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn vernam(temp: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vernam"));
    command.args(args).current_dir(temp).env_remove("VERNAM_HOME").env("XDG_DATA_HOME", temp.join("data"));
    // No sound system: neither one that runs nor one that could be started.
    command.env("XDG_RUNTIME_DIR", temp).env("HOME", temp).env("PULSE_SERVER", "unix:/nowhere/native");
    command.env("ALSA_CONFIG_PATH", "/nowhere/alsa.conf").env("XDG_STATE_HOME", temp.join("state"));
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The homes of a lab whose KMEs do not run.
fn lab(temp: &Path) {
    let made = vernam(temp, &["kme", "setup", "lab"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
}

/// Ports of this machine that nobody listens at, while the sockets are kept.
fn silent_port() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn who_is_called_must_be_known() {
    let temp = tempfile::tempdir().unwrap();
    let nowhere = vernam(temp.path(), &["call", "bob", "--no-sound"]);
    assert!(nowhere.status.code() == Some(1) && said(&nowhere).contains("[[contact]]"), "{}", said(&nowhere));
    lab(temp.path());
    let stranger = vernam(temp.path(), &["call", "mallory", "--home", "lab/alice", "--no-sound"]);
    assert!(stranger.status.code() == Some(1) && said(&stranger).contains("it has bob"), "{}", said(&stranger));
    let usage = vernam(temp.path(), &["call"]);
    assert_eq!(usage.status.code(), Some(2), "{}", said(&usage));
}

#[test]
fn wrong_settings_are_said_with_their_line() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    let path = temp.path().join("lab/alice/home.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("prefer-otp\"", "whatever\"");
    std::fs::write(&path, text).unwrap();
    let wrong = vernam(temp.path(), &["call", "bob", "--home", "lab/alice", "--no-sound"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("home.toml:27:10: ") && said(&wrong).contains("otp-only"), "{}", said(&wrong));
}

#[test]
fn without_sound_it_says_how_to_go_on() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    for args in [&["call", "bob", "--home", "lab/alice"][..], &["answer", "--home", "lab/bob"], &["devices"]] {
        let silent = vernam(temp.path(), args);
        assert!(silent.status.code() == Some(1) && said(&silent).contains("--no-sound"), "{args:?}: {}", said(&silent));
    }
}

#[test]
fn an_address_that_is_none_is_unreachable() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    let call = ["call", "bob", "--home", "lab/alice", "--no-sound", "--json"];
    let gone = vernam(temp.path(), &[&call[..], &["--address", "no-such-host.invalid:7890"]].concat());
    assert_eq!(gone.status.code(), Some(4), "{}", said(&gone));
    assert!(said(&gone).starts_with("{\"schema\":\"vernam-call\",\"version\":1}\n"), "{}", said(&gone));
    assert!(said(&gone).contains("\"event\":\"stopped\",\"status\":4"), "{}", said(&gone));
}

#[test]
fn weaker_than_the_policy_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    let path = temp.path().join("lab/alice/home.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("prefer-otp\"", "otp-only\"");
    std::fs::write(&path, text).unwrap();
    let (_kept, port) = silent_port();
    let address = format!("127.0.0.1:{port}");
    let call = ["call", "bob", "--home", "lab/alice", "--no-sound", "--address", &address];
    let weaker = vernam(temp.path(), &[&call[..], &["--suite", "aes-256-gcm"]].concat());
    assert!(weaker.status.code() == Some(1) && said(&weaker).contains("otp-only"), "{}", said(&weaker));
}

#[test]
fn a_home_without_calls_has_an_empty_history() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    let calls = vernam(temp.path(), &["calls", "--home", "lab/alice"]);
    assert!(calls.status.code() == Some(0) && said(&calls).contains("no such call"), "{}", said(&calls));
    let json = vernam(temp.path(), &["calls", "--home", "lab/alice", "--json"]);
    assert_eq!((json.status.code(), said(&json).as_str()), (Some(0), ""));
    assert!(!temp.path().join("lab/alice/store.key").exists(), "looking makes nothing");
}

#[test]
fn the_echo_test_talks_and_hears() {
    let temp = tempfile::tempdir().unwrap();
    let call = ["call", "--echo-test", "--no-sound", "--duration", "1", "--json"];
    let echo = vernam(temp.path(), &call);
    assert_eq!(echo.status.code(), Some(0), "{}", said(&echo));
    for event in ["started", "confirmed", "calling", "answered", "tick", "ended", "echo_heard", "stopped"] {
        assert!(said(&echo).contains(&format!("\"event\":\"{event}\"")), "{event}: {}", said(&echo));
    }
}

/// The two homes of a lab, on free ports, with a pad carried by hand instead of KMEs.
fn homes_with_a_pad(temp: &Path) {
    lab(temp);
    std::fs::write(temp.join("words"), "a passphrase of several words\n").unwrap();
    let words = ["--passphrase-file", "words"];
    let make = ["pad", "make", "alice", "bob", "--size", "4MB", "--out", "usb"];
    let pair = vernam(temp, &[&make[..], &words, &words].concat());
    assert_eq!(pair.status.code(), Some(0), "{}", said(&pair));
    let (first, second) = (silent_port(), silent_port());
    for (own, other, port, theirs) in [("alice", "bob", first.1, second.1), ("bob", "alice", second.1, first.1)] {
        let path = temp.join(format!("lab/{own}/home.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let text: String = text
            .lines()
            .flat_map(|line| {
                let line = match line.split(" = ").next() {
                    Some("listen") => format!("listen = \"127.0.0.1:{port}\""),
                    Some("address") => format!("address = \"127.0.0.1:{theirs}\"\nkeys = \"pad\"\nstock = 1"),
                    _ => line.to_owned(),
                };
                [line, "\n".to_owned()]
            })
            .collect();
        std::fs::write(&path, text).unwrap();
        let (home, pad) = (format!("lab/{own}"), format!("usb/{own}-with-{other}.pad"));
        let taken = vernam(temp, &[&["pad", "import", &pad, "--home", &home][..], &words].concat());
        assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));
    }
}

#[test]
fn two_people_talk_under_one_time_pad_and_both_remember_it() {
    let temp = tempfile::tempdir().unwrap();
    homes_with_a_pad(temp.path());
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| {
            vernam(temp.path(), &["answer", "--home", "lab/bob", "--auto", "--once", "--no-sound", "--json"])
        });
        let call = ["call", "bob", "--home", "lab/alice", "--no-sound", "--duration", "1", "--json"];
        let alice = vernam(temp.path(), &call);
        let bob = bob.join().unwrap();
        for (who, output) in [("alice", &alice), ("bob", &bob)] {
            assert_eq!(output.status.code(), Some(0), "{who}: {}", said(output));
            for part in ["\"event\":\"answered\"", "\"suite\":\"otp\"", "\"reason\":\"hung_up\"", "\"event\":\"tick\""]
            {
                assert!(said(output).contains(part), "{who}, {part}: {}", said(output));
            }
        }
    });
    for (home, ours) in [("lab/alice", true), ("lab/bob", false)] {
        let calls = vernam(temp.path(), &["calls", "--home", home, "--json"]);
        let line: serde_json::Value = serde_json::from_str(said(&calls).trim()).unwrap();
        assert_eq!((&line["ours"], &line["missed"]), (&ours.into(), &false.into()), "{line}");
        assert!(line["lasted_s"].as_f64().unwrap() >= 0.5 && line["suites"][0] == "otp", "{line}");
    }
}
