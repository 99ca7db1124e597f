//! Lists of tasks: what to list, and one page of the answer.

use serde::{Deserialize, Serialize};

use crate::end::EndName;
use crate::state::StateName;
use crate::task::TaskSummary;

/// Most labels by which one list is filtered.
pub const MAX_LABEL_FILTERS: usize = 8;

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only tasks in one of these states; all if empty.
    pub states: Vec<StateName>,
    /// Only tasks with this end.
    pub end: Option<EndName>,
    /// Only tasks with all of these labels, each a key and its value; at most [`MAX_LABEL_FILTERS`].
    pub labels: Vec<(String, String)>,
    /// Continue after this [`TaskList::next`].
    pub cursor: Option<String>,
    /// Most tasks of the page, 1 to 200; 50 by default.
    pub limit: Option<u32>,
}

/// A page of the tasks, the one submitted last first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    /// The tasks.
    pub items: Vec<TaskSummary>,
    /// The cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
