//! `run` end to end: whose failure it was is in the exit code, data is on one stream and talk on the other.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::program::{Ended, ended_with_input, no_nix, no_tools, wait, xtask};

/// A cache folder of its own, and `run` on it.
struct Caches(tempfile::TempDir);

impl Caches {
    fn new() -> Caches {
        Caches(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = xtask(&["run", "--cache-dir", self.0.path().to_str().unwrap()]);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }
}

#[test]
fn output_is_the_programs_and_talk_is_apart() {
    if no_tools("output_is_the_programs_and_talk_is_apart") {
        return;
    }
    let caches = Caches::new();
    let code = "import sys, idna; print('data'); print('talk', file=sys.stderr)";
    let first = caches.run(&["--python", code, "--dep", "idna"]);
    first.with(0, &["talk\n", "python: built", "exit code 0"]);
    assert_eq!(first.stdout, "data\n");
    let again = caches.run(&["--python", code, "--dep", "idna", "--json"]);
    again.with(0, &["data\n", "talk\n"]);
    let outcome: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&outcome["end"], &outcome["cache"]["python"]["status"]),
        (&"exited".into(), &"hit".into())
    );
    let task = serde_json::json!({ "pythonCode": code, "dependencies": "idna", "useCache": false }).to_string();
    let cache_dir = caches.0.path().to_str().unwrap();
    let bypassed = ended_with_input(&["run", "-", "--cache-dir", cache_dir], task.as_bytes());
    bypassed.with(0, &["python: bypassed"]);
}

#[test]
fn a_lock_is_written_and_read_again_and_constraints_count() {
    if no_tools("a_lock_is_written_and_read_again_and_constraints_count") {
        return;
    }
    let caches = Caches::new();
    let file = |name: &str| caches.0.path().join(name).to_str().unwrap().to_owned();
    let (lock, again, requirements) = (file("lock.txt"), file("again.txt"), file("requirements.txt"));
    std::fs::write(&requirements, "idna\n-c limits.txt\n").unwrap();
    std::fs::write(file("limits.txt"), "idna<3.8\nsix==1.16.0\n").unwrap();
    let code = "import idna, importlib.util; print(idna.__version__, importlib.util.find_spec('six'))";
    let first = caches.run(&["--python", code, "--requirements", &requirements, "--lock", &lock]);
    first.with(0, &["python: built"]);
    assert_eq!(first.stdout, "3.7 None\n");
    let text = std::fs::read_to_string(&lock).unwrap();
    assert!(text.contains("idna==3.7 \\\n    --hash=sha256:"), "{text}");
    let second = caches.run(&["--python", code, "--requirements", &lock, "--lock", &again]);
    second.with(0, &["python: "]);
    assert_eq!(std::fs::read_to_string(&again).unwrap(), text);
    let constrained = caches.run(&["--python", code, "--dep", "idna", "--constraints", &file("limits.txt")]);
    assert_eq!(constrained.stdout, "3.7 None\n");
    let without = caches.run(&["--python", "print(1)", "--lock", &lock]);
    without.with(2, &["no Python packages are known"]);
}

#[test]
fn a_task_that_fails_is_exit_code_5_and_says_how() {
    if no_nix("a_task_that_fails_is_exit_code_5_and_says_how") {
        return;
    }
    let caches = Caches::new();
    caches
        .run(&["--python", "raise SystemExit(3)"])
        .with(5, &["exit code 3"]);
    caches
        .run(&["--python", "import os; os.abort()"])
        .with(5, &["killed by SIGABRT (signal 6)"]);
    let slow = ["--timeout", "1", "--python", "import time; time.sleep(600)"];
    caches.run(&slow).with(5, &["killed after its time limit of 1000 ms"]);
    let unknown = caches.run(&["--python", "1", "--dep", "hybrid-cache-has-no-such-package"]);
    unknown.with(5, &["hybrid-cache-has-no-such-package"]);
    caches
        .run(&["--python", "1", "--system", "gnumak"])
        .with(5, &["`gnumak`", "did you mean gnumake?"]);
    caches
        .run(&["--python", "1", "--dep", "idna==3.6", "--dep", "idna==3.7"])
        .with(5, &["idna==3.6", "idna==3.7"]);
}

