//! Maintenance of the system volume.

mod collection;
mod gc;
mod usage;
mod verify;

pub use gc::{gc, keep_within, make_room, sweep_if_idle};
pub use usage::usage;
pub use verify::{clear_damaged, repair, verify};
