//! Errors of finding and downloading tools, each with its object and the next step.
use std::path::{Path, PathBuf};

/// Why a tool is not available. `Display` is one line; [`ToolError::hint`] is the next step, shown on its own line.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A file or folder could not be read, written or renamed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action as a verb: `read`, `rename`…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A pin file in the checkout is missing a piece or does not parse.
    #[error("{file}: {problem}")]
    Pins {
        /// The file, from the checkout's root.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The digest of a downloaded file differs from the pinned one.
    #[error("{} is not the file that was pinned: expected sha256 {expected}, got {got}", file.display())]
    Checksum {
        /// The downloaded file.
        file: PathBuf,
        /// The pinned digest, in hexadecimal.
        expected: String,
        /// The file's digest.
        got: String,
    },
    /// A download failed from every source.
    #[error("cannot download {what}: {problem}")]
    Download {
        /// The object of the download.
        what: String,
        /// The last source's error.
        problem: String,
    },
    /// An archive could not be unpacked.
    #[error("cannot unpack {}: {problem}", archive.display())]
    Unpack {
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A program could not be started, or failed.
    #[error("{program} failed: {problem}")]
    Program {
        /// The program as it was started.
        program: String,
        /// How the program ended, and its last lines of output.
        problem: String,
    },
    /// A tool is not on this machine, and cannot be downloaded either.
    #[error("{tool} is not available on this machine: {problem}")]
    Unavailable {
        /// The tool.
        tool: &'static str,
        /// Why the tool can be neither found nor downloaded.
        problem: String,
        /// The next step.
        remedy: String,
    },
    /// Another process held the tool folder's lock for too long.
    #[error("another process has held the lock {} for more than {waited_s} s", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Seconds waited for it.
        waited_s: u64,
    },
}

impl ToolError {
    /// The next step for the person who reads the error, without the word `hint:`.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "check that the folder exists, is writable and that the disk is not full".into(),
            Self::Pins { file, .. } => {
                format!("restore {file} from git, or write the pins of debnix again with `cargo xtask debnix pin`")
            }
            Self::Checksum { file, .. } => format!(
                "delete {} and try again; if it happens twice, a proxy or mirror changes files: ask its administrator",
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
