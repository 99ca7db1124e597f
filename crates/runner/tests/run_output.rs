//! The user's output is passed on immediately, bounded and byte for byte, however it is read.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::io::Read;
use std::time::Duration;

use hybrid_cache_model::{End, Output};
use run_harness::{Case, TEST_DEADLINE, output_of};

#[test]
fn a_gigabyte_is_cut_at_the_limit_in_constant_memory() {
    let code = "import sys\nblock = b'x' * (1 << 20)\nfor _ in range(1024): sys.stdout.buffer.write(block)";
    let ran = Case::new(code).limits(|limits| limits.output_bytes = 1 << 20).run();
    assert_eq!(*ran.end(), End::Exited { code: 0 });
    assert_eq!(
        ran.output(),
        Output {
            written_bytes: 1 << 30,
            passed_bytes: 1 << 20
        }
    );
    assert_eq!(ran.stdout.len(), 1 << 20);
    assert_eq!(ran.warnings().lines().count(), 1);
    assert!(ran.warnings().contains("standard output was cut"), "{}", ran.warnings());
    assert!(ran.peak_rss_kib < 16 << 10, "{} KiB", ran.peak_rss_kib);
    assert!(ran.elapsed < Duration::from_secs(30), "{:?}", ran.elapsed);
}

#[test]
fn of_too_much_output_the_traceback_at_its_end_stays() {
    let code =
        "import sys\nprint('first', file=sys.stderr)\nfor _ in range(24): sys.stderr.write('x' * (1 << 20))\n1 / 0";
    let ran = Case::new(code).run();
    assert_eq!(*ran.end(), End::Exited { code: 1 });
    assert_eq!(ran.stderr.len(), 16 << 20);
    assert!(ran.stderr.starts_with("first\nxxx"));
    assert!(
        ran.stderr.ends_with("ZeroDivisionError: division by zero\n"),
        "{}",
        &ran.stderr[ran.stderr.len() - 200..]
    );
    let left_out = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("[the middle of 2516"))
        .count();
    assert_eq!(left_out, 1);
    assert!(ran.warnings().contains("standard error was cut"), "{}", ran.warnings());
}

#[test]
fn the_end_of_the_output_of_a_killed_program_stays() {
    let code = "import sys, time\nsys.stdout.write('x' * (1 << 20))\nprint('last')\ntime.sleep(1000)";
    let ran = Case::new(code)
        .limits(|limits| (limits.output_bytes, limits.time_ms, limits.grace_ms) = (64 << 10, 2000, 0))
        .run();
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 2000 });
    assert_eq!(ran.stdout.len(), 64 << 10);
    assert!(ran.text().ends_with("xlast"), "{}", ran.stderr);
}

#[test]
fn bytes_that_are_not_text_pass_through() {
    let ran = Case::new("import sys; sys.stdout.buffer.write(bytes(range(256)))").run();
    assert_eq!(ran.stdout, (0..=255).collect::<Vec<u8>>());
}

#[test]
fn output_arrives_while_the_program_runs() {
    let case = Case::new("import time\nprint('first')\ntime.sleep(3)\nprint('last')");
    let mut running = case.start();
    let mut first = [0; 6];
    running.child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(
        running.child.try_wait().unwrap().is_none(),
        "the program is still running"
    );
    assert_eq!(&first, b"first\n");
    assert_eq!(running.finish().text(), "last");
}

/// What four processes print at the same time to one pipe.
const FOUR_PRINT: &str = "\
import os, sys
for name in range(4):
    if os.fork() == 0:
        for line in range(3000): print(f'process {name} line {line} end')
        sys.exit()
for _ in range(4): os.wait()
";

/// Lines that are not as one process wrote them.
fn torn(output: &[u8]) -> usize {
    let text = String::from_utf8_lossy(output);
    let is_whole = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words[..], ["process", _, "line", number, "end"] if number.parse::<u32>().is_ok())
    };
    text.lines().count() - text.lines().filter(is_whole).count()
}

