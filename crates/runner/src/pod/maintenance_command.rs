//! `pod-maintain`: runs the command of a maintenance pod, with the same code as `runner usage`, `gc` and `verify`.

use std::path::Path;

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::pod::{
    CONTENTS_MARK, ImageRecord, NIX_MOUNT, PYTHON_MOUNT, PodMaintainReport, PodMaintainRequest, PodMaintenanceCommand,
    SEED_FOLDER, VOLUMES_FOLDER, nix_sub_path, python_sub_path,
};
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use super::log::log_line;
use super::requests::{python_tools, read_both, system_tools};
use super::{epoch, seed, set_aside};
use crate::maintenance::{MaintenanceCommand, answer as maintained};

/// Runs the command of this maintenance pod.
pub fn maintain() -> PodMaintainReport {
    match read_both(|request: &PodMaintainRequest| request.protocol) {
        Ok((image, request)) => answer(&image, &request),
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

/// Runs the command. A failure becomes a report too.
fn answer(image: &ImageRecord, request: &PodMaintainRequest) -> PodMaintainReport {
    let volumes = Path::new(VOLUMES_FOLDER);
    let done = match &request.question {
        PodMaintenanceCommand::Contents => {
            return contents_to_log(look_after(
                image,
                request,
                MaintenanceCommand::Contents,
                Budgets::default(),
            ));
        }
        PodMaintenanceCommand::Usage => {
            return look_after(image, request, MaintenanceCommand::Usage, Budgets::default());
        }
        PodMaintenanceCommand::Verify { .. } => {
            return look_after(image, request, MaintenanceCommand::Verify, Budgets::default());
        }
        PodMaintenanceCommand::Gc { budgets } => return look_after(image, request, MaintenanceCommand::Gc, *budgets),
        PodMaintenanceCommand::CreateEpoch { epoch, tenant } => create(volumes, epoch.as_deref(), tenant),
        PodMaintenanceCommand::SetAside => match set_aside::all(volumes) {
            Ok(folders) => return PodMaintainReport::SetAside { folders },
            Err(failure) => Err(failure),
        },
        PodMaintenanceCommand::DeleteEpoch { epoch } => epoch::delete(volumes, epoch),
    };
    match done {
        Ok(()) => PodMaintainReport::Done,
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

/// Creates the folders. Empty standing folders get the image's seed; those of another epoch do not, because first runs
/// are measured there.
fn create(volumes: &Path, epoch: Option<&str>, tenant: &Tenant) -> Result<(), Failure> {
    epoch::create(volumes, epoch)?;
    if epoch.is_none() {
        let folder = |volume: &str, path: String| volumes.join(volume).join(path);
        let (python, nix) = (
            folder("python", python_sub_path(None)),
            folder("system", nix_sub_path(None)),
        );
        seed::plant(Path::new(SEED_FOLDER), &python, &nix)?;
    }
    epoch::lay_out(volumes, epoch, tenant)
}

/// Writes the list to the log, because it is too long for a termination message.
fn contents_to_log(report: PodMaintainReport) -> PodMaintainReport {
    let PodMaintainReport::Maintained {
        report: MaintainReport::Contents(contents),
    } = report
    else {
        return report;
    };
    match log_line(CONTENTS_MARK, &contents) {
        Ok(()) => PodMaintainReport::Done,
        Err(error) => PodMaintainReport::Failed {
            failure: Failure::new(FailureKind::Internal, format!("cannot write to the log: {error}")),
        },
    }
}

fn look_after(
    image: &ImageRecord,
    request: &PodMaintainRequest,
    command: MaintenanceCommand,
    budgets: Budgets,
) -> PodMaintainReport {
    let repair = matches!(request.question, PodMaintenanceCommand::Verify { repair: true });
    let request = MaintainRequest {
        python: Some(PYTHON_MOUNT.to_owned()),
        nix: Some(NIX_MOUNT.to_owned()),
        python_tools: Some(python_tools(image, &request.network)),
        system_tools: system_tools(image, &request.network),
        budgets,
        repair,
        deadline_ms: request.deadline_ms,
    };
    match maintained(command, &request) {
        MaintainReport::Failed { failure } => PodMaintainReport::Failed { failure },
        report => PodMaintainReport::Maintained { report },
    }
}
