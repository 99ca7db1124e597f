//! `cache trace`, and `size` on what was recorded.

use std::fs;
use std::path::Path;

use crate::program::ended;

const HEADER: &str = r#"{"hybrid_cache_trace":1,"begun_us":1000000,"max_age_s":3600}"#;

/// One file of requests for ten environments in turn, every two minutes from `from` on; the first ones are misses.
fn requests(from: u64, count: u64) -> String {
    let mut lines = vec![HEADER.to_owned()];
    for at in from..from + count {
        let environment = at * at % 10;
        let made_of = if at < from + 40 {
            let bytes = (40 + 6 * environment) << 20;
            format!(
                r#","made_of":{{"label":"secret-package-{environment}","own":[4096,2],"parts":[["p{environment}",{bytes},900]]}}"#
            )
        } else {
            String::new()
        };
        let result = if at < 10 { "miss" } else { "hit" };
        let at_us = 2_000_000 + at * 144_000_000;
        lines.push(format!(
            r#"{{"at_us":{at_us},"tenant":"team-a","python":{{"request":"r{environment}","environment":"e{environment}","result":"{result}"{made_of}}},"wait_us":90000}}"#
        ));
    }
    lines.join("\n") + "\n"
}

/// A cache folder with two files of a trace, the first of which a crash has torn.
fn recorded(root: &Path) {
    let folder = root.join("trace");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("trace-000001.jsonl"), requests(0, 300) + "{\"at_us\":12").unwrap();
    fs::write(folder.join("trace-000002.jsonl"), requests(300, 300)).unwrap();
    fs::write(folder.join("trace-000002.known"), "python e1\n").unwrap();
}

#[test]
fn what_was_recorded_is_shown_in_numbers_with_its_faults() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path());
    let root = dir.path().to_str().unwrap();
    let shown = ended(&["cache", "trace", "show", "--cache-dir", root]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(
        shown.stdout.contains("600 requests") && shown.stdout.contains("98.3 %"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stderr.contains("line 302: the line ends in the middle"),
        "{}",
        shown.stderr
    );
    let json = ended(&["cache", "trace", "show", "--json", "--folder", &format!("{root}/trace")]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let python = &json["volumes"][0];
    assert_eq!((&json["requests"], &json["fault_count"]), (&600.into(), &1.into()));
    assert_eq!(
        (
            &python["hits"],
            &python["misses"],
            &python["environments"],
            &python["parts"]
        ),
        (&590.into(), &10.into(), &6.into(), &6.into())
    );
}

#[test]
fn an_export_is_one_trace_that_size_takes_and_it_can_be_without_names() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path());
    let root = dir.path().to_str().unwrap();
    let out = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (whole, nameless) = (out("whole.jsonl"), out("nameless.jsonl"));
    let exported = ended(&["cache", "trace", "export", "--cache-dir", root, "--out", &whole]);
    exported.with(0, &["600 requests were exported", "1 lines were left out"]);
    ended(&[
        "cache",
        "trace",
        "export",
        "--cache-dir",
        root,
        "--anonymise",
        "--out",
        &nameless,
    ])
    .with(0, &["600"]);
    let text = fs::read_to_string(&nameless).unwrap();
    assert!(
        !text.contains("secret") && !text.contains("team-a") && text.contains("environment-"),
        "{text}"
    );
    let sized = |file: &str| {
        let sized = ended(&[
            "size",
            "--trace",
            file,
            "--hit",
            "90%",
            "--json",
            "--out",
            &out("report"),
        ]);
        let json: serde_json::Value = serde_json::from_str(&sized.stdout).unwrap();
        json["recommendation"]["volumes"][0]["claim"]["gib"].clone()
    };
    assert!(sized(&whole).as_u64().is_some());
    assert_eq!(sized(&whole), sized(&nameless));
    let used = ended(&[
        "size",
        "--driver",
        "local",
        "--cache-dir",
        root,
        "--hit",
        "90%",
        "--out",
        &out("report"),
    ]);
    used.with(0, &["using the requests recorded in"]);
    assert!(!used.stdout.contains("this is a synthetic trace"), "{}", used.stdout);
}

#[test]
fn where_nothing_is_recorded_the_next_step_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let out = dir.path().join("out").to_str().unwrap().to_owned();
    ended(&["cache", "trace", "show", "--cache-dir", root]).with(4, &["no requests are recorded in", "hint: "]);
    ended(&["cache", "trace", "export", "--cache-dir", root, "--out", &out]).with(4, &["hint: "]);
    assert!(!Path::new(&out).exists());
    // A header alone holds no requests.
    fs::create_dir_all(dir.path().join("trace")).unwrap();
    fs::write(dir.path().join("trace/trace-000001.jsonl"), format!("{HEADER}\n")).unwrap();
    ended(&["cache", "trace", "show", "--cache-dir", root]).with(4, &["no requests are recorded in"]);
    fs::write(
        dir.path().join("trace/trace-000001.jsonl"),
        "{\"hybrid_cache_trace\":9,\"begun_us\":0}\n",
    )
    .unwrap();
    ended(&["cache", "trace", "show", "--cache-dir", root]).with(2, &["version 9"]);
}
