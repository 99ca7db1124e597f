//! Maintenance of the Python volume.

pub mod gc;
mod repair;
pub mod usage;
pub mod verify;

pub use gc::{count_copies, gc, keep_within, make_room};
pub use repair::repair;
pub use usage::usage;
pub use verify::verify;
