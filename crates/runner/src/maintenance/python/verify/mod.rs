//! Verifies the Python volume: compares the bytes on disk with what publishing recorded.
//!
//! Environments share most of their inodes, so each inode is read once. Environments are examined in groups and leased
//! meanwhile, so memory and the number of leases do not grow with the volume.

mod environment_check;
mod findings;
mod parallel;
mod pool_check;

use std::path::PathBuf;

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::VerifyReport;

use crate::maintenance::hashes::Hashes;
use crate::maintenance::leftovers;
use crate::python::PythonVolume;
use crate::python::lookup::Leased;
use crate::store::folder::{entries, relative};
use crate::store::known_files::KnownFiles;
use crate::store::stage::{self, LEASE};

use environment_check::EnvironmentFindings;
pub use findings::PythonFindings;
pub use parallel::THREADS;

/// Entries of environments that are held in memory at one time; a larger environment is a group of its own.
const GROUP_ITEMS: usize = 100_000;
/// Environments that all threads together read at once.
const READ_AT_ONCE: usize = 16;

/// Examines every environment, request and leftover, and all bytecode.
///
/// # Errors
/// The volume itself cannot be read; damage is a problem in the report.
pub fn verify(volume: &PythonVolume) -> Result<VerifyReport, Failure> {
    examine(volume).map(|findings| findings.report)
}

/// Like [`verify`], but also returns what to repair.
///
/// # Errors
/// Those of [`verify`].
pub fn examine(volume: &PythonVolume) -> Result<PythonFindings, Failure> {
    let mut findings = PythonFindings::default();
    let mut hashes = Hashes::default();
    let tenants = PythonVolume::all(volume.root())?;
    pool_check::examine(volume, &tenants, &mut hashes, &mut findings)?;
    for tenant in &tenants {
        environments(tenant, &mut hashes, &mut findings)?;
        left_overs(tenant, &mut findings)?;
    }
    for left in entries(&volume.trash())? {
        findings.leave(volume.root(), &left, "not yet deleted");
    }
    (findings.report.inodes, findings.report.bytes) = (hashes.inodes, hashes.bytes);
    Ok(findings)
}

/// An environment of the current group. Its lease prevents eviction meanwhile.
struct Candidate {
    path: PathBuf,
    read: environment_check::Read,
    _lease: Option<Leased>,
}

fn environments(volume: &PythonVolume, hashes: &mut Hashes, findings: &mut PythonFindings) -> Result<(), Failure> {
    let mut group: Vec<Candidate> = Vec::new();
    let mut items = 0;
    // Valid for one group only: without a lease an inode may be reused.
    let mut known = KnownFiles::shared();
    for paths in entries(&volume.environments())?.chunks(READ_AT_ONCE) {
        let read = read_all(volume, paths, &known);
        let more: usize = read.iter().map(|candidate| candidate.read.items()).sum();
        if items + more > GROUP_ITEMS {
            judge(volume, std::mem::take(&mut group), hashes, findings);
            items = 0;
            known = KnownFiles::shared();
        }
        items += more;
        group.extend(read);
    }
    judge(volume, group, hashes, findings);
    Ok(())
}

/// Reads environments; those that are no longer there are left out.
fn read_all(volume: &PythonVolume, paths: &[PathBuf], known: &KnownFiles) -> Vec<Candidate> {
    let leased: Vec<(&PathBuf, Option<Leased>)> = paths.iter().filter_map(|path| lease(volume, path)).collect();
    let read = parallel::map(&leased, |(path, _)| environment_check::read(path, known));
    let candidates = leased.into_iter().zip(read);
    candidates
        .map(|((path, _lease), read)| {
            let path = path.clone();
            Candidate { path, read, _lease }
        })
        .collect()
}

/// The environment at `path` with its lease; `None` if it is a link or is being evicted.
fn lease<'a>(volume: &PythonVolume, path: &'a PathBuf) -> Option<(&'a PathBuf, Option<Leased>)> {
    if path.is_symlink() {
        return None;
    }
    let lease = volume.lease(&relative(volume.root(), path));
    if lease.is_err() && path.join(LEASE).exists() {
        return None;
    }
    Some((path, lease.ok()))
}

fn judge(volume: &PythonVolume, group: Vec<Candidate>, hashes: &mut Hashes, findings: &mut PythonFindings) {
    hashes.add(group.iter().filter_map(|candidate| candidate.read.tree()));
    let judged = parallel::map(&group, |candidate| {
        environment_check::judge(volume, &candidate.path, &candidate.read, hashes, &findings.bytecode)
    });
    for (candidate, EnvironmentFindings { problems, inodes }) in group.iter().zip(judged) {
        findings.report.environments += 1;
        findings.report.files += candidate.read.items() as u64;
        findings.inodes.extend(inodes);
        // One without a lease may have been removed meanwhile.
        if !problems.is_empty() && candidate.path.exists() {
            findings.note_all(volume.root(), &candidate.path, &problems);
            findings.environments.push((volume.clone(), candidate.path.clone()));
        }
    }
    hashes.forget(group.iter().filter_map(|candidate| candidate.read.tree()));
}

fn left_overs(volume: &PythonVolume, findings: &mut PythonFindings) -> Result<(), Failure> {
    let root = volume.root();
    for request in entries(&volume.requests())? {
        if !request.exists() {
            findings.leave(root, &request, "the request points to no environment");
        }
    }
    for left in stage::abandoned(&volume.staging())?
        .iter()
        .filter(|left| !stage::was_handed_out(left))
    {
        findings.leave(root, left, "left by a preparation that was killed");
    }
    for claim in leftovers::dead_claims(volume)? {
        findings.leave(root, &claim, "left by a publisher that was killed");
    }
    Ok(())
}
