//! Keeps what sound libraries complain of on standard error (ALSA's and JACK's, which look for devices that most
//! machines do not have) from the person, to whom it says nothing; on a screen it would stand in the picture.
//!
//! It touches no sound. What this program itself writes goes on: through [`stderr`] the log, and by its hook a panic.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use rustix::stdio::dup2_stderr;
use tracing::level_filters::LevelFilter;

/// Standard error as it was, once it was ever put aside.
static OWN: OnceLock<File> = OnceLock::new();
/// [`Hushed`]s there are.
static HUSHED: AtomicUsize = AtomicUsize::new(0);
/// The hook that has panics heard.
static HOOK: Once = Once::new();

/// While one exists, what libraries write to standard error goes nowhere.
#[derive(Debug)]
pub(crate) struct Hushed(());

/// Has the libraries' complaints go nowhere from now on; not where the log tells everything (`--log debug`), among which
/// they belong. Where it cannot be done they are heard, and nothing else is the worse for it.
#[must_use]
pub(crate) fn hush() -> Option<Hushed> {
    if LevelFilter::current() >= LevelFilter::DEBUG {
        return None;
    }
    if OWN.get().is_none() {
        let own = io::stderr().as_fd().try_clone_to_owned().ok()?;
        let _first = OWN.set(File::from(own));
    }
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
    let nowhere = OpenOptions::new().write(true).open("/dev/null").ok()?;
    dup2_stderr(&nowhere).ok()?;
    HUSHED.fetch_add(1, Ordering::SeqCst);
    Some(Hushed(()))
}

fn restore() {
    if let Some(own) = OWN.get() {
        let _heard = dup2_stderr(own);
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        if HUSHED.fetch_sub(1, Ordering::SeqCst) == 1 {
            restore();
        }
    }
}

/// The standard error that the person sees, hushed or not.
pub fn stderr() -> impl Write {
    Stderr
}

struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OWN.get().map_or_else(|| io::stderr().write(bytes), |mut own| own.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        OWN.get().map_or_else(|| io::stderr().flush(), |mut own| own.flush())
    }
}
