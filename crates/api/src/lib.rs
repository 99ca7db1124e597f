//! The Rust client of the hybrid-cache task service, and the types of its requests and responses.
//!
//! [`Client`] is a blocking client: one method for each request, a time limit on every wait, and a bound on every
//! response that it reads into memory. A failed request is a [`ClientError`], which carries the service's problem document.
//!
//! ```no_run
//! use hybrid_cache_api::{Client, Event, OutputQuery, TaskSpec};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::new("http://localhost:8000")?;
//!     let spec = TaskSpec {
//!         dependencies: "numpy".to_owned(),
//!         ..TaskSpec::new("import numpy; print(numpy.arange(3).sum())")
//!     };
//!     // With an idempotency key, the request can be repeated after a lost connection.
//!     let id = client.submit(&spec, Some("sum-of-three"))?.id;
//!     client.run(&id)?;
//!     let mut events = client.follow(&id, OutputQuery::default())?;
//!     while let Some(event) = events.next_event()? {
//!         match event {
//!             Event::Output { text, .. } => print!("{text}"),
//!             Event::End(end) => println!("ended: {end:?}"),
//!         }
//!     }
//!     println!("{:?}", client.get(&id)?.summary.cache);
//!     Ok(())
//! }
//! ```
//!
//! Everything reads responses of a newer service: an unknown field is ignored, and an unknown word becomes `Unknown`.
//!
//! Features: `client` (on by default) is the client; `openapi` implements utoipa's schemas,
//! from which the service generates its OpenAPI document.

#[cfg(feature = "client")]
mod address;
mod body;
mod cache;
#[cfg(feature = "client")]
mod client;
mod end;
#[cfg(feature = "client")]
mod error;
mod events;
mod failure;
mod id;
mod list;
mod problem;
mod problem_type;
mod responses;
#[cfg(feature = "openapi")]
mod schema;
mod state;
#[cfg(feature = "client")]
mod stream;
mod task;
pub mod task_file;
pub mod task_options;
mod timeline;

pub use hybrid_cache_model::TaskSpec;

pub use body::parse_task;
pub use cache::{CacheName, CacheStatusView, CacheView};
#[cfg(feature = "client")]
pub use client::{Client, ClientBuilder, OutputQuery};
pub use end::EndName;
#[cfg(feature = "client")]
pub use error::{ClientError, ConfigError};
#[cfg(feature = "openapi")]
pub use events::LogEvent;
pub use events::{EndEvent, StreamName};
pub use failure::FailureView;
pub use id::{InvalidTaskId, TaskId};
pub use list::{ListQuery, MAX_LABEL_FILTERS, TaskList};
pub use problem::{FieldErrors, MEDIA_TYPE, Problem};
pub use problem_type::ProblemType;
pub use responses::{CancelResult, CancelView, Probe, RunView, SubmitAnswer};
#[cfg(feature = "openapi")]
pub use schema::TaskBody;
pub use state::StateName;
#[cfg(feature = "client")]
pub use stream::{Event, Events};
pub use task::{OutputView, ResolvedView, TaskSummary, TaskView};
pub use timeline::{SpanView, TimelineView};
