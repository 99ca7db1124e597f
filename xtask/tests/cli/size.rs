//! `size`: what it prints and writes, what it refuses, and what it ends with.

use std::path::Path;

use crate::program::{Ended, ended, ended_with_input};

/// Names a context of the kubeconfig, of a cluster that is there for tests.
const CONTEXT_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONTEXT";
const HEADER: &str = r#"{"hybrid_cache_trace":1,"begun_us":1000000}"#;

/// A trace in which ten environments of 40 to 100 MB take turns for a day.
fn trace() -> String {
    let mut lines = vec![HEADER.to_owned()];
    for at in 0..600u64 {
        let environment = at * at % 10;
        let made_of = if at < 40 {
            let bytes = (40 + 6 * environment) << 20;
            format!(
                r#","made_of":{{"label":"package-{environment}","own":[4096,2],"parts":[["p{environment}",{bytes},900]]}}"#
            )
        } else {
            String::new()
        };
        let result = if at < 10 { "miss" } else { "hit" };
        let at_us = 2_000_000 + at * 144_000_000;
        lines.push(format!(
            r#"{{"at_us":{at_us},"tenant":"default","python":{{"request":"r{environment}","environment":"e{environment}","result":"{result}"{made_of}}},"wait_us":90000}}"#
        ));
    }
    lines.join("\n") + "\n"
}

fn size(arguments: &[&str], out: &Path) -> Ended {
    let out = out.to_str().unwrap();
    ended(&[&["size", "--out", out][..], arguments].concat())
}

#[test]
fn a_trace_gives_a_size_a_page_and_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    std::fs::write(&file, trace()).unwrap();
    let out = folder.path().join("out");
    let found = size(&["--trace", file.to_str().unwrap(), "--hit", "90%"], &out);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(
        found.stdout.contains("GiB for uv-cache-pvc") && found.stdout.contains("600 requests"),
        "{}",
        found.stdout
    );
    // Nothing was asked of the other volume, so nothing is said about it.
    assert!(!found.stdout.contains("nix-store-pvc"));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&read("size.json")).unwrap();
    let python = &json["recommendation"]["volumes"][0];
    assert!(python["at"]["hit_rate"].as_f64().unwrap() >= 0.9 && python["largest"][0] == (94u64 << 20) + 4096);
    let gib = python["claim"]["gib"].as_u64().unwrap();
    assert!(
        read("size.patch").contains(&format!("+      storage: {gib}Gi")) && read("size.html").contains("<polyline")
    );
    assert!(read("size.md").starts_with("# Volume sizes"));
    // The same from a pipe, as JSON.
    let out = out.to_str().unwrap();
    let piped = ended_with_input(
        &["size", "--trace", "-", "--json", "--hit", "90%", "--out", out],
        trace().as_bytes(),
    );
    let piped: serde_json::Value = serde_json::from_str(&piped.stdout).unwrap();
    assert_eq!(piped["recommendation"], json["recommendation"]);
}

#[test]
fn a_target_out_of_reach_ends_with_3_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    std::fs::write(&file, trace()).unwrap();
    let found = size(&["--trace", file.to_str().unwrap(), "--hit", "100%"], folder.path());
    found.with(3, &["no size reaches the targets", "hint: "]);
    assert!(
        found.stdout.contains("cannot be reached") && found.stdout.contains("first"),
        "{}",
        found.stdout
    );
}

#[test]
fn without_a_trace_it_says_that_it_uses_a_synthetic_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let found = size(
        &["--hit", "60%", "--driver", "local", "--cache-dir", root],
        folder.path(),
    );
    found.with(
        0,
        &["no --trace was given and no requests are recorded: using the synthetic trace `team`"],
    );
    assert!(found.stdout.contains("this is a synthetic trace"), "{}", found.stdout);
}

