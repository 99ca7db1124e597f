//! Full volumes: the outcome says so, nothing incomplete is left, and they work again as soon as there is room.

use hybrid_cache_model::TaskSpec;

use crate::bench::{Bench, machine, machine_with_nix, not_root, python, system};
use crate::roles::Play;

/// Plays on a small file system, makes it larger, and plays again; `None` if this user may not mount.
fn small_then_large(
    test: &str,
    bench: &Bench,
    folder: &str,
    small: &str,
    spec: &TaskSpec,
) -> Option<[Vec<serde_json::Value>; 2]> {
    if not_root(test) {
        return None;
    }
    let script = "mount -t tmpfs -o \"$1,mode=755\" tmpfs \"$0\" || exit 99; shift\n\
                  \"$@\"; echo between; mount -o remount,size=2g,nr_inodes=0 \"$0\" && exec \"$@\"";
    let at = bench.config.root.join(folder);
    let prefix = ["unshare", "-m", "sh", "-c", script, at.to_str().unwrap(), small];
    let text = Play::new(&bench.config, std::slice::from_ref(spec)).run(&prefix);
    let Some((before, after)) = text.split_once("between\n") else {
        println!("skipped: {test}: this user may not mount: {text}");
        return None;
    };
    Some([before, after].map(|part| {
        let reported: Vec<serde_json::Value> = part
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert_eq!(reported.len(), 2, "{text}");
        reported
    }))
}

fn check(test: &str, bench: &Bench, folder: &str, small: &str, spec: &TaskSpec) {
    let Some([before, after]) = small_then_large(test, bench, folder, small, spec) else {
        return;
    };
    let failure = &before[0]["outcome"]["failure"];
    assert_eq!(failure["kind"], "disk_full", "{small}: {}", before[0]);
    let message = failure["message"].as_str().unwrap();
    // The second is SQLite's: which write meets the end of the room is chance.
    let reported = ["No space left", "database or disk is full"];
    let is_told = message.contains("volume") && reported.iter().any(|words| message.contains(words));
    assert!(is_told, "{small}: {failure}");
    assert!(failure["hint"].is_string(), "{small}: {failure}");
    assert_eq!(before[0]["stdout"], "");
    assert_eq!(
        before[1]["verified"]["problems"],
        serde_json::json!([]),
        "{small}: {}",
        before[1]
    );
    assert_eq!(before[1]["verified"]["environments"], 0);
    assert_eq!(before[1]["verified"]["system_sets"], 0);
    assert_eq!(after[0]["stdout"], "good\n", "{small}: {}", after[0]);
    assert_eq!(
        after[1]["verified"]["problems"],
        serde_json::json!([]),
        "{small}: {}",
        after[1]
    );
}

#[tokio::test]
async fn a_full_python_volume_is_reported_and_works_again_with_room() {
    let test = "a_full_python_volume_is_reported_and_works_again_with_room";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    // The first two are full while it unpacks, early and late; the third has no more files to give.
    for small in ["size=20m", "size=48m", "size=400m,nr_inodes=1200"] {
        check(
            test,
            &bench,
            "volumes/python",
            small,
            &python("numpy", "import numpy; print('good')"),
        );
    }
}

#[tokio::test]
async fn a_full_system_volume_is_reported_and_works_again_with_room() {
    let test = "a_full_system_volume_is_reported_and_works_again_with_room";
    let Some(config) = machine_with_nix(test) else { return };
    let bench = Bench::empty(config);
    let code =
        "import subprocess; subprocess.run(['git', '--version'], check=True, capture_output=True); print('good')";
    for small in ["size=1m", "size=16m"] {
        check(
            test,
            &bench,
            "volumes/system/.nix-portable/nix",
            small,
            &system("git", code),
        );
    }
}
