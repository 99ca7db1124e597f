//! How a run ends: results of user code, failures of the runner, and no hangs.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::io::Read;
use std::time::Duration;

use hybrid_cache_model::protocol::{EXIT_BROKEN, EXIT_MISSED, EXIT_REPORTED, Missed, RunReport};
use hybrid_cache_model::python_start::{COMPILE, SITECUSTOMIZE};
use hybrid_cache_model::{End, FailureKind, Phase};
use run_harness::{Case, Ran, output_of};

fn failure_kind(end: &End) -> FailureKind {
    match end {
        End::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn an_exit_code_is_the_users_and_the_runner_exits_with_its_own() {
    for code in [0, 1, 70, 75, 255] {
        let ran = Case::new(&format!("import sys; print('out'); sys.exit({code})")).run();
        assert_eq!(ran.code, EXIT_REPORTED);
        assert_eq!(*ran.end(), End::Exited { code });
        assert_eq!(ran.text(), "out");
    }
}

#[test]
fn a_traceback_goes_to_standard_error() {
    let ran = Case::new("1/0").run();
    assert_eq!(*ran.end(), End::Exited { code: 1 });
    assert!(
        ran.stderr.contains("main.py\", line 1") && ran.stderr.contains("ZeroDivisionError"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_program_that_declares_another_encoding_prints_the_characters_it_was_sent_with() {
    for coding in ["latin-1", "cp1252", "ascii", "utf-8"] {
        let ran = Case::new(&format!("# -*- coding: {coding} -*-\nprint('é', len('é'))\n1/0")).run();
        assert_eq!(
            (ran.text().as_str(), ran.end()),
            ("é 1", &End::Exited { code: 1 }),
            "{coding}"
        );
        assert!(ran.stderr.contains("main.py\", line 3"), "{}", ran.stderr);
    }
    let ran = Case::new("# coding: rot13\nprint('é')").run();
    assert_eq!(failure_kind(ran.end()), FailureKind::InvalidTask);
}

#[test]
fn a_failed_program_that_looked_for_pip_is_referred_to_dependencies() {
    let run = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'x'], check=True)";
    let shell = "import os\nsys_exit = os.system('pip install x')\nimport no_such_module_of_x";
    for code in [run, shell, "import pip"] {
        // Only the environment's own folder, so that a pip of this machine is not found.
        let ran = Case::new(code)
            .change(|request| request.base_path = String::new())
            .run();
        assert_eq!(*ran.end(), End::Exited { code: 1 });
        assert!(ran.warnings().contains("`dependencies`"), "{code}: {}", ran.stderr);
    }
    // One that goes on without it needs no advice, and neither does one that fails for another reason.
    for code in [
        "try: import pip\nexcept ImportError as error: print(error)",
        "import no_such_module",
    ] {
        assert_eq!(Case::new(code).run().warnings(), "");
    }
}

#[test]
fn a_signal_is_reported_as_the_users() {
    let ran = Case::new("import os; os.kill(os.getpid(), 11)").run();
    assert_eq!(*ran.end(), End::Signaled { signal: 11 });
}

#[test]
fn the_time_limit_ends_everything_and_keeps_what_was_printed() {
    let code = "import subprocess, time\nprint('begun')\nsubprocess.Popen(['sleep', '1000'])\ntime.sleep(1000)";
    let ran = Case::new(code).limits(|limits| limits.time_ms = 1500).run();
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 1500 });
    assert_eq!(ran.text(), "begun");
    assert!(ran.elapsed < Duration::from_secs(10), "{:?}", ran.elapsed);
}

/// Says when its handlers are set up, and what it does at SIGTERM.
const CLEANS_UP: &str = "\
import atexit, sys, time
atexit.register(print, 'at exit')
try:
    print('begun')
    time.sleep(1000)
finally: print('finally', end='')
";

/// Waits for the first line of output, and signals the runner.
fn cancel(case: &Case) -> Ran {
    let mut running = case.start();
    let mut first = [0; 6];
    running.child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"begun\n");
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    running.finish()
}

#[test]
fn sigterm_to_the_runner_cancels_the_task_which_cleans_up() {
    let ran = cancel(&Case::new(CLEANS_UP));
    assert_eq!(*ran.end(), End::Cancelled);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("finallyat exit", ""));
    assert_eq!(ran.code, EXIT_REPORTED);
}

#[test]
fn a_program_out_of_time_cleans_up_and_has_still_timed_out() {
    let ran = Case::new(CLEANS_UP).limits(|limits| limits.time_ms = 1500).run();
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 1500 });
    assert_eq!(
        (ran.text().as_str(), ran.stderr.as_str()),
        ("begun\nfinallyat exit", "")
    );
    let exits = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(1000)";
    let ran = Case::new(exits).limits(|limits| limits.time_ms = 1000).run();
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 1000 });
}