#[test]
fn a_program_in_a_file_runs_with_the_packages_that_it_names() {
    if no_tools("a_program_in_a_file_runs_with_the_packages_that_it_names") {
        return;
    }
    let caches = Caches::new();
    let script = caches.0.path().join("task.py");
    let code = "\u{feff}# /// script\n# dependencies = ['idna']\n# ///\nimport idna, six; print(idna.__name__, six.__name__)\n";
    std::fs::write(&script, code).unwrap();
    let ran = caches.run(&[script.to_str().unwrap(), "--dep", "six"]);
    ran.with(0, &["python: built"]);
    assert_eq!(ran.stdout, "idna six\n");
    std::fs::write(&script, "# /// script\n# requires-python = '<3'\n# ///\nprint(1)\n").unwrap();
    let refused = caches.run(&[script.to_str().unwrap()]);
    refused.with(5, &["requires Python <3", "`requires-python`"]);
}

#[test]
fn a_program_gets_variables_input_and_arguments_from_the_command_line() {
    if no_tools("a_program_gets_variables_input_and_arguments_from_the_command_line") {
        return;
    }
    let caches = Caches::new();
    let code = "import os, sys; print(sys.argv[1:], os.environ['OPEN'], os.environ['TOKEN'], sys.stdin.read())";
    let input = caches.0.path().join("input.txt");
    std::fs::write(&input, "typed").unwrap();
    let options = [
        "--env",
        "OPEN=a=b",
        "--secret-env",
        "TOKEN",
        "--stdin",
        input.to_str().unwrap(),
        "--label",
        "team=blue",
    ];
    let mut command = caches.command(&options);
    command
        .args(["--python", code, "--", "-v", "--python"])
        .env("TOKEN", "hush");
    let ran: Ended = command.output().unwrap().into();
    ran.with(0, &["exit code 0"]);
    assert_eq!(ran.stdout, "['-v', '--python'] a=b hush typed\n");
    assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    let task = serde_json::json!({"pythonCode": "import sys, time; print(sys.argv[1:]); time.sleep(600)", "timeoutSeconds": 1,
                                  "args": ["old"]});
    let cache_dir = caches.0.path().to_str().unwrap();
    let words = ["run", "-", "--cache-dir", cache_dir, "--", "new"];
    let slow = ended_with_input(&words, task.to_string().as_bytes());
    slow.with(5, &["killed after its time limit of 1000 ms"]);
    assert_eq!(slow.stdout, "['new']\n");
}

#[test]
fn wrong_options_of_a_program_are_named() {
    for (options, words) in [
        (&["--env", "A"][..], &["--env", "NAME=VALUE is expected"][..]),
        (
            &["--env", "PATH=x", "--label", "a b="],
            &["2 errors", "/env: `PATH`", "/labels: `a b`"],
        ),
        (
            &["--secret-env", "HYBRID_CACHE_NO_SUCH"],
            &["--secret-env HYBRID_CACHE_NO_SUCH: the variable is not set"],
        ),
        (&["--stdin", "no/such/file"], &["no/such/file: "]),
    ] {
        let mut arguments = vec!["run", "--python", "1"];
        arguments.extend(options);
        ended_with_input(&arguments, b"").with(2, words);
    }
}

