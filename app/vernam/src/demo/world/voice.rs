//! A person's mouth and ear in the demo: recorded speech in, a WAV file out, and a record by which it can be checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vernam_audio::device::Speaker;
use vernam_audio::{AtEnd, Decision, FrameLength, PlayoutLog, SAMPLE_RATE, Speech, SpeechFrames, WavSink, replay};
use vernam_engine::VoiceIo;

use crate::demo::summary::Percentiles;

/// What one person said and heard in one call.
#[derive(Default)]
pub(crate) struct Record {
    /// Opus packets in the order of their numbers, and when their frame was captured whole.
    sent: Vec<(Vec<u8>, Duration)>,
    /// What was decided, and when its sound began to play.
    played: Vec<(Decision, Duration)>,
    /// Samples given to [`VoiceIo::play`], and samples that the decisions made.
    given: usize,
    made: i64,
    /// The first failure of the file or the loudspeaker.
    failure: Option<String>,
}

/// A handle to a [`Record`] that outlives the call.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Record>>);

impl Tape {
    fn open(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What failed while writing, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.open().failure.clone()
    }
}

/// Speech in, WAV out.
pub(crate) struct DemoVoice {
    frames: SpeechFrames,
    wav: WavSink,
    speaker: Option<Speaker>,
    tape: Tape,
    frame: FrameLength,
}

impl DemoVoice {
    pub(crate) fn new(
        speech: &Speech,
        frame: FrameLength,
        wav: &Path,
        speaker: Option<Speaker>,
        tape: Tape,
    ) -> anyhow::Result<Self> {
        Ok(Self { frames: speech.frames(frame, AtEnd::Loop), wav: WavSink::create(wav)?, speaker, tape, frame })
    }
}

impl VoiceIo for DemoVoice {
    fn capture(&mut self, pcm: &mut [i16]) {
        // It begins anew at its end, so there is always a next frame.
        let _more = self.frames.next_into(pcm);
    }

    fn play(&mut self, pcm: &[i16]) {
        let written = self.wav.write(pcm).map_err(|error| error.to_string());
        let spoken = match &mut self.speaker {
            Some(speaker) => speaker.write(pcm).map(|_frames| ()).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        let mut tape = self.tape.open();
        tape.given += pcm.len();
        if let Err(why) = written.and(spoken) {
            tape.failure.get_or_insert(why);
        }
    }

    fn sent(&mut self, _seq: u32, packet: &[u8], at: Duration) {
        self.tape.open().sent.push((packet.to_vec(), at));
    }

    fn played(&mut self, decision: Decision, at: Duration) {
        let mut tape = self.tape.open();
        // Given at `at` was the last frame of what was given; what was made before the decision is played before it.
        let given_before = i64::try_from(tape.given.saturating_sub(self.frame.samples())).unwrap_or(i64::MAX);
        let ahead = u64::try_from(tape.made - given_before).unwrap_or(0);
        let begins = at + Duration::from_micros(ahead * 1_000_000 / u64::from(SAMPLE_RATE));
        tape.made += decision.samples(self.frame);
        tape.played.push((decision, begins));
    }
}

/// What became of one direction of one call, from both ends' tapes.
pub(crate) struct Heard {
    /// From the first sample of a frame captured to the beginning of that frame's playing.
    pub(crate) delay: Percentiles,
    /// Whether the file holds, bit for bit, what a local Opus decoder makes of the same packets by the same decisions:
    /// of all of them in a row where nothing was lost and the delay stayed, else of those that were played, with Opus's
    /// own means for the rest, shortened and lengthened where the delay changed.
    pub(crate) identical: bool,
    /// Where the two first differ, or why they could not be compared.
    pub(crate) why: String,
}

/// Compares what was heard with what was said.
pub(crate) fn compare(said: &Tape, heard: &Tape, frame: FrameLength, wav: &Path) -> Heard {
    let (said, heard) = (said.open(), heard.open());
    let mut delays: Vec<f64> = Vec::with_capacity(heard.played.len());
    for (decision, at) in &heard.played {
        if let Decision::Packet(seq) = decision
            && let Some((_, captured)) = said.sent.get(*seq as usize)
        {
            delays.push((*at + frame.duration()).saturating_sub(*captured).as_secs_f64() * 1_000.0);
        }
    }
    let log: PlayoutLog = heard.played.iter().map(|(decision, _)| *decision).collect();
    let packet = |seq: u32| said.sent.get(seq as usize).map(|(packet, _)| packet.as_slice());
    let (identical, why) = match (replay(frame, &log, packet), read_back(wav)) {
        // The last of what was decoded was not played any more.
        (Ok(expected), Ok(found)) if expected.starts_with(&found) => {
            (true, format!("{} samples are equal", found.len()))
        }
        (Ok(expected), Ok(found)) => {
            let at = expected.iter().zip(&found).position(|(a, b)| a != b).unwrap_or(expected.len().min(found.len()));
            (false, format!("{} and {} samples, different from number {at} on", expected.len(), found.len()))
        }
        (Err(error), _) => (false, error.to_string()),
        (_, Err(error)) => (false, error),
    };
    Heard { delay: percentiles(delays), identical, why }
}

/// Frames that make up "the last seconds" of a delay.
const RECENT: usize = 150;

/// The delay of the last frames played.
pub(crate) fn recent_delay(said: &Tape, heard: &Tape, frame: Duration) -> Percentiles {
    let heard: Vec<_> = heard.open().played.iter().rev().take(RECENT).copied().collect();
    let said = said.open();
    let delay = |(decision, at): (Decision, Duration)| match decision {
        Decision::Packet(seq) => {
            let (_, captured) = said.sent.get(seq as usize)?;
            Some((at + frame).saturating_sub(*captured).as_secs_f64() * 1_000.0)
        }
        _ => None,
    };
    percentiles(heard.into_iter().filter_map(delay).collect())
}

fn read_back(wav: &Path) -> Result<Vec<i16>, String> {
    let mut reader = hound::WavReader::open(wav).map_err(|error| error.to_string())?;
    reader.samples::<i16>().collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn percentiles(mut values: Vec<f64>) -> Percentiles {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| {
        // The nearest rank; an empty list has no percentiles.
        let rank = (values.len() * share).div_ceil(100).max(1) - 1;
        values.get(rank).copied().unwrap_or(0.0)
    };
    Percentiles { p50_ms: at(50), p95_ms: at(95), p99_ms: at(99) }
}

/// The speech of both people: what was asked for, or the recordings that come with the program.
pub(crate) fn speech(paths: &[PathBuf]) -> anyhow::Result<[Speech; 2]> {
    const READER: &[u8] = include_bytes!("../../../../../assets/speech/reader.wav");
    const COMMANDS: &[u8] = include_bytes!("../../../../../assets/speech/commands.wav");
    let load = |path: Option<&PathBuf>, own: &[u8]| match path {
        Some(path) => Speech::load(path)
            // Its words hold its cause's words already.
            .map_err(|error| anyhow::anyhow!("the speech {} cannot be used: {error}", path.display())),
        None => Ok(Speech::from_reader(own)?),
    };
    Ok([load(paths.first(), READER)?, load(paths.get(1), COMMANDS)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = (1..=100).map(f64::from).rev().collect();
        assert_eq!(percentiles(hundred), Percentiles { p50_ms: 50.0, p95_ms: 95.0, p99_ms: 99.0 });
        assert_eq!(percentiles(vec![7.0]), Percentiles { p50_ms: 7.0, p95_ms: 7.0, p99_ms: 7.0 });
        assert_eq!(percentiles(Vec::new()), Percentiles::default());
    }
}
