//! Keeps what is in memory from the disk and from other programs: no core dumps, no debugger of the same user.
//!
//! A core file of a process that holds key holds the key, and lies about for years. This does not keep memory from the
//! swap: encrypt that, or have none.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off for this process and its children (the limit), and attaching to it (`prctl(2)`,
/// `PR_SET_DUMPABLE`), which also covers core dumps that go to a program and pay no heed to the limit.
///
/// # Errors
///
/// What the system says; the process can go on, and its user should know.
pub fn keep_from_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn no_core_is_left() {
        keep_from_dumps().expect("it asks for less");
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        keep_from_dumps().expect("again");
    }
}
