//! One call of the demo, with what goes beside it, and what is checked of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant as Deadline, sleep, sleep_until};
use vernam_audio::device::Speaker;
use vernam_engine::{CallProposal, Command, FileError, IfShort, Rules, TransferId};
use vernam_session::{HangUpReason, voice_datagram_len};

use super::plan::{FRAME, codec, file_suite, wire_suite};
use super::{FILE_PATIENCE, PATIENCE, Show};
use crate::cli::{Eve, FileChoice};
use crate::demo::events::{DemoEvent, EndReason, FileProgress, FileState, Person as Who, Suite, Words};
use crate::demo::summary::{CallSummary, FileSummary, VoiceSummary};
use crate::demo::world::network::sae;
use crate::demo::world::person::{Ended, Person, Scene};
use crate::demo::world::voice::{DemoVoice, Tape, compare};

/// What Alice writes, and what Bob answers.
const MESSAGE: &str = "The report is on its way. Every byte of it costs a byte of quantum key.";
const ANSWER: &str = "Got it. This message used up its key, too.";
/// How long a tapped call goes on before the eavesdropper comes.
const BEFORE_EVE: Duration = Duration::from_secs(2);

impl Show<'_> {
    /// A call of `length`, with a message and a file beside it if `beside`.
    pub(super) async fn call(&mut self, suite: Suite, length: Duration, beside: bool) -> anyhow::Result<()> {
        let until = Deadline::now() + length;
        let began = self.begin(suite).await?;
        if beside {
            let cancel = self.cancel.clone();
            tokio::select! {
                sent = self.messages_and_file() => sent?,
                () = cancel.cancelled() => {}
            }
        }
        self.talk_until(until).await;
        self.end(suite, began).await
    }

    /// A call under one-time pad during which the link is tapped: it goes on from stock until that is used up.
    pub(super) async fn tapped_call(&mut self) -> anyhow::Result<()> {
        // The pad at hand lasts so long; the rest is key that was taken before and is used up first.
        let usable = self.people.iter().map(|person| person.state().usable).max().unwrap_or_default();
        let talk = Duration::from_secs(usable / self.budget.pad_per_second.max(1));
        let until = Deadline::now() + BEFORE_EVE + talk + Duration::from_secs(20);
        let began = self.begin(Suite::Otp).await?;
        sleep(BEFORE_EVE).await;
        self.tap(true).await?;
        self.talk_until(until).await;
        self.end(Suite::Otp, began).await?;
        self.check_alarm().await;
        let ended = self.people.each_ref().map(|person| person.state().ended);
        let used_up = ended.iter().flatten().all(|ended| ended.reason == HangUpReason::KeyUsedUp);
        if !self.cancel.is_cancelled() {
            let detail =
                if used_up { "the policy allows nothing less than one-time pad" } else { "it ended otherwise" };
            self.promise("the tapped call ended when its pad was used up", used_up, detail).await;
            let warnings = self.people.each_ref().map(|person| person.state().warned_of_end);
            let warned = warnings.iter().all(Option::is_some);
            let detail = warnings.into_iter().flatten().next().unwrap_or_else(|| "nobody was".to_owned());
            self.promise("both people were told before it happened", warned, &detail).await;
        }
        Ok(())
    }

    /// Rings and answers.
    async fn begin(&mut self, suite: Suite) -> anyhow::Result<(Instant, [Tape; 2])> {
        let number = u8::try_from(self.calls.len() + 1).unwrap_or(u8::MAX);
        let tapes = [Tape::default(), Tape::default()];
        {
            let mut now = self.scene.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.call = number;
            now.tapes.clone_from(&tapes);
        }
        for person in &self.people {
            person.forget_call();
        }
        let proposal = CallProposal { suite: wire_suite(suite), codec: codec(self.options, suite)? };
        let mut voices = Vec::with_capacity(2);
        for who in Who::BOTH {
            let listen = self.options.listen && who == Who::Bob;
            let speaker = if listen { Some(open_speaker()?) } else { None };
            let (own, wav) = (who.index(), self.wav(number, suite, who));
            voices.push(Box::new(DemoVoice::new(&self.speech[own], FRAME, &wav, speaker, tapes[own].clone())?));
        }
        let (Some(bobs), Some(alices)) = (voices.pop(), voices.pop()) else { anyhow::bail!("there are two people") };
        let [alice, bob] = &self.people;
        self.sink.emit(DemoEvent::Ringing { call: number, caller: Who::Alice, suite }).await;
        alice.tell(Command::Call { contact: alice.contact(), proposal, io: alices }).await?;
        bob.until(PATIENCE, "Alice's call", |state| state.incoming).await?;
        sleep(Duration::from_millis(600)).await;
        bob.tell(Command::Answer { contact: bob.contact(), io: bobs }).await?;
        for person in &self.people {
            person.until(PATIENCE, "the answer", |state| state.answered || state.ended.is_some()).await?;
        }
        self.sink.emit(DemoEvent::Answered { call: number, suite }).await;
        Ok((Instant::now(), tapes))
    }

    /// Until the time has come, somebody hung up, or the person watching has had enough.
    async fn talk_until(&self, until: Deadline) {
        let long = Duration::from_hours(1);
        let ended = self.people[0].until(long, "the end of the call", |state| state.ended.is_some());
        tokio::select! {
            () = sleep_until(until) => {}
            _ = ended => {}
            () = self.cancel.cancelled() => {}
        }
    }

    /// Hangs up if nobody did, and writes down how the call went.
    async fn end(&mut self, suite: Suite, (began, tapes): (Instant, [Tape; 2])) -> anyhow::Result<()> {
        let [alice, bob] = &self.people;
        alice.tell(Command::HangUp { contact: alice.contact(), reason: HangUpReason::HungUp }).await?;
        let mut ended = Vec::with_capacity(2);
        for person in [alice, bob] {
            let state = person.until(PATIENCE, "the end of the call", |state| state.ended.is_some()).await?;
            ended.extend(state.ended);
        }
        let number = u8::try_from(self.calls.len() + 1).unwrap_or(u8::MAX);
        let reason = reason(&ended, self.cancel.is_cancelled());
        self.sink.emit(DemoEvent::CallEnded { call: number, reason, lasted_s: began.elapsed().as_secs_f64() }).await;
        let mut directions = Vec::with_capacity(2);
        for from in Who::BOTH {
            directions.push(self.direction(number, suite, from, &ended, &tapes).await?);
        }
        let (tapped, lasted_s) = (self.tapped, began.elapsed().as_secs_f64());
        self.calls.push(CallSummary { call: number, suite, tapped, lasted_s, reason, directions });
        Ok(())
    }

    async fn direction(
        &mut self,
        call: u8,
        suite: Suite,
        from: Who,
        ended: &[Ended],
        tapes: &[Tape; 2],
    ) -> anyhow::Result<VoiceSummary> {
        let (speaker, listener) = (from.index(), from.other().index());
        let stats = |who: usize| ended.get(who).and_then(|ended| ended.stats.clone());
        let (said, heard) = (stats(speaker), stats(listener));
        let (said, heard) = said.zip(heard).context("a call that was answered has no statistics")?;
        let wav = self.wav(call, suite, from.other());
        let name = wav.file_name().map(|name| Words::from(name.to_string_lossy()));
        let tape = [tapes[speaker].clone(), tapes[listener].clone()];
        let path = wav.clone();
        let found = tokio::task::spawn_blocking(move || compare(&tape[0], &tape[1], FRAME, &path)).await?;
        let way = format!("call {call}, {from} to {}", from.other());
        self.promise(&format!("what is heard is what Opus makes of the frames ({way})"), found.identical, &found.why)
            .await;
        if let Some(why) = tapes[listener].failure() {
            self.promise(&format!("what is heard can be kept ({way})"), false, &why).await;
        }
        let rejected = heard.refused.values().sum();
        Ok(VoiceSummary {
            from,
            sent: said.sent,
            received: heard.received,
            lost: heard.missing,
            rejected,
            concealed: heard.playout.concealed + heard.playout.recovered,
            datagram_bytes: u32::try_from(voice_datagram_len(wire_suite(suite), usize::from(said.terms.packet_len)))?,
            delay: found.delay,
            identical: Some(found.identical),
            wav: name,
        })
    }

    /// A message, a file and an answer, while people talk.
    async fn messages_and_file(&mut self) -> anyhow::Result<()> {
        sleep(Duration::from_millis(1_500)).await;
        self.write(Who::Alice, MESSAGE).await?;
        sleep(Duration::from_millis(1_500)).await;
        self.start_file()?;
        sleep(Duration::from_millis(500)).await;
        self.write(Who::Bob, ANSWER).await
    }

    async fn write(&mut self, from: Who, text: &str) -> anyhow::Result<()> {
        {
            let mut now = self.scene.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.texts.insert((from.index(), 1), Words::from(text));
        }
        let (writer, reader) = (&self.people[from.index()], &self.people[from.other().index()]);
        writer.tell(Command::SendText { contact: writer.contact(), body: text.to_owned() }).await?;
        let read = reader.until(PATIENCE, "the message", |state| !state.texts.is_empty()).await?;
        let delivered = writer.until(PATIENCE, "the delivery mark", |state| state.delivered > 0).await;
        let kept = read.texts == [text] && delivered.is_ok();
        let detail = format!("{} bytes under one-time pad, marked delivered", text.len());
        self.promise(&format!("{from}'s message arrived once and unchanged"), kept, &detail).await;
        Ok(())
    }

    /// Starts the file on its way. It goes on beside the calls, however long the network makes it take.
    fn start_file(&mut self) -> anyhow::Result<()> {
        let errand = Errand {
            people: self.people.clone(),
            scene: Arc::clone(&self.scene),
            suite: file_suite(self.options),
            path: self.file()?,
            inbox: self.inbox(Who::Bob),
        };
        self.errand = Some(tokio::spawn(errand.run()));
        Ok(())
    }

    /// Waits for the file, if it is still on its way.
    pub(super) async fn finish_file(&mut self) -> anyhow::Result<()> {
        let Some(mut errand) = self.errand.take() else { return Ok(()) };
        let outcome = tokio::select! {
            outcome = &mut errand => outcome.context("the transfer failed in an unforeseen way")??,
            () = self.cancel.cancelled() => {
                errand.abort();
                let _aborted = errand.await;
                return Ok(());
            }
        };
        let (summary, detail) = outcome;
        self.promise("the file arrived whole", summary.hash_equal, &detail).await;
        self.files.push(summary);
        Ok(())
    }

    /// The file that was asked for, or one made up from the seed.
    fn file(&self) -> anyhow::Result<PathBuf> {
        let bytes = match &self.options.file {
            FileChoice::Path(path) => return Ok(path.clone()),
            FileChoice::MadeUp { bytes } => *bytes,
        };
        let path = self.folder.path().join(sae(Who::Alice)).join("field-report.bin");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        let mut rng = rand::rngs::StdRng::seed_from_u64(self.seed);
        for _ in 0..bytes {
            file.write_all(&[rng.random()])?;
        }
        file.flush()?;
        Ok(path)
    }

    fn wav(&self, call: u8, suite: Suite, listener: Who) -> PathBuf {
        self.out.join(format!("call-{call}-{}-heard-by-{}.wav", suite.name(), sae(listener)))
    }

    /// What must be true of all calls together.
    pub(super) async fn check_calls(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let calls = self.calls.clone();
        let all = || calls.iter().flat_map(|call| &call.directions);
        let refused: u64 =
            all().map(|voice| voice.rejected).sum::<u64>() + self.people.iter().map(|p| p.state().refused).sum::<u64>();
        let (sent, received): (u64, u64) =
            all().fold((0, 0), |sum, voice| (sum.0 + voice.sent, sum.1 + voice.received));
        let lost: u64 = all().map(|voice| voice.lost).sum();
        let none = format!("{received} voice packets came and were accepted, {refused} were refused");
        self.promise("every packet that comes is genuine, and accepted", refused == 0, &none).await;
        if self.options.loss_percent == 0.0 {
            let detail = format!("{lost} of {sent} voice packets are missing");
            self.promise("nothing is lost on a wire without loss", lost == 0, &detail).await;
        }
        let counted = received <= sent && all().all(|voice| voice.received + voice.lost <= voice.sent);
        let detail = format!("{sent} sent, {received} received, {lost} lost, the rest on the way at a hang-up");
        self.promise("no more packets come than were sent", counted, &detail).await;
    }

    /// What must be true once the link was tapped.
    pub(super) async fn check_alarm(&mut self) {
        if self.cancel.is_cancelled() {
            return;
        }
        let made = self.link.made();
        let detail =
            format!("{} blocks with {} sifted bits were discarded", made.discarded_blocks, made.discarded_sifted);
        self.promise("no key is made from a tapped line", made.discarded_blocks > 0, &detail).await;
        let states = self.people.each_ref().map(|person| person.state());
        let refusal = states.iter().find_map(|state| state.kme_refusal.clone());
        if self.options.eve == Eve::NearTheEnd {
            let detail = match &refusal {
                Some(words) => format!("{words}. What their pools hold waits until the link is safe again"),
                None => "no refusal was seen".to_owned(),
            };
            self.promise("the KMEs stop delivering", refusal.is_some(), &detail).await;
        }
        let told = states.iter().all(|state| state.alarm.is_some());
        let detail =
            states.iter().find_map(|state| state.alarm.clone()).unwrap_or_else(|| "nobody was told".to_owned());
        self.promise("both people see why", told, &detail).await;
    }
}