#[test]
fn lines_of_several_processes_are_torn_no_more_often_than_outside() {
    let ran = Case::new(FOUR_PRINT).run();
    let outside = std::process::Command::new(run_harness::interpreter())
        .args(["-c", FOUR_PRINT])
        .env_remove("PYTHONUNBUFFERED")
        .output()
        .unwrap();
    assert_eq!(ran.text().lines().count(), 12_000, "{}", ran.stderr);
    let (inside, outside) = (torn(&ran.stdout), torn(&outside.stdout));
    assert!(inside <= outside, "{inside} lines are torn, {outside} outside");
    // The same of programs that the task starts.
    let code = format!("import subprocess, sys\nsubprocess.run([sys.executable, '-c', {FOUR_PRINT:?}], check=True)");
    let ran = Case::new(&code).run();
    assert_eq!(ran.text().lines().count(), 12_000, "{}", ran.stderr);
    assert!(
        torn(&ran.stdout) <= outside,
        "{} lines of a child are torn",
        torn(&ran.stdout)
    );
}

#[test]
fn lines_of_a_child_arrive_while_it_runs_and_stay_if_it_is_killed() {
    let child =
        "import os, sys, time; print('first'); print('error', file=sys.stderr); time.sleep(3); os.kill(os.getpid(), 9)";
    let case = Case::new(&format!(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child:?}])\nprint('last')"
    ));
    let mut running = case.start();
    let mut first = [0; 6];
    running.child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(
        running.child.try_wait().unwrap().is_none(),
        "the child is still running"
    );
    assert_eq!(&first, b"first\n");
    let ran = running.finish();
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("last", "error\n"));
}

#[test]
fn a_reader_that_leaves_does_not_disturb_the_program() {
    let case = Case::new(
        "import os, sys\nfor _ in range(64): sys.stdout.write('x' * 65536)\nprint('through', file=sys.stderr)",
    );
    let mut running = case.start();
    drop(running.child.stdout.take());
    let ran = running.finish();
    assert_eq!(*ran.end(), End::Exited { code: 0 });
    assert_eq!(ran.stderr.trim(), "through");
    assert_eq!(ran.output().written_bytes, 64 * 65536);
}

#[test]
fn a_reader_that_does_not_read_cannot_hold_the_time_limit_up() {
    let case = Case::new("import sys\nwhile True: sys.stdout.write('x' * 65536)").limits(|limits| limits.time_ms = 500);
    let mut running = case.start();
    let unread = running.child.stdout.take();
    let ran = running.finish();
    drop(unread);
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 500 });
    assert!(ran.elapsed < Duration::from_secs(15), "{:?}", ran.elapsed);
    assert!(ran.warnings().contains("its reader was too slow"), "{}", ran.warnings());
}

#[test]
fn a_program_may_close_its_output_and_go_on() {
    let ran = Case::new("import os, time\nos.close(1)\nos.close(2)\ntime.sleep(0.3)\nos._exit(4)").run();
    assert_eq!(*ran.end(), End::Exited { code: 4 });
    assert_eq!(ran.output(), Output::default());
}

#[test]
fn a_mebibyte_of_code_works() {
    let mut code = "x = 0\n".to_owned();
    while code.len() < (1 << 20) - 32 {
        code.push_str("x += 1  # padding, padding\n");
    }
    code.push_str("print(x > 0)");
    let ran = Case::new(&code).run();
    assert_eq!(ran.text(), "True");
}

#[test]
fn the_report_comes_through_a_descriptor_too() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let case = Case::new("import os\nprint(sorted(os.listdir('/proc/self/fd')))");
    let report = case.scratch.path().join("report");
    let script = format!(
        "exec {} run --report-fd 7 7>{}",
        env!("CARGO_BIN_EXE_runner"),
        report.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&serde_json::to_vec(&case.request).unwrap())
        .unwrap();
    let output = output_of(child);
    // The program has its three streams and the listing's descriptor, but not the report's.
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "['0', '1', '2', '3']");
    assert!(std::fs::read_to_string(report).unwrap().contains("\"end\":\"exited\""));
}

#[test]
fn the_report_comes_back_through_the_socket_on_standard_input() {
    use std::io::{BufRead, BufReader};
    let case = Case::new("import os\nprint(sorted(os.listdir('/proc/self/fd')))");
    let (ours, child) = run_harness::reporting_back(&case);
    ours.set_read_timeout(Some(TEST_DEADLINE)).unwrap();
    let mut report = String::new();
    BufReader::new(ours).read_line(&mut report).unwrap();
    let output = output_of(child);
    // The program has no descriptor of the socket.
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "['0', '1', '2', '3']");
    assert!(report.contains("\"end\":\"exited\""), "{report}");
}
