//! Compiles sources to byte-code with the interpreter they are for, a few processes side by side at lowest priority.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind};

use super::uv_errors;
use crate::child::{self, Deadline};

const COMPILE: &str = include_str!("compile.py");
/// Lowest priority there is: the user's program may be running already and comes first.
const NICE: i32 = 19;
/// Fewer sources than this are not worth another interpreter.
const SOURCES_PER_PROCESS: usize = 24;

/// One source and what is to be made of it.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The source.
    pub source: PathBuf,
    /// Its path as byte-code tells it.
    pub shown: String,
    /// Its size in bytes.
    pub size: u64,
    /// The byte-code; its folder is there.
    pub target: PathBuf,
}

/// Compiles all units. A source that is no valid Python is left without byte-code.
///
/// # Errors
/// The interpreter cannot be started or failed as a whole, or `patience` ended; targets may be missing then.
pub fn compile(units: &[Unit], interpreter: &Interpreter, work: &Path, deadline: &Deadline) -> Result<(), Failure> {
    if units.is_empty() {
        return Ok(());
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shares = shares(units, cpus.min(units.len().div_ceil(SOURCES_PER_PROCESS)));
    std::thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| compile_share(share, interpreter, work, deadline)))
            .collect();
        for thread in running {
            let bug = |_| Failure::new(FailureKind::Internal, "a thread that compiles byte-code panicked");
            thread.join().map_err(bug).flatten()?;
        }
        Ok(())
    })
}

/// Largest first, each to the share with the least in it: all interpreters end at about the same time.
fn shares(units: &[Unit], count: usize) -> Vec<Vec<u8>> {
    let mut sorted: Vec<&Unit> = units.iter().collect();
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
            unit.target.as_os_str().as_bytes(),
        ] {
            input.extend_from_slice(field);
            input.push(0);
        }
    }
    shares.into_iter().map(|(_, input)| input).collect()
}

fn compile_share(input: Vec<u8>, interpreter: &Interpreter, work: &Path, deadline: &Deadline) -> Result<(), Failure> {
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
    let exit = child::run(&mut command, "the byte-code compiler", input, deadline)?;
    if exit.status.success() {
        Ok(())
    } else {
        Err(uv_errors::failure("the byte-code compiler", &exit))
    }
}