#[test]
fn a_refused_task_names_place_and_remedy_and_is_json_if_asked() {
    let list = br#"{"pythonCode": "1", "dependencies": ["idna"]}"#;
    let refused = ended_with_input(&["run", "-"], list);
    refused.with(
        2,
        &["-: /dependencies: a string is expected", r#""dependencies": "idna""#],
    );
    let marked = b"\xef\xbb\xbf{\"pythonCode\": \"1\", \"dependencies\": \"--pre\"}";
    let refused = ended_with_input(&["run", "-", "--json"], marked);
    refused.with(2, &["/dependencies: `--pre`"]);
    let outcome: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(
        (&outcome["end"], &outcome["failure"]["kind"]),
        (&"failed".into(), &"invalid_task".into())
    );
    let both = ended_with_input(&["run", "-", "--dep", "idna"], br#"{"pythonCode": "1"}"#);
    both.with(2, &["a task file names its packages itself", "--dep"]);
}

#[test]
fn interrupted_it_ends_with_130_and_takes_the_task_along() {
    if no_tools("interrupted_it_ends_with_130_and_takes_the_task_along") {
        return;
    }
    let caches = Caches::new();
    // A service manager signals the process, a terminal everybody in its group.
    let to_process: fn(Pid) = |pid| kill_process(pid, Signal::INT).unwrap();
    let to_group: fn(Pid) = |pid| kill_process_group(pid, Signal::INT).unwrap();
    for interrupt in [to_process, to_group, to_group, to_group] {
        let mut command = caches.command(&["--python", "import time; print('begun'); time.sleep(600)"]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        let began = Instant::now();
        interrupt(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap());
        wait(child).with(130, &["cancelled"]);
        assert!(began.elapsed() < Duration::from_secs(10));
        // Its end is the end of everybody who could write to it.
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn without_a_network_a_first_run_is_exit_code_4_and_a_cached_one_works() {
    if no_nix("without_a_network_a_first_run_is_exit_code_4_and_a_cached_one_works") {
        return;
    }
    let caches = Caches::new();
    let cached = [
        "--python",
        "import idna; print('works')",
        "--dep",
        "idna",
        "--system",
        "m4",
    ];
    caches.run(&cached).with(0, &[]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let empty = Caches::new();
    let cut_off = |caches: &Caches, arguments: &[&str]| -> Ended {
        let mut command = caches.command(arguments);
        for name in [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ] {
            command.env(name, format!("http://127.0.0.1:{port}"));
        }
        command
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .unwrap()
            .into()
    };
    let began = Instant::now();
    let first = cut_off(&empty, &["--python", "1", "--dep", "packaging"]);
    first.with(4, &["error: ", "could not be reached", "hint: "]);
    let system = cut_off(&empty, &["--python", "1", "--system", "gzip"]);
    system.with(4, &["system packages cannot be made on this machine", "reach"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(
        cut_off(&caches, &cached).with(0, &["python: hit; system: hit"]).stdout,
        "works\n"
    );
    let mut alone = cached.to_vec();
    alone.push("--no-network");
    assert_eq!(
        cut_off(&caches, &alone).with(0, &["python: hit; system: hit"]).stdout,
        "works\n"
    );
}

#[test]
fn without_a_sandbox_nothing_runs_and_the_fix_is_told() {
    if no_tools("without_a_sandbox_nothing_runs_and_the_fix_is_told") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // It passes for bubblewrap until it has to make a real sandbox.
    let script = "#!/bin/sh\ncase \"$1\" in\n--version) echo bubblewrap 99.0.0 ;;\n--unshare-user) ;;\n\
                  *) echo 'bwrap: No permissions to creating new namespace, likely because the kernel does not allow it.' >&2; exit 1 ;;\nesac\n";
    let program = folder.path().join("bwrap");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let ran = folder.path().join("ran");
    let caches = Caches::new();
    let mut command = caches.command(&["--python", &format!("open({ran:?}, 'w')")]);
    let ended: Ended = command.env("PATH", path).output().unwrap().into();
    ended.with(
        4,
        &[
            "the sandbox cannot be set up",
            "never run without the sandbox",
            "user.max_user_namespaces",
        ],
    );
    assert!(!ran.exists() && ended.stdout.is_empty());
}

#[test]
fn a_reader_that_leaves_does_not_stop_the_task_and_is_told_by_the_exit_code() {
    if no_tools("a_reader_that_leaves_does_not_stop_the_task_and_is_told_by_the_exit_code") {
        return;
    }
    let caches = Caches::new();
    let code = "import sys\nfor n in range(200_000): print('line', n)\nprint('to the end', file=sys.stderr)";
    let mut command = caches.command(&["--python", code]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "line 0\n");
    wait(child).with(141, &["to the end", "exit code 0"]);
}
