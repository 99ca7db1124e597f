//! The driver on a double of a cluster.

mod answers;
mod builds;
mod double;
mod outage;
mod record;
mod sets;
