//! What a maintenance pod is asked, answered with the commands that look after a cache elsewhere.

use std::path::Path;

use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::pod::{
    ImageRecord, NIX_MOUNT, PYTHON_MOUNT, PodMaintainReport, PodMaintainRequest, PodQuestion, SEED_FOLDER,
    VOLUMES_FOLDER, nix_sub_path, python_sub_path,
};

use super::{epoch, python_tools, seed, system_tools};
use crate::maintain::{Question, answer as maintained};

/// The answer; a failure is one, too.
pub fn answer(image: &ImageRecord, request: &PodMaintainRequest) -> PodMaintainReport {
    let volumes = Path::new(VOLUMES_FOLDER);
    let done = match &request.question {
        PodQuestion::Usage => return look_after(image, request, Question::Usage, (0, 0)),
        PodQuestion::Verify { .. } => return look_after(image, request, Question::Verify, (0, 0)),
        PodQuestion::Gc {
            budget_bytes,
            budget_inodes,
        } => return look_after(image, request, Question::Gc, (*budget_bytes, *budget_inodes)),
        PodQuestion::CreateEpoch { epoch: None } => epoch::create(volumes, None).and_then(|()| {
            let folder = |volume: &str, path: String| volumes.join(volume).join(path);
            let (python, nix) = (
                folder("python", python_sub_path(None)),
                folder("system", nix_sub_path(None)),
            );
            seed::plant(Path::new(SEED_FOLDER), &python, &nix)
        }),
        // A first run in it is to be a first run.
        PodQuestion::CreateEpoch { epoch } => epoch::create(volumes, epoch.as_deref()),
        PodQuestion::DeleteEpoch { epoch } => epoch::delete(volumes, epoch),
    };
    match done {
        Ok(()) => PodMaintainReport::Done,
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

fn look_after(
    image: &ImageRecord,
    request: &PodMaintainRequest,
    question: Question,
    (budget_bytes, budget_inodes): (u64, u64),
) -> PodMaintainReport {
    let repair = matches!(request.question, PodQuestion::Verify { repair: true });
    let request = MaintainRequest {
        python: Some(PYTHON_MOUNT.to_owned()),
        nix: Some(NIX_MOUNT.to_owned()),
        python_tools: Some(python_tools(image, &request.network)),
        system_tools: system_tools(image, &request.network),
        budget_bytes,
        budget_inodes,
        repair,
        deadline_ms: request.deadline_ms,
    };
    match maintained(question, &request) {
        MaintainReport::Failed { failure } => PodMaintainReport::Failed { failure },
        report => PodMaintainReport::Maintained { report },
    }
}
