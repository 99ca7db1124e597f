//! Programs that people have already, in the real sandbox: their output, their encoding, and the messages that they get.

use hybrid_cache_model::{End, FailureKind, TaskSpec};

use crate::bench::{Bench, machine, machine_with_nix, system};

/// What four processes print at the same time.
const FOUR_PRINT: &str = "\
import os, sys
for name in range(4):
    if os.fork() == 0:
        for line in range(3000): print(f'process {name} line {line} end')
        sys.exit()
for _ in range(4): os.wait()
";

/// Lines that are not as one process wrote them.
fn torn(output: &str) -> usize {
    let is_whole = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words[..], ["process", _, "line", number, "end"] if number.parse::<u32>().is_ok())
    };
    output.lines().count() - output.lines().filter(is_whole).count()
}

#[tokio::test]
async fn lines_of_several_processes_are_torn_no_more_often_than_outside() {
    let Some(config) = machine("lines_of_several_processes_are_torn_no_more_often_than_outside") else {
        return;
    };
    let outside = std::process::Command::new(&config.interpreter.path)
        .args(["-c", FOUR_PRINT])
        .env_remove("PYTHONUNBUFFERED")
        .output()
        .unwrap();
    let outside = torn(&String::from_utf8_lossy(&outside.stdout));
    let ran = Bench::shared(config).run(&TaskSpec::new(FOUR_PRINT)).await;
    assert_eq!(ran.good().lines().count(), 12_000);
    let inside = torn(&ran.stdout);
    assert!(inside <= outside, "{inside} lines are torn, {outside} outside");
}

#[tokio::test]
async fn of_too_much_standard_error_the_beginning_and_the_traceback_stay() {
    let Some(config) = machine("of_too_much_standard_error_the_beginning_and_the_traceback_stay") else {
        return;
    };
    let code =
        "import sys\nprint('first', file=sys.stderr)\nfor _ in range(24): sys.stderr.write('x' * (1 << 20))\n1 / 0";
    let ran = Bench::shared(config).run(&TaskSpec::new(code)).await;
    assert_eq!(ran.outcome.end, End::Exited { code: 1 });
    assert_eq!(ran.stderr.len(), 16 << 20);
    assert!(ran.stderr.starts_with("first\nxxx"));
    assert!(ran.stderr.ends_with("ZeroDivisionError: division by zero\n"));
    let cut = ran.stderr.lines().filter(|line| line.starts_with("[the middle of "));
    assert_eq!(cut.count(), 1);
    let warnings = ran.outcome.warnings.concat();
    assert!(warnings.contains("standard error was cut"), "{warnings}");
}

#[tokio::test]
async fn a_program_that_declares_another_encoding_prints_its_characters() {
    let Some(config) = machine("a_program_that_declares_another_encoding_prints_its_characters") else {
        return;
    };
    let bench = Bench::shared(config);
    for coding in ["latin-1", "cp1252", "utf-8"] {
        let code = format!("# -*- coding: {coding} -*-\nprint('é', len('é'))");
        assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "é 1", "{coding}");
    }
    let reported = bench.refused(&TaskSpec::new("# coding: rot13\nprint('é')")).await;
    assert!(
        reported.contains("line 1") && reported.contains("`rot13`"),
        "{reported}"
    );
}

#[tokio::test]
async fn a_program_that_wants_pip_is_told_of_dependencies_and_its_block_is_read() {
    let Some(config) = machine("a_program_that_wants_pip_is_told_of_dependencies_and_its_block_is_read") else {
        return;
    };
    let bench = Bench::shared(config);
    let pip = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'x'], check=True)";
    // With an environment, whose interpreter sees no pip of this machine.
    let spec = TaskSpec {
        dependencies: "idna".to_owned(),
        ..TaskSpec::new(pip)
    };
    let ran = bench.run(&spec).await;
    assert_eq!(ran.outcome.end, End::Exited { code: 1 });
    assert!(ran.stderr.contains("No module named pip"), "{}", ran.stderr);
    let warnings = ran.outcome.warnings.concat();
    assert!(warnings.contains("`dependencies`"), "{warnings}");

    let block = "# /// script\n# requires-python = '>=3.8'\n# dependencies = ['idna']\n# ///\n";
    let ran = bench
        .run(&TaskSpec::new(format!("{block}import idna; print('read')")))
        .await;
    assert_eq!(ran.good(), "read");
}

#[tokio::test]
async fn a_program_that_no_set_has_is_answered_with_what_is_on_offer() {
    let Some(config) = machine_with_nix("a_program_that_no_set_has_is_answered_with_what_is_on_offer") else {
        return;
    };
    let source = config.system.as_ref().unwrap().source_id.clone();
    if !source.starts_with("debnix:") {
        println!("skipped: a_program_that_no_set_has_is_answered_with_what_is_on_offer: nixpkgs has them");
        return;
    }
    let bench = Bench::shared(config);
    for name in ["java", "dot", "ffmpeg", "R"] {
        let ran = bench.run(&system(name, "print(1)")).await;
        let reported = ran.failed(FailureKind::UnknownSystemPackage).to_string();
        for part in ["has no system package", "cmake", "gcc", "nixpkgs has many more"] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
        assert!(!reported.contains("did you mean"), "{reported}");
    }
}
