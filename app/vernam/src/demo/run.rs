//! The run itself: starts the KMEs, the link and the two clients, plays the acts, and emits what happens.

mod books;
mod call;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use vernam_engine::Command;
use vernam_qkd::{Eve, LinkConfig};
use vernam_quic::{Impairment, WireSettings};

use self::plan::{Budget, Lengths};
use super::events::{Act, Check, DemoEvent, Person as Who, Plan, Suite};
use super::secrets::SecretFolder;
use super::summary::{CallSummary, FileSummary, Summary};
use super::world::link::{Link, LiveLink};
use super::world::network::Network;
use super::world::person::{Person, Scene, Setup, inbox};
use super::world::voice;
use super::{Cancel, EventSink};
use crate::cli::{DemoOptions, Eve as EveChoice};

/// How long the two clients may take for what should take a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the file may take: a lossy network with a long delay carries little.
const FILE_PATIENCE: Duration = Duration::from_mins(10);

/// Plays the demo. WAVs go to `out`, which exists.
///
/// Emits every event but the last into `sink`; the summary that it returns is checked and shown by its caller. When
/// `cancel` asks for the end, it hangs up, stops its servers, and returns the sums of what happened until then.
pub async fn run(options: &DemoOptions, out: &Path, sink: &EventSink, cancel: &Cancel) -> anyhow::Result<Summary> {
    let folder = SecretFolder::new().context("no folder for the demo's secrets can be made")?;
    let path = folder.path().to_owned();
    let mut show = Show::set_up(options, out, folder, sink, cancel).await?;
    show.play().await?;
    let mut summary = show.sum_up().await?;
    let gone = !path.exists();
    let detail = if gone { "stores, keys and certificates are removed" } else { "the folder is still there" };
    promise(&mut summary, sink, "nothing secret is left on this machine", gone, detail).await;
    Ok(summary)
}

/// Everything on the stage.
struct Show<'a> {
    options: &'a DemoOptions,
    out: &'a Path,
    sink: EventSink,
    cancel: &'a Cancel,
    folder: SecretFolder,
    network: Network,
    link: LiveLink,
    people: [Arc<Person>; 2],
    scene: Arc<Scene>,
    speech: [vernam_audio::Speech; 2],
    lengths: Lengths,
    budget: Budget,
    calls: Vec<CallSummary>,
    files: Vec<FileSummary>,
    promises: Vec<Check>,
    errand: Option<JoinHandle<anyhow::Result<(FileSummary, String)>>>,
    tapped: bool,
    /// Of everything that is simulated or made up; never of a key bit.
    seed: u64,
}

impl<'a> Show<'a> {
    async fn set_up(
        options: &'a DemoOptions,
        out: &'a Path,
        folder: SecretFolder,
        sink: &EventSink,
        cancel: &'a Cancel,
    ) -> anyhow::Result<Self> {
        let (epoch, sink) = (Instant::now(), sink.clone());
        if options.listen {
            // Said before anything is set up, and closed again until there is something to hear.
            drop(call::open_speaker()?);
        }
        let seed = options.seed.unwrap_or_else(rand::random);
        let lengths = Lengths::of(options);
        let file_bytes = plan::file_size(options)?;
        let budget = Budget::of(options, &lengths, file_bytes)?;
        let speech = voice::speech(&options.speech)?;
        let bit_rate = plan::codec(options, options.suites[0])?.bit_rate();
        sink.emit(DemoEvent::Started(plan(options, file_bytes, seed, bit_rate))).await;
        sink.emit(DemoEvent::ActBegan { act: Act::Setup }).await;

        let network = Network::start(&sink, folder.path()).await?;
        let mut config = LinkConfig::new(options.device.clone(), options.length_km);
        config.extra_loss_db = plan::EXTRA_LOSS_DB;
        let mut link = Link::new(config, &network, sink.clone())?;
        link.run_ahead(budget.made).await?;
        let link = link.go_live()?;

        let scene = Arc::new(Scene {
            sink: sink.clone(),
            pad_per_second: budget.pad_per_second,
            now: std::sync::Mutex::default(),
        });
        let mut people = Vec::with_capacity(2);
        for who in Who::BOTH {
            let own = who.index();
            let (wire, mark) = (wire(options, who, seed), budget.marks[own]);
            let setup = Setup { who, network: &network, folder: folder.path(), wire, mark, epoch };
            people.push(Arc::new(Person::start(setup, &scene)?));
        }
        let people: [Arc<Person>; 2] = people.try_into().map_err(|_two| anyhow::anyhow!("there are two people"))?;
        let mut show = Self {
            options,
            out,
            sink,
            cancel,
            folder,
            network,
            link,
            people,
            scene,
            speech,
            lengths,
            budget,
            calls: Vec::new(),
            files: Vec::new(),
            promises: Vec::new(),
            errand: None,
            tapped: false,
            seed,
        };
        show.connect().await?;
        Ok(show)
    }

