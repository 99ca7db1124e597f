//! The image, built again from the beginning by a real Docker engine: the same, byte for byte.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod engine;

use engine::{build, build_with, further_versions, tagged_at};

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

/// Interpreters of this machine are copied and compiled anew, too.
#[test]
fn built_anew_with_further_interpreters_it_is_the_same() {
    let versions = further_versions();
    let (Some(oldest), Some(newest)) = (versions.first(), versions.last()) else {
        println!(
            "skipped: built_anew_with_further_interpreters_it_is_the_same: this machine has no Python beside 3.11"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, format!("pythonVersions: ['{oldest}', '{newest}']\n")).unwrap();
    let Some(first) = build_with(Some(&settings), &[]) else {
        return;
    };
    let again = build_with(Some(&settings), &["--force"]).unwrap();
    assert_eq!((&first["id"], &first["reference"]), (&again["id"], &again["reference"]));
}
