//! A package index and Debian mirror on this machine's loopback: what is fetched through it is recorded once, and replayed at a
//! chosen speed without any other host.
//!
//! [`Mirror::start`] serves until it is dropped. Its addresses hold a secret, so that a program which reaches this
//! machine's loopback without knowing them gets nothing. A [`Recording`] is a folder; [`link`] and [`page`] decide what of an index
//! page is believed. The crate knows no command line and reads no environment variable.

mod client;
mod counts;
mod error;
mod html;
mod link;
mod network;
mod page;
mod path;
mod range;
mod recording;
mod reply;
mod serve;
mod server;
mod transfer;
mod upstream;

pub use client::ClientSettings;
pub use error::MirrorError;
pub use network::ReplayNetwork;
pub use recording::Recording;
pub use server::{Mirror, MirrorOptions, Mode, Served};
pub use upstream::{Upstream, UpstreamKind};
