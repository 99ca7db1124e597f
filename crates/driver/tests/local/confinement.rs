//! What a program cannot do although nothing of it is in its way but the runner's own restrictions: Landlock, the system
//! call filter, and the bounds on memory, scratch and files.

use std::path::Path;

use hybrid_cache_driver::SubmitOptions;
use hybrid_cache_driver::local::memory_limit_lacking;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, TaskSpec};

use crate::bench::{Bench, listing, machine, machine_with_nix, python};
use crate::roles::Play;

fn with(change: impl FnOnce(&mut Limits)) -> SubmitOptions {
    let mut options = SubmitOptions::default();
    change(&mut options.limits);
    options
}

/// `call(number, …)` prints what the kernel answers.
const CALL: &str = r##"
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(one) for one in arguments])
    # Whoever came back from a fork that was not refused.
    if name.startswith("clone") and result == 0: os._exit(0)
    print(name, "works" if result != -1 else errno.errorcode[ctypes.get_errno()])
"##;

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn system_calls_that_no_python_program_needs_are_refused() {
    let Some(config) = machine("system_calls_that_no_python_program_needs_are_refused") else {
        return;
    };
    let code = CALL.to_owned()
        + r##"
NEWUSER, NEWNET, NEWNS = 0x10000000, 0x40000000, 0x20000
call("unshare", 272, NEWUSER)
call("unshare-none", 272, 0)
call("clone", 56, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
call("clone-high", 56, 0x100000000 | NEWNET | signal.SIGCHLD, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
call("setns", 308, 0, 0)
call("mount", 165, 0, 0, 0, 0, 0)
call("fsopen", 430, 0, 0)
call("open_by_handle_at", 304, 0, 0, 0)
call("io_uring_setup", 425, 1, 0)
call("keyctl", 250, 0, -3, 0)
call("add_key", 248, 0, 0, 0, 0, 0)
call("request_key", 249, 0, 0, 0, 0)
call("bpf", 321, 0, 0, 0)
call("perf_event_open", 298, 0, 0, 0, 0, 0)
call("userfaultfd", 323, 1)
call("ptrace", 101, 0, 0, 0, 0)
call("process_vm_readv", 310, os.getpid(), 0, 0, 0, 0, 0)
call("pidfd_getfd", 438, 0, 0, 0)
call("kcmp", 312, os.getpid(), os.getpid(), 0, 0, 0)
call("init_module", 175, 0, 0, 0)
call("kexec_load", 246, 0, 0, 0, 0)
call("swapon", 167, 0, 0)
call("quotactl", 179, 0, 0, 0, 0)
call("reboot", 169, 0, 0, 0, 0)
call("personality", 135, 0x40000)
call("personality-asked", 135, 0xffffffff)
call("personality-none", 135, 0)
call("tiocsti", 16, 0, 0x5412, 0)
call("tiocsti-high", 16, 0, 0x5412 - (1 << 33), 0)
call("tioclinux", 16, 0, 0x541c, 0)
for name, family, kind, protocol in [("unix", 1, 1, 0), ("ipv4", 2, 1, 0), ("ipv6-udp", 10, 2, 17), ("route", 16, 3, 0),
        ("diag", 16, 3, 4), ("xfrm", 16, 3, 6), ("audit", 16, 3, 9), ("netfilter", 16, 3, 12), ("uevent", 16, 3, 15),
        ("generic", 16, 3, 16), ("vsock", 40, 1, 0), ("alg", 38, 5, 0), ("packet", 17, 3, 0), ("bluetooth", 31, 3, 0),
        ("can", 29, 3, 0), ("xdp", 44, 3, 0), ("sctp", 2, 5, 0), ("mptcp", 2, 1, 262), ("raw", 2, 3, 1)]:
    call(name, 41, family, kind, protocol)
call("x32", 0x40000000 + 39)
print("/usr/bin/unshare", os.system("/usr/bin/unshare -Ur true 2>/dev/null") != 0)
# The 32-bit system call for getpid, by its own gate.
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
gate = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
child = os.fork()
if child == 0: os._exit(0 if gate() > 0 else 1)
print("int80", os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGSYS)
"##;
    let expected = "unshare EPERM\nunshare-none EPERM\nclone EPERM\nclone-high EPERM\nclone3 ENOSYS\nsetns EPERM\nmount EPERM\n\
        fsopen EPERM\nopen_by_handle_at EPERM\nio_uring_setup ENOSYS\nkeyctl EPERM\nadd_key EPERM\nrequest_key EPERM\n\
        bpf EPERM\nperf_event_open EPERM\nuserfaultfd EPERM\nptrace EPERM\nprocess_vm_readv EPERM\npidfd_getfd EPERM\n\
        kcmp EPERM\ninit_module EPERM\nkexec_load EPERM\nswapon EPERM\nquotactl EPERM\nreboot EPERM\npersonality EPERM\n\
        personality-asked works\npersonality-none works\ntiocsti EPERM\ntiocsti-high EPERM\ntioclinux EPERM\nunix works\n\
        ipv4 works\nipv6-udp works\nroute works\ndiag EAFNOSUPPORT\nxfrm EAFNOSUPPORT\naudit EAFNOSUPPORT\n\
        netfilter EAFNOSUPPORT\nuevent EAFNOSUPPORT\ngeneric EAFNOSUPPORT\nvsock EAFNOSUPPORT\nalg EAFNOSUPPORT\n\
        packet EAFNOSUPPORT\nbluetooth EAFNOSUPPORT\ncan EAFNOSUPPORT\nxdp EAFNOSUPPORT\nsctp EAFNOSUPPORT\n\
        mptcp EAFNOSUPPORT\nraw EAFNOSUPPORT\nx32 ENOSYS\n/usr/bin/unshare True\nint80 True";
    let ran = Bench::shared(config).run(&TaskSpec::new(code)).await;
    let (found, expected): (Vec<_>, Vec<_>) = (ran.good().lines().collect(), expected.lines().collect());
    assert_eq!(found, expected);
}

/// Every file of the Python volume as a task would name it, in so far as it is not shared byte-code.
fn files_of_the_volume(bench: &Bench) -> Vec<String> {
    let volume = bench.config.root.join("volumes/python");
    let lines = listing(&volume);
    let files = lines
        .iter()
        .filter_map(|line| line.split_once(" f ").map(|(path, _)| path));
    let files: Vec<String> = files
        .filter(|path| !path.contains("bytecode/"))
        .map(|path| format!("/cache/python/{path}"))
        .collect();
    assert!(files.iter().any(|path| path.ends_with("/six.py")), "{files:?}");
    files
}

#[tokio::test]
async fn a_program_opens_no_file_of_the_volume_but_its_own_environments() {
    let Some(config) = machine("a_program_opens_no_file_of_the_volume_but_its_own_environments") else {
        return;
    };
    let bench = Bench::empty(config);
    bench.run(&python("six", "import six")).await.good();
    bench.run(&python("idna", "import idna")).await.good();
    let files = files_of_the_volume(&bench);
    let code = format!(
        "import glob, idna, os, sys\n\
         own = os.path.realpath(sys.prefix) + '/'\n\
         mine = 0\n\
         for path in {files:?}:\n    \
             try: os.close(os.open(path, os.O_RDONLY))\n    \
             except PermissionError: continue\n    \
             except FileNotFoundError: continue\n    \
             if path.startswith(own) and not path.endswith('.lease'): mine += 1\n    \
             else: print('opened', path)\n\
         for folder in ('/cache/python', os.path.dirname(os.path.dirname(own)), '/dev/mqueue', '/hybrid-cache'):\n    \
             try: print('listed', folder, os.listdir(folder))\n    \
             except OSError: pass\n\
         print(mine > 0, len(idna.__name__))"
    );
    let ran = bench.run(&python("idna", &code)).await;
    assert_eq!(ran.good(), "True 4");
}

#[tokio::test]
async fn a_program_reaches_neither_its_runner_nor_the_kernels_choice_of_whom_to_end() {
    let Some(config) = machine("a_program_reaches_neither_its_runner_nor_the_kernels_choice_of_whom_to_end") else {
        return;
    };
    let code = "import os, signal\n\
        def attempt(name, work):\n    \
            try: print(name, work())\n    \
            except OSError as error: print(name, type(error).__name__)\n\
        attempt('score', lambda: open('/proc/self/oom_score_adj').read().strip())\n\
        attempt('lower', lambda: open('/proc/self/oom_score_adj', 'w').write('0'))\n\
        attempt('environ', lambda: open('/proc/1/environ').read())\n\
        attempt('memory', lambda: open('/proc/1/mem', 'rb').read(1))\n\
        attempt('root', lambda: os.listdir('/proc/1/root'))\n\
        attempt('files', lambda: os.listdir('/proc/1/fd'))\n\
        attempt('signal', lambda: os.kill(1, 0))\n\
        attempt('pidfd', lambda: signal.pidfd_send_signal(os.pidfd_open(1), 0))\n\
        attempt('own', lambda: os.kill(os.getpid(), 0))";
    let ran = Bench::shared(config).run(&TaskSpec::new(code)).await;
    let refused = ["lower", "environ", "memory", "root", "files", "signal", "pidfd"];
    let refused = refused.map(|name| format!("{name} PermissionError\n")).concat();
    assert_eq!(ran.good(), format!("score 1000\n{refused}own None"));
}

#[tokio::test]
async fn what_programs_need_keeps_working() {
    let Some(config) = machine("what_programs_need_keeps_working") else {
        return;
    };
    let code = r##"
import asyncio, concurrent.futures, ctypes, curses, faulthandler, multiprocessing as mp, os, pty, resource, select, signal
import socket, sqlite3, ssl, subprocess, sys, tempfile, threading, time
from multiprocessing import shared_memory
def square(x): return x * x
def main():
    threads = [threading.Thread(target=square, args=(n,)) for n in range(8)]
    [t.start() for t in threads]; [t.join() for t in threads]
    if (child := os.fork()) == 0: os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert subprocess.run("echo hi | cat", shell=True, capture_output=True).stdout == b"hi\n"
    for way in ("fork", "spawn", "forkserver"):
        with mp.get_context(way).Pool(2) as pool: assert pool.map(square, [2, 3]) == [4, 9], way
    with concurrent.futures.ProcessPoolExecutor(2) as pool: assert list(pool.map(square, [5])) == [25]
    lock, value, queue = mp.Lock(), mp.Value("i", 1), mp.Queue()
    with lock: value.value += 1
    queue.put(value.value); assert queue.get(timeout=20) == 2
    memory = shared_memory.SharedMemory(create=True, size=4096); memory.buf[0] = 1; memory.close(); memory.unlink()
    async def serve():
        async def answer(reader, writer): writer.write(await reader.readline()); writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n"); assert await reader.readline() == b"line\n"
        server.close()
        process = await asyncio.create_subprocess_exec("echo", "x", stdout=subprocess.PIPE)
        assert (await process.communicate())[0] == b"x\n"
    asyncio.run(serve())
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "12")
    one.bind(("127.0.0.1", 0)); two.sendto(b"u", one.getsockname()); assert one.recv(1) == b"u"
    listener = socket.socket(socket.AF_UNIX); listener.bind("unix"); listener.listen()
    client = socket.socket(socket.AF_UNIX); client.connect("unix")
    abstract = socket.socket(socket.AF_UNIX); abstract.bind("\0mine"); abstract.listen()
    socket.socket(socket.AF_UNIX).connect("\0mine")
    socket.getaddrinfo("localhost", 80); assert socket.if_nameindex()
    database = sqlite3.connect("base.sqlite"); database.execute("create table t(x)"); database.commit()
    ssl.create_default_context(); faulthandler.enable(); curses.setupterm("dumb", os.open("/dev/null", os.O_WRONLY))
    rang = []; signal.signal(signal.SIGALRM, lambda *_: rang.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01)
    deadline = time.time() + 20
    while not rang and time.time() < deadline: time.sleep(0.01)
    assert rang
    leader, follower = pty.openpty(); os.write(follower, b"t"); assert os.read(leader, 1) == b"t"
    with tempfile.TemporaryDirectory() as folder:
        program = folder + "/program"; open(program, "w").write("#!/bin/sh\nexit 3\n"); os.chmod(program, 0o755)
        assert subprocess.run([program]).returncode == 3
        os.mkfifo(folder + "/fifo"); os.rename(folder + "/fifo", os.getcwd() + "/fifo"); os.link(program, "hard")
    open("/dev/null", "w").write("x"); open("/dev/urandom", "rb").read(1); open("/dev/full").close()
    os.listdir("/dev"); os.listdir("/proc/self/fd"); open("/etc/passwd").read(); os.sched_getaffinity(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.memfd_create("m"); os.eventfd(0); os.nice(1); os.sched_yield(); os.copy_file_range
    ctypes.CDLL(None).getpid()
if __name__ == "__main__":
    main(); print("all of it")
"##;
    assert_eq!(
        Bench::shared(config).run(&TaskSpec::new(code)).await.good(),
        "all of it"
    );
}

#[tokio::test]
async fn compilers_from_the_system_cache_work_in_the_sandbox() {
    let Some(config) = machine_with_nix("compilers_from_the_system_cache_work_in_the_sandbox") else {
        return;
    };
    let code = r##"
import subprocess
open("main.c", "w").write("#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n")
open("Makefile", "w").write("main: main.c\n\tgcc -O1 -o main main.c\n")
subprocess.run(["make", "-s"], check=True)
print(subprocess.run(["./main"], capture_output=True, text=True, check=True).stdout.strip())
"##;
    let bench = Bench::shared(config);
    for _ in 0..2 {
        let ran = bench.run(&crate::bench::system("gcc, gnumake", code)).await;
        assert_eq!(ran.good(), "built");
    }
}

#[tokio::test]
async fn a_program_that_fills_its_scratch_harms_no_other() {
    let Some(config) = machine("a_program_that_fills_its_scratch_harms_no_other") else {
        return;
    };
    let code = "import errno, os\n\
        for folder in ('/tmp', '.', '/dev/shm'):\n    \
            size = 0\n    \
            try:\n        \
                with open(folder + '/fill', 'wb', 0) as file:\n            \
                    while size < 1 << 28: size += file.write(bytes(1 << 20))\n    \
            except OSError as error: print(folder, size >> 20, errno.errorcode[error.errno])\n    \
            os.unlink(folder + '/fill')";
    let options = with(|limits| {
        limits.tmp_bytes = 24 << 20;
        limits.shm_bytes = 8 << 20;
    });
    let ran = Bench::shared(config).run_with(&TaskSpec::new(code), &options).await;
    let found: Vec<&str> = ran.good().lines().collect();
    // The program itself takes a page of the first.
    assert!(
        found[0] == "/tmp 23 ENOSPC" || found[0] == "/tmp 24 ENOSPC",
        "{found:?}"
    );
    assert!(found[1] == ". 23 ENOSPC" || found[1] == ". 24 ENOSPC", "{found:?}");
    assert_eq!(found[2], "/dev/shm 8 ENOSPC");
}

#[tokio::test]
async fn open_files_are_bounded() {
    let Some(config) = machine("open_files_are_bounded") else {
        return;
    };
    let code = "import errno, os, resource\n\
        print(resource.getrlimit(resource.RLIMIT_NOFILE))\n\
        try: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n\
        except ValueError as error: print('not raised')\n\
        held = []\n\
        try:\n    \
            while True: held.append(os.open('/dev/null', os.O_RDONLY))\n\
        except OSError as error: print(len(held) <= 100, errno.errorcode[error.errno])";
    let options = with(|limits| limits.open_files = 100);
    let ran = Bench::shared(config).run_with(&TaskSpec::new(code), &options).await;
    assert_eq!(ran.good(), "(100, 100)\nnot raised\nTrue EMFILE");
}

const GREEDY: &str = "held = bytearray()\nfor _ in range(2048): held += bytes(1 << 20)";

#[tokio::test]
async fn a_program_beyond_its_memory_limit_is_ended_and_the_outcome_says_so() {
    let test = "a_program_beyond_its_memory_limit_is_ended_and_the_outcome_says_so";
    let Some(config) = machine(test) else { return };
    if let Some(why) = memory_limit_lacking() {
        println!("skipped: {test}: {why}");
        return;
    }
    let bench = Bench::shared(config);
    let options = with(|limits| limits.memory_bytes = 128 << 20);
    let ran = bench.run_with(&TaskSpec::new(GREEDY), &options).await;
    assert_eq!(ran.outcome.end, End::Signaled { signal: 9 });
    let warnings = ran.outcome.warnings.join("\n");
    assert!(warnings.contains("more memory than the limit of 128 MiB"), "{warnings}");
    // What is written to memory counts as well; the main process hears of a child's end as usual.
    let child = format!(
        "import os, subprocess, sys\n\
         print(subprocess.run([sys.executable, '-c', {GREEDY:?}]).returncode)\n\
         with open('/dev/shm/x', 'wb', 0) as file:\n    \
             for _ in range(200): file.write(bytes(1 << 20))"
    );
    let ran = bench.run_with(&TaskSpec::new(child), &options).await;
    assert_eq!(
        (ran.outcome.end, ran.stdout.as_str()),
        (End::Signaled { signal: 9 }, "-9\n")
    );
    let modest = bench.run_with(&TaskSpec::new("print('fits')"), &options).await;
    assert!(modest.good() == "fits" && modest.outcome.warnings.is_empty());
}

#[tokio::test]
async fn if_memory_runs_out_the_kernel_ends_user_code_and_not_the_driver() {
    let test = "if_memory_runs_out_the_kernel_ends_user_code_and_not_the_driver";
    let Some(config) = machine(test) else { return };
    let Some(group) = Group::new(256 << 20) else {
        println!("skipped: {test}: no control group of version 1 can be made here");
        return;
    };
    let bench = Bench::empty(config);
    let full = "file = open('/tmp/x', 'wb', 0)\nfor _ in range(1000): file.write(bytes(1 << 20))";
    let after = "print('after')";
    let tasks = [GREEDY, full, after].map(TaskSpec::new);
    let enter = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", group.0.display());
    let text = Play::new(&bench.config, &tasks).run(&["sh", "-c", &enter]);
    let reported: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(reported.len() >= 3, "the driver was ended: {text}");
    let warnings = reported[0]["outcome"]["warnings"].to_string();
    assert_eq!(reported[0]["outcome"]["signal"], 9, "{text}");
    assert!(warnings.contains("because memory ran out"), "{warnings}");
    assert_ne!(reported[1]["outcome"]["code"], 0, "{text}");
    assert_eq!(reported[2]["stdout"], "after\n", "{text}");
}

/// A control group of version 1 below this process's own, with a limit on memory.
struct Group(std::path::PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Group> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own
            .lines()
            .find_map(|line| line.split_once(":memory:/").map(|(_, path)| path.to_owned()))?;
        let folder = Path::new("/sys/fs/cgroup/memory").join(own);
        let folder = folder.join(format!("hybrid-cache-test-{}", std::process::id()));
        std::fs::create_dir(&folder).ok()?;
        let group = Group(folder);
        std::fs::write(group.0.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The folders that a driver made in it are gone with the driver.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
