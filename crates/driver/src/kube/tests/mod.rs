//! The driver on a double of a cluster.

mod double;
mod outage;
mod record;
