//! The other build of a comparison: a program that exists, or a revision that is built here.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hybrid_cache_tools::{Checkout, Error, ErrorContext, Progress, Result, environment};
use xshell::{Shell, cmd};

use crate::folder::delete;

/// Folder for builds of revisions, below the checkout's root.
const BUILDS: &str = "target/against";
/// Revisions whose builds stay.
const KEPT: usize = 4;
/// How long any build stays: no bench that uses it takes as long.
const MIN_AGE: Duration = Duration::from_secs(7 * 86_400);
/// The built program, in the folder of its revision. A later build in the shared target folder does not replace it.
const PROGRAM: &str = "xtask-built";

/// What this program is compared with.
#[derive(Clone, Debug)]
pub enum OtherBuild {
    /// Another program, or a revision if there is no such file.
    Named(String),
    /// This program itself: whatever is found then is not true.
    Same,
}

/// Two builds to be measured side by side.
#[derive(Clone, Debug)]
pub struct TwoBuilds {
    /// This program.
    pub ours: PathBuf,
    /// The other one.
    pub other: OtherBuild,
    /// Where the caches of both are made, on the volume that tasks use.
    pub caches: PathBuf,
    /// Options that both get behind `run`, such as `--network none`.
    pub arguments: Vec<std::ffi::OsString>,
}

/// A program with the words that a report uses for it.
pub struct FoundBuild {
    /// The program.
    pub program: PathBuf,
    /// What it is, in a phrase.
    pub what: String,
}

/// Finds the other program, or builds it.
///
/// # Errors
/// There is neither such a program nor such a revision, or it does not build.
pub fn find(checkout: &Checkout, builds: &TwoBuilds, progress: &dyn Progress) -> Result<FoundBuild> {
    match &builds.other {
        OtherBuild::Same => Ok(FoundBuild {
            program: builds.ours.clone(),
            what: "the same program (self-check)".to_owned(),
        }),
        OtherBuild::Named(name) if Path::new(name).is_file() => {
            let program = Path::new(name).canonicalize();
            Ok(FoundBuild {
                program: program.with_context(|| format!("finding {name}"))?,
                what: "a program that was named".to_owned(),
            })
        }
        OtherBuild::Named(revision) => {
            let commit = commit(checkout, revision)?;
            let program = build(checkout, &commit, progress)?;
            let what = format!("revision {commit}");
            Ok(FoundBuild { program, what })
        }
    }
}

fn commit(checkout: &Checkout, revision: &str) -> Result<String> {
    let shell = Shell::new()?;
    let root = checkout.root();
    let wanted = format!("{revision}^{{commit}}");
    let found = cmd!(
        shell,
        "git -C {root} rev-parse --verify --quiet --end-of-options {wanted}"
    )
    .quiet();
    found.ignore_stderr().read().map_err(|_| {
        Error::input(format!(
            "--against {revision}: neither a file nor a revision of {}\nhint: name a file, or what git knows, such as `main`",
            root.display()
        ))
    })
}

/// Builds a revision. Its checkout stays, because the program looks there for its scenarios and builds its runner there.
fn build(checkout: &Checkout, commit: &str, progress: &dyn Progress) -> Result<PathBuf> {
    let builds = checkout.path(BUILDS);
    let folder = builds.join(commit);
    let program = folder.join(PROGRAM);
    if let Ok(built) = File::options().append(true).open(&program) {
        // The time of its last use decides how long it stays.
        built.set_modified(SystemTime::now())?;
        return Ok(program);
    }
    std::fs::create_dir_all(&builds).with_context(|| format!("making {}", builds.display()))?;
    // Builds share a target folder: another one could put its program in the place of ours before it is copied.
    let lock = File::create(builds.join(".lock"))?;
    if lock.try_lock().is_err() {
        return Err(Error::failed(
            "another bench builds a revision in this checkout\nhint: repeat the command when it has begun to measure",
        ));
    }
    forget_old(&builds, SystemTime::now())?;
    if !folder.is_dir() {
        progress.step(&format!("unpacking revision {commit}"));
        unpack(checkout, commit, &folder)?;
    }
    progress.step(&format!("building revision {commit} (the first time takes minutes)"));
    let shell = Shell::new()?;
    shell.change_dir(&folder);
    let cargo = environment::raw("CARGO").unwrap_or_else(|| "cargo".into());
    let target = builds.join("target");
    // The same profile as ours: an optimised build is no match for one that is not.
    let (profile, name): (&[&str], _) = if cfg!(debug_assertions) {
        (&[], "debug")
    } else {
        (&["--release"], "release")
    };
    cmd!(
        shell,
        "{cargo} build --quiet --locked --package xtask --bin xtask --target-dir {target}"
    )
    .args(profile)
    .quiet()
    .run()
    .with_context(|| format!("building revision {commit} in {}", folder.display()))?;
    let built = target.join(name).join("xtask");
    let made = tempfile::NamedTempFile::new_in(&folder)?;
    std::fs::copy(&built, made.path()).with_context(|| format!("copying {}", built.display()))?;
    made.persist(&program)
        .map_err(|error| error.error)
        .with_context(|| format!("writing {}", program.display()))?;
    Ok(program)
}

