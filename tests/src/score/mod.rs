//! How well speech came over: PESQ and STOI, in Python, in a venv of its own.
//!
//! The measures are other people's (`tests/score/requirements.txt`, `pesq.txt`): nothing here judges our own work with our
//! own measure. It makes the venv once, below `target/`, and runs `tests/score/score.py`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

/// One recording to be scored.
#[derive(Debug, Clone, Serialize)]
pub struct Order {
    /// What to call it.
    pub name: String,
    /// What was said: WAV, one channel, 16 bits.
    pub said: PathBuf,
    /// What was heard, a whole recording: the said is looked for in it.
    pub heard: PathBuf,
    /// Into how many pieces, each scored by itself, the said is cut: 6 to 12 s each is what the measures are made for.
    pub pieces: u32,
}

/// How a recording scored.
#[derive(Debug, Clone, Deserialize)]
pub struct Score {
    /// What it is called.
    pub name: String,
    /// PESQ wide band, ITU-T P.862.2: 1.0 to 4.64, the mean over all pieces.
    pub pesq: f64,
    /// Short-time objective intelligibility: 0 to 1, the mean over all pieces.
    pub stoi: f64,
    /// Each piece.
    pub pieces: Vec<Piece>,
}

/// How a piece scored.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Piece {
    /// As in [`Score`].
    pub pesq: f64,
    /// As in [`Score`].
    pub stoi: f64,
    /// How much later it was heard than said, from the files' beginnings, milliseconds.
    pub delay_ms: f64,
}

/// Scores them all.
pub fn score(orders: &[Order]) -> anyhow::Result<Vec<Score>> {
    let python = python(&kept()?)?;
    let mut program = Command::new(python);
    program.arg(folder().join("score.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Two pairs of threads for one FFT help nobody on two cores.
    program.env("OMP_NUM_THREADS", "1").env("OPENBLAS_NUM_THREADS", "1");
    let mut child = program.spawn().context("Python cannot be run")?;
    let orders = serde_json::to_vec(orders)?;
    child.stdin.take().context("stdin was asked for")?.write_all(&orders)?;
    let scores = said(child.wait_with_output()?)?;
    serde_json::from_slice(&scores.stdout).context("score.py's answer is not what it promises")
}

/// The folder `target/tmp`, which stays from one run to the next: the tests' programs are in `target/PROFILE/deps`.
fn kept() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("a test's program is deep in a target folder")?;
    Ok(target.join("tmp"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("score")
}

/// The Python of a venv that has exactly what the two files pin. It is made anew when they change. Two processes may want
/// it at once: one makes it, the other waits.
fn python(kept: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(kept)?;
    let lock = std::fs::File::create(kept.join("score-venv.lock"))?;
    lock.lock().context("the venv's lock cannot be waited for")?;
    let files = [folder().join("requirements.txt"), folder().join("pesq.txt")];
    let mut pinned = Vec::new();
    for file in &files {
        pinned.extend(std::fs::read(file).with_context(|| file.display().to_string())?);
    }
    let venv = kept.join("score-venv");
    let (python, done) = (venv.join("bin").join("python"), venv.join("installed.txt"));
    if std::fs::read(&done).is_ok_and(|installed| installed == pinned) {
        return Ok(python);
    }
    let mut make = Command::new(system_python()?);
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    said(make.output()?).context("no venv can be made")?;
    let install = |more: &[&str], file: &Path| {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]);
        pip.arg("--require-hashes").args(more).arg("--requirement").arg(file);
        said(pip.output()?).with_context(|| {
            format!(
                "pip could not install {}. It needs a package index that it can reach, with exactly these files; PESQ is C \
                 and needs cc and Debian's python3-dev",
                file.display()
            )
        })
    };
    install(&["--only-binary", ":all:"], &files[0])?;
    install(&["--no-build-isolation"], &files[1])?;
    std::fs::write(done, pinned)?;
    Ok(python)
}

fn system_python() -> anyhow::Result<&'static str> {
    for python in ["python3", "/usr/bin/python3"] {
        let mut can = Command::new(python);
        can.args(["-c", "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"]);
        if can.output().is_ok_and(|found| found.status.success()) {
            return Ok(python);
        }
    }
    bail!("no python3, from 3.11 on, that makes a venv: install Debian's python3-venv (`make setup` for tests does it)")
}

/// What a program said, if it ended well.
fn said(output: Output) -> anyhow::Result<Output> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

#[cfg(test)]
mod tests;
