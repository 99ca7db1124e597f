//! Lists of tasks: what to list, and one page of the answer.

use serde::{Deserialize, Serialize};

use crate::end::EndName;
use crate::state::StateName;
use crate::task::TaskSummary;

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only tasks in one of these states; all where empty.
    pub states: Vec<StateName>,
    /// Only tasks that ended so.
    pub end: Option<EndName>,
    /// Continue behind this [`TaskList::next`].
    pub cursor: Option<String>,
    /// At most so many, 1 to 200; 50 where absent.
    pub limit: Option<u32>,
}

/// A part of the tasks, the one submitted last first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    /// The tasks.
    pub items: Vec<TaskSummary>,
    /// The cursor of the next part; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
