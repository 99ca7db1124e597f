//! A recording that goes on, that is damaged, and that is full.

use super::*;

fn entry(place: &str, blob: Blob) -> Entry {
    Entry {
        place: place.to_owned(),
        upstream: None,
        status: 200,
        blob: Some(blob),
        media_type: "text/html".to_owned(),
        cache_control: None,
        gzip: None,
        links: None,
    }
}

#[test]
fn a_recording_goes_on_and_what_is_damaged_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror");
    assert!(matches!(Recording::to_replay(&path), Err(MirrorError::Empty { .. })));
    let first = Recording::to_record(&path, 1000).unwrap();
    // Two recorders at once, of the same content.
    let second = Recording::to_record(&path, 1000).unwrap();
    for recording in [&first, &second] {
        let blob = recording.keep_bytes(b"content").unwrap();
        recording.keep(entry("one", blob)).unwrap();
    }
    second.keep(entry("two", second.keep_bytes(b"other").unwrap())).unwrap();
    assert_eq!(first.bytes(), 7);
    let replayed = Recording::to_replay(&path).unwrap();
    assert_eq!(replayed.digest(), second.digest());
    assert_ne!(replayed.digest(), first.digest());
    assert!(replayed.find("one").is_some() && replayed.find("three").is_none());
    let blob = replayed.find("two").unwrap().blob.unwrap();
    fs::write(replayed.path_of(&blob.sha256), "OTHER").unwrap();
    assert!(matches!(Recording::to_replay(&path), Err(MirrorError::Damaged { .. })));
    let again = Recording::to_record(&path, 1000).unwrap();
    assert!(again.find("two").is_none() && again.find("one").is_some());
    assert_eq!(again.bytes(), 7);
    assert!(Recording::to_replay(&path).unwrap().find("two").is_none());
    again.keep(entry("two", again.keep_bytes(b"other").unwrap())).unwrap();
    assert_eq!(Recording::to_replay(&path).unwrap().digest(), second.digest());
}

#[test]
fn a_recording_has_a_largest_size_and_keeps_only_what_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::to_record(&folder.path().join("mirror"), 10).unwrap();
    recording.keep_bytes(b"12345").unwrap();
    assert!(matches!(recording.keep_bytes(b"1234567"), Err(Unkept::Full)));
    let mut incoming = recording.incoming().unwrap();
    incoming.write(b"abc").unwrap();
    let other = "0".repeat(64);
    assert!(matches!(incoming.keep(Some(&other)), Err(Unkept::OtherHash)));
    assert_eq!(recording.bytes(), 5);
    assert_eq!(fs::read_dir(recording.folder.join("incoming")).unwrap().count(), 0);
}

#[test]
fn another_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let refused = Recording::to_record(folder.path(), 10);
    assert!(matches!(refused, Err(MirrorError::NotARecording { .. })));
    fs::write(folder.path().join("FORMAT"), "something else 7\n").unwrap();
    assert!(matches!(
        Recording::to_replay(folder.path()),
        Err(MirrorError::NotARecording { .. })
    ));
}