#[test]
fn what_is_no_trace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, reported: &[&str]| {
        let file = folder.path().join("trace.jsonl");
        std::fs::write(&file, text).unwrap();
        let found = size(&["--trace", file.to_str().unwrap()], &folder.path().join("out"));
        found.with(2, reported);
        assert!(
            found.stdout.is_empty() && !folder.path().join("out").exists(),
            "{}",
            found.stdout
        );
    };
    refused("", &["trace.jsonl: the trace is empty", "hint: "]);
    refused("hello\n", &["line 1 is not the header"]);
    refused(
        "{\"hybrid_cache_trace\":9,\"begun_us\":0}\n",
        &["version 9", "reads version 1"],
    );
    refused(&format!("{HEADER}\n"), &["no requests"]);
    size(&["--trace", "/nowhere/at/all"], folder.path()).with(2, &["/nowhere/at/all: No such file"]);
    size(&["--trace", "/"], folder.path()).with(2, &["/ is not a file", "hint: "]);
    size(&["--synthetic", "nobody"], folder.path()).with(2, &["no synthetic trace \"nobody\"", "team, ci, agents"]);
    size(&["--hit", "95"], folder.path()).with(2, &["from 0 to 1"]);
}

#[test]
fn what_a_proof_or_a_fleet_cannot_be_is_refused() {
    let out = Path::new("/nowhere");
    size(&["--prove-size", "20Gi"], out).with(2, &["--prove"]);
    size(&["--prove", "--prove-bytes", "1Mi"], out).with(2, &["less than 64Mi"]);
    size(&["--prove", "--prove-bytes", "much"], out).with(2, &["as Kubernetes does"]);
    size(&["--driver", "kube", "--synthetic", "team"], out).with(2, &["--prove"]);
    size(&["--prove", "--driver", "argo"], out).with(2, &["--driver kube"]);
    size(&["--prove", "--context", "production"], out)
        .with(4, &["not the context of a kind cluster", "hint: ", "on this machine"]);
    size(&["--fleet", "0"], out).with(2, &["1..=20000"]);
    size(&["--fleet-size", "20Gi"], out).with(2, &["--fleet"]);
    size(&["--fleet", "3", "--fleet-size", "64Mi"], out).with(2, &["the largest environment", "--fleet-size"]);
}

#[test]
fn a_proof_in_the_node_of_a_cluster_holds_and_leaves_nothing_there() {
    const TEST: &str = "a_proof_in_the_node_of_a_cluster_holds_and_leaves_nothing_there";
    let Some(context) = std::env::var(CONTEXT_VARIABLE).ok() else {
        println!("skipped: {TEST}: {CONTEXT_VARIABLE} names no cluster");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (cluster, bounds) = (
        ["--prove", "--context", &context],
        ["--prove-environments", "4", "--prove-requests", "20"],
    );
    let trace = ["--synthetic", "team", "--json", "--prove-bytes", "512Mi"];
    let found = size(&[&cluster[..], &bounds, &trace].concat(), folder.path());
    if found.code == Some(4) {
        println!("skipped: {TEST}: {}", found.stderr);
        return;
    }
    let json: serde_json::Value = serde_json::from_str(&found.stdout).unwrap_or_else(|_| panic!("{}", found.stderr));
    let sizes = json["proof"]["volumes"][0]["sizes"].as_array().unwrap();
    assert!(!sizes.is_empty(), "{}", found.stderr);
    for size in sizes {
        let (reported, seen) = (&size["predicted"], &size["observed"]);
        // How long requests wait depends on what else the machine does.
        assert_eq!(
            (&reported["hit_rate"], &reported["held"]),
            (&seen["hit_rate"], &seen["held"]),
            "{size}"
        );
        assert_eq!(size["refused"].as_array().map(Vec::len), Some(0), "{size}");
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("/proof/"), "{mounts}");
}

#[test]
fn a_fleet_tells_what_placement_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    std::fs::write(&file, trace()).unwrap();
    let options = [
        "--trace",
        file.to_str().unwrap(),
        "--hit",
        "90%",
        "--fleet",
        "30",
        "--markdown",
    ];
    let found = size(&options, &folder.path().join("out"));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    for part in [
        "## Fleet",
        "30 nodes",
        "| where the environment is |",
        "| one shared volume |",
    ] {
        assert!(found.stdout.contains(part), "{part}: {}", found.stdout);
    }
}

#[test]
fn a_line_that_is_wrong_is_told_and_the_rest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    let cut = trace();
    std::fs::write(&file, &cut[..cut.len() - 20]).unwrap();
    let found = size(&["--trace", file.to_str().unwrap(), "--hit", "80%"], folder.path());
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(
        found.stdout.contains("warning: line 601: the line ends in the middle")
            && found.stdout.contains("599 requests"),
        "{}",
        found.stdout
    );
}
