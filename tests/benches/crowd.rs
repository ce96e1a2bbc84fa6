//! Many calls at once in one headless process: engines over loopback, keys from the process itself, nobody listening.

use std::time::{Duration, Instant};

use vernam_audio::{AtEnd, CodecSettings, Speech, SpeechFrames};
use vernam_engine::{CallProposal, Command, Effort, Event, VoiceIo};
use vernam_session::Suite;
use vernam_tests::lab::{Lab, Person, Setup, filled};
use vernam_tests::telephone::cpu_of;

/// Calls at once, and how much their codecs may do.
const CALLS: [(usize, Effort); 5] =
    [(1, Effort::Best), (10, Effort::Best), (1, Effort::Least), (20, Effort::Least), (60, Effort::Least)];
/// How long they are looked at.
const LOOK: Duration = Duration::from_secs(10);
const SPEECH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/speech/reader.wav");
/// Key in stock, bytes: a call under AES takes 32 a minute.
const MARK: u64 = 16 << 10;

pub(crate) fn run() {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return println!("the crowd cannot be measured: {error}"),
    };
    println!(
        "calls at once in one process, both ends of each, 32 kb/s, 20 ms frames, AES-256-GCM; least: Opus without neural \
         networks, encoder complexity 0"
    );
    for (calls, effort) in CALLS {
        println!("{}", runtime.block_on(crowd(calls, effort)));
    }
    println!();
}

/// Somebody who reads aloud, and does not listen.
struct Reader(SpeechFrames, Effort);

impl VoiceIo for Reader {
    fn effort(&self) -> Effort {
        self.1
    }

    fn capture(&mut self, pcm: &mut [i16]) {
        let _again_and_again = self.0.next_into(pcm);
    }

    fn play(&mut self, _pcm: &[i16]) {}
}

/// Packets that each side sent and received so far.
async fn counted(people: &[[Person; 2]]) -> Vec<(u64, u64)> {
    let mut counts = Vec::new();
    for person in people.iter().flatten() {
        let last = |events: &[Event]| {
            events.iter().rev().find_map(|event| match event {
                Event::CallTick { stats, .. } => Some((stats.sent, stats.received)),
                _ => None,
            })
        };
        counts.push(person.wait("a call that runs", last).await);
    }
    counts
}

async fn crowd(calls: usize, effort: Effort) -> String {
    let lab = Lab::new(60);
    let mut people = Vec::new();
    for number in 0..calls {
        // Names live as long as the program: a person's name is one of its tests' words elsewhere.
        let names = ["alice", "bob"].map(|name| &*Box::leak(format!("{name}-{number}").into_boxed_str()));
        let setup = |other: &str| {
            let mut setup = Setup::with_mark(MARK).preferring(Suite::Aes256Gcm);
            setup.contacts = vec![other.to_owned()];
            setup
        };
        let pair = [lab.start(names[0], setup(names[1])), lab.start(names[1], setup(names[0]))];
        pair[0].connect(names[1], pair[1].addr).await;
        filled(&pair, [MARK; 2]).await;
        people.push(pair);
    }
    let codec = CodecSettings::standard();
    let Ok(speech) = Speech::load(SPEECH) else {
        return "  the speech of the repository cannot be read".to_owned();
    };
    for [alice, bob] in &people {
        let reader = || Box::new(Reader(speech.frames(codec.frame(), AtEnd::Loop), effort));
        let proposal = CallProposal { suite: Suite::Aes256Gcm, codec };
        alice.tell(Command::Call { contact: bob.name.to_owned(), proposal, io: reader() }).await;
        bob.answer(alice.name, reader()).await;
        for person in [alice, bob] {
            person.saw("a call that runs", |event| matches!(event, Event::CallTick { .. })).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let process = std::process::id();
    let (began, cpu, before) = (Instant::now(), cpu_of(process).unwrap_or_default(), counted(&people).await);
    tokio::time::sleep(LOOK).await;
    let (took, used) = (began.elapsed(), cpu_of(process).unwrap_or_default().saturating_sub(cpu));
    let after = counted(&people).await;
    let legs = f64::from(u32::try_from(calls * 2).unwrap_or(u32::MAX));
    let due = took.div_duration_f64(codec.frame().duration());
    let share = |of: fn(&(u64, u64)) -> u64| {
        let each = after.iter().zip(&before).map(|(now, then)| of(now).saturating_sub(of(then)));
        each.map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / due).fold(f64::MAX, f64::min)
    };
    let (sent, received) = (share(|counts| counts.0), share(|counts| counts.1));
    let cores = used.div_duration_f64(took);
    for [alice, bob] in people {
        alice.tell(Command::Disconnect { contact: bob.name.to_owned() }).await;
        alice.stop().await;
        bob.stop().await;
    }
    format!(
        "  {calls:>3} calls, {}: {cores:.2} cores, {:.2} % of a core a leg; the worst leg sent {:.1} % of its packets in time, and \
         got {:.1} %",
        if effort == Effort::Best { "best" } else { "least" },
        100.0 * cores / legs,
        100.0 * sent,
        100.0 * received
    )
}
