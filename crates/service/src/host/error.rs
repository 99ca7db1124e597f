//! Why a process does not serve, and whose fault that is.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::OpenError;
use crate::http::{AccessError, TokenFaults};

/// Why nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The token's file cannot be read.
    #[error("{path}: {source}")]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Others may read the token's file.
    #[error(
        "{path}: others may read it (mode {mode:04o})\nhint: `chmod 600 {path}`; whoever may have read it has the token, so make a new one"
    )]
    TokenReadable {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something that is no token.
    #[error("{}", faults.told(path))]
    Tokens {
        /// Which.
        path: PathBuf,
        /// All that is wrong with it.
        faults: TokenFaults,
    },
    /// Nobody may be let in like this.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}\nhint: {}", free(source))]
    Address {
        /// Which.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The system does not give what every process gets.
    #[error("{what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

/// Whose turn it is after an error: a program makes an exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The command line or a file it names is wrong.
    Usage,
    /// Something is taken or missing on this machine.
    Prerequisite,
    /// The program failed.
    Program,
}

impl HostError {
    /// Whose turn it is.
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
    /// Whose turn it is.
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
            "ports below 1024 are the administrator's; choose another one with --listen"
        }
        _ => "choose an address of this machine with --listen",
    }
}
