//! `vernam link` and its pictures. What it prints is kept under `tests/golden/link/`; `UPDATE=1` writes it anew.

#![expect(clippy::print_stdout, reason = "a failing test shows what was asked for, seed and all")]

mod kept;

use std::ops::ControlFlow;

use ratatui::{Terminal, backend::TestBackend};
use vernam::{
    cli::{Action, LinkOptions, SweepOptions, parse},
    demo::theme::{Depth, Theme},
    link::{
        events::{Block, Event, Stamped},
        live::{Live, Verdict},
        play::play,
        records, screen,
        sweep::{self, Kind, Sweep},
    },
};

use kept::golden;

fn link(args: &str) -> LinkOptions {
    let action = parse(["vernam", "link"].into_iter().chain(args.split_whitespace())).expect("a right line").action;
    let Action::Link(options) = action else { panic!("not one link: {action:?}") };
    *options
}

fn swept(args: &str) -> SweepOptions {
    let args = ["vernam", "link", "sweep"].into_iter().chain(args.split_whitespace());
    let action = parse(args).expect("a right line").action;
    let Action::Sweep(options) = action else { panic!("not a sweep: {action:?}") };
    options
}

/// Everything that a link tells.
fn told(args: &str) -> Vec<Stamped> {
    println!("{args}");
    let mut events = Vec::new();
    let tell = |stamped| {
        events.push(stamped);
        ControlFlow::Continue(())
    };
    play(&link(args), |_to| ControlFlow::Continue(()), tell).expect("the link can be made");
    events
}

fn blocks(events: &[Stamped]) -> impl Iterator<Item = &Block> {
    events.iter().filter_map(|stamped| match &stamped.event {
        Event::Block(block) | Event::Discarded(block) => Some(&**block),
        _ => None,
    })
}

