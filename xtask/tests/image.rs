//! The image, built by a real Docker engine: once for each content, the same again, and fit for a pod.
//!
//! `image_anew.rs` has the build that repeats everything: both change the same name in the engine.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod engine;

use serde_json::Value;

use engine::{build, docker, tagged_at};

/// What `docker run` is told so that a container may do as little as a pod under Pod Security "restricted".
const RESTRICTED: [&str; 8] = [
    "run",
    "--rm",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--tmpfs=/tmp",
    "--entrypoint",
];

/// The standard output of a program in a restricted container.
fn inside(image: &str, program: &str, arguments: &[&str]) -> String {
    let all = [&RESTRICTED, &[program, image][..], arguments].concat();
    let output = docker(&all);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_is_built_once_and_runs_as_little_as_a_pod_may() {
    let Some(first) = build(&[]) else { return };
    let image = first["reference"].as_str().unwrap();
    assert!(image.starts_with("nix-portable-base:"), "{image}");
    let tagged = tagged_at(image);
    assert_eq!(Some(&first), build(&[]).as_ref());
    assert_eq!(tagged, tagged_at(image), "there was nothing to do");

    it_runs(image);
    it_says_who_its_interpreter_is(image);
    it_offers_basic_tools_and_no_compiler(image);
    it_is_in_utc(image);
}

fn it_runs(image: &str) {
    let version = inside(image, "/usr/local/bin/runner", &["version"]);
    assert!(version.starts_with("runner "), "{version}");
    let code = "import os, ssl, sqlite3, ctypes; print(os.getuid(), os.getgid(), os.listdir('/nix'))";
    assert_eq!(inside(image, "/usr/bin/python3.11", &["-c", code]), "10001 10001 []\n");
    assert!(inside(image, "/usr/local/bin/uv", &["--version"]).starts_with("uv "));
}

/// Keys are made of it: a wrong record would make every environment one of an interpreter that does not exist.
fn it_says_who_its_interpreter_is(image: &str) {
    let record = inside(image, "/usr/bin/cat", &["/etc/hybrid-cache/image.json"]);
    let record: Value = serde_json::from_str(&record).unwrap();
    let interpreter = &record["interpreter"];
    let path = interpreter["path"].as_str().unwrap();
    let probe = "import platform, sys, sysconfig; print(platform.python_version(), sys.implementation.cache_tag, sysconfig.get_platform())";
    let said = inside(image, path, &["-I", "-c", probe]);
    let recorded = ["version", "abi", "platform"].map(|name| interpreter[name].as_str().unwrap());
    assert_eq!(said.trim(), recorded.join(" "));

    let all = [&RESTRICTED, &["/usr/bin/cat", image, path][..]].concat();
    let binary = docker(&all).stdout;
    assert_eq!(interpreter["binary_hash"], blake3::hash(&binary).to_hex().as_str());
    assert_eq!(record["uv"], "/usr/local/bin/uv");
}

fn it_offers_basic_tools_and_no_compiler(image: &str) {
    let offered = inside(image, "/usr/bin/ls", &["/hybrid-cache/bin"]);
    let mut offered: Vec<&str> = offered.lines().collect();
    offered.sort_unstable();
    // What the local driver's sandbox offers; a task must not behave differently in a pod.
    let mut expected: Vec<&str> = hybrid_cache_driver::local::sandbox::basic_tools().collect();
    expected.sort_unstable();
    assert_eq!(offered, expected);
    let line = "printf 'b\\na\\nb\\n' | sort | uniq | tee /tmp/all | xargs && which ps && ps -e -o comm= | grep -cx ps";
    assert_eq!(
        inside(image, "/usr/bin/env", &["PATH=/hybrid-cache/bin", "sh", "-c", line]),
        "a b\n/hybrid-cache/bin/ps\n1\n"
    );
    let programs = inside(
        image,
        "/usr/bin/find",
        &["/usr", "-name", "*gcc*", "-o", "-name", "cc", "-o", "-name", "apt*"],
    );
    let programs: Vec<_> = programs.lines().filter(|path| path.contains("/bin/")).collect();
    assert!(programs.is_empty(), "{programs:?}");
}

fn it_is_in_utc(image: &str) {
    let code =
        "import os, time; print(os.readlink('/etc/localtime'), time.tzname[0], open('/etc/timezone').read().strip())";
    let expected = "/usr/share/zoneinfo/Etc/UTC UTC Etc/UTC\n";
    assert_eq!(inside(image, "/usr/bin/python3.11", &["-c", code]), expected);
}
