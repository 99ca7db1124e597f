//! Isolation of user code from the run, the runner and the machine.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::time::Duration;

use hybrid_cache_model::End;
use run_harness::{Case, Ran};

const LEAVES_A_GRANDCHILD: &str = "\
import os, subprocess
left = subprocess.Popen(['sleep', '1000'], start_new_session=True)
print(left.pid, flush=True)
";

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(sleep)") && !stat.contains(") Z ")
}

#[test]
fn a_grandchild_left_behind_is_killed_without_delay() {
    let ran = Case::new(LEAVES_A_GRANDCHILD).run();
    assert_eq!(*ran.end(), End::Exited { code: 0 });
    assert!(!is_alive(&ran.text()), "process {} is still there", ran.text());
    assert!(ran.drain_us() < 1_000_000, "{:?}", ran.report);
}

#[test]
fn a_daemon_that_left_its_parents_is_killed_too() {
    let code = "\
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid())
        os.execvp('sleep', ['sleep', '1000'])
    os._exit(0)
os.wait()
time.sleep(0.2)
";
    let ran = Case::new(code).run();
    assert_eq!(*ran.end(), End::Exited { code: 0 });
    assert!(!is_alive(&ran.text()), "process {} is still there", ran.text());
}

#[test]
fn as_first_process_everything_ends_with_the_program() {
    let Some(case) = Case::new(LEAVES_A_GRANDCHILD).first_in_namespace() else {
        return;
    };
    let ran = case.run();
    assert_eq!(*ran.end(), End::Exited { code: 0 }, "{}", ran.stderr);
    assert!(ran.drain_us() < 1_000_000, "{:?}", ran.report);
}

#[test]
fn a_program_that_is_out_of_time_ends_with_all_that_it_started_in_a_time_of_grace() {
    let code = "\
import subprocess, time
told = subprocess.Popen(['sh', '-c', 'trap \"echo told; exit 0\" TERM; echo begun; sleep 1000 & wait'], start_new_session=True)
try: time.sleep(1000)
finally: print('waited', told.wait())
";
    let case = || Case::new(code).limits(|limits| limits.time_ms = 2000);
    let check = |ran: &Ran| {
        assert_eq!(*ran.end(), End::TimedOut { limit_ms: 2000 }, "{}", ran.stderr);
        assert_eq!(ran.text(), "begun\ntold\nwaited 0", "{}", ran.stderr);
    };
    check(&case().run());
    if let Some(case) = case().first_in_namespace() {
        check(&case.run());
    }
}

#[test]
fn a_program_cannot_pass_its_own_end_off_as_a_cancellation() {
    let code = "import os, time\nassert os.getppid() == 1\nfor s in (15, 2, 1, 9):\n    try: os.kill(1, s)\n    except PermissionError: pass\ntime.sleep(0.3)\nraise SystemExit(5)";
    let Some(case) = Case::new(code).first_in_namespace() else {
        return;
    };
    assert_eq!(*case.run().end(), End::Exited { code: 5 });
}

#[test]
fn the_hosts_variables_do_not_reach_the_program() {
    let code = "import os\nprint(sorted(os.environ))\nprint(os.environ['GREETING'], os.environ['LANG'])";
    let case = Case::new(code).change(|request| {
        request.variables.push(("GREETING".to_owned(), "hello".to_owned()));
        request.variables.push(("LANG".to_owned(), "C".to_owned()));
    });
    let text = case.run().text();
    assert!(!text.contains("SECRET_OF_THE_HOST"), "{text}");
    assert!(text.ends_with("hello C"), "{text}");
}

#[test]
fn the_program_has_a_home_a_working_folder_and_no_input() {
    let code = "import os, sys, tempfile\nopen('made.py', 'w').write('x = 7')\nimport made\n\
                print(made.x, repr(sys.stdin.read()), os.access(os.environ['HOME'], os.W_OK), tempfile.gettempdir())";
    let case = Case::new(code);
    let text = case.run().text();
    assert_eq!(text, format!("7 '' True {}/tmp", case.request.scratch));
}

/// The report of a program that runs as nobody; `None` if the machine does not allow the test.
fn run_as_nobody(code: &str) -> Option<Ran> {
    let case = Case::new(code).run_by_nobody()?;
    Some(
        case.limits(|limits| (limits.processes, limits.time_ms) = (64, 4_000))
            .run(),
    )
}