#[test]
fn a_program_that_does_not_end_in_its_grace_is_killed() {
    let stubborn = [
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('begun')\ntime.sleep(1000)",
        "import time\nwhile True:\n    try: print('begun'); time.sleep(1000)\n    except BaseException: pass",
        "import threading, time\nthreading.Thread(target=time.sleep, args=[1000]).start()\nprint('begun')\ntime.sleep(1000)",
    ];
    for code in stubborn {
        let ran = cancel(&Case::new(code).limits(|limits| limits.grace_ms = 700));
        assert_eq!(*ran.end(), End::Cancelled, "{code}");
        let expected = Duration::from_millis(700)..Duration::from_secs(20);
        assert!(expected.contains(&ran.elapsed), "{:?} for {code}", ran.elapsed);
    }
    let ran = cancel(&Case::new(CLEANS_UP).limits(|limits| limits.grace_ms = 0));
    assert_eq!((ran.end(), ran.text().as_str()), (&End::Cancelled, ""));
}

#[test]
fn only_the_programs_own_process_takes_sigterm_as_an_exit() {
    let code = "\
import os, subprocess, sys
def end_of(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
pid = os.fork()
if pid == 0:
    try: os.kill(os.getpid(), 15)
    finally: print('a forked process ran on')
print(end_of(pid))
child = 'import os\\ntry: os.kill(os.getpid(), 15)\\nfinally: print(1)'
print(subprocess.run([sys.executable, '-c', child]).returncode)
try: os.kill(os.getpid(), 15)
finally:
    pid = os.fork()
    if pid == 0: sys.exit(7)
    print(end_of(pid))
";
    let ran = Case::new(code).run();
    assert_eq!(ran.text(), "-15\n-15\n7", "{}", ran.stderr);
    assert_eq!(*ran.end(), End::Signaled { signal: 15 });
}

#[test]
fn what_the_runner_adds_to_python_hides_nothing() {
    let code = "import sys\nprint(sys.path[0][-5:], [path for path in sys.path if path.endswith('/site')])\nimport sitecustomize";
    let ran = Case::new(code).run();
    assert_eq!(ran.text(), "/work []", "{}", ran.stderr);
    assert!(ran.stderr.contains("No module named 'sitecustomize'"), "{}", ran.stderr);
    let case = Case::new("import sys; print(sys.modules['sitecustomize'].mine, sys.path[1])");
    let own = std::path::Path::new(&case.request.scratch).join("own");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("sitecustomize.py"), "mine = 42").unwrap();
    let own = own.display().to_string();
    let case = case.change(|request| request.variables.push(("PYTHONPATH".to_owned(), own.clone())));
    let ran = case.run();
    assert_eq!(ran.text(), format!("42 {own}"), "{}", ran.stderr);
}

/// The bytecode of `code` for a source, as a driver gets it from the interpreter.
fn bytecode(code: &str, source: &str) -> String {
    let compile = COMPILE.replace("compile(source,", &format!("compile({code:?},"));
    let made = std::process::Command::new(run_harness::interpreter())
        .args(["-I", "-c", &compile, source])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn bytecode_of_what_python_starts_with_is_used_if_it_belongs_to_it() {
    let tag = "import sys; print(sys.implementation.cache_tag)";
    let tag = std::process::Command::new(run_harness::interpreter())
        .args(["-c", tag])
        .output();
    let tag = String::from_utf8(tag.unwrap().stdout).unwrap().trim().to_owned();
    let started_with = |start: String| {
        let case = Case::new("import signal, sys; print(hasattr(sys, 'mine'), signal.getsignal(15) == signal.SIG_DFL)");
        let ran = case
            .change(|request| {
                request.context.interpreter.abi.clone_from(&tag);
                request.context.interpreter.start.clone_from(&start);
            })
            .run();
        assert_eq!(ran.stderr, "");
        ran.text()
    };
    let mine = "import sys; sys.mine = 1";
    assert_eq!(started_with(bytecode(mine, SITECUSTOMIZE)), "True True");
    assert_eq!(started_with(bytecode(mine, "another version")), "False False");
    assert_eq!(started_with("no bytecode".to_owned()), "False False");
    assert_eq!(started_with("AAAA".to_owned()), "False False");
}

#[test]
fn a_driver_that_hangs_up_cancels_the_task() {
    let case = Case::new(CLEANS_UP);
    let (mut ours, mut child) = run_harness::reporting_back(&case);
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let output = output_of(child);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "finallyat exit");
    let mut report = String::new();
    ours.read_to_string(&mut report).unwrap();
    assert!(report.contains("\"end\":\"cancelled\""), "{report}");
}

