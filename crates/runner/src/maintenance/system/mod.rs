//! Maintenance of the system volume.

pub(crate) mod gc;
mod verify;

pub use gc::{evict_entry, gc, keep_within, make_room, sweep_if_idle, usage};
pub use verify::{clear_damaged, repair, verify};
