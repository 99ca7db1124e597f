//! Overhead: what hybrid-cache costs beyond the work itself, compared with targets.
//!
//! Each figure compares samples of the same run with each other, so that it describes hybrid-cache and not the machine:
//! - a cached run with its own user code, and with the same interpreter started directly;
//! - a first run with plain uv, and with the slower of its two halves;
//! - on a cluster, a cached run with a pod that does nothing, and its runner with that of a local sandbox;
//! - through a task service, a cached run with its driver alone.

mod collect;
mod kind;
mod value;

pub(crate) use collect::{collect, compared_us};
pub use kind::{FigureKind, Unit};
pub use value::{Against, Attainment, Figure};
