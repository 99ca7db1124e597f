//! The image, built again from the beginning by a real Docker engine: the same, byte for byte.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod engine;

use engine::{build, tagged_at};

/// What apt, Python and the engine did at another time must leave no trace.
#[test]
fn built_anew_it_is_the_same() {
    let Some(first) = build(&[]) else { return };
    let tagged = tagged_at(first["reference"].as_str().unwrap());
    let again = build(&["--force"]).unwrap();
    assert_ne!(tagged, tagged_at(again["reference"].as_str().unwrap()));
    assert_eq!(first["id"], again["id"]);
    assert_eq!(first["reference"], again["reference"]);
}
