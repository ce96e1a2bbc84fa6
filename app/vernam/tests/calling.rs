//! `vernam call`, `answer`, `calls` and `devices` as processes: exit status and what they say when they cannot.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn vernam(temp: &Path, args: &[&str]) -> Output {
    command(temp, args).stdin(Stdio::null()).output().unwrap()
}

fn command(temp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vernam"));
    command.args(args).current_dir(temp).env_remove("VERNAM_HOME").env("XDG_DATA_HOME", temp.join("data"));
    // No sound system: neither one that runs nor one that could be started.
    command.env("XDG_RUNTIME_DIR", temp).env("HOME", temp).env("PULSE_SERVER", "unix:/nowhere/native");
    command.env("ALSA_CONFIG_PATH", "/nowhere/alsa.conf").env("XDG_STATE_HOME", temp.join("state"));
    command
}

/// Lines that wait to be looked at.
const MAX_LINES: usize = 10_000;

/// A telephone that runs, with a program at its keys. It ends with the test.
struct Phone {
    child: Child,
    keys: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Phone {
    fn start(temp: &Path, args: &[&str]) -> Self {
        Self::run(command(temp, args))
    }

    /// With a disk on which no file grows beyond so many kB.
    fn start_with_little_room(temp: &Path, args: &[&str], kilobytes: u32) -> Self {
        // A file that grows too large is told by an error, not by the signal that comes with it.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kilobytes);
        let vernam = command(temp, args);
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(vernam.get_program()).args(vernam.get_args()).current_dir(temp);
        for (name, value) in vernam.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (say, lines) = sync_channel(MAX_LINES);
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let keys = child.stdin.take().unwrap();
        Self { child, keys, lines, heard: Vec::new() }
    }

    /// Waits for a line in which all of this stands.
    fn hear(&mut self, parts: &[&str]) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("{parts:?} was not told:\n{}", self.heard.join("\n")));
            self.heard.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    fn press(&mut self, keys: &str) {
        writeln!(self.keys, "{keys}").unwrap();
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
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
    for command in [&["call", "bob", "--no-sound"][..], &["answer", "--no-sound"], &["calls"]] {
        let nowhere = vernam(temp.path(), command);
        assert!(nowhere.status.code() == Some(2) && said(&nowhere).contains("no home"), "{}", said(&nowhere));
        assert!(!temp.path().join("data").exists(), "looking makes nothing");
    }
    lab(temp.path());
    let empty = temp.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let nobody = vernam(temp.path(), &["call", "bob", "--home", "empty", "--no-sound"]);
    assert!(nobody.status.code() == Some(2) && said(&nobody).contains("[[contact]]"), "{}", said(&nobody));
    let nowhere = vernam(temp.path(), &["answer", "--home", "empty", "--no-sound"]);
    assert!(nowhere.status.code() == Some(2) && said(&nowhere).contains("--listen"), "{}", said(&nowhere));
    let stranger = vernam(temp.path(), &["call", "mallory", "--home", "lab/alice", "--no-sound"]);
    assert!(stranger.status.code() == Some(2) && said(&stranger).contains("it has bob"), "{}", said(&stranger));
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
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("home.toml:27:10: ") && said(&wrong).contains("otp-only"), "{}", said(&wrong));
}

#[test]
fn without_sound_it_says_how_to_go_on() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    for args in [&["call", "bob", "--home", "lab/alice"][..], &["answer", "--home", "lab/bob"], &["devices"]] {
        let silent = vernam(temp.path(), args);
        assert!(silent.status.code() == Some(1) && said(&silent).contains("--no-sound"), "{args:?}: {}", said(&silent));
        // What the sound libraries complain of is not for people.
        let errors = String::from_utf8_lossy(&silent.stderr).into_owned();
        assert!(errors.lines().count() == 1 && errors.starts_with("vernam: "), "{args:?}: {errors}");
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
    assert!(weaker.status.code() == Some(2) && said(&weaker).contains("otp-only"), "{}", said(&weaker));
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
fn homes_with_a_pad(temp: &Path, size: &str) {
    lab(temp);
    std::fs::write(temp.join("words"), "a passphrase of several words\n").unwrap();
    let words = ["--passphrase-file", "words"];
    let make = ["pad", "make", "alice", "bob", "--size", size, "--out", "usb"];
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
    homes_with_a_pad(temp.path(), "4MB");
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
        let decimals = line["lasted_s"].to_string().split('.').nth(1).map_or(0, str::len);
        assert!(decimals <= 3, "more than milliseconds is noise: {line}");
    }
}