    /// Alice's client dials Bob's; both confirm their key, and fill their stocks.
    async fn connect(&mut self) -> anyhow::Result<()> {
        let [alice, bob] = &self.people;
        alice.tell(Command::Connect { contact: alice.contact(), addr: bob.addr }).await?;
        let state = alice.until(PATIENCE, "the connection to Bob", |state| state.key_exchange.is_some()).await?;
        let key_exchange = state.key_exchange.unwrap_or_default();
        let hybrid = key_exchange.eq_ignore_ascii_case("X25519MLKEM768");
        self.sink
            .emit(DemoEvent::Connected { key_exchange: key_exchange.as_str().into(), cipher: OUTER_CIPHER.into() })
            .await;
        self.promise("the outer layer is TLS 1.3 with X25519MLKEM768", hybrid, &key_exchange).await;
        for person in &self.people {
            person.until(PATIENCE, "the key confirmation", |state| state.established).await?;
        }
        let marks = self.budget.marks;
        for (person, mark) in self.people.iter().zip(marks) {
            let filled = person.filled(PATIENCE, mark);
            tokio::select! {
                filled = filled => { filled?; }
                () = self.cancel.cancelled() => return Ok(()),
            }
        }
        // From here on the stock is only kept at what the last act needs, so that it can be seen to run out.
        for person in &self.people {
            person.tell(Command::SetMark { contact: person.contact(), bytes: self.budget.finale }).await?;
        }
        self.sink.emit(DemoEvent::ActEnded { act: Act::Setup }).await;
        Ok(())
    }

    /// The acts, one after the other, until somebody asks for the end.
    async fn play(&mut self) -> anyhow::Result<()> {
        if self.options.eve == EveChoice::FromTheStart {
            self.tap(true).await?;
        }
        let mut first = true;
        for act in self.options.acts() {
            if self.cancel.is_cancelled() {
                break;
            }
            let suite = match act {
                Act::OneTimePad => Suite::Otp,
                Act::Aes => Suite::Aes256Gcm,
                Act::ChaCha => Suite::ChaCha20Poly1305,
                Act::Eavesdropper => {
                    // The file's key and the last call's come from one stock: first the one, then the other.
                    self.finish_file().await?;
                    self.sink.emit(DemoEvent::ActBegan { act }).await;
                    self.tapped_call().await?;
                    self.sink.emit(DemoEvent::ActEnded { act }).await;
                    continue;
                }
                _ => continue,
            };
            self.sink.emit(DemoEvent::ActBegan { act }).await;
            self.call(suite, self.lengths.of_call(first), first).await?;
            first = false;
            self.sink.emit(DemoEvent::ActEnded { act }).await;
        }
        self.finish_file().await?;
        if self.tapped {
            if self.options.eve == EveChoice::FromTheStart {
                self.check_alarm().await;
            }
            self.tap(false).await?;
        }
        Ok(())
    }