#[test]
fn an_identity_cannot_be_given_up() {
    let code = "\
import os
print(os.getresuid(), os.getresgid(), [g for g in os.getgroups() if g != 65534])
status = open('/proc/self/status').read()
print([line.split()[1] for line in status.splitlines() if line.startswith(('CapEff', 'CapPrm', 'NoNewPrivs'))])
for attempt in (lambda: os.setuid(0), lambda: os.listdir(f'/proc/{os.getppid()}/fd'), lambda: os.kill(os.getppid(), 9)):
    try:
        attempt()
        print('it worked')
    except OSError:
        pass
open(os.environ['HOME'] + '/mine', 'w').close()
";
    let Some(ran) = run_as_nobody(code) else { return };
    let nobody = "(65534, 65534, 65534)";
    let none = "0000000000000000";
    assert_eq!(
        ran.text(),
        format!("{nobody} {nobody} []\n['{none}', '{none}', '1']"),
        "{}",
        ran.stderr
    );
    assert_eq!(*ran.end(), End::Exited { code: 0 });
}

#[test]
fn a_fork_bomb_is_bounded_and_cleaned_up() {
    let code = "import os\nwhile True:\n    try:\n        os.fork()\n    except BlockingIOError:\n        pass";
    let Some(ran) = run_as_nobody(code) else { return };
    assert_eq!(*ran.end(), End::TimedOut { limit_ms: 4_000 }, "{}", ran.stderr);
    assert!(ran.elapsed < Duration::from_secs(20), "{:?}", ran.elapsed);
    assert!(ran.drain_us() < 1_000_000, "{:?}", ran.report);
    assert_eq!(ran.warnings(), "");
}

#[test]
fn the_limit_of_processes_is_the_tasks_own() {
    let code = "\
import os
made = 0
try:
    while True:
        if os.fork() == 0:
            os.pause() if hasattr(os, 'pause') else __import__('signal').pause()
        made += 1
except BlockingIOError:
    print(made)
";
    let Some(ran) = run_as_nobody(code) else { return };
    assert_eq!(ran.text(), "63", "{}", ran.stderr);
    assert_eq!(*ran.end(), End::Exited { code: 0 });
}

/// Like in a pod under Argo: the program has the runner's user, and the runner is not the first process.
#[test]
fn a_program_of_the_same_user_can_neither_signal_its_runner_nor_reach_a_socket_outside() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("hybrid-cache-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let code = format!(
        "import os, signal, socket\n\
         def attempt(work):\n    \
             try: work(); return 'works'\n    \
             except OSError as error: return type(error).__name__\n\
         print(attempt(lambda: os.kill(os.getppid(), 0)), attempt(lambda: os.kill(os.getppid(), signal.SIGTERM)),\n      \
               attempt(lambda: os.kill(os.getpid(), 0)),\n      \
               attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}')))"
    );
    let ran = Case::new(&code).run();
    drop(listener);
    if ran.warnings().contains("Landlock") {
        eprintln!("skipped: {}", ran.warnings());
        return;
    }
    assert_eq!(
        ran.text(),
        "PermissionError PermissionError works PermissionError",
        "{}",
        ran.stderr
    );
}

/// Other files in a pod: its request, its results, files of other programs.
#[test]
fn a_program_opens_only_what_it_needs() {
    let case = Case::new("");
    let outside = tempfile::Builder::new()
        .prefix("outside")
        // A checkout may be below /tmp, which programs may open.
        .tempdir_in("/var/tmp")
        .unwrap();
    let secret = outside.path().join("request.json");
    std::fs::write(&secret, "secret").unwrap();
    let code = format!(
        "import os\n\
         def attempt(path, flags):\n    \
             try: os.close(os.open(path, flags)); return 'opened'\n    \
             except OSError as error: return type(error).__name__\n\
         print(attempt({secret:?}, os.O_RDONLY), attempt({secret:?}, os.O_WRONLY), attempt({folder:?}, os.O_RDONLY),\n      \
               attempt('/', os.O_RDONLY), attempt('/etc/passwd', os.O_RDONLY), attempt('own', os.O_CREAT | os.O_RDWR))",
        folder = outside.path(),
    );
    let ran = case.change(|request| request.task.python_code = code.clone()).run();
    if ran.warnings().contains("Landlock") {
        eprintln!("skipped: {}", ran.warnings());
        return;
    }
    let refused = "PermissionError ".repeat(4);
    assert_eq!(ran.text(), format!("{refused}opened opened"), "{}", ran.stderr);
}

#[test]
fn a_program_under_another_user_opens_its_standard_streams_by_their_names() {
    let code = "for name, text in (('stdout', 'one'), ('stderr', 'two')):\n    open(f'/dev/{name}', 'w').write(text)";
    let Some(ran) = run_as_nobody(code) else { return };
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("one", "two"));
}
