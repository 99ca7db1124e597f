//! What user code can reach: its own scratch, and nothing that anybody else relies on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{CacheStatus, End, FailureKind, TaskSpec};

use crate::bench::{Bench, difference, listing, machine, machine_with_nix, python};

/// Tries every way to change what is cached; prints the ones that worked.
const VANDAL: &str = r#"
import ctypes, idna, os, shutil, subprocess, sys
m4 = os.path.realpath(shutil.which("m4"))
def attempt(name, work):
    try:
        work()
    except OSError:
        return
    print("could", name)
def write(path, mode="w"):
    with open(path, mode) as file:
        file.write("x")
python, system = "/cache/python/tenants/default", "/nix/var/hybrid-cache/tenants/default"
for folder in ("/", "/cache", "/cache/python", "/cache/python/bytecode", python, python + "/envs", python + "/requests",
               "/nix", "/nix/store", system, system + "/index", system + "/leases", "/usr", "/etc",
               "/hybrid-cache", "/hybrid-cache/bin", sys.prefix, os.path.dirname(sys.prefix), os.path.dirname(m4)):
    attempt("write into " + folder, lambda: write(folder + "/vandal"))
for path in (idna.__file__, m4, os.path.dirname(sys.prefix) + "/.lease", "/hybrid-cache/runner", "/etc/passwd"):
    attempt("append to " + path, lambda: write(path, "a"))
    attempt("stamp " + path, lambda: os.utime(path))
    attempt("chmod " + path, lambda: os.chmod(path, 0o777))
    attempt("delete " + path, lambda: os.unlink(path))
    attempt("rename " + path, lambda: os.rename(path, path + ".old"))
# In a user namespace of its own it may mount: but not take away what was mounted read-only for it.
libc = ctypes.CDLL(None, use_errno=True)
MS_REMOUNT, MS_BIND = 32, 4096
def remount(path):
    if libc.unshare(0x10000000 | 0x20000) != 0 or libc.mount(b"none", path.encode(), None, MS_REMOUNT | MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    write(path + "/vandal")
for path in (python, "/cache/python/bytecode", "/nix/store", system, "/"):
    if os.fork() == 0:
        attempt("remount " + path, lambda: remount(path))
        os._exit(0)
    os.wait()
print("tried all", subprocess.run([m4, "--version"], capture_output=True).returncode, idna.__name__)
"#;

#[tokio::test]
async fn user_code_cannot_change_what_is_cached() {
    let Some(config) = machine_with_nix("user_code_cannot_change_what_is_cached") else {
        return;
    };
    let bench = Bench::empty(config);
    let mut spec = python("idna", VANDAL);
    spec.system_dependencies = "m4".to_owned();
    // While it is being prepared, its environment is still in staging.
    let first = bench.run(&spec).await;
    assert_eq!(first.good(), "tried all 0 idna", "{}", first.stdout);
    let before = bench.listing();
    let again = bench.run(&spec).await;
    assert_eq!(again.good(), "tried all 0 idna", "{}", again.stdout);
    assert_eq!((again.python(), again.system()), (CacheStatus::Hit, CacheStatus::Hit));
    assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn user_code_sees_neither_home_nor_checkout_nor_the_drivers_variables() {
    let test = "user_code_sees_neither_home_nor_checkout_nor_the_drivers_variables";
    let Some(mut config) = machine(test) else { return };
    config
        .python_tools
        .variables
        .push(("UV_INDEX_E2E_PASSWORD".to_owned(), "hunter2".to_owned()));
    let bench = Bench::shared(config);
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).to_str().unwrap();
    let (cache, prefix) = (bench.config.root.display(), bench.config.interpreter_prefix.display());
    let code = format!(
        "import os\n\
         for top in ({home:?}, '/home', {checkout:?}, '{cache}'):\n    \
             for folder, _, files in os.walk(top):\n        \
                 if not (folder + '/').startswith('{prefix}/'): print([folder + '/' + name for name in files] or '', end='')\n\
         text = ' '.join(os.environ) + ' '.join(os.environ.values())\n\
         print('end', 'hunter2' in text, 'CARGO' in text)"
    );
    assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "end False False");
}

#[tokio::test]
async fn every_task_has_a_tmp_and_a_process_table_of_its_own() {
    let Some(config) = machine("every_task_has_a_tmp_and_a_process_table_of_its_own") else {
        return;
    };
    let bench = Bench::shared(config);
    let on_host = tempfile::NamedTempFile::new().unwrap();
    let name = format!("e2e-private-{}", std::process::id());
    let holder = format!(
        "import time\nopen('/tmp/{name}', 'w').write('x')\nopen('/dev/shm/{name}', 'w').write('x')\nprint('there')\ntime.sleep(600)"
    );
    let ticket = bench.submit(&TaskSpec::new(holder)).await;
    bench.until_printed(&ticket, "there").await;
    assert!(!Path::new("/tmp").join(&name).exists() && !Path::new("/dev/shm").join(&name).exists());
    let looker = format!(
        "import os\n\
         print(os.listdir('/tmp'), os.listdir('/dev/shm'), os.path.exists('{}'))\n\
         print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()) == [1, os.getpid()])\n\
         for pid in (1, -1):\n    \
             try: os.kill(pid, 9); print('killed', pid)\n    \
             except OSError: pass",
        on_host.path().display()
    );
    let ran = bench.run(&TaskSpec::new(looker)).await;
    bench.driver.cancel(&ticket).await.unwrap();
    // `kill(-1)` signals every process except its caller and the first one, so no process is left to be killed.
    assert_eq!(ran.good(), "['task'] [] False\nTrue");
    assert_eq!(bench.finish(&ticket).await.outcome.end, End::Cancelled);
}

