//! Classifies uv's error text into kinds of failure, and passes the text on.
//!
//! uv has one exit code for all problems with the requirements and another for everything else, so the text decides.
//! The patterns are from uv 0.13.9; unknown text becomes [`FailureKind::Tool`] with uv's whole explanation.

use hybrid_cache_model::protocol::Interpreter;
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
/// What uv says if an index or a file wants another login.
const LOGIN: [&str; 4] = [
    "lack of valid authentication credentials",
    "(401 Unauthorized)",
    "(403 Forbidden)",
    "Missing credentials for",
];
/// Where uv's advice begins to give up the protection against packages of the same name on another index.
const UNSAFE_ADVICE: &str = " By default, uv will only consider versions that are published on the first index";
/// What uv says once the code of a package is involved.
const BUILDING: [&str; 5] = [
    "Failed to build",
    "Failed to download and build",
    "Build backend",
    "has an invalid package format",
    "has inconsistent metadata",
];
const NO_COMPILER: [&str; 8] = [
    "command 'gcc' failed",
    "command 'cc' failed",
    "command 'g++' failed",
    "gcc: not found",
    "cc: not found",
    "unable to find a compiler",
    "No CMAKE_C_COMPILER could be found",
    "No such file or directory: 'gcc'",
];
const NOT_WRITABLE: [&str; 3] = ["Read-only file system", "Permission denied", "os error 13"];

/// What a message about an index that wants another login begins with.
const DENIED: &str = "a package index denied access: ";

