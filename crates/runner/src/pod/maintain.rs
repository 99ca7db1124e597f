//! What a maintenance pod is asked, answered with the commands that look after a cache elsewhere.

use std::path::Path;

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::pod::{
    CONTENTS_MARK, ImageRecord, NIX_MOUNT, PYTHON_MOUNT, PodMaintainReport, PodMaintainRequest, PodMaintenanceCommand,
    SEED_FOLDER, VOLUMES_FOLDER, nix_sub_path, python_sub_path,
};
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use super::{epoch, log_line, python_tools, seed, set_aside, system_tools};
use crate::maintain::{Question, answer as maintained};

/// The answer; a failure is one, too.
pub fn answer(image: &ImageRecord, request: &PodMaintainRequest) -> PodMaintainReport {
    let volumes = Path::new(VOLUMES_FOLDER);
    let done = match &request.question {
        PodMaintenanceCommand::Contents => {
            return told_in_log(look_after(image, request, Question::Contents, Budgets::default()));
        }
        PodMaintenanceCommand::Usage => return look_after(image, request, Question::Usage, Budgets::default()),
        PodMaintenanceCommand::Verify { .. } => {
            return look_after(image, request, Question::Verify, Budgets::default());
        }
        PodMaintenanceCommand::Gc { budgets } => return look_after(image, request, Question::Gc, *budgets),
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

/// Makes the folders; standing ones that are empty get the image's seed. A first run in another epoch is to be one.
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

/// Puts a list that no termination message could hold into the log instead.
fn told_in_log(report: PodMaintainReport) -> PodMaintainReport {
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
    question: Question,
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
    match maintained(question, &request) {
        MaintainReport::Failed { failure } => PodMaintainReport::Failed { failure },
        report => PodMaintainReport::Maintained { report },
    }
}
