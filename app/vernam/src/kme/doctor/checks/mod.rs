//! The checks, in the order in which they are run.

mod answers;
mod collecting;
mod connecting;
mod getting;
mod load;
mod requests;
mod status;

use std::sync::Arc;

use rustls::RootCertStore;

use super::exam::Exam;

/// Runs all of them.
pub(super) async fn run(exam: &mut Exam, roots: &Arc<RootCertStore>, drain: bool) {
    connecting::run(exam, roots).await;
    status::run(exam).await;
    getting::run(exam).await;
    collecting::run(exam).await;
    requests::run(exam).await;
    load::run(exam, drain).await;
    answers::run(exam).await;
}