/// A file on its way from Alice to Bob.
struct Errand {
    people: [Arc<Person>; 2],
    scene: Arc<Scene>,
    suite: Suite,
    path: PathBuf,
    inbox: PathBuf,
}

impl Errand {
    /// Offers it, accepts it, waits for both ends, and compares what arrived with what was sent.
    async fn run(self) -> anyhow::Result<(FileSummary, String)> {
        let Self { people: [alice, bob], scene, suite, path, inbox } = self;
        let bytes = std::fs::metadata(&path)?.len();
        let name = Words::from(path.file_name().unwrap_or_default().to_string_lossy());
        let began = Instant::now();
        {
            let mut now = scene.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.file = Some((name.clone(), suite, began));
        }
        std::fs::create_dir_all(&inbox)?;
        let offered = FileProgress {
            from: Who::Alice,
            name: name.clone(),
            state: FileState::Offered,
            suite,
            done_bytes: 0,
            total_bytes: bytes,
            elapsed_s: 0.0,
        };
        scene.sink.emit(DemoEvent::File(offered)).await;
        let wire = wire_suite(suite);
        let send = Command::SendFiles {
            contact: alice.contact(),
            transfer: TransferId(rand::random()),
            paths: vec![path.clone()],
            suite: wire,
            if_short: IfShort::Wait,
        };
        alice.tell(send).await?;
        let state = bob.until(PATIENCE, "the offer of the file", |state| state.offered.is_some()).await?;
        let transfer = state.offered.context("the offer of the file has no name")?;
        let names = Rules::Portable;
        bob.tell(Command::AcceptFiles { contact: bob.contact(), transfer, folder: inbox, names }).await?;
        let received = bob.until(FILE_PATIENCE, "the file", |state| !state.files.is_empty()).await?;
        let confirmed = alice.until(PATIENCE, "the receipt for the file", |state| !state.files.is_empty()).await?;
        let outcome = |files: &[(bool, Result<_, FileError>)]| files.first().map(|(_, result)| result.clone());
        let (there, here) = (outcome(&received.files), outcome(&confirmed.files));
        let hash_equal = match (&there, &here) {
            (Some(Ok(there)), Some(Ok(here))) => {
                let placed = there.places.first().context("the file has no place")?;
                same_file(&path, placed)? && here.hash.is_some() && here.hash == there.hash
            }
            _ => false,
        };
        let seconds = match &there {
            Some(Ok(done)) => done.took.as_secs_f64(),
            _ => began.elapsed().as_secs_f64(),
        };
        let detail = match there {
            Some(Err(why)) => why.to_string(),
            _ => format!("{bytes} bytes under {suite} in {seconds:.2} s, BLAKE3 equal, renamed into place"),
        };
        Ok((FileSummary { name, from: Who::Alice, suite, bytes, seconds, hash_equal }, detail))
    }
}

