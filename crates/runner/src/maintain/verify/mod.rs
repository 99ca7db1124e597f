//! Whether everything on the Python volume is whole: the bytes on disk against what publishing wrote down.
//!
//! Environments share most of their inodes with each other and with uv's cache; each inode is read once. Environments
//! are looked at in groups, leased while their group is at work, so neither memory nor leases grow with the volume.

mod bytecode;
mod environment;
mod hashes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{Problem, VerifyReport};

use super::{entries, evict, shown};
use crate::python::PythonVolume;
use crate::python::lookup::Leased;
use crate::store::digest::Inode;
use crate::store::stage::{self, LEASE};

pub(super) use hashes::Hashes;

/// Entries of environments that are held in memory at one time; a larger environment is a group of its own.
const GROUP_ITEMS: usize = 100_000;
/// Problems that are told of one object; of the others the number.
pub(super) const MOST_PROBLEMS: usize = 20;

/// What an examination found.
#[derive(Debug, Default)]
pub struct Examined {
    /// The report.
    pub report: VerifyReport,
    /// Environments to be set aside: whose, and where.
    pub environments: Vec<(PythonVolume, PathBuf)>,
    /// Folders of the pools to be set aside.
    pub byte_code: BTreeSet<PathBuf>,
    /// Damaged inodes that have names elsewhere, such as in uv's cache.
    pub inodes: BTreeSet<Inode>,
}

impl Examined {
    fn note(&mut self, root: &Path, path: &Path, what: impl Into<String>) {
        self.report.problems.push(Problem {
            path: shown(root, path),
            what: what.into(),
        });
    }

    /// Notes what is wrong with files of one object, some of it by name.
    fn note_all(&mut self, root: &Path, object: &Path, problems: &[(PathBuf, String)]) {
        for (path, what) in problems.iter().take(MOST_PROBLEMS) {
            self.note(root, path, what.clone());
        }
        if let Some(more @ 1..) = problems.len().checked_sub(MOST_PROBLEMS) {
            self.note(root, object, format!("{more} more files are damaged"));
        }
    }
}

/// Looks at every environment, request, left-over and at all byte-code.
///
/// # Errors
/// The volume itself cannot be read; damage is a problem in the report.
pub fn verify(volume: &PythonVolume) -> Result<VerifyReport, Failure> {
    examine(volume).map(|examined| examined.report)
}

/// The same, with what is to be repaired.
///
/// # Errors
/// Those of [`verify`].
pub fn examine(volume: &PythonVolume) -> Result<Examined, Failure> {
    let mut examined = Examined::default();
    let mut hashes = Hashes::default();
    let tenants = PythonVolume::all(volume.root())?;
    bytecode::examine(volume, &tenants, &mut hashes, &mut examined)?;
    for tenant in &tenants {
        environments(tenant, &mut hashes, &mut examined)?;
        left_overs(tenant, &mut examined)?;
    }
    for left in entries(&volume.trash())? {
        examined.note(volume.root(), &left, "not yet deleted");
    }
    (examined.report.inodes, examined.report.bytes) = (hashes.inodes, hashes.bytes);
    Ok(examined)
}

/// An environment of the group at work; its lease keeps it from being evicted meanwhile.
struct Candidate {
    path: PathBuf,
    read: environment::Read,
    _lease: Option<Leased>,
}

fn environments(volume: &PythonVolume, hashes: &mut Hashes, examined: &mut Examined) -> Result<(), Failure> {
    let mut group: Vec<Candidate> = Vec::new();
    let mut items = 0;
    for path in entries(&volume.environments())? {
        if path.is_symlink() {
            continue;
        }
        let lease = volume.lease(&shown(volume.root(), &path));
        // One that is just being evicted is not looked at.
        if lease.is_err() && path.join(LEASE).exists() {
            continue;
        }
        let read = environment::read(&path);
        if items + read.items() > GROUP_ITEMS {
            judge(volume, std::mem::take(&mut group), hashes, examined);
            items = 0;
        }
        items += read.items();
        let _lease = lease.ok();
        group.push(Candidate { path, read, _lease });
    }
    judge(volume, group, hashes, examined);
    Ok(())
}

fn judge(volume: &PythonVolume, group: Vec<Candidate>, hashes: &mut Hashes, examined: &mut Examined) {
    hashes.add(group.iter().filter_map(|candidate| candidate.read.tree()));
    for candidate in &group {
        examined.report.environments += 1;
        examined.report.files += candidate.read.items() as u64;
        let mut problems = Vec::new();
        environment::judge(
            volume,
            &candidate.path,
            &candidate.read,
            hashes,
            examined,
            &mut problems,
        );
        // One without a lease may have been taken away meanwhile.
        if !problems.is_empty() && candidate.path.exists() {
            examined.note_all(volume.root(), &candidate.path, &problems);
            examined.environments.push((volume.clone(), candidate.path.clone()));
        }
    }
    hashes.forget(group.iter().filter_map(|candidate| candidate.read.tree()));
}

fn left_overs(volume: &PythonVolume, examined: &mut Examined) -> Result<(), Failure> {
    let root = volume.root();
    for request in entries(&volume.requests())? {
        if !request.exists() {
            examined.note(root, &request, "the request points to no environment");
        }
    }
    for left in stage::abandoned(&volume.staging())?
        .iter()
        .filter(|left| !stage::was_handed_out(left))
    {
        examined.note(root, left, "left by a preparation that was killed");
    }
    for claim in evict::dead_claims(volume)? {
        examined.note(root, &claim, "left by a publisher that was killed");
    }
    Ok(())
}