/// True if an index denied access.
pub fn is_denied(failure: &Failure) -> bool {
    failure.kind == FailureKind::Tool && failure.message.starts_with(DENIED)
}

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
    // Look for this before a package that does not exist: uv looks no further than an index that denies access.
    if has(&LOGIN) {
        let message = format!("{DENIED}{words}");
        return Failure::new(FailureKind::Tool, message)
            .hint("the operator gives user names and passwords of indexes in the settings file (docs/settings.md)");
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
    if has(&["was included as a URL dependency"]) {
        let message = format!("a package names an address for another one: {words}");
        let hint = "only a requirement of the task may name an address: add a line for that package";
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
    if words.contains("usable wheels") || words.contains("--no-build") || words.contains("no wheels with a matching") {
        return no_wheel(words);
    }
    unmet(words)
}

/// What a message about versions that do not fit each other begins with.
const UNMET: &str = "the requirements cannot be met: ";

/// True if versions do not fit each other.
pub fn is_unmet(failure: &Failure) -> bool {
    failure.kind == FailureKind::Unsatisfiable && failure.message.starts_with(UNMET)
}

fn unmet(words: &str) -> Failure {
    let message = format!("{UNMET}{words}");
    Failure::new(FailureKind::Unsatisfiable, message).hint("correct the requested versions, or allow more of them")
}

fn no_wheel(words: &str) -> Failure {
    let message = format!("a package has no wheel: {words}");
    Failure::new(FailureKind::NoWheel, message).hint("try another version of the package")
}

/// `failure` with the interpreter that no wheel fits, and why nothing was built.
pub fn not_built(failure: Failure, interpreter: &Interpreter, no_builds: bool) -> Failure {
    let message = format!("{} (no wheel for {})", failure.message, described(interpreter));
    let hint = match no_builds {
        true => "packages without a wheel are not built here (`--no-builds`); try another version, or another Python",
        false => "nothing builds packages without a wheel here; try another version, or another Python",
    };
    Failure::new(failure.kind, message).hint(hint)
}

fn described(interpreter: &Interpreter) -> String {
    let libc = match interpreter.libc.as_str() {
        "" => String::new(),
        libc => format!(", {libc}"),
    };
    format!(
        "{} {} on {}{libc}",
        interpreter.implementation, interpreter.version, interpreter.platform
    )
}

/// The failure of uv in the sandbox that may run code of packages; `step` is what it did there. `said` may be a
/// stranger's text.
pub fn of_build(step: &str, said: &str, without_login: bool, interpreter: &Interpreter) -> Failure {
    let words = words(said);
    let has = |patterns: &[&str]| patterns.iter().any(|pattern| words.contains(pattern));
    if has(&["was not found in the package registry", "was not found in the provided"]) && !has(&BUILDING) {
        return unknown_package(&words);
    }
    if has(&["No solution found"]) && !has(&BUILDING) {
        return unmet(&words);
    }
    if has(&["Hash mismatch for"]) {
        let message = format!("a source distribution does not have the hash that the index gives: {words}");
        return Failure::new(FailureKind::Unsatisfiable, message).hint("run the task again; check the index");
    }
    let message = format!(
        "a package without a wheel for {} could not be built ({step}): {words}",
        described(interpreter)
    );
    let is_offline = has(&UNREACHABLE) && !has(&BUILDING);
    let kind = if is_offline {
        FailureKind::Offline
    } else {
        FailureKind::NoWheel
    };
    let failure = Failure::new(kind, message);
    if has(&UNREACHABLE) {
        let hint = match without_login {
            true => {
                "the sandbox that builds gets no user name and no password of an index or proxy, because code of packages runs in it"
            }
            false => "the sandbox that builds has the network of tasks; it must reach the package index",
        };
        return failure.hint(hint);
    }
    if has(&NO_COMPILER) {
        return failure
            .hint("name the build tools among the system packages, such as gcc, gnumake, cmake or pkg-config");
    }
    if has(&["Python.h"]) {
        return failure.hint("the interpreter has no header files here; ask for a version of the package with a wheel");
    }
    failure.hint("try a version of the package that has a wheel")
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
        .map(|line| line.split(UNSAFE_ADVICE).next().unwrap_or(line).trim_end())
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
                FailureKind::NoWheel,
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
    fn a_failed_build_has_the_kind_and_the_next_step_of_its_cause() {
        let interpreter = Interpreter {
            path: "/usr/bin/python3".into(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: "linux-x86_64".into(),
            libc: "glibc 2.36".into(),
            binary_hash: String::new(),
            start: String::new(),
        };
        let none = "error: No solution found when resolving dependencies\n  cause: Because ";
        let build = "error: Failed to build `x==1.0`\n  cause: ";
        for (said, kind, word) in [
            (
                format!("{none}nosuch was not found in the package registry"),
                FailureKind::UnknownPackage,
                "name",
            ),
            (
                format!("{none}you require a<1 and a>=1"),
                FailureKind::Unsatisfiable,
                "versions",
            ),
            (
                format!("{none}x==1.0 has inconsistent metadata"),
                FailureKind::NoWheel,
                "has a wheel",
            ),
            (
                format!("{build}error: command 'gcc' failed: No such file"),
                FailureKind::NoWheel,
                "gcc",
            ),
            (format!("{build}dns error"), FailureKind::NoWheel, "network of tasks"),
            (
                "error: Failed to fetch: x\n  cause: dns error".into(),
                FailureKind::Offline,
                "network of tasks",
            ),
        ] {
            let failure = of_build("resolving", &said, false, &interpreter);
            assert_eq!(failure.kind, kind, "{said}");
            assert!(failure.hint.as_deref().unwrap_or_default().contains(word), "{failure}");
        }
        let failure = of_build("resolving", "dns error", true, &interpreter).to_string();
        assert!(
            failure.contains("no password") && failure.contains("cpython 3.11.7 on linux-x86_64, glibc 2.36"),
            "{failure}"
        );
    }

    #[test]
    fn an_index_that_denies_access_is_not_a_package_that_does_not_exist() {
        let denied = "error: No solution found when resolving dependencies\n  cause: Because ours was not found in the package \
                      registry and you require ours\n\nhint: An index URL (https://packages.example/simple) could not be queried \
                      due to a lack of valid authentication credentials (401 Unauthorized)\n";
        let failure = explained(denied);
        assert_eq!(failure.kind, FailureKind::Tool);
        assert!(failure.message.contains("denied access") && failure.message.contains("packages.example"));
        let elsewhere = "error: No solution found when resolving dependencies\n  cause: Because there is no version of \
                         torch==2.3.0\n\nhint: `torch` was found on https://a.test/simple, but not at the requested version \
                         (torch==2.3.0). A compatible version may be available on a subsequent index (e.g., https://b.test/simple). \
                         By default, uv will only consider versions that are published on the first index that contains a given \
                         package, to avoid dependency confusion attacks. If all indexes are equally trusted, use `--index-strategy \
                         unsafe-best-match` to consider all versions.\n";
        let reported = explained(elsewhere).message;
        assert!(
            reported.contains("subsequent index") && !reported.contains("unsafe"),
            "{reported}"
        );
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
