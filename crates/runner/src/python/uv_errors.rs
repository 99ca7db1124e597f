//! Classifies uv's error text into kinds of failure, and passes the text on.
//!
//! uv has one exit code for all problems with the requirements and another for everything else, so the text decides.
//! The patterns are from uv 0.13.9; unknown text becomes [`FailureKind::Tool`] with uv's whole explanation.

use hybrid_cache_model::{Failure, FailureKind};

use crate::child::ProgramExit;
use crate::store::failure::disk_full;

/// Beginnings of progress lines, which do not explain an error.
const PROGRESS: [&str; 12] = [
    "Using Python",
    "Using CPython",
    "Creating virtual",
    "Activate with",
    "Resolved ",
    "Downloading ",
    "Downloaded ",
    "Prepared ",
    "Installed ",
    "Building ",
    "Built ",
    "warning: ",
];
const DISK_FULL: [&str; 3] = ["os error 28", "No space left on device", "Disk quota exceeded"];
const UNREACHABLE: [&str; 10] = [
    "error sending request",
    "dns error",
    "tcp connect error",
    "Connection refused",
    "Connection reset",
    "operation timed out",
    "tunnel error",
    "error trying to connect",
    "Network is unreachable",
    "Network connectivity is disabled",
];
const HASHES: [&str; 4] = [
    "Hash mismatch for",
    "Hash-checking is required",
    "In `--require-hashes` mode",
    "In `--verify-hashes` mode",
];
const NOT_WRITABLE: [&str; 3] = ["Read-only file system", "Permission denied", "os error 13"];

/// True if uv could not read a note in its cache, as after a power cut.
pub fn is_unreadable_note(failure: &Failure) -> bool {
    failure.message.contains("Failed to deserialize cache entry")
}

/// The failure for an unsuccessful exit of uv.
pub fn failure(command: &str, exit: &ProgramExit) -> Failure {
    let words = words(&exit.stderr);
    let has = |patterns: &[&str]| patterns.iter().any(|pattern| exit.stderr.contains(pattern));
    // Look for a full disk first and in the whole text: the last line often does not mention it.
    if has(&DISK_FULL) {
        return disk_full(format!("the volume filled up during `{command}`: {words}"));
    }
    if has(&[
        "No solution found",
        "unsatisfiable",
        "Failed to parse",
        "no usable wheels",
        "has no usable",
    ]) {
        return unsatisfiable(&words);
    }
    if has(&["was not found in the package registry"]) {
        return unknown_package(&words);
    }
    if has(&HASHES) {
        let message = format!("the packages do not have the hashes that the requirements demand: {words}");
        let hint = "give the hash of each package, also of those that others need, from a source that you trust";
        return Failure::new(FailureKind::Unsatisfiable, message).hint(hint);
    }
    if has(&UNREACHABLE) {
        return Failure::new(
            FailureKind::Offline,
            format!("the package index could not be reached: {words}"),
        )
        .hint("check the index setting, the proxy and the network policy of the preparing sandbox");
    }
    if has(&NOT_WRITABLE) {
        return Failure::new(
            FailureKind::CacheAccess,
            format!("`{command}` may not write to the volume: {words}"),
        )
        .hint("preparing needs the Python volume writable for the user the runner runs as");
    }
    let message = format!("`{command}` ended with {}: {words}", exit.describe());
    Failure::new(FailureKind::Tool, message)
}

fn unsatisfiable(words: &str) -> Failure {
    if words.contains("was not found in the package registry") || words.contains("was not found in the provided") {
        return unknown_package(words);
    }
    let failure = Failure::new(
        FailureKind::Unsatisfiable,
        format!("the requirements cannot be met: {words}"),
    );
    if words.contains("usable wheels") || words.contains("--no-build") || words.contains("no wheels with a matching") {
        return failure.hint("only packages with a wheel for this platform can be installed; try another version");
    }
    failure.hint("correct the requested versions, or allow more of them")
}

fn unknown_package(words: &str) -> Failure {
    Failure::new(
        FailureKind::UnknownPackage,
        format!("a package does not exist on the index: {words}"),
    )
    .hint("check the package's name; it is the name on the index, not the name in the import")
}

/// uv's own explanation, without progress lines.
fn words(stderr: &str) -> String {
    let kept: Vec<&str> = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !PROGRESS.iter().any(|start| line.trim_start().starts_with(start)))
        .collect();
    if kept.is_empty() {
        "it gave no reason".to_owned()
    } else {
        kept.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn kind(stderr: &str) -> FailureKind {
        explained(stderr).kind
    }

    fn explained(stderr: &str) -> Failure {
        let status = std::process::ExitStatus::from_raw(256);
        failure(
            "uv pip install",
            &ProgramExit {
                status,
                stderr: stderr.to_owned(),
            },
        )
    }

    #[test]
    fn each_text_of_uv_has_its_kind() {
        let none = "error: No solution found when resolving dependencies\n  cause: Because ";
        let fetch = "error: Failed to fetch: https://index/simple/numpy/\n  cause: error sending request for url\n";
        for (text, expected) in [
            (
                format!("{none}nosuch was not found in the package registry and you require nosuch, we can"),
                FailureKind::UnknownPackage,
            ),
            (
                format!("{none}you require numpy<2 and numpy>=2, we can conclude"),
                FailureKind::Unsatisfiable,
            ),
            (
                format!("{none}all versions of pycairo have no usable wheels and you"),
                FailureKind::Unsatisfiable,
            ),
            (format!("{fetch}  cause: dns error\n"), FailureKind::Offline),
            (
                format!("{fetch}  cause: write: No space left on device (os error 28)\n"),
                FailureKind::DiskFull,
            ),
            (
                "error: failed to create file: Read-only file system (os error 30)".into(),
                FailureKind::CacheAccess,
            ),
            ("thread main panicked".into(), FailureKind::Tool),
            (String::new(), FailureKind::Tool),
        ] {
            assert_eq!(kind(&text), expected, "{text}");
        }
    }

    #[test]
    fn uvs_explanation_is_kept_and_its_progress_is_dropped() {
        let stderr = "Using Python 3.11.7 environment at: env\nerror: No solution found when resolving dependencies\n  \
                    cause: Because you require numpy<2 and numpy>=2, we can conclude that your requirements are \
                    unsatisfiable.\n";
        let message = explained(stderr).message;
        assert!(
            message.contains("Because you require numpy<2 and numpy>=2, we can conclude that"),
            "{message}"
        );
        assert!(!message.contains("Using Python"), "{message}");
    }
}
