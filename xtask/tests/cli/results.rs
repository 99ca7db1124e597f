//! `bench`, `report`, `compare` and `cache` on real, short runs.

use std::path::Path;

use crate::program::{ended, no_tools};

#[test]
fn a_run_is_measured_rendered_and_compared() {
    if no_tools("a_run_is_measured_rendered_and_compared") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (caches, run, slower) = (path("caches"), path("run"), path("slower"));
    let scenario = path("tiny.yaml");
    let text = "name: tiny\nwhy: The smallest thing that has a first and a cached run.\nrequest:\n  \
                pythonCode: import idna; print(idna.encode('ok').decode())\n  dependencies: idna\nexpect:\n  stdout:\n    equals: ok\n";
    std::fs::write(&scenario, text).unwrap();
    let counts = ["--first-runs", "1", "--cached-runs", "3", "--no-peers", "--seed", "14"];
    let bench = ["bench", "--scenario", &scenario, "--cache-dir", &caches, "--out", &run];
    let measured = ended(&[&bench[..], &counts[..]].concat());
    measured.with(0, &[]);
    assert!(
        measured.stdout.contains("tiny") && measured.stdout.contains("report.html"),
        "{}",
        measured.stdout
    );
    for file in [
        "report.json",
        "report.html",
        "samples.jsonl",
        "junit.xml",
        "metrics.txt",
    ] {
        assert!(folder.path().join("run").join(file).is_file(), "{file}");
    }
    let trace = path("trace.json");
    let json = ended(&["report", &run, "--json", "--trace-out", &trace]);
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    let is_sample = |event: &&serde_json::Value| event["cat"] == "sample";
    let samples = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_sample)
        .count();
    assert_eq!(samples, 4, "{trace:#}");
    let mut record: serde_json::Value = serde_json::from_str(&json.with(0, &[]).stdout).unwrap();
    assert_eq!(record["samples"].as_array().unwrap().len(), 4);
    assert!(ended(&["report", &run]).with(0, &[]).stdout.contains("tiny"));

    // Nothing stood beside it, so the gate cannot tell, however the times differ; a flag says whether that is a failure.
    let same = ["compare", &run, &run, "--gate", "0.1"];
    let untold = ended(&same);
    assert!(
        untold
            .with(6, &["gate: cannot tell", "no pairs"])
            .stdout
            .contains("tiny")
    );
    ended(&[&same[..], &["--allow-undecided"]].concat()).with(0, &["no pairs"]);
    ended(&["compare", &run, &run, "--gate", "nan"]).with(2, &["give a share"]);
    // The same run, but a hundred times slower.
    slow_down(&mut record["samples"]);
    std::fs::create_dir(&slower).unwrap();
    std::fs::write(folder.path().join("slower/report.json"), record.to_string()).unwrap();
    ended(&["compare", &run, &slower]).with(0, &[]);
    ended(&["compare", &run, &slower, "--gate", "0.1"]).with(6, &["no pairs"]);
    assert!(
        ended(&["compare", &run, &slower, "--markdown"])
            .with(0, &[])
            .stdout
            .contains("| tiny | cached |")
    );
}

/// A folder with the committed baseline as a run, and its path.
fn baseline(folder: &Path) -> String {
    let run = folder.join("runs/one");
    std::fs::create_dir_all(&run).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/baseline/report.json");
    std::fs::copy(committed, run.join("report.json")).unwrap();
    run.to_str().unwrap().to_owned()
}

