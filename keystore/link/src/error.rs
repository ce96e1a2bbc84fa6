//! What can go wrong with an end, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use vernam_qkd::LinkError;
use vernam_qkd::distil::{AuthKeyTooShort, EndConfigError};

use crate::SecretError;

/// An end cannot be set up, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The line or its equipment.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The distilling.
    #[error(transparent)]
    Distil(#[from] EndConfigError),
    /// The start-up secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A piece of the start-up secret is too short.
    #[error(transparent)]
    AuthKey(#[from] AuthKeyTooShort),
    /// Another setting.
    #[error("{what} cannot be {value}: {rule}")]
    Setting {
        /// What was set.
        what: &'static str,
        /// To what.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Certificates or private key.
    #[error("{what} cannot be used: {reason}")]
    Tls {
        /// Which of them.
        what: &'static str,
        /// What the TLS library says.
        reason: String,
    },
    /// A PEM file.
    #[error("{path} cannot be read: {reason}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The socket to listen on.
    #[error("nobody can be waited for at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bits to start the link with: {0}")]
    Randomness(#[from] rand::rngs::SysError),
    /// A fault of this program.
    #[error("the link stopped by a fault of this program, please report it: {0}")]
    Fault(String),
}

/// A connection that did not come about, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody answers.
    #[error("{peer} cannot be reached: {reason}; is the far end running, and the address right?")]
    Unreachable {
        /// Its address.
        peer: String,
        /// What the system says.
        reason: String,
    },
    /// It is not who it should be, or does not say who it is.
    #[error("{peer} {fault}")]
    Identity {
        /// Its address.
        peer: String,
        /// What is wrong, and what to do, as the rest of the sentence.
        fault: String,
    },
    /// It is not a far end that this one can work with.
    #[error("{0}")]
    Unlike(String),
    /// It told us why it does not want us.
    #[error("the far end refused: {0}")]
    ByPeer(String),
    /// The connection broke before both ends had greeted.
    #[error("the connection to {peer} broke in the greeting: {reason}")]
    Broken {
        /// Its address.
        peer: String,
        /// How.
        reason: String,
    },
}

/// Why a connection that had come about is no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The network, or the far end's computer, failed; or somebody meddled with the connection.
    #[error("{0}")]
    Broken(String),
    /// The far end ended it.
    #[error("the far end said goodbye: {0}")]
    Goodbye(String),
    /// The far end, which had lost the connection before we noticed, came back on a new one.
    #[error("the far end connected anew")]
    Replaced,
    /// The far end sent what cannot be.
    #[error("the far end sent what cannot be ({0}): are both ends of the same version?")]
    Malformed(String),
    /// No key is left to authenticate messages with.
    #[error("no key is left to authenticate with: a new run begins, with the next piece of the start-up secret")]
    NoAuthenticationKey,
}

impl Error {
    pub(crate) fn certificate(path: &Path, reason: &impl std::fmt::Display) -> Self {
        Self::Pem { path: path.to_owned(), reason: reason.to_string() }
    }
}
