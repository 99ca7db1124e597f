//! Short responses: to a submit, a run, a cancel, and a probe.

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::state::StateName;

/// The response to a submit.
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

/// The response to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// The task's state: `queued` if this call queued it, its earlier state otherwise.
    pub state: StateName,
}

/// The response to a cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelView {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// The result.
    pub result: CancelResult,
}

/// The result of cancelling a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum CancelResult {
    /// The task had not started and never will.
    Cancelled,
    /// The task runs and was asked to end; its state changes once it has.
    Ending,
    /// The task had already ended, and stays unchanged.
    Unchanged,
}

/// The response to a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Probe {
    /// `ok`.
    #[cfg_attr(feature = "openapi", schema(example = "ok"))]
    pub status: String,
    /// Why the driver does not answer. Tasks are accepted meanwhile, and wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}
