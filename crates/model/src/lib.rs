//! The types that all parts of hybrid-cache share: tasks, cache keys, requests and reports of the runner, samples.
//!
//! No IO, no async, no clock. Everything here is plain data with its checks, so that the runner, the drivers, the report and
//! the service share definitions without depending on each other.

mod acceptance;
pub mod budget;
pub mod coding;
pub mod contents;
pub mod host_noise;
pub mod inline_metadata;
pub mod key;
pub mod labels;
pub mod level;
mod level_sample;
pub mod load;
pub mod maintain;
pub mod mirror;
pub mod network;
pub mod option_value;
pub mod outcome;
mod peer;
pub mod placement;
mod plan_place;
pub mod pod;
pub mod prepared;
pub mod program_input;
pub mod protection;
pub mod protocol;
pub mod python_start;
pub mod python_version;
pub mod quantity;
pub mod requirement;
pub mod resources;
pub mod sample;
pub mod scenario;
#[cfg(feature = "yaml")]
pub mod settings;
pub mod shown;
pub mod sources;
pub mod standby;
pub mod system;
pub mod task;
pub mod task_error;
pub mod task_parts;
pub mod tenant;
pub mod timeline;
pub mod trust;
pub mod until;
pub mod variables;
pub mod volume_set;

pub use key::{EnvironmentKey, PythonRequest, RequestKey, SystemKey};
pub use outcome::{CacheReport, CacheStatus, End, Failure, FailureKind, Outcome, Output, Resolved};
pub use protection::Protection;
pub use python_version::PythonVersion;
pub use requirement::Requirement;
pub use resources::TaskResources;
pub use scenario::{Claim, Scenario};
pub use shown::shown;
pub use sources::{AllowedSources, SourcePolicy};
pub use system::SystemPackage;
pub use task::{CachePolicy, Task, TaskSpec};
pub use task_error::{TaskError, TaskErrors};
pub use tenant::Tenant;
pub use timeline::{Lane, Phase, Span, Temperature, Timeline};
pub use variables::SecretEnv;
