//! Byte-code without paths in it, compiled once for each source and linked into every environment that has that source.
//!
//! An ordinary `.pyc` holds the path of its source and is different in every environment: sixteen megabytes for ten
//! environments that share numpy, against three. Here the path inside is `/env/…` whatever the environment's folder
//! is called (the interpreter puts the real one in when it loads the file, so tracebacks are right) and validity is not
//! checked against the source (`unchecked-hash`): the environment never changes after it was published.
//!
//! Sources in folders called `tests` are left out. numpy alone has 250 of them, half of its sources; they are
//! not imported by the programs that use a package, and where one is, the interpreter compiles it in memory.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind};

use super::child::{self, Patience};
use super::explain;
use super::record::{self, Installed};
use crate::store::{At, publish};

const COMPILE: &str = include_str!("compile.py");
/// Where an environment claims to be, inside its byte-code.
const SHOWN_ENVIRONMENT: &str = "/env";
/// Lowest priority there is: the user's program may be running already and comes first.
const NICE: i32 = 19;
/// Fewer sources than this are not worth another interpreter.
const SOURCES_PER_PROCESS: usize = 24;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Byte-code that the pool had.
    pub reused: usize,
    /// Byte-code that was missing from the pool.
    pub compiled: usize,
    /// Sources that are no valid Python.
    pub skipped: usize,
}

/// One source and its two places of byte-code.
struct Unit {
    source: PathBuf,
    shown: String,
    size: u64,
    pooled: PathBuf,
    linked: PathBuf,
}

/// Gives every source of the environment its byte-code.
///
/// # Errors
/// The volume cannot be written, the interpreter cannot be started, or `patience` ended.
pub fn provide(
    pool: &Path,
    installed: &Installed,
    interpreter: &Interpreter,
    work: &Path,
    patience: &Patience,
) -> Result<Compiled, Failure> {
    let units = units(pool, installed, interpreter);
    let mut compiled = Compiled::default();
    let mut missing = Vec::new();
    for unit in &units {
        if link(unit)? {
            compiled.reused += 1
        } else {
            missing.push(unit)
        }
    }
    compile(&missing, interpreter, work, patience)?;
    for unit in missing {
        if link(unit)? {
            compiled.compiled += 1
        } else {
            compiled.skipped += 1
        }
    }
    Ok(compiled)
}

fn units(pool: &Path, installed: &Installed, interpreter: &Interpreter) -> Vec<Unit> {
    let entries = installed.distributions.iter().flat_map(|one| &one.entries);
    let wanted = entries.filter(|entry| {
        entry.path.ends_with(".py") && !entry.hash.is_empty() && !record::leaves(&entry.path) && !is_test(&entry.path)
    });
    let site = installed.site_packages.components().rev().take(3).collect::<Vec<_>>();
    let site: PathBuf = site.into_iter().rev().collect();
    let shown_site = Path::new(SHOWN_ENVIRONMENT).join(site);
    wanted
        .map(|entry| {
            let source = installed.site_packages.join(&entry.path);
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            let linked = source
                .with_file_name("__pycache__")
                .join(format!("{stem}.{}.pyc", interpreter.abi));
            let shown = shown_site.join(&entry.path).to_string_lossy().into_owned();
            let size = entry.size.unwrap_or_default();
            Unit {
                pooled: pooled(pool, &entry.path, &entry.hash, interpreter),
                source,
                shown,
                size,
                linked,
            }
        })
        .collect()
}

/// True for a source below a folder called `tests` that is itself inside a package.
fn is_test(path: &str) -> bool {
    path.split('/').skip(1).any(|part| part == "tests")
}

/// The full version is part of the address: the same ABI tag covers releases that compile differently.
fn pooled(pool: &Path, path: &str, hash: &str, interpreter: &Interpreter) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    for field in [interpreter.version.as_str(), path, hash] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    }
    let hex = hasher.finalize().to_hex().to_string();
    pool.join(&interpreter.abi)
        .join(&hex[..2])
        .join(format!("{}.pyc", &hex[2..34]))
}

