//! Classifies Nix's error text into kinds of failure with hints.

use std::path::Path;

use hybrid_cache_model::protocol::PackageSource;
use hybrid_cache_model::{Failure, FailureKind, system};
use serde_json::Value;

use crate::store::failure::disk_full;

/// The longest quotation of Nix in a message, in characters.
const MAX_QUOTE_CHARS: usize = 600;

/// Known error texts of Nix. The whole output is searched, because its last line often misleads: a full disk ends with
/// "this usually happens due to networking issues".
const ERROR_PATTERNS: [(&str, ErrorPattern); 17] = [
    ("No space left on device", ErrorPattern::DiskFull),
    ("database or disk is full", ErrorPattern::DiskFull),
    ("Disk quota exceeded", ErrorPattern::DiskFull),
    ("in selection path", ErrorPattern::UnknownPackage),
    ("does not provide attribute", ErrorPattern::UnknownPackage),
    ("debnix has no package", ErrorPattern::UnknownPackage),
    (
        "setting up a private mount namespace: Operation not permitted",
        ErrorPattern::Namespace,
    ),
    ("creating new namespace", ErrorPattern::Namespace),
    ("Couldn't resolve host", ErrorPattern::Offline),
    ("Could not resolve host", ErrorPattern::Offline),
    ("Couldn't connect to server", ErrorPattern::Offline),
    ("Failed to connect to", ErrorPattern::Offline),
    ("Timeout was reached", ErrorPattern::Offline),
    ("Connection timed out", ErrorPattern::Offline),
    ("unable to download", ErrorPattern::Offline),
    ("Read-only file system", ErrorPattern::NoAccess),
    ("Permission denied", ErrorPattern::NoAccess),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorPattern {
    DiskFull,
    UnknownPackage,
    Namespace,
    Offline,
    NoAccess,
}

/// The failure for `stderr`; `how` says how the program ended.
pub fn failure(name: &str, how: &str, stderr: &str) -> Failure {
    let pattern = ERROR_PATTERNS
        .iter()
        .find(|(text, _)| stderr.contains(text))
        .map(|(_, pattern)| *pattern);
    let said = quote(stderr, pattern);
    match pattern {
        Some(ErrorPattern::DiskFull) => disk_full(format!("the system volume is full: {said}")),
        Some(ErrorPattern::UnknownPackage) => unknown_package(stderr),
        Some(ErrorPattern::Namespace) => Failure::new(
            FailureKind::Sandbox,
            format!("{name} is not allowed to create a namespace: {said}"),
        )
        .hint("give nix-portable another runtime: NP_RUNTIME=bwrap or NP_RUNTIME=proot"),
        Some(ErrorPattern::Offline) => Failure::new(
            FailureKind::Offline,
            format!("the source of system packages could not be reached: {said}"),
        )
        .hint("check the network, the proxy and the certificates"),
        Some(ErrorPattern::NoAccess) => Failure::new(
            FailureKind::CacheAccess,
            format!("{name} may not write the system volume: {said}"),
        )
        .hint("check the owner and the mode of the volume against the user the runner runs as"),
        None => Failure::new(FailureKind::Tool, format!("{name} ended with {how}: {said}")),
    }
}

fn unknown_package(stderr: &str) -> Failure {
    let name = quoted_after(stderr, "attribute '").or_else(|| quoted_after(stderr, "attribute 'packages."));
    let message = match name {
        Some(name) => format!("the package source has no system package `{name}`"),
        None => "the package source does not have one of the system packages".to_owned(),
    };
    let failure = Failure::new(FailureKind::UnknownSystemPackage, message);
    match near_name(stderr) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("packages are named as nixpkgs names its attributes: gnumake, gcc, pkg-config"),
    }
}

/// The first name that Nix suggests: `Did you mean one of cmake, gnumake or …?`.
fn near_name(stderr: &str) -> Option<&str> {
    let rest = stderr.split_once("Did you mean ")?.1;
    let rest = rest.strip_prefix("one of ").unwrap_or(rest);
    rest.split([',', '?', ' ', '\n']).find(|word| !word.is_empty())
}

/// The text between a marker that ends in a quotation mark and the next one.
fn quoted_after<'a>(stderr: &'a str, marker: &str) -> Option<&'a str> {
    let rest = stderr.split_once(marker)?.1;
    let name = rest.split_once('\'')?.0;
    // Flakes print the full attribute: packages.x86_64-linux.gnumak.
    name.rsplit('.').next()
}

/// Replaces Nix's suggestion by one that knows common names: `mak` becomes `gnumake`, not `cmake`. Where the names are
/// known and none is near, the hint lists them: Nix would guess `jq` for `jdk`.
pub fn with_suggestion(failure: Failure, source: &PackageSource, packages: &[String]) -> Failure {
    if failure.kind != FailureKind::UnknownSystemPackage {
        return failure;
    }
    let known = known_packages(source);
    let unknown = packages
        .iter()
        .find(|package| failure.message.contains(&format!("`{package}`")));
    match unknown.and_then(|package| system::suggest(package, known.iter().map(String::as_str))) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None if known.is_empty() => failure,
        None => failure.hint(format!(
            "this source has {}; nixpkgs has many more: `--package-source nixpkgs`",
            listed(known)
        )),
    }
}