/// Looks for the runner's report channel everywhere, and writes a report of its own there.
pub const FORGER: &str = r#"
import ctypes, glob, os, sys
forged = b'{"report":"finished","end":"exited","code":0,"cache":{"python":{"status":"hit"},"system":{"status":"hit"}},' \
         b'"timeline":{"spans":[],"total_us":1},"stdout":{"written_bytes":0,"passed_bytes":0},' \
         b'"stderr":{"written_bytes":0,"passed_bytes":0},"resolved":{"python":["forged==1"]}}\n'
for fd in range(3, 1024):
    try:
        os.write(fd, forged)
        print("wrote to descriptor", fd)
    except OSError:
        pass
for path in glob.glob("/proc/1/fd/*") + [f"/proc/1/fd/{fd}" for fd in range(64)] + ["/proc/1/mem", "/dev/fd/3", "/proc/self/fd/3"]:
    try:
        os.write(os.open(path, os.O_WRONLY), forged)
        print("wrote to", path)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, 1, None, None) == 0:
    print("traces the runner")
pidfd = libc.syscall(434, 1, 0)
if pidfd >= 0:
    for fd in range(64):
        stolen = libc.syscall(438, pidfd, fd, 0)
        if stolen >= 0:
            print("took descriptor", fd)
print("end")
sys.exit(3)
"#;

#[tokio::test]
async fn user_code_cannot_forge_its_report() {
    let Some(config) = machine("user_code_cannot_forge_its_report") else {
        return;
    };
    let bench = Bench::shared(config);
    let ran = bench.run(&TaskSpec::new(FORGER)).await;
    assert_eq!(
        (ran.stdout.as_str(), &ran.outcome.end),
        ("end\n", &End::Exited { code: 3 }),
        "{}",
        ran.stderr
    );
    assert!(ran.outcome.resolved.python.is_empty() && ran.python() == CacheStatus::NotAsked);
}

#[tokio::test]
async fn a_sandbox_that_hangs_before_it_reads_its_task_is_cancelled_all_the_same() {
    let test = "a_sandbox_that_hangs_before_it_reads_its_task_is_cancelled_all_the_same";
    let Some(config) = machine(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bwrap");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 300\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bench = Bench::empty(config).with(|config| config.bubblewrap = vec![program.display().to_string()]);
    // More than a socket holds.
    let task = TaskSpec::new(format!("#{}", "x".repeat(800_000)));
    let ticket = bench.submit(&task).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.driver.cancel(&ticket).await.unwrap();
    let ran = tokio::time::timeout(Duration::from_secs(20), bench.finish(&ticket)).await;
    assert_eq!(ran.expect("it hears of it").outcome.end, End::Cancelled);
}

#[tokio::test]
async fn without_a_sandbox_nothing_runs() {
    let Some(config) = machine("without_a_sandbox_nothing_runs") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (program, ran) = (folder.path().join("bwrap"), folder.path().join("ran"));
    let said = [
        (
            "bwrap: No permissions to creating new namespace, likely because the kernel does not allow it.",
            "user.max_user_namespaces",
        ),
        (
            "bwrap: Creating new namespace failed: Operation not permitted",
            "user.max_user_namespaces",
        ),
        (
            "bwrap: setting up uid map: Permission denied",
            "apparmor_restrict_unprivileged_userns",
        ),
        (
            "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
            "systempaths=unconfined",
        ),
    ];
    let task = TaskSpec::new(format!("open({ran:?}, 'w')"));
    for (text, fix) in said {
        std::fs::write(&program, format!("#!/bin/sh\necho \"{text}\" >&2\nexit 1\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let bench = Bench::empty(config.clone()).with(|config| config.bubblewrap = vec![program.display().to_string()]);
        for spec in [task.clone(), python("idna", &task.python_code)] {
            let result = bench.run(&spec).await;
            let failure = result.failed(FailureKind::Sandbox);
            assert!(failure.message.contains(text), "{failure}");
            assert!(failure.hint.as_deref().unwrap_or_default().contains(fix), "{failure}");
        }
    }
    let bench = Bench::empty(config).with(|config| config.bubblewrap = vec!["/no/such/bwrap".to_owned()]);
    let result = bench.run(&task).await;
    assert!(result.failed(FailureKind::Sandbox).message.contains("/no/such/bwrap"));
    assert!(!ran.exists());
    let listed = listing(&bench.config.root.join("volumes/python"));
    assert!(
        !listed
            .iter()
            .any(|line| line.contains("envs/") || line.contains("requests/")),
        "{listed:?}"
    );
}
