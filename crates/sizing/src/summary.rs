//! Summarises a trace in numbers: its length, and the requests and results of each volume.

use serde::Serialize;

use crate::number::share;
use crate::trace::{Event, Met, Source, TraceError, Use, Volume};
use crate::weight::Weight;

/// The summary of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Time of the first request, in microseconds since 1970; `None` if there are no requests.
    pub first_us: Option<u64>,
    /// Time of the last request, in microseconds since 1970; `None` if there are no requests.
    pub last_us: Option<u64>,
    /// All requests.
    pub requests: u64,
    /// Both volumes, whether or not the trace uses them.
    pub volumes: Vec<VolumeSummary>,
}

/// The summary of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct VolumeSummary {
    /// Which volume.
    pub volume: Volume,
    /// Requests that used the volume.
    pub requests: u64,
    /// Requests whose environment was there.
    pub hits: u64,
    /// Requests whose environment was not there.
    pub misses: u64,
    /// Requests that were resolved again because of their age.
    pub expired: u64,
    /// Hits as a share of the requests; `None` if there are none.
    pub hit_rate: Option<f64>,
    /// Distinct environments, including those that were there before the first request.
    pub environments: u64,
    /// Environments that were there before the first request.
    pub resident: u64,
    /// Distinct parts.
    pub parts: u64,
    /// Usage of all environments together, with shared parts counted once.
    pub holds: Weight,
    /// Usage that counts against the budget and belongs to no environment.
    pub rest: Weight,
    /// Bytes that were fetched and unpacked.
    pub downloaded_bytes: u64,
}

impl Summary {
    /// Reads a trace once and summarises it.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn from_source(source: &dyn Source) -> Result<Summary, TraceError> {
        let mut summary = Summary {
            volumes: Volume::ALL.map(|volume| VolumeSummary::empty(source, volume)).into(),
            ..Summary::default()
        };
        source.replay(&mut |event| match event {
            Event::Resident(volume, _) => summary.volumes[volume.index()].resident += 1,
            Event::Request(request) => {
                summary.requests += 1;
                summary.first_us.get_or_insert(request.at_us);
                summary.last_us = Some(request.at_us);
                for (volume, asked) in summary.volumes.iter_mut().zip(&request.uses) {
                    asked.iter().for_each(|asked| volume.count(asked));
                }
            }
        })?;
        for volume in &mut summary.volumes {
            volume.hit_rate = (volume.requests > 0).then(|| share(volume.hits, volume.requests));
        }
        Ok(summary)
    }
}

impl VolumeSummary {
    fn empty(source: &dyn Source, volume: Volume) -> VolumeSummary {
        let catalog = source.catalog().volume(volume);
        VolumeSummary {
            volume,
            requests: 0,
            hits: 0,
            misses: 0,
            expired: 0,
            hit_rate: None,
            environments: catalog.environments().len() as u64,
            resident: 0,
            parts: catalog.parts().len() as u64,
            holds: catalog.union(),
            rest: catalog.rest,
            downloaded_bytes: 0,
        }
    }

    fn count(&mut self, asked: &Use) {
        self.requests += 1;
        self.downloaded_bytes = self.downloaded_bytes.saturating_add(asked.downloaded_bytes);
        *match asked.met {
            Met::Hit => &mut self.hits,
            Met::Miss => &mut self.misses,
            Met::Expired => &mut self.expired,
        } += 1;
    }
}
