//! Runs one maintenance command on each volume that the request names.

use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::contents::Contents;
use hybrid_cache_model::maintain::{GcReport, MaintainReport, MaintainRequest, UsageReport, VerifyReport};
use hybrid_cache_model::{Failure, Tenant};

use super::{python, system};
use crate::child::Deadline;
use crate::python::PythonVolume;
use crate::system::SystemVolume;

/// A maintenance command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceCommand {
    /// Report the disk usage.
    Usage,
    /// List the environments and their parts.
    Contents,
    /// Evict until each volume is within its budget.
    Gc,
    /// Verify everything, and repair it on request.
    Verify,
}

/// Runs the command. A failure becomes a report too.
pub fn answer(command: MaintenanceCommand, request: &MaintainRequest) -> MaintainReport {
    let answer = match command {
        MaintenanceCommand::Usage => usage(request).map(MaintainReport::Usage),
        MaintenanceCommand::Contents => contents(request).map(MaintainReport::Contents),
        MaintenanceCommand::Gc => gc(request).map(MaintainReport::Gc),
        MaintenanceCommand::Verify => verify(request).map(MaintainReport::Verify),
    };
    answer.unwrap_or_else(|failure| MaintainReport::Failed { failure })
}

/// The commands cover all tenants, so any tenant's part of the volume will do.
fn python_volume(request: &MaintainRequest) -> Result<Option<PythonVolume>, Failure> {
    let open = |root| PythonVolume::open_read(Path::new(root), &Tenant::default());
    request.python.as_ref().map(open).transpose()
}

fn system_volume(request: &MaintainRequest) -> Result<Option<SystemVolume>, Failure> {
    let open = |root| SystemVolume::new(root, &Tenant::default());
    let volume = request.nix.as_ref().map(open);
    volume.map(|volume| volume.check().map(|()| volume)).transpose()
}

/// The system volume, if it has a layout.
fn used_system_volume(request: &MaintainRequest) -> Result<Option<SystemVolume>, Failure> {
    match system_volume(request)? {
        Some(volume) if volume.is_laid_out()? => Ok(Some(volume)),
        _ => Ok(None),
    }
}

fn deadline(request: &MaintainRequest) -> Result<Deadline, Failure> {
    Deadline::at(Instant::now() + Duration::from_millis(request.deadline_ms))
}

fn usage(request: &MaintainRequest) -> Result<UsageReport, Failure> {
    let mut report = UsageReport::default();
    if let Some(volume) = python_volume(request)? {
        report.add(python::usage(&volume)?);
    }
    if let Some(volume) = system_volume(request)? {
        report.add(system::usage(&volume)?);
    }
    Ok(report)
}

fn contents(request: &MaintainRequest) -> Result<Contents, Failure> {
    Ok(Contents {
        python: python_volume(request)?
            .map(|volume| super::contents::python(&volume))
            .transpose()?,
        system: used_system_volume(request)?
            .map(|volume| super::contents::system(&volume))
            .transpose()?,
    })
}

fn gc(request: &MaintainRequest) -> Result<GcReport, Failure> {
    let deadline = deadline(request)?;
    let mut report = GcReport::default();
    if let Some(volume) = python_volume(request)? {
        report.add(python::gc(
            &volume,
            &request.budgets.python,
            request.python_tools.as_ref(),
            &deadline,
        )?);
    }
    if let Some(volume) = used_system_volume(request)? {
        report.add(system::gc(
            &volume,
            &request.budgets.system,
            request.system_tools.as_ref(),
            &deadline,
        )?);
    }
    Ok(report)
}

fn verify(request: &MaintainRequest) -> Result<VerifyReport, Failure> {
    let deadline = deadline(request)?;
    let mut report = VerifyReport::default();
    if let Some(volume) = python_volume(request)? {
        report.add(if request.repair {
            python::repair(&volume, &deadline)?
        } else {
            python::verify(&volume)?
        });
    }
    if let Some(volume) = used_system_volume(request)? {
        let look = if request.repair { system::repair } else { system::verify };
        report.add(look(&volume, request.system_tools.as_ref(), &deadline)?);
    }
    Ok(report)
}
