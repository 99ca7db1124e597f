//! What can go wrong while tools are found or brought, each with the object it happened to and the next step.
use std::path::{Path, PathBuf};

/// Why a tool could not be had. `Display` is one line; [`ToolError::hint`] is the next step, shown apart.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A file or folder could not be read, written or renamed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A pin file in the checkout is missing a piece or does not parse.
    #[error("{file}: {problem}")]
    Pins { file: &'static str, problem: String },
    /// A downloaded file is not the one that was pinned.
    #[error("{} is not the file that was pinned: expected sha256 {expected}, got {got}", file.display())]
    Checksum {
        file: PathBuf,
        expected: String,
        got: String,
    },
    /// A download failed at every source it was tried from.
    #[error("cannot download {what}: {problem}")]
    Download { what: String, problem: String },
    /// An archive could not be unpacked.
    #[error("cannot unpack {}: {problem}", archive.display())]
    Unpack { archive: PathBuf, problem: String },
    /// A program that had to run did not, or failed.
    #[error("{program} failed: {problem}")]
    Program { program: String, problem: String },
    /// A tool is neither on this machine nor to be had for it.
    #[error("{tool} is not available on this machine: {problem}")]
    Unavailable {
        tool: &'static str,
        problem: String,
        remedy: String,
    },
    /// Another process held the tool folder's lock for too long.
    #[error("{} is locked by another process for more than {waited_s} s", path.display())]
    Locked { path: PathBuf, waited_s: u64 },
}

impl ToolError {
    /// The next step for the person who reads the error, without the word `hint:`.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "check that the folder exists, is writable and that the disk is not full".into(),
            Self::Pins { file, .. } => {
                format!("restore {file} from git, or make debnix's pins anew with `cargo xtask debnix pin`")
            }
            Self::Checksum { file, .. } => format!(
                "delete {} and try again; if it happens twice a proxy or mirror alters files, ask whoever runs it",
                file.display()
            ),
            Self::Download { .. } => {
                "check the network and this machine's pip or apt settings, then try again: a download resumes".into()
            }
            Self::Unpack { archive, .. } => format!("delete {} and try again", archive.display()),
            Self::Program { .. } => "run the same program by hand to see its whole output".into(),
            Self::Unavailable { remedy, .. } => remedy.clone(),
            Self::Locked { path, .. } => {
                format!(
                    "wait for the other `cargo xtask` to end; if there is none, delete {}",
                    path.display()
                )
            }
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
