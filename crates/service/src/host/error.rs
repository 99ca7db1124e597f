//! Why a process does not serve, and which exit code that gives.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::OpenError;
use crate::http::{AccessError, TokenFaults};

/// Why the process does not serve.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The token file cannot be read.
    #[error("{path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Others can read the token file.
    #[error(
        "{path}: others can read it (mode {mode:04o})\nhint: `chmod 600 {path}`; someone may have read the token, so make a new one"
    )]
    TokenReadable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The token file holds something that is not a token.
    #[error("{}", faults.describe(path))]
    Tokens {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        faults: TokenFaults,
    },
    /// This address needs a token.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address is not available.
    #[error("cannot listen on {address}: {source}\nhint: {}", free(source))]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The system refused something that every process needs.
    #[error("{what}: {source}")]
    System {
        /// What was requested.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

/// The class of an error: a program turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The command line, or a file that it names, is wrong.
    Usage,
    /// Something on this machine is missing or in use.
    Prerequisite,
    /// The program failed.
    Program,
}

impl HostError {
    /// The class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            HostError::TokenFile { .. }
            | HostError::TokenReadable { .. }
            | HostError::Tokens { .. }
            | HostError::Access(_) => ErrorClass::Usage,
            HostError::Address { .. } => ErrorClass::Prerequisite,
            HostError::System { .. } => ErrorClass::Program,
        }
    }
}

impl OpenError {
    /// The class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            OpenError::InUse { .. } | OpenError::Locked { .. } => ErrorClass::Prerequisite,
            _ => ErrorClass::Program,
        }
    }
}

fn free(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; end it, or choose another port with --listen",
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need administrator rights; choose another one with --listen"
        }
        _ => "choose an address of this machine with --listen",
    }
}
