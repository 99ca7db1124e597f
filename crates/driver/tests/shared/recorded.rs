//! A recorded trace read back: for the tests against a double of a cluster and those against a real one.

use std::path::PathBuf;

use hybrid_cache_sizing::trace::{Met, Reader};
use hybrid_cache_sizing::{Catalog, Event, Volume};

/// In the user's code and in its output, and in no trace.
pub const SECRET: &str = "correct-horse-battery-staple";

/// What the Python requests of the files met, how many environments were there before, and the catalog.
pub fn read(files: Vec<PathBuf>) -> (Vec<Met>, usize, Catalog) {
    let (mut reader, mut met, mut residents) = (Reader::new(), Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        for line in text.lines() {
            let mut each = |event: &Event| match event {
                Event::Request(request) => met.push(request.on(Volume::Python).unwrap().met),
                Event::Resident(volume, _) => residents += usize::from(*volume == Volume::Python),
            };
            reader.line(line.as_bytes(), true, &mut each).unwrap();
        }
    }
    let (catalog, faults) = reader.finish().unwrap();
    assert_eq!(faults.count, 0, "{faults:?}");
    (met, residents, catalog)
}
