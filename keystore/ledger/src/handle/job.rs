//! An operation that waits for its transaction, and who waits for its answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;

use tokio::sync::oneshot;

use crate::{Book, Fault, Unavailable};

/// An operation, whatever it returns.
pub(super) trait Job: Send {
    /// Runs it, and keeps what it returns until its transaction is durable.
    fn run(&mut self, book: &mut Book<'_>) -> Result<(), Fault>;
    /// Hands the result over, or says why there is none.
    fn answer(self: Box<Self>, outcome: Result<(), Unavailable>);
}

/// Who waits.
pub(super) enum Reply<T> {
    Async(oneshot::Sender<Result<T, Unavailable>>),
    Blocking(SyncSender<Result<T, Unavailable>>),
    Told(Box<dyn FnOnce(Result<T, Unavailable>) + Send>),
}

pub(super) struct Operation<T, F> {
    work: F,
    result: Option<T>,
    reply: Reply<T>,
}

impl<T, F: FnMut(&mut Book<'_>) -> Result<T, Fault>> Operation<T, F> {
    pub(super) fn new(work: F, reply: Reply<T>) -> Self {
        Self { work, result: None, reply }
    }
}

impl<T: Send, F: FnMut(&mut Book<'_>) -> Result<T, Fault> + Send> Job for Operation<T, F> {
    fn run(&mut self, book: &mut Book<'_>) -> Result<(), Fault> {
        self.result = None;
        // A panic in one operation must not end the ledger for all; its transaction is rolled back like after a fault.
        let run = AssertUnwindSafe(|| (self.work)(book));
        let result = catch_unwind(run).unwrap_or_else(|panic| Err(Fault(format!("panic: {}", words(&*panic)))))?;
        self.result = Some(result);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Unavailable>) {
        let Self { result, reply, .. } = *self;
        let result = outcome.and_then(|()| result.ok_or(Unavailable::Closed));
        // Whoever asked may have gone.
        match reply {
            Reply::Async(reply) => drop(reply.send(result)),
            Reply::Blocking(reply) => drop(reply.try_send(result)),
            Reply::Told(done) => done(result),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