    async fn tap(&mut self, on: bool) -> anyhow::Result<()> {
        // She measures every pulse and sends on what she saw.
        let share = if on { 1.0 } else { 0.0 };
        let eve =
            if on { Some(Eve::intercept_resend(share).context("an eavesdropper who reads everything")?) } else { None };
        self.link.set_eve(eve).await;
        self.tapped = on;
        self.sink.emit(DemoEvent::Eavesdropper { on, share }).await;
        Ok(())
    }

    /// Stops everything and adds up.
    async fn sum_up(mut self) -> anyhow::Result<Summary> {
        self.sink.emit(DemoEvent::ActBegan { act: Act::Summing }).await;
        self.check_calls().await;
        for person in &self.people {
            person.tell(Command::SetMark { contact: person.contact(), bytes: 0 }).await?;
        }
        // What was asked of the KMEs before is answered within this time, or shows as a sum that does not hold.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let accounts = [self.people[0].account().await?, self.people[1].account().await?];
        let Self { people, link, network, folder, mut promises, calls, files, sink, cancel, .. } = self;
        let made = link.stop().await?;
        for person in people {
            // Whatever else held it has ended.
            if let Some(person) = Arc::into_inner(person) {
                person.stop().await;
            }
        }
        let ledgers = network.accounting().await.context("a KME cannot read its books")?;
        let balanced = ledgers.iter().all(vernam_ledger::Accounting::balances);
        network.stop().await?;
        folder.close().context("the folder with the demo's secrets could not be removed")?;
        let books = books::books(made.bits, &ledgers, &accounts);
        let detail = format!(
            "A {} bits, B {} bits made; each is in one place only",
            super::summary::grouped(ledgers[0].made),
            super::summary::grouped(ledgers[1].made)
        );
        let check = Check { promise: "both KMEs account for every bit".into(), kept: balanced, detail: detail.into() };
        sink.emit(DemoEvent::Check(check.clone())).await;
        promises.push(check);
        let discarded_sifted_bits = made.discarded_sifted;
        Ok(Summary {
            books,
            discarded_sifted_bits,
            calls,
            files,
            cancelled: cancel.is_cancelled(),
            promises,
            ..Summary::default()
        })
    }

    async fn promise(&mut self, name: &str, kept: bool, detail: &str) {
        let check = Check { promise: name.into(), kept, detail: detail.into() };
        self.sink.emit(DemoEvent::Check(check.clone())).await;
        self.promises.push(check);
    }

    fn inbox(&self, who: Who) -> PathBuf {
        inbox(self.folder.path(), who)
    }
}

/// What both ends of the outer layer prefer; rustls's first choice where both are this program.
const OUTER_CIPHER: &str = "TLS 1.3";

async fn promise(summary: &mut Summary, sink: &EventSink, name: &str, kept: bool, detail: &str) {
    let check = Check { promise: name.into(), kept, detail: detail.into() };
    sink.emit(DemoEvent::Check(check.clone())).await;
    summary.promises.push(check);
}

fn plan(options: &DemoOptions, file_bytes: u64, seed: u64, bit_rate_bps: u32) -> Plan {
    Plan {
        acts: options.acts(),
        length_km: options.length_km,
        extra_loss_db: plan::EXTRA_LOSS_DB,
        device: options.device.name.as_str().into(),
        bit_rate_bps,
        frame_ms: plan::FRAME.millis(),
        loss_percent: options.loss_percent,
        delay_ms: options.delay.as_secs_f64() * 1_000.0,
        jitter_ms: options.jitter.as_secs_f64() * 1_000.0,
        seed,
        duration_s: options.duration.as_secs_f64(),
        file_bytes,
    }
}

/// What lies between a person's client and the network. Each end has its own luck.
fn wire(options: &DemoOptions, who: Who, seed: u64) -> WireSettings {
    let clean = options.loss_percent == 0.0 && options.delay.is_zero() && options.jitter.is_zero();
    let impairment = (!clean).then(|| Impairment {
        loss: options.loss_percent / 100.0,
        delay: options.delay,
        jitter: options.jitter,
        seed: seed.wrapping_add(who.index() as u64),
    });
    WireSettings { impairment, ..WireSettings::default() }
}
