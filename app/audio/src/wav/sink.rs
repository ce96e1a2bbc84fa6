//! Writes what was heard into a WAV file.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::{Result, SAMPLE_RATE, error::WavError};

/// Longest file that is written: its header counts bytes in 32 bits, which ends after 12.4 hours.
pub const MAX_SINK_HOURS: u64 = 12;

/// A 48 kHz mono 16 bit WAV file that grows frame by frame.
///
/// The file is whole after [`finish`](Self::finish) and also after a drop; when the process is killed it lacks at
/// most the last second.
pub struct WavSink {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    since_flush: usize,
}

impl WavSink {
    /// Creates the file, or empties it if it exists.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let spec =
            WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let file = match File::create(&path) {
            Ok(file) => file,
            Err(source) => return Err(WavError::Open { path, source }.into()),
        };
        let mut writer = WavWriter::new(BufWriter::new(file), spec).map_err(WavError::from)?;
        writer.flush().map_err(WavError::from)?;
        Ok(Self { writer, path, since_flush: 0 })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Samples written so far.
    pub fn samples(&self) -> u64 {
        u64::from(self.writer.duration())
    }

    /// Adds sound at the end. What would go beyond [`MAX_SINK_HOURS`] is refused; the file so far stays good.
    pub fn write(&mut self, pcm: &[i16]) -> Result<()> {
        if self.samples() + pcm.len() as u64 > MAX_SINK_HOURS * 3_600 * u64::from(SAMPLE_RATE) {
            return Err(WavError::Full { max_hours: MAX_SINK_HOURS }.into());
        }
        for &sample in pcm {
            self.writer.write_sample(sample).map_err(WavError::from)?;
        }
        self.since_flush += pcm.len();
        if self.since_flush >= SAMPLE_RATE as usize {
            self.since_flush = 0;
            self.writer.flush().map_err(WavError::from)?;
        }
        Ok(())
    }

    /// Writes the rest and closes the file; reports what a drop would keep to itself.
    pub fn finish(self) -> Result<()> {
        Ok(self.writer.finalize().map_err(WavError::from)?)
    }
}
