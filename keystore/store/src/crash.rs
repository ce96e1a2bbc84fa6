//! A crash before any durable step, for tests: it and every later one fail, and what was not synced may be lost.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result, disk};

/// What a crash does to writes and names that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing, as when the process is killed; a write under way is torn.
    Nothing,
    /// All of it, as when the power fails.
    Everything,
    /// Every other one: the disk wrote in its own order.
    EveryOther,
}

struct World {
    steps_left: u32,
    loss: Loss,
    crashed: bool,
    undo: Vec<Undo>,
}

enum Undo {
    Write { path: PathBuf, offset: u64, old: Vec<u8>, old_len: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf, content: Vec<u8> },
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Lets this thread do `steps` durable steps; the next one is the crash.
pub(crate) fn arm(steps: u32, loss: Loss) {
    WORLD.set(Some(World { steps_left: steps, loss, crashed: false, undo: Vec::new() }));
}

/// Ends the simulation and says whether the crash came.
pub(crate) fn disarm() -> bool {
    WORLD.take().is_some_and(|world| world.crashed)
}

pub(crate) fn before_step(path: &Path) -> Result<()> {
    step(path, |_world| {})
}

pub(crate) fn before_write(file: &File, path: &Path, buf: &[u8], offset: u64) -> Result<()> {
    let stepped = step(path, |world| {
        let old_len = file.metadata().unwrap().len();
        let mut old = vec![0; buf.len()];
        let kept = usize::try_from(old_len.saturating_sub(offset)).unwrap().min(buf.len());
        file.read_exact_at(&mut old[..kept], offset).unwrap();
        old.truncate(kept);
        world.undo.push(Undo::Write { path: path.to_owned(), offset, old, old_len });
    });
    let just_crashed = WORLD.with_borrow_mut(|world| match world {
        Some(world) => world.crashed && world.loss == Loss::Nothing && std::mem::take(&mut world.steps_left) == 1,
        None => false,
    });
    if just_crashed {
        file.write_all_at(&buf[..buf.len() / 2], offset).unwrap();
    }
    stepped
}

pub(crate) fn before_sync(path: &Path) -> Result<()> {
    step(path, |world| {
        world.undo.retain(|undo| !matches!(undo, Undo::Write { path: written, .. } if written == path));
    })
}

pub(crate) fn before_rename(from: &Path, to: &Path) -> Result<()> {
    step(from, |world| world.undo.push(Undo::Rename { from: from.to_owned(), to: to.to_owned() }))
}

pub(crate) fn before_remove(path: &Path) -> Result<()> {
    step(path, |world| world.undo.push(Undo::Remove { path: path.to_owned(), content: fs::read(path).unwrap() }))
}

pub(crate) fn before_sync_dir(dir: &Path) -> Result<()> {
    step(dir, |world| {
        world.undo.retain(|undo| match undo {
            Undo::Write { .. } => true,
            Undo::Rename { to: path, .. } | Undo::Remove { path, .. } => disk::parent(path) != dir,
        });
    })
}

/// Counts a step down; `note` keeps what must be known to undo it.
/// The crash leaves `steps_left` at 1 for the torn write.
fn step(path: &Path, note: impl FnOnce(&mut World)) -> Result<()> {
    WORLD.with_borrow_mut(|world| {
        let Some(world) = world else { return Ok(()) };
        if !world.crashed && world.steps_left > 0 {
            world.steps_left -= 1;
            note(world);
            return Ok(());
        }
        if !world.crashed {
            world.crashed = true;
            world.steps_left = 1;
            lose(std::mem::take(&mut world.undo), world.loss);
        }
        Err(Error::io("go on with", path)(io::Error::other("simulated crash")))
    })
}

fn lose(undo: Vec<Undo>, loss: Loss) {
    let every = match loss {
        Loss::Nothing => return,
        Loss::Everything => 1,
        Loss::EveryOther => 2,
    };
    for undo in undo.into_iter().rev().step_by(every) {
        match undo {
            Undo::Write { path, offset, old, old_len } => {
                // The file may have got its final name since.
                let names = [path.with_extension(""), path];
                let Some(file) = names.iter().find_map(|path| fs::OpenOptions::new().write(true).open(path).ok())
                else {
                    continue;
                };
                file.write_all_at(&old, offset).unwrap();
                file.set_len(old_len).unwrap();
            }
            Undo::Rename { from, to } => fs::rename(to, from).unwrap(),
            Undo::Remove { path, content } => fs::write(path, content).unwrap(),
        }
    }
}