/// The default loudspeaker, for `--listen`.
pub(super) fn open_speaker() -> anyhow::Result<Speaker> {
    Speaker::open(None).context("--listen needs a loudspeaker; without it the demo runs all the same")
}

fn same_file(one: &std::path::Path, other: &std::path::Path) -> anyhow::Result<bool> {
    Ok(std::fs::read(one)? == std::fs::read(other)?)
}

/// Why a call ended, from both ends' view.
fn reason(ended: &[Ended], cancelled: bool) -> EndReason {
    let by = if ended.first().is_some_and(|alice| alice.by_contact) { Who::Bob } else { Who::Alice };
    match ended.first().map(|alice| alice.reason) {
        _ if cancelled => EndReason::Cancelled,
        Some(HangUpReason::KeyUsedUp) => EndReason::OutOfKey { who: by },
        Some(HangUpReason::HungUp) => EndReason::HungUp { by },
        Some(HangUpReason::Declined | HangUpReason::Busy | HangUpReason::NotDisturbed | HangUpReason::Weaker) => {
            EndReason::Declined
        }
        Some(HangUpReason::NoAnswer) => EndReason::NoAnswer,
        Some(HangUpReason::Failed | HangUpReason::Lost | HangUpReason::StartedAnew) | None => EndReason::ConnectionLost,
    }
}
