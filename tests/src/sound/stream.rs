//! What is said into a microphone, and what is heard from a loudspeaker, while it happens.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use vernam_audio::WavSink;

use super::{Ended, RATE};

/// Bytes read at a time: 10 ms.
const CHUNK: usize = RATE as usize / 100 * 2;
/// Samples kept of one recording at most: twenty minutes.
const MAX_SAMPLES: usize = RATE as usize * 1_200;

/// How often something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once; then silence.
    Once,
    /// Again and again, without a gap.
    Endless,
}

/// Somebody speaking, until it is over or dropped.
#[derive(Debug)]
pub struct Said {
    player: Ended,
    feeder: Option<JoinHandle<()>>,
}

impl Said {
    pub(super) fn start(player: &mut Command, pcm: &[i16], times: Times) -> anyhow::Result<Self> {
        player.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut player = Ended(player.spawn().context("pacat cannot be run")?);
        let mut pipe = player.0.stdin.take().context("stdin was asked for")?;
        let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        // Ends when the player does: the pipe breaks.
        let feeder =
            std::thread::spawn(
                move || {
                    while pipe.write_all(&bytes).is_ok() && times == Times::Endless && !bytes.is_empty() {}
                },
            );
        Ok(Self { player, feeder: Some(feeder) })
    }

    /// Waits until all was said.
    pub fn wait(mut self) -> anyhow::Result<()> {
        let ended = self.player.0.wait()?;
        anyhow::ensure!(ended.success(), "pacat ended with {ended}");
        Ok(())
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _it_ended_already = self.player.0.kill();
        if let Some(feeder) = self.feeder.take() {
            let _no_panic_in_it = feeder.join();
        }
    }
}

/// What was heard, 48 kHz mono.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The samples.
    pub pcm: Vec<i16>,
    /// When the first of them was heard, as well as it can be told: the earliest beginning that any arrival allows.
    pub began: Instant,
}

impl Recording {
    /// Writes it as a WAV file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut sink = WavSink::create(path)?;
        sink.write(&self.pcm)?;
        Ok(sink.finish()?)
    }

    /// The part from `from` on, for `length`, or as much of it as there is.
    pub fn part(&self, from: Duration, length: Duration) -> &[i16] {
        let [from, length] = [from, length].map(samples_in);
        let from = from.min(self.pcm.len());
        &self.pcm[from..(from + length).min(self.pcm.len())]
    }

    /// Seconds in which something was louder than `least`, of each whole second.
    pub fn loud_seconds(&self, least: u16) -> Vec<bool> {
        let is_loud = |second: &[i16]| second.iter().any(|sample| sample.unsigned_abs() > least);
        self.pcm.chunks_exact(RATE as usize).map(is_loud).collect()
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.pcm.len() as u64) / RATE
    }
}

/// The samples in a time.
fn samples_in(time: Duration) -> usize {
    usize::try_from(time.as_micros() * u128::from(RATE) / 1_000_000).unwrap_or(usize::MAX)
}

/// Somebody listening, until dropped.
#[derive(Debug)]
pub struct Listener {
    recorder: Ended,
    heard: Arc<Mutex<Heard>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    pcm: Vec<i16>,
    began: Option<Instant>,
    is_over: bool,
}

impl Listener {
    /// Returns once the first sound, or silence, has come.
    pub(super) fn start(recorder: &mut Command) -> anyhow::Result<Self> {
        recorder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut recorder = Ended(recorder.spawn().context("parec cannot be run")?);
        let mut pipe = recorder.0.stdout.take().context("stdout was asked for")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let tape = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; CHUNK];
            while pipe.read_exact(&mut chunk).is_ok() {
                open(&tape).take(&chunk, Instant::now());
            }
            open(&tape).is_over = true;
        });
        let listener = Self { recorder, heard, thread: Some(thread) };
        listener.until(Duration::from_millis(1))?;
        Ok(listener)
    }

    /// Waits until so much was heard, silence included.
    pub fn until(&self, length: Duration) -> anyhow::Result<()> {
        let (wanted, begin) = (samples_in(length), Instant::now());
        loop {
            let heard = open(&self.heard);
            if heard.pcm.len() >= wanted {
                return Ok(());
            }
            if heard.is_over || begin.elapsed() > length + super::PATIENCE {
                bail!("only {} of {wanted} samples were heard", heard.pcm.len());
            }
            drop(heard);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What was heard so far.
    pub fn so_far(&self) -> Recording {
        let heard = open(&self.heard);
        Recording { pcm: heard.pcm.clone(), began: heard.began.unwrap_or_else(Instant::now) }
    }

    /// Ends it.
    pub fn stop(mut self) -> Recording {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        let _it_ended_already = self.recorder.0.kill();
        if let Some(thread) = self.thread.take() {
            let _no_panic_in_it = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

impl Heard {
    fn take(&mut self, chunk: &[u8], now: Instant) {
        if self.pcm.len() >= MAX_SAMPLES {
            return;
        }
        self.pcm.extend(chunk.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)));
        // Sound arrives late by this or that much, but never early: the least delay says when it began.
        let began = now.checked_sub(Duration::from_secs(self.pcm.len() as u64) / RATE).unwrap_or(now);
        self.began = Some(self.began.map_or(began, |before| before.min(began)));
    }
}

fn open(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