#[test]
fn a_stored_run_is_compared_as_json_and_as_a_digest_and_drawn_over_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = baseline(folder.path());
    let compared = ended(&["compare", &run, &run, "--json", "--gate", "0.5"]);
    let value: serde_json::Value = serde_json::from_str(&compared.stdout).unwrap();
    let outcome = value["gate"]["outcome"].as_str().unwrap();
    let code = if outcome == "good" { 0 } else { 6 };
    compared.with(code, &["gate: "]);
    assert_eq!(value["groups"][0]["scenario"], "python-only");
    let digest = ended(&["compare", &run, &run, "--markdown"]);
    assert!(
        digest.with(0, &[]).stdout.starts_with("## Comparison: B against A\n"),
        "{}",
        digest.stdout
    );
    ended(&["compare", &run, &run, "--markdown", "--json"]).with(2, &["--json"]);

    let runs = folder.path().join("runs");
    let broken = runs.join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("report.json"), "{").unwrap();
    let runs = runs.to_str().unwrap();
    let drawn = ended(&["report", "--history", runs]);
    for words in ["1 runs on 1 machines", "not read: broken: ", "history.html"] {
        assert!(drawn.with(0, &[]).stdout.contains(words), "{}", drawn.stdout);
    }
    assert!(Path::new(runs).join("history.html").is_file());
    let json = ended(&["report", "--history", runs, "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.with(0, &[]).stdout).unwrap();
    assert_eq!(value["runs"][0]["folder"], "one");
    assert_eq!(value["unreadable"][0]["folder"], "broken");
    ended(&["report", "--history", &format!("{runs}/nothing")]).with(2, &["nothing"]);
    ended(&["report"]).with(2, &["<RUN>"]);
    ended(&["report", &run, "--history", runs]).with(2, &["--history"]);
}

/// Every time in it, which all end in `_us`, a hundred times as long.
fn slow_down(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => list.iter_mut().for_each(slow_down),
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_u64() {
                    Some(us) if name.ends_with("_us") => *field = (us * 100).into(),
                    _ => slow_down(field),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_caches_are_filled_measured_checked_and_emptied() {
    if no_tools("the_caches_are_filled_measured_checked_and_emptied") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = |arguments: &[&str]| {
        let all = [&["cache", "--cache-dir", folder.path().to_str().unwrap()], arguments].concat();
        ended(&all)
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&cache(arguments).with(0, &[]).stdout).unwrap()
    };
    assert_eq!(json(&["verify", "--json"])["problems"], serde_json::json!([]));
    assert!(
        cache(&["warm", "--dep", "idna"])
            .with(0, &[])
            .stdout
            .contains("python: built")
    );
    assert!(
        cache(&["warm", "--dep", "idna"])
            .with(0, &[])
            .stdout
            .contains("python: hit")
    );
    cache(&["warm", "--dep=-e ."]).with(2, &["/dependencies"]);
    cache(&["warm", "--dep", "hybrid-cache-has-no-such-package"]).with(5, &["hybrid-cache-has-no-such-package"]);
    assert_eq!(json(&["usage", "--json"])["environments"], 1);
    assert!(cache(&["usage"]).with(0, &[]).stdout.contains("1 Python environments"));
    assert!(cache(&["verify"]).with(0, &[]).stdout.contains("all of it is whole"));
    // What a killed process left is no damage.
    std::fs::create_dir_all(folder.path().join("volumes/python/trash/gone-1")).unwrap();
    assert!(cache(&["verify"]).with(0, &[]).stdout.contains("1 leftovers"));
    assert_eq!(json(&["gc", "--json"])["evicted_environments"], 0);
    // Damage is found, and is exit code 3: a gate that does not hold.
    let environments = folder.path().join("volumes/python/tenants/default/envs");
    let environment = std::fs::read_dir(environments)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    std::fs::remove_file(environment.join("venv/pyvenv.cfg")).unwrap();
    assert!(cache(&["verify"]).with(3, &["hint: "]).stdout.contains("pyvenv.cfg"));
    assert_eq!(json(&["gc", "--max-bytes", "0", "--json"])["evicted_environments"], 1);
    assert_eq!(json(&["usage", "--json"])["environments"], 0);
    assert!(cache(&["verify"]).with(0, &[]).stdout.contains("all of it is whole"));
}