fn screen_of(events: &[Stamped], columns: u16, rows: u16, depth: Depth) -> String {
    let mut live = Live::default();
    // Without the last word, which stops the link.
    for stamped in events.iter().filter(|stamped| !matches!(stamped.event, Event::Ended(_))) {
        live.apply(stamped);
    }
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a test terminal");
    terminal.draw(|frame| screen::draw(frame, &live, Theme { depth })).expect("drawing in memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(columns));
    rows.flat_map(|row| row.iter().map(ratatui::buffer::Cell::symbol).chain(["\n"])).collect()
}

const TAPPED: &str = "--fast --seed 3 --duration 60 --eve intercept-resend:0.6 --eve-at 40 --speed max";

#[test]
fn what_a_link_prints() {
    let events = told(TAPPED);
    let plain: Vec<String> = events.iter().flat_map(records::plain).collect();
    golden("link/plain.txt", &plain.join("\n"));
    let json: Vec<String> = events.iter().map(|stamped| records::json(stamped).expect("it can be written")).collect();
    golden("link/lines.jsonl", &format!("{}\n{}", records::JSON_HEADER, json.join("\n")));
    let rows: Vec<String> = events.iter().filter_map(records::csv).collect();
    golden("link/blocks.csv", &format!("{}\n{}", records::csv_header(), rows.join("\n")));
}

#[test]
fn a_row_has_as_many_cells_as_the_header() {
    for row in told(TAPPED).iter().filter_map(records::csv) {
        let unquoted: String = row.split('"').step_by(2).collect();
        assert_eq!(unquoted.split(',').count(), records::csv_header().split(',').count(), "{row}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    for model in ["--fast", ""] {
        let args = format!("{model} --seed 11 --duration 3 --block 1 --eve intercept-resend:0.2 --eve-at 1.25");
        let run = told(&args);
        assert_eq!(run, told(&args), "seed 11");
        assert_ne!(run, told(&args.replace("11", "12")), "another seed is another run");
    }
}

#[test]
fn key_that_eve_knows_is_called_so() {
    for model in ["--fast", ""] {
        let events = told(&format!("{model} --seed 1 --duration 30 --eve trojan-horse:1 --eve-at 10"));
        let plain: Vec<String> = events.iter().flat_map(records::plain).collect();
        let secret: Vec<Option<bool>> = blocks(&events).map(|block| block.secret).collect();
        let said = plain.iter().filter(|line| line.contains("this key is NOT secret")).count();
        // The stretch of light in which she comes may belong to the block before.
        assert_ne!(secret[0], Some(false));
        assert_eq!((&secret[1..], said), (&[Some(false); 2][..], 2), "{plain:#?}");
        let last = plain.last().expect("sums");
        assert!(last.contains("2 blocks of key that Eve knows more of than was assumed"), "{last}");
        let Some(Event::Ended(sums)) = events.last().map(|stamped| &stamped.event) else { panic!("no end") };
        assert_eq!(sums.unsafe_blocks, 2);
        let rows: Vec<String> = events.iter().filter_map(records::csv).collect();
        assert!(rows[1..].iter().all(|row| row.ends_with(",false")), "{rows:#?}");
    }
    let events = told("--fast --seed 1 --duration 20 --eve intercept-resend:0.05");
    assert!(blocks(&events).all(|block| block.secret == Some(true)), "less than assumed");
}

#[test]
fn a_run_ends_when_its_duration_is_over_with_all_blocks_that_fit() {
    let long = [("--block 2", 2), ("--fast", 0), ("--fast --block 2", 2), ("--block 2 --eve pns --eve-at 5", 2)];
    for (args, fit) in long {
        let events = told(&format!("--seed 1 --duration 5 {args}"));
        let last = events.last().expect("it ends");
        assert!((last.t - 5.0).abs() < 1e-9, "{args}: {}", last.t);
        assert!(events.is_sorted_by(|a, b| a.t <= b.t), "{args}: time goes back");
        assert_eq!(blocks(&events).count(), fit, "{args}");
    }
    let events = told("--seed 1 --duration 2 --block 2");
    assert_eq!(blocks(&events).count(), 1, "the last block ends with the run");
    let text = events.iter().flat_map(records::plain).last().expect("sums");
    assert!(text.contains("in 1 block, ") && text.contains("over the 0:02.0 of finished blocks"), "{text}");
}

#[test]
fn what_nobody_knows_is_not_told() {
    let discarded = told("--fast --seed 1 --duration 10 --eve intercept-resend");
    let block = blocks(&discarded).next().expect("a block");
    assert_eq!((block.qber_x, block.epsilon, block.secret), (None, None, None));
    let kept = told("--fast --seed 1 --duration 10");
    let block = blocks(&kept).next().expect("a block");
    assert!(block.qber_x.is_some() && block.epsilon.is_some() && block.secret.is_none(), "{block:?}");
}

#[test]
fn missing_decoys_are_told_of() {
    let mut events = told("--fast --seed 1 --duration 10");
    let plain = |events: &[Stamped]| events.iter().flat_map(records::plain).collect::<String>();
    assert!(!plain(&events).contains("what they should be"));
    for stamped in &mut events {
        if let Event::Block(block) = &mut stamped.event {
            block.decoy_share = Some(0.93);
        }
    }
    assert!(plain(&events).contains("decoys 93 % of what they should be"));
}

#[test]
fn photon_number_splitting_shows_in_the_decoys_alone() {
    let mut live = Live::default();
    for stamped in &told("--seed 5 --length 50 --duration 10 --block 5 --eve pns") {
        live.apply(stamped);
    }
    let verdicts = live.gains().expect("something was counted").map(|gain| gain.verdict);
    assert_eq!(verdicts[..2], [Verdict::Fits, Verdict::Low]);
    let last = live.last().expect("a block was finished");
    assert!(last.qber_z < 0.04 && last.reason.is_some(), "{last:?}");
}

#[test]
fn a_link_with_nobody_on_it_counts_what_is_expected() {
    for device in ["metro-40mhz", "metro-625mhz --background 5000", "gys --block 60", "lab-1ghz --length 60"] {
        let mut live = Live::default();
        for stamped in &told(&format!("--seed 6 --duration 60 --fast --device {device}")) {
            live.apply(stamped);
        }
        let gains = live.gains().expect("something was counted");
        assert!(gains.iter().all(|gain| gain.verdict == Verdict::Fits), "{device}: {gains:?}");
    }
}

#[test]
fn screens() {
    let calm = told("--seed 7 --fast --duration 80");
    let tapped = told("--seed 7 --duration 6 --block 2 --eve intercept-resend:0.05 --eve-at 2");
    let split = told("--seed 7 --duration 11 --block 5 --length 50 --eve pns");
    let read = told("--seed 7 --fast --duration 20 --eve trojan-horse:1");
    for (name, events) in [("calm", &calm), ("tapped", &tapped), ("split", &split), ("read", &read)] {
        for (columns, rows) in [(80, 24), (120, 36)] {
            let seen = screen_of(events, columns, rows, Depth::True);
            assert_eq!(seen, screen_of(events, columns, rows, Depth::Mono), "colour must not tell anything alone");
            golden(&format!("link/screen-{name}-{columns}x{rows}.txt"), &seen);
        }
        for (columns, rows) in [(1, 1), (10, 3), (59, 17), (61, 16), (300, 90), (80, 5)] {
            screen_of(events, columns, rows, Depth::True);
        }
    }
}

#[test]
fn a_sweep_draws_what_the_library_says() {
    let sweep = Sweep::of(&swept("--device gys --device metro-40mhz --to 150"));
    let signals = sweep.distance.iter().find(|curve| curve.kind == Kind::Signals).expect("the gys curve");
    let reference = sweep.distance.iter().find(|curve| curve.kind == Kind::Reference).expect("its reference");
    assert_eq!(reference.points.len(), 7);
    for figure in &reference.points {
        let at = signals.points.iter().min_by(|a, b| (a.km - figure.km).abs().total_cmp(&(b.km - figure.km).abs()));
        let at = at.expect("a curve has points");
        // The curve has a point every .375 km; the key falls by 2 % between two of them, and by much at its end.
        let near = if figure.km < 130.0 { 0.03 } else { 2.0 };
        assert!((at.per_pulse / figure.per_pulse - 1.0).abs() < near, "{at:?} against {figure:?}");
    }
    let plob = sweep.distance.iter().find(|curve| curve.kind == Kind::Plob).expect("the bound");
    for curve in sweep.distance.iter().filter(|curve| curve.device == plob.device) {
        for point in &curve.points {
            let bound = plob.points.iter().rfind(|bound| bound.km <= point.km).or(plob.points.first());
            assert!(bound.is_none_or(|bound| point.per_pulse <= bound.per_pulse), "{:?} {point:?}", curve.kind);
        }
    }
    assert!(sweep.published_end_km.is_some());
}

#[test]
fn a_sweep_writes_its_numbers_and_four_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = swept("--device gys --device metro-40mhz");
    options.out = folder.path().join("pictures");
    sweep::run(&options).expect("it can be drawn");
    for name in ["key-rate", "qber-eve"] {
        let svg = std::fs::read_to_string(options.out.join(name).with_extension("svg")).expect("an SVG");
        assert!(svg.starts_with("<svg") && svg.contains("metro-40mhz") && svg.trim_end().ends_with("</svg>"));
        let png = std::fs::read(options.out.join(name).with_extension("png")).expect("a PNG");
        let decoder = png::Decoder::new(std::io::Cursor::new(&png));
        let mut reader = decoder.read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("it fits into memory")];
        reader.next_frame(&mut pixels).expect("whole");
        // Letters and lines, black on white.
        let dark = pixels.chunks(3).filter(|pixel| pixel.iter().all(|byte| *byte < 80)).count();
        assert!(dark > 5_000, "{name} has {dark} dark pixels: is there text on it?");
    }
    let sweep = Sweep::of(&options);
    let (csv, json) = (sweep::csv(&sweep), sweep::json(&sweep).expect("numbers can be written"));
    assert_eq!(csv.len(), json.len());
    assert_eq!(csv[0].split(',').count(), csv[1].split(',').count());
    assert!(csv.iter().any(|row| row.starts_with("qber-eve,endless,metro-40mhz,15,0.5,0,0,")), "{:?}", &csv[..3]);
}
