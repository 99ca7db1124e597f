//! A cluster of our own: made, looked at, taken down.

pub mod down;
pub mod status;
pub mod up;
