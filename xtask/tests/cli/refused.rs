//! Input that makes no sense: exit code 2, named, with nothing started and nothing on standard output.

use crate::program::{Ended, ended, ended_with_input};

fn refused(ended: &Ended, reported: &[&str]) {
    ended.with(2, reported);
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains("building the runner"), "{}", ended.stderr);
}

#[test]
fn a_task_file_is_read_strictly() {
    let task = |text: &str| ended_with_input(&["run", "-"], text.as_bytes());
    refused(
        &task(r#"{"pythonCode": "1", "usecache": true}"#),
        &["-: /usecache: unknown field `usecache`", "useCache"],
    );
    refused(
        &task(r#"{"dependencies": "numpy"}"#),
        &["-: /pythonCode: the field is missing"],
    );
    refused(
        &task("{\n  \"pythonCode\": 1\n}"),
        &["-: /pythonCode: a string is expected, not a number"],
    );
    refused(&task("{\n  \"pythonCode\": print(1)\n}"), &["-:2:17: "]);
    refused(&task(""), &["-:1:0: ", "hint: "]);
    refused(
        &task(r#"{"pythonCode": " "}"#),
        &["/pythonCode: the code is empty", "hint: "],
    );
    refused(
        &task(r#"{"pythonCode": "1", "requirementsFile": "idna\n-e ."}"#),
        &["/requirementsFile line 2"],
    );
    refused(
        &task(r#"{"pythonCode": "1", "systemDependencies": "gcc;id"}"#),
        &["/systemDependencies"],
    );
    let long = format!(r#"{{"pythonCode": "{}"}}"#, "#".repeat((1 << 20) + 1));
    refused(&task(&long), &["1048577 bytes, at most 1048576"]);
    refused(&task(&" ".repeat((8 << 20) + 1)), &["more than 8388608 bytes"]);
}

#[test]
fn a_file_that_is_no_text_is_named_with_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.json");
    std::fs::write(&path, b"{\"pythonCode\": \"\xe9\"}").unwrap();
    refused(
        &ended(&["run", path.to_str().unwrap()]),
        &["latin1.json: not UTF-8 at byte 16", "hint: "],
    );
    let requirements = folder.path().join("requirements.txt");
    std::fs::write(&requirements, b"idna # \xff").unwrap();
    let requirements = requirements.to_str().unwrap();
    refused(
        &ended(&["run", "--python", "1", "--requirements", requirements]),
        &["requirements.txt", "UTF-8"],
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("task.json");
    refused(
        &ended(&["run", missing.to_str().unwrap()]),
        &["task.json", "No such file"],
    );
    refused(&ended(&["run", folder.path().to_str().unwrap()]), &["directory"]);
    refused(
        &ended(&["run", "--python", "1", "--requirements", "/no/such.txt"]),
        &["/no/such.txt"],
    );
}

#[test]
fn a_file_that_bench_writes_at_its_end_is_tried_before_anything_is_measured() {
    for option in ["--summary", "--trace-out"] {
        let there = tempfile::tempdir().unwrap();
        refused(
            &ended(&["bench", option, there.path().to_str().unwrap()]),
            &["directory"],
        );
        refused(
            &ended(&["bench", option, "/no/such/folder/file"]),
            &["/no/such/folder/file", "No such file"],
        );
    }
}

#[test]
fn options_that_make_no_sense_are_named() {
    refused(&ended(&["run"]), &["--python"]);
    refused(&ended(&["run", "-", "--python", "1"]), &["--python"]);
    refused(&ended(&["run", "--python", "1", "--timeout", "0"]), &["--timeout"]);
    refused(&ended(&["run", "--python", "1", "--dep=-e ."]), &["/dependencies"]);
    refused(
        &ended(&["run", "--python", "1", "--python-version", "new"]),
        &["/pythonVersion", "`3.12`"],
    );
    refused(&ended(&["run", "--python", ""]), &["/pythonCode: the code is empty"]);
    refused(
        &ended(&["cache", "gc", "--max-bytes", "1 furlong"]),
        &["furlong", "GiB"],
    );
    refused(&ended(&["cache", "gc", "--max-bytes", "99999999TiB"]), &["2^64"]);
    refused(&ended(&["cache", "gc", "--max-bytes", "lots"]), &["lots"]);
    refused(&ended(&["bench", "--first-runs", "0"]), &["--first-runs"]);
    for width in ["0", "nan", "200%", "two"] {
        refused(
            &ended(&["bench", "--until", width]),
            &["--until", "0.1% to 50%, such as 2%"],
        );
    }
    for (other, value) in [
        ("--load", "1"),
        ("--cached-runs", "36"),
        ("--first-runs", "3"),
        ("--uncached-runs", "1"),
    ] {
        refused(&ended(&["bench", "--until", "2%", other, value]), &["--until", other]);
    }
    refused(&ended(&["bench", "--until-minutes", "5"]), &["--until <SHARE>"]);
    refused(
        &ended(&["bench", "--until", "2%", "--until-minutes", "0"]),
        &["--until-minutes"],
    );
    refused(&ended(&["frobnicate"]), &["frobnicate"]);
    for share in ["nan", "inf", "-0.1", "much"] {
        let gate = format!("--gate={share}");
        refused(&ended(&["compare", "a", "b", &gate]), &["--gate", "such as 0.1"]);
    }
}

#[test]
fn an_unknown_scenario_comes_with_the_known_ones() {
    let reported = ["no scenario \"pyton-only\"", "python-only", "system-only", "hybrid"];
    refused(&ended(&["bench", "--scenario", "pyton-only"]), &reported);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.yaml");
    std::fs::write(
        &file,
        "name: mine\nwhy: because\nrequest:\n  pythonCode: 1 + 1\n  usecache: true\n",
    )
    .unwrap();
    refused(
        &ended(&["bench", "--scenario", file.to_str().unwrap()]),
        &["mine.yaml:5", "usecache"],
    );
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    refused(&ended(&["report", path]), &[path]);
    refused(&ended(&["report", "/no/such/run"]), &["/no/such/run"]);
    refused(&ended(&["compare", path, path]), &[path]);
    refused(&ended(&["bench", "--baseline", path]), &[path]);
    std::fs::write(folder.path().join("report.json"), "{\"schema\":").unwrap();
    refused(&ended(&["report", path]), &["report.json"]);
    let left: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["report.json"]);
}

#[test]
fn help_is_no_error_and_tells_the_exit_codes() {
    let help = ended(&["help"]);
    help.with(0, &[]);
    assert!(help.stdout.contains("Exit codes: 0 good") && help.stdout.contains("5 the task failed"));
    for command in ["run", "bench", "cache", "report", "compare", "tools", "test"] {
        assert!(help.stdout.contains(command), "{command}");
        assert!(!ended(&[command, "--help"]).with(0, &[]).stdout.is_empty());
    }
}
