//! The image, built by a real Docker engine: once for each content, the same again, and fit for a pod.
//!
//! `image_anew.rs` has the build that repeats everything: both change the same name in the engine.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod engine;

use std::process::Command;

use serde_json::Value;

use engine::{build, build_with, docker, tagged_at};

/// The options of `docker run` so that a container may do as little as a pod under Pod Security "restricted".
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

#[test]
fn it_brings_further_interpreters_of_this_machine_that_work_in_it() {
    let test = "it_brings_further_interpreters_of_this_machine_that_work_in_it";
    let versions = further_versions();
    let (Some(oldest), Some(newest)) = (versions.first(), versions.last()) else {
        println!("skipped: {test}: this machine has no Python beside 3.11");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    // The image's own version adds nothing.
    std::fs::write(&settings, format!("pythonVersions: ['{oldest}', '{newest}', '3.11']\n")).unwrap();
    let Some(built) = build_with(Some(&settings), &[]) else {
        return;
    };
    let image = built["reference"].as_str().unwrap();
    assert_ne!(
        Some(image),
        build(&[]).unwrap()["reference"].as_str(),
        "another image without them"
    );
    let record = record(image);
    let others = record["other_interpreters"].as_array().unwrap();
    let mut expected = vec![oldest.as_str(), newest];
    expected.dedup();
    let brought: Vec<_> = others.iter().map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!(brought, expected);
    for other in others {
        it_works_where_it_was_moved(image, other);
    }
    let odd = ["/usr/local/python", "!", "-type", "l", "!", "-perm", "-004"];
    assert_eq!(inside(image, "/usr/bin/find", &odd), "", "everybody can read them");
    for left_out in ["site-packages", "test_os.py", "*.a"] {
        let found = inside(image, "/usr/bin/find", &["/usr/local/python", "-name", left_out]);
        assert_eq!(found, "", "{left_out}");
    }
}

/// The versions of this machine's interpreters that the image does not have by itself, the oldest first.
fn further_versions() -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["tools", "--json"])
        .output()
        .unwrap();
    let tools: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let others = tools["other_interpreters"].as_array().cloned().unwrap_or_default();
    let versions = others.iter().chain([&tools["interpreter"]]);
    let versions = versions.filter_map(|one| one["version"].as_str().map(str::to_owned));
    versions.filter(|version| !version.starts_with("3.11.")).collect()
}

/// Beside what the build has checked: environments, by uv and by itself, and the keys' parts.
fn it_works_where_it_was_moved(image: &str, interpreter: &Value) {
    let path = interpreter["path"].as_str().unwrap();
    let version = interpreter["version"].as_str().unwrap();
    assert!(
        path.starts_with(&format!("/usr/local/python/{version}/bin/python3.")),
        "{path}"
    );
    recorded_as_it_is(image, interpreter);
    let code = "
import ctypes, os, sqlite3, ssl, subprocess, sys, sysconfig
folder = os.path.dirname(os.path.dirname(sys.executable))
assert sys.prefix == sys.base_prefix == folder, sys.prefix
assert os.path.isfile(os.path.join(sysconfig.get_path('include'), 'Python.h'))
assert not [name for name, value in sysconfig.get_config_vars().items() if 'pyenv' in str(value)]
assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 100
subprocess.run(['/usr/local/bin/uv', 'venv', '--quiet', '--no-cache', '--python', sys.executable, '/tmp/by-uv'], check=True)
subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '/tmp/by-itself'], check=True)
tell = 'import platform, ssl, sqlite3, sys; print(platform.python_version(), sys.prefix, sys.base_prefix)'
for name in ('/tmp/by-uv', '/tmp/by-itself'):
    told = subprocess.run([name + '/bin/python', '-c', tell], check=True, capture_output=True, text=True).stdout
    assert told.split() == [sys.version.split()[0], name, folder], told
print('works')
";
    assert_eq!(inside(image, path, &["-I", "-c", code]), "works\n");
}

fn record(image: &str) -> Value {
    let record = inside(image, "/usr/bin/cat", &["/etc/hybrid-cache/image.json"]);
    serde_json::from_str(&record).unwrap()
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
    let record = record(image);
    recorded_as_it_is(image, &record["interpreter"]);
    assert_eq!(record.get("other_interpreters"), None);
    assert_eq!(record["uv"], "/usr/local/bin/uv");
}

fn recorded_as_it_is(image: &str, interpreter: &Value) {
    let path = interpreter["path"].as_str().unwrap();
    let probe = "import platform, sys, sysconfig; print(platform.python_version(), sys.implementation.cache_tag, sysconfig.get_platform())";
    let said = inside(image, path, &["-I", "-c", probe]);
    let recorded = ["version", "abi", "platform"].map(|name| interpreter[name].as_str().unwrap());
    assert_eq!(said.trim(), recorded.join(" "));

    let all = [&RESTRICTED, &["/usr/bin/cat", image, path][..]].concat();
    let binary = docker(&all).stdout;
    assert_eq!(interpreter["binary_hash"], blake3::hash(&binary).to_hex().as_str());
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
