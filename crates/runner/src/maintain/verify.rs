//! Whether everything on the Python volume is whole: a second look at what publishing promised.

use std::path::Path;
use std::time::SystemTime;

use hybrid_cache_model::EnvironmentKey;
use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::{Problem, VerifyReport};

use super::{entries, evict, shown};
use crate::python::lookup::{LOCK_FILE, VENV};
use crate::python::publish::{MANIFEST_FILE, Manifest};
use crate::python::record::Installed;
use crate::python::{PythonVolume, pool};
use crate::store::stage::{self, LEASE};

/// Looks at every environment, request and left-over.
///
/// # Errors
/// The volume itself cannot be read; damage is a problem in the report.
pub fn verify(volume: &PythonVolume) -> Result<VerifyReport, Failure> {
    let mut report = VerifyReport::default();
    for tenant in PythonVolume::all(volume.root())? {
        verify_tenant(&tenant, &mut report)?;
    }
    for left in entries(&volume.trash())? {
        note(&mut report, volume.root(), &left, "not yet deleted".to_owned());
    }
    Ok(report)
}

fn note(report: &mut VerifyReport, root: &Path, path: &Path, what: String) {
    report.problems.push(Problem {
        path: shown(root, path),
        what,
    });
}

fn verify_tenant(volume: &PythonVolume, report: &mut VerifyReport) -> Result<(), Failure> {
    let root = volume.root();
    for environment in entries(&volume.environments())? {
        if environment.is_symlink() {
            continue;
        }
        // Leased, so that nobody evicts it meanwhile; one that is just being evicted is not looked at.
        let leased = volume.lease(&shown(root, &environment));
        if leased.is_err() && environment.join(LEASE).exists() {
            continue;
        }
        report.environments += 1;
        match whole(&environment) {
            Ok(files) => report.files += files,
            Err(what) => note(report, root, &environment, what),
        }
        for pool in pool::all(volume) {
            let links = pool::links(&pool, &environment)?;
            for link in links.iter().filter(|link| !link.path.exists()) {
                let what = "leads to byte-code that is gone: every import from here compiles anew";
                note(report, root, &link.path, what.to_owned());
            }
        }
    }
    for request in entries(&volume.requests())? {
        if !request.exists() {
            let what = "the request points to no environment";
            note(report, root, &request, what.to_owned());
        }
    }
    for left in stage::abandoned(&volume.staging())?
        .iter()
        .filter(|left| !stage::was_handed_out(left))
    {
        note(report, root, left, "left by a preparation that was killed".to_owned());
    }
    for claim in evict::dead_claims(volume)? {
        note(report, root, &claim, "left by a publisher that was killed".to_owned());
    }
    Ok(())
}

/// The number of files of an environment that is whole, or what it lacks.
fn whole(environment: &Path) -> Result<u64, String> {
    for name in [LEASE, LOCK_FILE, MANIFEST_FILE, "venv/bin/python", "venv/pyvenv.cfg"] {
        if !environment.join(name).exists() {
            return Err(format!("{name} is missing"));
        }
    }
    let text = std::fs::read(environment.join(MANIFEST_FILE)).map_err(|error| format!("{MANIFEST_FILE}: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| format!("{MANIFEST_FILE}: {error}"))?;
    let installed = Installed::read(&environment.join(VENV)).map_err(|failure| failure.message)?;
    let checked = installed
        .check(SystemTime::UNIX_EPOCH)
        .map_err(|failure| failure.message)?;
    let key = EnvironmentKey::new(&installed.pins(), &manifest.interpreter);
    if environment
        .file_name()
        .is_none_or(|name| name.to_string_lossy() != key.as_str())
    {
        return Err(format!("it holds {key}, which is not what its name says"));
    }
    Ok(checked.files)
}