#[test]
fn who_did_not_want_to_be_disturbed_is_named_rightly_on_both_sides() {
    let temp = tempfile::tempdir().unwrap();
    homes_with_a_pad(temp.path(), "4MB");
    let answer = ["answer", "--home", "lab/bob", "--do-not-disturb", "--no-sound", "--json"];
    let mut bob = Phone::start(temp.path(), &answer);
    let alice = vernam(temp.path(), &["call", "bob", "--home", "lab/alice", "--no-sound", "--plain"]);
    assert_eq!(alice.status.code(), Some(3), "{}", said(&alice));
    assert!(said(&alice).contains("no call with bob: bob did not want to be disturbed"), "{}", said(&alice));
    bob.hear(&["\"event\":\"disconnected\"", "alice"]);
    kill_process(Pid::from_child(&bob.child), Signal::TERM).unwrap();
    bob.hear(&["\"event\":\"stopped\"", "130"]);
    assert_eq!(bob.end().code(), Some(130));
    for (home, why) in [("lab/alice", "bob did not want"), ("lab/bob", "you did not want")] {
        let calls = vernam(temp.path(), &["calls", "--home", home]);
        assert!(said(&calls).contains(why), "{home}: {}", said(&calls));
    }
}

#[test]
fn a_program_is_told_what_it_is_asked_and_a_no_to_recording_holds_for_a_while() {
    let temp = tempfile::tempdir().unwrap();
    homes_with_a_pad(temp.path(), "4MB");
    let mut bob = Phone::start(temp.path(), &["answer", "--home", "lab/bob", "--once", "--no-sound", "--json"]);
    let call = ["call", "bob", "--home", "lab/alice", "--no-sound", "--json"];
    let record = ["--record", "talk.vrec", "--passphrase-file", "words"];
    let mut alice = Phone::start(temp.path(), &[&call[..], &record].concat());
    bob.hear(&["\"event\":\"asked\"", "\"question\":\"ring\"", "\"contact\":\"alice\""]);
    bob.press("y");
    bob.hear(&["\"event\":\"asked\"", "\"question\":\"record\""]);
    bob.press("n");
    alice.hear(&["\"event\":\"record_declined\""]);
    // Once more, and once more: bob is told of it once, and asked not at all.
    for _ in 0..2 {
        alice.press("r");
        alice.hear(&["\"event\":\"record_declined\""]);
    }
    alice.hear(&["\"event\":\"tick\""]);
    alice.press("q");
    let ended = alice.hear(&["\"event\":\"ended\"", "\"ours\":true"]);
    assert!(!ended.contains("\"received\":0") && !ended.contains("\"received\":null"), "{ended}");
    assert_eq!(alice.end().code(), Some(0));
    bob.hear(&["\"event\":\"stopped\""]);
    let heard = std::mem::take(&mut bob.heard);
    assert_eq!(bob.end().code(), Some(0));
    let count = |part: &str| heard.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("\"event\":\"record_asked\""), 1, "{heard:#?}");
    assert_eq!(count("asks to record again"), 1, "{heard:#?}");
}

