//! What we add: a run's cost on top of the work itself, held against targets.
//!
//! Every figure compares samples of the same run with each other, so that it says something about us and not about the
//! machine: a cached run against its own user code and against the same interpreter without us, a first run against
//! plain uv and against the slower of its two halves; on a cluster a cached run against a pod that does nothing, and what
//! goes on inside its pod against the same in a sandbox; through a task service a cached run against its driver alone.

mod collect;
mod kind;
mod types;

pub(crate) use collect::collect;
pub use kind::{FigureKind, Unit};
pub use types::{Against, Attainment, Figure};
