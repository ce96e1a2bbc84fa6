//! Two people with a telephone each: real `vernam` processes with homes of their own, real KMEs, a wire between them, and
//! a sound system with loudspeakers and microphones in software.
//!
//! Nothing here judges: it starts, tells, waits and reads. Everything started ends when it is dropped, by its process ID.
//!
//! ```text
//!   Kmes (this process) ──┬── vernam call bob   --home alice ── Wire ──┐
//!                         └── vernam answer     --home bob   ──────────┘    each a process, JSON Lines read
//! ```

mod handset;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vernam_ca::LabCa;

pub use self::handset::{Handset, PATIENCE, cpu_of, memory_of, peak_memory_of};
use crate::kmes::{self, Kmes};
use crate::sound::Sound;

/// Blocks of key between the KMEs: 4 MB for each direction, some minutes of one-time pad.
const BLOCKS: u64 = 64;
/// Who calls, and who is called.
pub const CALLER: &str = "alice";
/// Who is called.
pub const CALLED: &str = "bob";

/// Where two people live: their homes, and the KMEs that they get key from.
pub struct Town {
    program: PathBuf,
    folder: TempDir,
    kmes: Option<Kmes>,
    runtime: Runtime,
}

/// How a person's telephone is set up.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    /// The microphone's id; empty is the default one.
    pub microphone: String,
    /// The loudspeaker's id; empty is the default one.
    pub speaker: String,
    /// Whether echo and rumble are taken out, and the level evened. All change the sound, so scores are taken without.
    pub processing: bool,
    /// Whether noise is taken out.
    pub noise_suppression: bool,
}

impl Town {
    /// Two homes with `program`, the path of `vernam`.
    pub fn new(program: &str, habits: &[Habits; 2]) -> anyhow::Result<Self> {
        Self::with_key(program, habits, BLOCKS)
    }

    /// The same with so many blocks of key between the KMEs ([`kmes::BLOCK`]), half of them for each direction.
    pub fn with_key(program: &str, habits: &[Habits; 2], blocks: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ca = LabCa::new("the town's network")?;
        let kmes = runtime.block_on(Kmes::start(&ca, [&[CALLER], &[CALLED]], blocks))?;
        let folder = tempfile::Builder::new().prefix("vernam-town-").tempdir()?;
        for (name, other, kme, habits) in [(CALLER, CALLED, kmes.a, &habits[0]), (CALLED, CALLER, kmes.b, &habits[1])] {
            let home = folder.path().join(name);
            std::fs::create_dir(&home)?;
            std::fs::write(home.join("root.pem"), ca.root_pem())?;
            kmes::write_identity(&home, &ca, name)?;
            std::fs::write(home.join("home.toml"), home_toml(name, other, kme, habits))?;
        }
        Ok(Self { program: program.into(), folder, kmes: Some(kmes), runtime })
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `vernam answer`, on a free port of loopback, with more arguments. Returns it with where it listens.
    pub fn answer(&self, sound: Option<&Sound>, more: &[&str]) -> anyhow::Result<(Handset, SocketAddr)> {
        let listen = ["answer", "--json", "--listen", "127.0.0.1:0"];
        let handset = self.start(CALLED, sound, &[&listen, more].concat())?;
        let started = handset.wait("started");
        let address = started["address"].as_str().context("the address it listens on")?.parse()?;
        Ok((handset, address))
    }

    /// `vernam call`, to where the other answers or a wire to there.
    pub fn call(&self, sound: Option<&Sound>, address: SocketAddr, more: &[&str]) -> anyhow::Result<Handset> {
        let address = address.to_string();
        let call = ["call", CALLED, "--json", "--address", &address];
        self.start(CALLER, sound, &[&call, more].concat())
    }

    /// `vernam send`, from the caller to the called: where it listens, or a wire to there.
    pub fn send(&self, address: &str, more: &[&str]) -> anyhow::Result<Handset> {
        let send = ["send", CALLED, "--json", "--log", "info", "--address", address];
        self.start(CALLER, None, &[&send, more].concat())
    }

    /// `vernam receive`, of the called; returns it with where it listens.
    pub fn receive(&self, listen: SocketAddr, into: &Path, more: &[&str]) -> anyhow::Result<(Handset, SocketAddr)> {
        let (listen, into) = (listen.to_string(), into.display().to_string());
        let receive = ["receive", "--json", "--log", "info", "--listen", &listen, "--into", &into];
        let handset = self.start(CALLED, None, &[&receive, more].concat())?;
        let listening = handset.wait("listening");
        let address = listening["address"].as_str().context("the address it listens on")?.parse()?;
        Ok((handset, address))
    }

    /// The store of one of them, while no program of theirs runs.
    pub fn store(&self, name: &str) -> anyhow::Result<vernam_store::Store> {
        let home = self.folder.path().join(name);
        let anchors = self.folder.path().join(format!("{name}-state")).join("vernam/anchors");
        let key = vernam_store::StoreKey::load_or_create(home.join("store.key"))?;
        Ok(vernam_store::Store::open(home.join("store"), anchors, key)?)
    }

    /// What the programs of one of them wrote to standard error so far, one after the other.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join(format!("{name}.log")))?)
    }

    fn start(&self, name: &'static str, sound: Option<&Sound>, args: &[&str]) -> anyhow::Result<Handset> {
        let mut command = Command::new(&self.program);
        if let Some(sound) = sound {
            sound.surround(&mut command);
        }
        let home = self.folder.path().join(name);
        // What proves that a store is not an old one is not in the home.
        command.env("XDG_STATE_HOME", self.folder.path().join(format!("{name}-state")));
        command.args(args).arg("--home").arg(&home);
        Handset::start(name, command, &self.folder.path().join(format!("{name}.log")))
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(kmes) = self.kmes.take() {
            self.runtime.block_on(kmes.end());
        }
    }
}

fn home_toml(name: &str, other: &str, kme: SocketAddr, habits: &Habits) -> String {
    let Habits { microphone, speaker, processing, noise_suppression } = habits;
    let or_default = |device: &String| if device.is_empty() { "default".to_owned() } else { device.clone() };
    let files = format!("cert = \"{name}.pem\"\nkey = \"{name}.key\"\nroot = \"root.pem\"\n");
    format!(
        "name = \"{name}\"\n\n[identity]\n{files}\n[kme]\nurl = \"https://{kme}\"\n{files}\n\
         [sound]\nmicrophone = \"{}\"\nspeaker = \"{}\"\nringer = \"off\"\nheadphones = {}\n\
         echo_cancelling = {processing}\nhigh_pass = {processing}\ngain_control = {processing}\nnoise_suppression = {noise_suppression}\n\n\
         [[contact]]\nname = \"{other}\"\npolicy = \"aes\"\nstock = 1\n",
        or_default(microphone),
        or_default(speaker),
        !processing
    )
}
