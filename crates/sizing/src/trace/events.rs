//! A trace as a sequence of events, with environments as indices into a catalog.

use super::catalog::Catalog;
use super::error::TraceError;
use super::lines::{Met, Volume};

/// An event of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An environment was there before the first request; least recently used first.
    Resident(Volume, u32),
    /// A request.
    Request(Request),
}

/// One request, with environments as indices into the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Request {
    /// Microseconds since 1970; never less than the previous request's.
    pub at_us: u64,
    /// Use of each volume.
    pub uses: [Option<Use>; 2],
    /// Microseconds that the client waited, without the user's program; `None` if they were not measured.
    pub wait_us: Option<u64>,
    /// Microseconds that the user's program ran, until `at_us`; 0 if unknown.
    pub held_us: u64,
}

impl Request {
    /// The request's use of one volume.
    pub fn on(&self, volume: Volume) -> Option<&Use> {
        self.uses[volume.index()].as_ref()
    }
}

/// A request's use of one volume.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// The environment, as an index into the volume's catalog.
    pub environment: u32,
    /// A hash of the request's key.
    pub request: u64,
    /// Result of the cache.
    pub met: Met,
    /// True if the request is resolved again at any size of the volume, because it is older than its maximum age.
    pub is_due: bool,
    /// Bytes that were fetched and unpacked.
    pub downloaded_bytes: u64,
    /// Microseconds that preparing took before the program could start; `None` if they were not measured.
    pub prepare_us: Option<u64>,
}

/// A trace that can be read as often as needed.
pub trait Source {
    /// All environments and parts of the whole trace.
    fn catalog(&self) -> &Catalog;

    /// Calls `each` with every event, in order.
    ///
    /// # Errors
    /// The trace cannot be read again.
    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError>;
}

/// A trace in memory.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// All environments and parts.
    pub catalog: Catalog,
    /// All events.
    pub events: Vec<Event>,
}

impl Source for Recorded {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn replay(&self, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        self.events.iter().for_each(each);
        Ok(())
    }
}
