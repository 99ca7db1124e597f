//! Short responses: to a submit, a run, a cancel, and a probe.

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::state::StateName;

/// What `submit` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitAnswer {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// What to do next.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "Task saved successfully. Use /api/v1/tasks/task-abc123/run to execute it.")
    )]
    pub message: String,
}

/// What `run` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// Where it stands: `queued` where this call did it, and where it stood before otherwise.
    pub state: StateName,
}

/// What `cancel` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelView {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// What became of it.
    pub result: CancelResult,
}

/// What became of asking to cancel a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum CancelResult {
    /// It had not begun and never will.
    Cancelled,
    /// It runs and was asked to end; its state tells when it has.
    Ending,
    /// It had ended before, and stays as it is.
    Unchanged,
}

/// What a probe is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Probe {
    /// `ok`.
    #[cfg_attr(feature = "openapi", schema(example = "ok"))]
    pub status: String,
    /// Why the driver does not answer; tasks are taken in meanwhile, and wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}
