//! One task on a cluster, from submit to outcome.
//!
//! ```text
//! submit ──► adopt ──► task_flow ──► attempt ──► workload_run      once per workload: warm, prepared, or stale
//!              │           │            └──► logs::follow
//!              │           ├──► standby_attempt   the first attempt of a cached task, if a standby pod is free
//!              │           ├──► publishing   what the preparing container does after the handover
//!              │           └──► record       the line of the trace
//!              └──► task_registry            what others may ask of the task
//! ```

pub mod admission;
pub mod adopt;
pub mod attempt;
pub mod context;
pub mod discard;
pub mod first_workload;
pub mod kept_failures;
pub mod publishing;
pub mod recent_hits;
pub mod record;
pub mod standby_attempt;
pub mod task_flow;
pub mod task_registry;
pub mod timeline;
pub mod workload_run;
