//! The engine accepts tasks, runs them through a driver, and answers questions about them.
//!
//! `open` starts it, `requests` and `queries` are what clients call. `dispatch` takes tasks from the queue, and `run_task`
//! runs each of them: `submit` gives it to the driver, `pump` keeps its output. `recover` continues the tasks of an earlier
//! process, and `housekeeping` deletes what is too old or too large.

mod active_task;
mod circuit_breaker;
mod dispatch;
mod handle;
mod housekeeping;
mod inner;
mod intent;
mod open;
mod pump;
mod queries;
mod ready;
mod ready_state;
mod recover;
mod requests;
mod run_task;
mod shutdown;
mod stage;
mod submit;
mod task_view;

pub use handle::Engine;
pub use inner::{Parts, Volumes};
pub use queries::Changes;
pub use ready::Readiness;
pub use requests::{CancelAnswer, Novelty, RunAnswer, Submitted};
pub use shutdown::ShutdownReport;
