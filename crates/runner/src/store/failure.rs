//! Turns I/O errors into failures that name the action, the path and the next step.

use std::io;
use std::path::Path;

use hybrid_cache_model::{Failure, FailureKind};
use rustix::io::Errno;

/// Adds the action and the path to an I/O error.
pub trait IoContext<T> {
    /// `doing` completes "could not …": `create the folder`, `rename into place`.
    ///
    /// # Errors
    /// The same error as a [`Failure`]. A full disk, denied access and other errors have different kinds.
    fn io_context(self, doing: &str, path: &Path) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn io_context(self, doing: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| failure(&error.into(), doing, path))
    }
}

/// The failure for one I/O error, with a hint for its class.
pub fn failure(error: &io::Error, doing: &str, path: &Path) -> Failure {
    let message = format!("could not {doing} {}: {error}", path.display());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => disk_full(message),
        Some(Errno::ROFS) => Failure::new(FailureKind::CacheAccess, message)
            .hint("the volume is mounted read-only here; preparing needs it writable"),
        Some(Errno::ACCESS | Errno::PERM) => Failure::new(FailureKind::CacheAccess, message)
            .hint("check the owner and the mode of the folder against the user the runner runs as"),
        Some(Errno::NOENT | Errno::NOTDIR) => {
            Failure::new(FailureKind::CacheAccess, message).hint("check that the volume is mounted at that place")
        }
        Some(Errno::STALE | Errno::IO) => Failure::new(FailureKind::CacheAccess, message)
            .hint("the storage behind the volume does not respond; check the kernel's log"),
        _ => Failure::new(FailureKind::Internal, message),
    }
}

/// The failure for a volume without free space.
pub fn disk_full(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::DiskFull, message)
        .hint(
            "free space with `cargo xtask cache gc --max-bytes SIZE`, or enlarge the volume; `cargo xtask cache usage` shows \
             what it holds",
        )
}

/// True if the disk is full: no free blocks, inodes or quota.
pub fn is_disk_full(failure: &Failure) -> bool {
    failure.kind == FailureKind::DiskFull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(errno: Errno) -> FailureKind {
        Err::<(), _>(errno)
            .io_context("write", Path::new("/cache/x"))
            .unwrap_err()
            .kind
    }

    #[test]
    fn each_class_of_error_has_its_kind() {
        assert_eq!(kind(Errno::NOSPC), FailureKind::DiskFull);
        assert_eq!(kind(Errno::DQUOT), FailureKind::DiskFull);
        assert_eq!(kind(Errno::ROFS), FailureKind::CacheAccess);
        assert_eq!(kind(Errno::ACCESS), FailureKind::CacheAccess);
        assert_eq!(kind(Errno::INVAL), FailureKind::Internal);
    }

    #[test]
    fn the_message_names_the_action_and_the_path() {
        let failure = Err::<(), _>(Errno::NOSPC)
            .io_context("write", Path::new("/cache/x"))
            .unwrap_err();
        assert!(failure.message.starts_with("could not write /cache/x: "), "{failure}");
    }
}