/// Deletes builds that were not used for a week, except the last few, and what an interrupted unpacking left. The caller has the lock.
fn forget_old(builds: &Path, now: SystemTime) -> Result<()> {
    let mut old = Vec::new();
    for entry in std::fs::read_dir(builds)? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !folder.is_dir() || name == "target" {
            continue;
        }
        // Without its program, the next build of this revision makes it again.
        old.push((used(&folder), folder));
    }
    old.sort();
    let count = old.len().saturating_sub(KEPT);
    for (_, folder) in old.into_iter().take(count) {
        // Once more: another bench may have begun to use it.
        if now.duration_since(used(&folder)).is_ok_and(|age| age > MIN_AGE) {
            delete(&folder)?;
        }
    }
    Ok(())
}

/// When a build was used last.
fn used(folder: &Path) -> SystemTime {
    let time = std::fs::metadata(folder.join(PROGRAM)).and_then(|file| file.modified());
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The files of a revision in a folder that appears whole or not at all, with this checkout's tools, which are pinned by digest.
fn unpack(checkout: &Checkout, commit: &str, folder: &Path) -> Result<()> {
    let builds = checkout.path(BUILDS);
    let staging = tempfile::tempdir_in(&builds)?;
    let archive = staging.path().join("archive.tar");
    let shell = Shell::new()?;
    let root = checkout.root();
    cmd!(shell, "git -C {root} archive --format=tar --output {archive} {commit}")
        .quiet()
        .run()?;
    let files = staging.path().join("files");
    tar::Archive::new(File::open(&archive)?).unpack(&files)?;
    let tools = checkout.path(".tools");
    std::fs::create_dir_all(&tools)?;
    let link = files.join(".tools");
    symlink(&tools, &link).with_context(|| format!("linking {}", link.display()))?;
    std::fs::rename(&files, folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hybrid_cache_tools::Silent;

    use super::*;

    /// A repository with one revision, in the form of a checkout.
    fn checkout(folder: &Path) -> Checkout {
        std::fs::create_dir(folder.join("bench-scenarios")).unwrap();
        std::fs::write(folder.join("bench-scenarios/one.yaml"), "name: one\n").unwrap();
        let shell = Shell::new().unwrap();
        shell.change_dir(folder);
        let git = |words: &[&str]| {
            let user = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"];
            cmd!(shell, "git")
                .args(user)
                .args(words)
                .quiet()
                .ignore_stdout()
                .run()
                .unwrap();
        };
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "one"]);
        Checkout::open(folder).unwrap()
    }

    #[test]
    fn a_revision_is_unpacked_whole_with_the_tools_of_this_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = checkout(folder.path());
        let commit = commit(&checkout, "HEAD").unwrap();
        let unpacked = checkout.path(BUILDS).join(&commit);
        std::fs::create_dir_all(checkout.path(BUILDS)).unwrap();
        unpack(&checkout, &commit, &unpacked).unwrap();
        assert!(Checkout::open(&unpacked).is_ok());
        let tools = unpacked.join(".tools").canonicalize().unwrap();
        assert_eq!(tools, checkout.path(".tools").canonicalize().unwrap());
        assert_eq!(
            std::fs::read_dir(checkout.path(BUILDS)).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn builds_that_nobody_used_for_a_week_are_deleted_except_the_last_few() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (number, days) in [(1, 9), (2, 8), (3, 7), (4, 6), (5, 5), (6, 0)] {
            let build = folder.path().join(number.to_string());
            std::fs::create_dir(&build).unwrap();
            let program = File::create(build.join(PROGRAM)).unwrap();
            program.set_modified(now - days * MIN_AGE).unwrap();
        }
        std::fs::create_dir(folder.path().join(".tmpx")).unwrap();
        std::fs::create_dir(folder.path().join("target")).unwrap();
        forget_old(folder.path(), now).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["3", "4", "5", "6", "target"]);
    }

    #[test]
    fn a_program_is_found_and_what_is_neither_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let checkout = checkout(folder.path());
        let program = folder.path().join("program");
        std::fs::write(&program, "").unwrap();
        let builds = |other| TwoBuilds {
            ours: "/ours".into(),
            other,
            caches: folder.path().to_owned(),
            arguments: Vec::new(),
        };
        let named = |name: &str| find(&checkout, &builds(OtherBuild::Named(name.to_owned())), &Silent);
        assert_eq!(
            named(program.to_str().unwrap()).unwrap().program,
            program.canonicalize().unwrap()
        );
        let error = named("no-such-branch").err().unwrap().to_string();
        assert!(error.contains("no-such-branch") && error.contains("hint:"), "{error}");
        assert!(named("--upload-pack=x").is_err(), "a name is no option of git");
        let same = find(&checkout, &builds(OtherBuild::Same), &Silent).unwrap();
        assert_eq!(same.program, Path::new("/ours"));
    }
}
