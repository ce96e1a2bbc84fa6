//! What people see, kept as files under `tests/golden/`: help, complaints, screens, lines, the table.
//! `UPDATE=1 cargo nextest run -p vernam` writes them anew; look at the difference before you commit it.

mod kept;
mod story;

use ratatui::{Terminal, backend::TestBackend};
use vernam::{
    cli::{complaint, help_text},
    demo::{
        plain::Plain,
        screen,
        table::table,
        theme::{Depth, Theme},
    },
};

use kept::golden;

fn screen_at(seconds: f64, columns: u16, rows: u16, depth: Depth) -> String {
    let model = story::model_at(seconds);
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a test terminal");
    terminal.draw(|frame| screen::draw(frame, &model, Theme { depth })).expect("drawing in memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(columns));
    rows.flat_map(|row| row.iter().map(ratatui::buffer::Cell::symbol).chain(["\n"])).collect()
}

#[test]
fn help() {
    golden("help.txt", &help_text("", 100));
    golden("help-demo.txt", &help_text("demo", 100));
    golden("help-link.txt", &help_text("link", 100));
    golden("help-link-sweep.txt", &help_text("link sweep", 100));
    golden("help-link-setup.txt", &help_text("link setup", 100));
    golden("help-link-alice.txt", &help_text("link alice", 100));
    golden("help-link-bob.txt", &help_text("link bob", 100));
    golden("help-call.txt", &help_text("call", 100));
    golden("help-answer.txt", &help_text("answer", 100));
    golden("help-send.txt", &help_text("send", 100));
    golden("help-receive.txt", &help_text("receive", 100));
    golden("help-calls.txt", &help_text("calls", 100));
    golden("help-devices.txt", &help_text("devices", 100));
    golden("help-recording-export.txt", &help_text("recording export", 100));
    golden("help-keys.txt", &help_text("keys", 100));
    golden("help-pad-make.txt", &help_text("pad make", 100));
    golden("help-pad-import.txt", &help_text("pad import", 100));
}

#[test]
fn complaints() {
    let wrong: [&[&str]; 52] = [
        &[],
        &["dance"],
        &["demo", "--suite", "rot13"],
        &["demo", "--length", "900"],
        &["demo", "--length", "far"],
        &["demo", "--device", "gys", "--length", "180"],
        &["demo", "--device", "metro-9"],
        &["demo", "--device", "no/such.toml"],
        &["demo", "--bit-rate", "100"],
        &["demo", "--loss", "80"],
        &["demo", "--eve", "--no-eve"],
        &["demo", "--json", "--plain"],
        &["demo", "--file-size", "3GB"],
        &["demo", "--file-size", "0"],
        &["demo", "--speech", "no-such.wav"],
        &["demo", "--log", "loud"],
        &["link", "--device", "metro-9"],
        &["link", "--device", "no/such.toml"],
        &["link", "--length", "2000"],
        &["link", "--eve", "mallory"],
        &["link", "--eve", "intercept-resend:2"],
        &["link", "--eve", "intercept-resend:much"],
        &["link", "--eve", "pns:0.5"],
        &["link", "--eve", "trojan-horse:-1"],
        &["link", "--trouble", "rain"],
        &["link", "--trouble", "drift:-3"],
        &["link", "--speed", "warp"],
        &["link", "--background", "1e9"],
        &["link", "--json", "--csv"],
        &["link", "--analysis", "shor"],
        &["link", "sweep", "--to", "5"],
        &["link", "sweep", "--device", "metro-9"],
        &["link", "setup"],
        &["link", "alice", "lab/alice"],
        &["link", "alice", "lab/alice", "--listen", "0.0.0.0:7010", "--dial", "bob.example:7010"],
        &["link", "alice", "lab/alice", "--dial", "bob.example"],
        &["link", "bob", "lab/bob", "--listen", "7010"],
        &["link", "bob", "lab/bob", "--dial", "::1:0"],
        &["link", "bob", "lab/bob", "--listen", "[::]:7010", "--eve", "pns"],
        &["link", "bob", "lab/bob", "--listen", "[::]:7010", "--json", "--plain"],
        &["call"],
        &["call", "bob", "--echo-test"],
        &["call", "bob", "--suite", "rot13"],
        &["call", "bob", "--address", "bob.example"],
        &["call", "bob", "--speech", "no-such.wav"],
        &["call", "bob", "--no-sound", "--microphone", "headset"],
        &["call", "bob", "--passphrase-file", "words.txt"],
        &["call", "bob", "--duration", "0"],
        &["answer", "--listen", "7890"],
        &["answer", "--auto", "--do-not-disturb"],
        &["answer", "--let-record"],
        &["calls", "--last", "0"],
    ];
    let mut seen = String::new();
    for args in wrong {
        let said = complaint(args, 100).expect("a wrong command line");
        seen.extend(["$ vernam ", &args.join(" "), "\n", &said, "\n"]);
    }
    golden("complaints.txt", &seen);
}

#[test]
fn screens() {
    let moments = [
        ("setup", 1.5),
        ("ringing", 4.2),
        ("file", story::MID_FILE),
        ("aes", story::IN_AES),
        ("alarm", story::IN_ALARM),
        ("done", story::END),
    ];
    for (name, seconds) in moments {
        for (columns, rows) in [(80, 24), (120, 40)] {
            golden(&format!("screen/{name}-{columns}x{rows}.txt"), &screen_at(seconds, columns, rows, Depth::True));
        }
    }
}

#[test]
fn a_screen_says_the_same_without_colours() {
    for seconds in [1.5, story::MID_FILE, story::IN_ALARM] {
        let coloured = screen_at(seconds, 80, 24, Depth::True);
        for depth in [Depth::Indexed, Depth::Ansi, Depth::Mono] {
            assert_eq!(screen_at(seconds, 80, 24, depth), coloured);
        }
    }
}

#[test]
fn the_screen_always_says_what_protects_the_call() {
    for (columns, rows) in [(80, 24), (60, 17), (40, 10), (200, 60)] {
        let says = |seconds, words: &str| {
            let screen = screen_at(seconds, columns, rows, Depth::True);
            assert!(screen.contains(words), "{columns}x{rows} at {seconds} s does not say {words}:\n{screen}");
        };
        says(story::MID_FILE, "ONE-TIME PAD  ─");
        says(story::IN_AES, "AES-256-GCM  ─");
        says(48.0, "CHACHA20-POLY1305  ─");
        says(story::IN_ALARM, "ONE-TIME PAD FROM STOCK  ─");
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    for (columns, rows) in [(1, 1), (3, 2), (10, 3), (59, 40), (61, 17), (79, 22), (300, 100), (80, 5)] {
        for seconds in [0.0, story::MID_FILE, story::IN_ALARM, story::END] {
            screen_at(seconds, columns, rows, Depth::True);
        }
    }
}

#[test]
fn plain_lines() {
    let mut plain = Plain::default();
    let lines: Vec<String> = story::story().iter().flat_map(|stamped| plain.lines(stamped)).collect();
    golden("plain.txt", &lines.join("\n"));
}

#[test]
fn the_table_at_the_end() {
    let summary = story::summary().checked(std::time::Duration::from_secs(73));
    golden("table.txt", &table(&summary, false));
    let mut wrong = story::summary();
    wrong.books[0].sender.in_stock_bits += 1;
    golden("table-broken.txt", &table(&wrong.checked(std::time::Duration::from_secs(73)), false));
}
