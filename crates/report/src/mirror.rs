//! The network of first runs: the operator's own, or that of a mirror.

use hybrid_cache_model::mirror::{MirrorMode, MirrorRecord};
use hybrid_cache_model::sample::RunRecord;

use crate::units;

/// Why first runs through a mirror that records are no figures.
pub const NO_FIGURES: &str =
    "first runs fetched through a mirror that records: some of it from the network, the rest from the recording";

/// A mirror as a fact of the report.
pub(crate) fn described(mirror: &MirrorRecord) -> String {
    let served = format!("{} requests, {}", mirror.requests, units::bytes(mirror.bytes));
    format!("{}; {served}", network(Some(mirror)))
}

/// The network of first runs. Only runs with the same one can be compared.
fn network(mirror: Option<&MirrorRecord>) -> String {
    let Some(mirror) = mirror else {
        return "no mirror".to_owned();
    };
    let digest = &mirror.digest[..mirror.digest.floor_char_boundary(12)];
    match mirror.mode {
        MirrorMode::Record => format!("a mirror that records ({digest})"),
        MirrorMode::Replay => format!(
            "a replay of recording {digest} at {}, round trip {}",
            mirror
                .bits_per_s
                .map_or_else(|| "full speed".to_owned(), units::bits_per_s),
            mirror
                .round_trip_us
                .map_or_else(|| "0".to_owned(), |us| units::duration(us as f64)),
        ),
    }
}

/// What first runs of two runs differ in; `None` if their network is the same.
pub(crate) fn difference(a: &RunRecord, b: &RunRecord) -> Option<String> {
    let (a, b) = (a.provenance.mirror.as_ref(), b.provenance.mirror.as_ref());
    let records = |mirror: Option<&MirrorRecord>| mirror.is_some_and(|mirror| mirror.mode == MirrorMode::Record);
    let conditions = |mirror: Option<&MirrorRecord>| {
        mirror.map(|mirror| (mirror.digest.clone(), mirror.bits_per_s, mirror.round_trip_us))
    };
    // What a recorder took from the network and what from its recording differs from run to run.
    (conditions(a) != conditions(b) || records(a) || records(b)).then(|| {
        format!(
            "first runs had another network: {} in A, {} in B",
            network(a),
            network(b)
        )
    })
}

/// What distinguishes series of first runs over time.
pub(crate) fn conditions(record: &RunRecord) -> String {
    record
        .provenance
        .mirror
        .as_ref()
        .map_or_else(String::new, |mirror| network(Some(mirror)))
}