#[test]
fn a_program_that_is_told_to_end_a_moment_before_its_runner_is_cancelled() {
    use rustix::process::{Pid, Signal, kill_process};
    let case = Case::new("import time; time.sleep(1000)");
    let running = case.start();
    let runner = Pid::from_child(&running.child);
    std::thread::sleep(Duration::from_millis(300));
    let threads = std::fs::read_dir(format!("/proc/{}/task", runner.as_raw_nonzero())).unwrap();
    let children = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    let children = children.collect::<String>();
    let program = children.split_whitespace().next().unwrap().parse().unwrap();
    // Like a node that shuts down: it signals every process of a container.
    kill_process(Pid::from_raw(program).unwrap(), Signal::TERM).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    kill_process(runner, Signal::TERM).unwrap();
    assert_eq!(*running.finish().end(), End::Cancelled);
}

#[test]
fn a_program_that_sends_sigterm_to_itself_was_not_cancelled() {
    let ran = Case::new("import os; os.kill(os.getpid(), 15)").run();
    assert_eq!(*ran.end(), End::Signaled { signal: 15 });
}

#[test]
fn a_missing_interpreter_is_a_failure_that_names_its_path() {
    let ran = Case::new("1")
        .change(|request| request.context.interpreter.path = "/no/such/python".to_owned())
        .run();
    assert_eq!(failure_kind(ran.end()), FailureKind::Tool);
    assert!(format!("{:?}", ran.end()).contains("/no/such/python"));
    assert_eq!(ran.code, EXIT_REPORTED);
}

#[test]
fn an_interpreter_that_is_not_executable_is_a_failure() {
    let ran = Case::new("1")
        .change(|request| request.context.interpreter.path = "/etc/passwd".to_owned())
        .run();
    assert_eq!(failure_kind(ran.end()), FailureKind::Sandbox);
}

#[test]
fn a_scratch_folder_that_cannot_be_used_is_a_failure() {
    let ran = Case::new("1")
        .change(|request| request.scratch = "/proc/1/scratch".to_owned())
        .run();
    assert_eq!(failure_kind(ran.end()), FailureKind::Sandbox);
}

#[test]
fn a_bad_task_is_refused_before_anything_starts() {
    let ran = Case::new(" ").run();
    assert_eq!(failure_kind(ran.end()), FailureKind::InvalidTask);
}

#[test]
fn a_miss_starts_nothing_and_has_its_own_exit_code() {
    let mut case = Case::new("print('ran')").change(|request| {
        request.task.dependencies = "numpy".to_owned();
        request.task.system_dependencies = "gcc".to_owned();
    });
    for use_cache in [true, false] {
        case.request.task.use_cache = use_cache;
        let ran = case.run();
        assert_eq!((ran.code, ran.stdout.len()), (EXIT_MISSED, 0), "{}", ran.stderr);
        let expected = Missed {
            python: true,
            python_stale: false,
            system: true,
        };
        assert!(
            matches!(ran.report, Some(RunReport::Missed { missed, .. }) if missed == expected),
            "{:?}",
            ran.report
        );
    }
}

#[test]
fn the_timeline_holds_start_and_user_code() {
    let ran = Case::new("import time; time.sleep(0.2)").run();
    let Some(RunReport::Finished { timeline, .. }) = ran.report else {
        panic!("no report")
    };
    assert!(timeline.phase_us(Phase::UserCode) >= 200_000);
    assert!(timeline.phase_us(Phase::Start) > 0);
    let unattributed: u64 = timeline
        .critical_path()
        .iter()
        .filter(|(phase, _)| phase.is_none())
        .map(|row| row.1)
        .sum();
    assert!(unattributed < timeline.total_us / 2, "{timeline:?}");
}

#[test]
fn the_command_line_is_strict_and_a_report_that_cannot_be_made_is_broken() {
    let run = |arguments: &[&str], input: &str| {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut child = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A runner that refuses its command line does not read the request.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = output_of(child);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--report-fd"],
        &["run", "--report-fd", "x"],
        &["run", "--fast"],
    ] {
        let (code, stderr) = run(arguments, "");
        assert_eq!(code, 2, "{arguments:?}");
        assert!(stderr.contains("usage: runner run"), "{stderr}");
    }
    for number in ["1", "199", "-1"] {
        let (code, stderr) = run(&["run", "--report-fd", number], "{}");
        assert_eq!(code, EXIT_BROKEN);
        assert!(stderr.contains(&format!("descriptor {number}")), "{stderr}");
    }
    let (code, _) = run(&["run", "--report-file", "/proc/none/report"], "{}");
    assert_eq!(code, EXIT_BROKEN);
    let (code, stderr) = run(&["run"], "{\"task\": 1}");
    assert_eq!(code, EXIT_REPORTED);
    assert!(stderr.contains("the request cannot be parsed"), "{stderr}");
}