/// Names in alphabetical order, as a sentence lists them.
fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The package names of a source, if they are known without evaluation.
fn known_packages(source: &PackageSource) -> Vec<String> {
    let PackageSource::Debnix { folder, .. } = source else {
        return Vec::new();
    };
    let text = std::fs::read(Path::new(folder).join("pins.json")).unwrap_or_default();
    let pins: Value = serde_json::from_slice(&text).unwrap_or_default();
    let sets = pins.get("arch").and_then(Value::as_object).into_iter().flatten();
    let names = sets
        .filter_map(|(_, arch)| arch.get("set")?.as_object())
        .flat_map(|set| set.keys().cloned());
    names.collect()
}

/// The relevant lines, shortened.
fn quote(stderr: &str, pattern: Option<ErrorPattern>) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling: Vec<&str> = match pattern {
        // Use the last match: earlier ones are warnings of repeated attempts.
        Some(pattern) => lines()
            .rfind(|line| {
                ERROR_PATTERNS
                    .iter()
                    .any(|(text, its)| *its == pattern && line.contains(text))
            })
            .into_iter()
            .collect(),
        None => {
            let errors: Vec<&str> = lines().filter(|line| line.starts_with("error")).collect();
            if errors.is_empty() { lines().collect() } else { errors }
        }
    };
    let text = telling.join("; ");
    let cut = text.chars().count().saturating_sub(MAX_QUOTE_CHARS);
    // Keep the end of a long text, where the cause is.
    text.chars().skip(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stderr: &str, kind: FailureKind, words: &[&str]) {
        let failure = failure("nix build", "exit code 1", stderr);
        assert_eq!(failure.kind, kind, "{failure}");
        for word in words {
            assert!(failure.to_string().contains(word), "{failure} lacks {word}");
        }
    }

    #[test]
    fn a_full_disk_is_seen_through_the_misleading_last_line() {
        let stderr = "copying path…\nerror: writing to file: No space left on device\n\
                    error: some substitutes failed; this usually happens due to networking issues";
        check(stderr, FailureKind::DiskFull, &["No space left", "hint: "]);
        check(
            "error: executing SQLite statement: database or disk is full",
            FailureKind::DiskFull,
            &[],
        );
    }

    #[test]
    fn an_unknown_package_is_named_with_what_nix_guesses() {
        let stderr = "error: attribute 'gnumak' in selection path 'gnumak' not found\n       Did you mean gnumake?";
        check(
            stderr,
            FailureKind::UnknownSystemPackage,
            &["`gnumak`", "did you mean gnumake?"],
        );
        let stderr = "error: flake 'github:x' does not provide attribute 'packages.x86_64-linux.gnumak', \
                    'legacyPackages.x86_64-linux.gnumak' or 'gnumak'\n Did you mean one of gnumake or cmake?";
        check(
            stderr,
            FailureKind::UnknownSystemPackage,
            &["`gnumak`", "did you mean gnumake?"],
        );
    }

    #[test]
    fn the_suggestion_knows_the_names_people_use() {
        let dir = tempfile::tempdir().unwrap();
        let pins = r#"{"arch": {"x86_64": {"set": {"gnumake": [], "cmake": [], "git": []}}}}"#;
        std::fs::write(dir.path().join("pins.json"), pins).unwrap();
        let folder = dir.path().display().to_string();
        let source = PackageSource::Debnix {
            folder,
            mirrors: Vec::new(),
            busybox: String::new(),
        };
        let unknown = failure(
            "nix build",
            "exit code 1",
            "error: attribute 'mak' in selection path 'mak' not found",
        );
        let reported = with_suggestion(unknown, &source, &["mak".to_owned()]);
        assert_eq!(reported.hint.as_deref(), Some("did you mean gnumake?"));
        let stderr = "error: attribute 'jdk' in selection path 'jdk' not found\n Did you mean jq?";
        let reported = with_suggestion(
            failure("nix build", "exit code 1", stderr),
            &source,
            &["jdk".to_owned()],
        );
        let hint = reported.hint.unwrap();
        assert!(
            hint.starts_with("this source has cmake, git and gnumake; nixpkgs "),
            "{hint}"
        );
    }

    #[test]
    fn other_errors_have_their_own_kinds() {
        let offline = "error: unable to download 'http://m/x.deb': Couldn't resolve host name (6)";
        check(offline, FailureKind::Offline, &["could not be reached"]);
        let namespace = "error: setting up a private mount namespace: Operation not permitted";
        check(namespace, FailureKind::Sandbox, &["NP_RUNTIME"]);
        check(
            "error: opening lock file '/nix/var/x': Permission denied",
            FailureKind::CacheAccess,
            &[],
        );
        check(
            "warning: x\nerror: builder failed",
            FailureKind::Tool,
            &["exit code 1", "builder failed"],
        );
        check("", FailureKind::Tool, &[]);
    }
}
