//! Compiles sources to bytecode with their interpreter, in several processes at the lowest priority.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind};

use super::uv_errors;
use crate::child::{self, Deadline};

const COMPILE: &str = include_str!("compile.py");
/// The lowest priority: the user's program may already be running and comes first.
const NICE: i32 = 19;
/// Fewer sources than this do not justify another process.
const SOURCES_PER_PROCESS: usize = 24;

/// One source to compile.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The source.
    pub source: PathBuf,
    /// Its path as stored in the bytecode.
    pub shown: String,
    /// Its size in bytes.
    pub size: u64,
    /// To write the bytecode; the folder exists.
    pub target: PathBuf,
}

/// Compiles all units. A source that is not valid Python gets no bytecode.
///
/// # Errors
/// The interpreter cannot be started or failed as a whole, or `deadline` passed; targets may be missing then.
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
            let bug = |_| Failure::new(FailureKind::Internal, "a thread that compiles bytecode panicked");
            thread.join().map_err(bug).flatten()?;
        }
        Ok(())
    })
}

/// Assigns the largest units first, each to the smallest share, so that all processes finish at about the same time.
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
    // Compile even if the lower priority is refused.
    let _ = lowered;
    let mut command = Command::new(&interpreter.path);
    // No site, no user folder: only the standard library. A fixed hash seed keeps the order of sets in the output.
    command
        .args(["-S", "-s", "-W", "ignore", "-c", COMPILE])
        .current_dir(work)
        .env_clear();
    command.env("PYTHONHASHSEED", "0").env("LC_ALL", "C.UTF-8");
    let exit = child::run(&mut command, "the bytecode compiler", input, deadline)?;
    if exit.status.success() {
        Ok(())
    } else {
        Err(uv_errors::failure("the bytecode compiler", &exit))
    }
}
