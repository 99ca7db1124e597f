//! What can go wrong before the mirror serves.

use std::path::{Path, PathBuf};

/// Why a mirror cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// A file or folder of the recording cannot be used.
    #[error("the recording of the mirror, {}: {source}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds something else, or a recording of another version.
    #[error("{} is not a recording that this version reads{}", path.display(), what)]
    NotARecording {
        /// The folder.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// Nothing has been recorded.
    #[error("{} holds no recording", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not what was recorded.
    #[error("the recording {} is damaged: {what}", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// An address of the machine's settings cannot be mirrored.
    #[error("the address of {label} cannot be mirrored: {why}")]
    Address {
        /// Which one. The address itself may hold a password.
        label: String,
        /// Why.
        why: String,
    },
    /// The server cannot listen on loopback, or its thread cannot be started.
    #[error("the mirror cannot be started: {0}")]
    Start(std::io::Error),
}

impl MirrorError {
    pub(crate) fn folder(path: &Path) -> impl FnOnce(std::io::Error) -> MirrorError {
        let path = path.to_owned();
        move |source| MirrorError::Folder { path, source }
    }
}