#[test]
fn whatever_stands_in_place_of_the_settings_is_said_and_ends_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("home/home.toml");
    std::fs::create_dir(temp.path().join("home")).unwrap();
    let toml = |text: &str| std::fs::write(&path, text).unwrap();
    let check = |what: &str, word: &str| {
        let wrong = vernam(temp.path(), &["call", "bob", "--home", "home", "--no-sound"]);
        let said = said(&wrong);
        assert_eq!(wrong.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains("home.toml") && said.contains(word), "{what}: {said}");
        assert!(!said.contains(|c: char| c != '\n' && c.is_control()), "{what}: {said:?}");
        assert!(said.len() < 4_000, "{what}: {} bytes", said.len());
    };
    for (text, word) in [
        ("name = 7\n", "string"),
        ("contact = \"bob\"\n", "sequence"),
        ("colour = \"\u{1b}[31mred\"\n", "colour"),
        ("\u{9b}31m = 1\n", "home.toml:1"),
        ("[[contact]]\nname = \"\\u001b[2J\"\n", "contact's name"),
        ("[sound]\nmicrophone = [1, 2]\n", "string"),
        ("listen = \"", "home.toml:1"),
    ] {
        toml(text);
        check(text, word);
    }
    toml(&format!("{} = 1\n", "k".repeat(60_000)));
    check("a long name", "unknown field");
    toml(&"#".repeat(1 << 20));
    check("too much", "too long");
    std::fs::write(&path, [0, 159, 146, 150, 255]).unwrap();
    check("no text", "UTF-8");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check("a folder", "is a folder");
    std::fs::remove_dir(&path).unwrap();
    // Neither may be waited for, nor has it an end.
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    check("a pipe", "no ordinary file");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    check("no end", "no ordinary file");
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let temp = tempfile::tempdir().unwrap();
    lab(temp.path());
    let there = temp.path().join("there.wav");
    std::fs::write(&there, "of somebody else").unwrap();
    for option in ["--heard", "--record"] {
        let call = vernam(temp.path(), &["call", "bob", "--home", "lab/alice", option, "there.wav"]);
        assert!(call.status.code() == Some(2) && said(&call).contains("never overwritten"), "{}", said(&call));
        let folder = vernam(temp.path(), &["call", "bob", "--home", "lab/alice", option, "no/such.wav"]);
        assert!(folder.status.code() == Some(2) && said(&folder).contains("no folder"), "{}", said(&folder));
    }
    assert_eq!(std::fs::read(&there).unwrap(), b"of somebody else");
    std::fs::write(temp.path().join("words"), "short\n").unwrap();
    let short = ["call", "bob", "--home", "lab/alice", "--record", "talk.vrec", "--passphrase-file", "words"];
    let short = vernam(temp.path(), &short);
    assert!(short.status.code() == Some(2) && said(&short).contains("at least 8 bytes"), "{}", said(&short));
}

#[test]
fn why_a_pad_is_not_taken_in_is_said_once() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("home")).unwrap();
    let wrong = vernam(temp.path(), &["pad", "import", "no-such.pad", "--home", "home"]);
    assert_eq!(said(&wrong).matches("No such file").count(), 1, "{}", said(&wrong));
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    let temp = tempfile::tempdir().unwrap();
    homes_with_a_pad(temp.path(), "200kB");
    let mut bob = Phone::start(temp.path(), &["answer", "--home", "lab/bob", "--once", "--no-sound", "--json"]);
    let call = ["call", "bob", "--home", "lab/alice", "--no-sound", "--json"];
    let record = ["--record", "talk.vrec", "--passphrase-file", "words"];
    // Two seconds of a recording, and more than any other file of a home with such a pad.
    let mut alice = Phone::start_with_little_room(temp.path(), &[&call[..], &record].concat(), 400);
    bob.hear(&["\"event\":\"asked\"", "\"question\":\"ring\""]);
    bob.press("y");
    bob.hear(&["\"event\":\"asked\"", "\"question\":\"record\""]);
    bob.press("y");
    alice.hear(&["\"event\":\"recording\"", "\"on\":true"]);
    alice.hear(&["\"event\":\"warning\"", "talk.vrec is not whole"]);
    alice.hear(&["\"event\":\"recording\"", "\"on\":false"]);
    bob.hear(&["\"event\":\"recording_by_contact\"", "\"on\":false"]);
    alice.hear(&["\"event\":\"tick\""]);
    alice.press("q");
    assert_eq!(alice.end().code(), Some(0));
    let export = ["recording", "export", "talk.vrec", "talk.wav", "--passphrase-file", "words"];
    let export = vernam(temp.path(), &export);
    assert!(export.status.code() == Some(1) && said(&export).contains("not finished"), "{}", said(&export));
}