/// Links byte-code from the pool into the environment; false where the pool does not have it.
fn link(unit: &Unit) -> Result<bool, Failure> {
    for _ in 0..2 {
        match std::fs::hard_link(&unit.pooled, &unit.linked) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = unit.linked.parent().unwrap_or(Path::new("."));
                if folder.is_dir() || !unit.pooled.exists() {
                    return Ok(false);
                }
                publish::ensure_folder(folder)?;
            }
            // The file has as many names as the file system allows: this environment goes without.
            Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => return Ok(true),
            Err(error) => return Err(error).at("link byte-code to", &unit.linked),
        }
    }
    Ok(false)
}

fn compile(missing: &[&Unit], interpreter: &Interpreter, work: &Path, patience: &Patience) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    for unit in missing {
        publish::ensure_folder(unit.pooled.parent().unwrap_or(Path::new(".")))?;
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shares = shares(missing, cpus.min(missing.len().div_ceil(SOURCES_PER_PROCESS)));
    std::thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| compile_share(share, interpreter, work, patience)))
            .collect();
        for thread in running {
            let bug = |_| Failure::new(FailureKind::Internal, "a thread that compiles byte-code panicked");
            thread.join().map_err(bug).flatten()?;
        }
        Ok(())
    })
}

/// Largest first, each to the share with the least in it: all interpreters end at about the same time.
fn shares(missing: &[&Unit], count: usize) -> Vec<Vec<u8>> {
    let mut sorted = missing.to_vec();
    sorted.sort_by(|one, other| other.size.cmp(&one.size).then_with(|| one.source.cmp(&other.source)));
    let mut shares = vec![(0, Vec::new()); count.max(1)];
    for unit in sorted {
        let Some((weight, input)) = shares.iter_mut().min_by_key(|(weight, _)| *weight) else {
            continue;
        };
        *weight += unit.size + 1000;
        for field in [
            unit.source.as_os_str().as_bytes(),
            unit.shown.as_bytes(),
            unit.pooled.as_os_str().as_bytes(),
        ] {
            input.extend_from_slice(field);
            input.push(0);
        }
    }
    shares.into_iter().map(|(_, input)| input).collect()
}

fn compile_share(input: Vec<u8>, interpreter: &Interpreter, work: &Path, patience: &Patience) -> Result<(), Failure> {
    // On Linux this is the priority of the calling thread alone, and the child inherits it.
    let lowered = rustix::process::setpriority_process(None, NICE);
    // Being refused a lower priority is no reason not to compile.
    let _ = lowered;
    let mut command = Command::new(&interpreter.path);
    // No site, no user folder: only the standard library. A fixed hash seed keeps the order of sets in the output.
    command
        .args(["-S", "-s", "-W", "ignore", "-c", COMPILE])
        .current_dir(work)
        .env_clear();
    command.env("PYTHONHASHSEED", "0").env("LC_ALL", "C.UTF-8");
    let ended = child::run(&mut command, "the byte-code compiler", input, patience)?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(explain::failure("the byte-code compiler", &ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_tests_are_left_out_and_what_sounds_alike_is_not() {
        assert!(is_test("numpy/tests/test_a.py") && is_test("numpy/core/tests/__init__.py"));
        assert!(!is_test("numpy/testing/utils.py") && !is_test("tests/a.py") && !is_test("a/test/b.py"));
    }

    #[test]
    fn the_address_depends_on_path_content_and_interpreter() {
        let interpreter = |version: &str| Interpreter {
            path: String::new(),
            implementation: "cpython".into(),
            version: version.into(),
            abi: "cpython-311".into(),
            platform: String::new(),
            binary_hash: String::new(),
        };
        let address = |path: &str, hash: &str, version: &str| pooled(Path::new("p"), path, hash, &interpreter(version));
        let base = address("a.py", "1", "3.11.7");
        assert!(base.starts_with("p/cpython-311"));
        for other in [
            address("b.py", "1", "3.11.7"),
            address("a.py", "2", "3.11.7"),
            address("a.py", "1", "3.11.8"),
        ] {
            assert_ne!(base, other);
        }
    }
}
