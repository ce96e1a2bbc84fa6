//! Decrypts a recording to a WAV file.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::PIECE_BYTES;
use super::format::{self, Key};
use super::recorder::create_private;
use crate::error::{RecordingError, WavError};
use crate::{Error, Result, SAMPLE_RATE};

/// What came out of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How long it lasts.
    pub duration: Duration,
    /// The end is missing: the recording was not finished, or the file was cut. What was whole before is there.
    pub cut_short: bool,
    /// Pieces of half a second that were changed after they had been written; they are silence.
    pub damaged: u32,
}

impl Exported {
    /// Whether all that was recorded is there, as it was recorded.
    pub fn is_whole(&self) -> bool {
        !self.cut_short && self.damaged == 0
    }
}

/// Decrypts a recording to a WAV file of two channels, what was said to the left and what was heard to the right:
/// 48 kHz, 16 bit. Never overwrites; only its owner can read the file. Stretching the passphrase takes some tenths of a
/// second and 64 MiB.
pub fn export(recording: &Path, passphrase: &str, wav: &Path) -> Result<Exported> {
    let file = File::open(recording).map_err(|source| RecordingError::Open { path: recording.to_owned(), source })?;
    let mut file = BufReader::new(file);
    let key = format::read_head(&mut file, |salt| Key::derive(passphrase, salt))?;
    let sound = create_private(wav)?;
    let exported = write_wav(&mut file, &key, sound);
    if exported.is_err() {
        // Ours, and of no use.
        let _ = fs::remove_file(wav);
    }
    exported
}

fn write_wav(recording: &mut impl Read, key: &Key, wav: File) -> Result<Exported> {
    let spec = WavSpec { channels: 2, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut wav = WavWriter::new(BufWriter::new(wav), spec).map_err(WavError::from)?;
    let ending = format::read_pieces(recording, key, PIECE_BYTES, |piece| {
        for sample in piece.as_chunks().0 {
            wav.write_sample(i16::from_le_bytes(*sample)).map_err(WavError::from)?;
        }
        Ok::<_, Error>(())
    })?;
    let duration = Duration::from_secs(u64::from(wav.duration())) / SAMPLE_RATE;
    wav.finalize().map_err(WavError::from)?;
    Ok(Exported { duration, cut_short: ending.cut_short, damaged: ending.damaged })
}
