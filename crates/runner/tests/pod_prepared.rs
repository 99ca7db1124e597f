//! Prepared interpreters: programs run as in an ordinary standby pod, but for what the documentation names.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;
mod standby_pod;

use std::time::Duration;

use hybrid_cache_model::End;
use standby_pod::{HEAVY, Place, image};

/// The module, which also says that it was imported.
fn announced(heavy: &str) -> String {
    format!("{heavy}\nopen('/dev/shm/imported', 'w').close()\n")
}

fn place() -> Option<Place> {
    Place::new(&announced(HEAVY))
}

#[test]
fn what_a_program_sees_of_itself_is_the_same() {
    let Some(place) = place() else { return };
    for code in [
        "import sys, os\nprint(__name__, __file__, __spec__, __loader__.name, __loader__.path, sorted(globals()), __builtins__.__name__)",
        "import sys\nprint(sys.argv, sys.orig_argv, sys.path, sys.flags, sys.executable, sys.prefix, sys.warnoptions, sys._xoptions)",
        "import sys\nfor stream in (sys.stdin, sys.stdout, sys.stderr): print(stream.encoding, stream.errors, stream.line_buffering, \
         stream.name, stream.mode, stream.seekable() if stream is sys.stdin else '', stream.isatty(), stream.fileno())",
        "import heavy, sys\nprint(heavy.value, sorted(sys.modules), [type(one).__name__ for one in sys.meta_path])",
        "import os\nprint(os.getcwd(), sorted(os.listdir('.')), sorted(os.listdir('/proc/self/fd')), os.umask(0), os.getppid())",
        "import os, subprocess, sys\nprint(list(os.environ.items()), os.environb[b'OPEN'])\n\
         subprocess.run(['/usr/bin/env', '-0'])\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.path, sys.argv)'])",
        "import signal, threading, sys\nprint({one: str(signal.getsignal(one)).split(' at ')[0] for one in signal.valid_signals()},\n\
         signal.pthread_sigmask(0, []), [one.name for one in threading.enumerate()], threading.main_thread() is threading.current_thread())",
        "import resource, os\nprint([resource.getrlimit(one) for one in range(16)])\n\
         print([line for line in open('/proc/self/status') if line.split(':')[0] in ('NoNewPrivs', 'Seccomp', 'Seccomp_filters', \
         'CapEff', 'SigBlk', 'SigIgn', 'Groups', 'Uid')], open('/proc/self/oom_score_adj').read())",
        "import sys, traceback, inspect\nprint(sys.exc_info(), hasattr(sys, 'last_type'), len(inspect.stack()), sys._getframe().f_back)\n\
         traceback.print_stack()\ndepth = 0\ndef down():\n    global depth\n    depth += 1\n    down()\ntry: down()\nexcept RecursionError: print(depth)",
        "import decimal, locale, warnings, asyncio\nprint(warnings.filters, locale.getlocale(), decimal.getcontext(), asyncio.get_event_loop_policy().__class__)",
    ] {
        let mut request = place.request(code);
        request.task.args = ["one", "", "dré 3", "-x"].map(str::to_owned).to_vec();
        request.task.env.insert("OPEN".to_owned(), "open\nütf".to_owned());
        request.task.secret_env.insert("TOKEN", "hush");
        let ran = place.run_both(&request);
        assert_eq!(ran.end, End::Exited { code: 0 }, "{code}\n{ran:?}");
    }
}

#[test]
fn every_end_of_a_program_is_the_same() {
    let Some(place) = place() else { return };
    for code in [
        "def f():\n    1 / 0\nf()",
        "import sys\nsys.exit(3)",
        "import sys\nprint('out')\nsys.exit('a message')",
        "raise SystemExit",
        "raise SystemExit(True)",
        "raise KeyboardInterrupt",
        "import os\nprint('lost', end='')\nos._exit(7)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "this is no program",
        "if True:\nprint(1)",
        "# -*- coding: latin-1 -*-\nprint('dré')",
        "import atexit, threading, time\natexit.register(print, 'first registered')\natexit.register(lambda: print('__file__' in globals()))\n\
         threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\nprint('main')",
        "class Told:\n    def __del__(self): print('deleted')\ntold = Told()\nraise ValueError('x') from KeyError('y')",
        "import sys\nsys.excepthook = lambda *of: print('hook', of[0].__name__, of[2].tb_next)\n1 / 0",
        "import pickle\nclass Of:\n    def __init__(self): self.a = 1\nprint(pickle.loads(pickle.dumps(Of())).a, Of.__module__, pickle.dumps(Of))",
        "import multiprocessing\ndef work(n): return n * n\nif __name__ == '__main__':\n    for way in ('fork', 'spawn'):\n        \
         with multiprocessing.get_context(way).Pool(2) as pool: print(pool.map(work, [1, 2, 3]))",
        "import runpy, sys\nprint(sys.modules['__main__'].__dict__ is globals())\nprint(runpy.run_path(__file__, run_name='other')['__name__']) if __name__ == '__main__' else None",
        "import warnings\nwarnings.warn('careful', DeprecationWarning)\nwarnings.warn('more', stacklevel=2)",
        "import sys\nsys.stdout.write('no line end')\nsys.stderr.write('neither')",
        "import os, time\nif os.fork() == 0:\n    time.sleep(0.05)\n    print('child')\nelse:\n    print(os.wait()[1])",
    ] {
        place.run_both(&place.request(code));
    }
    let mut request = place
        .request("import time\ntry:\n    print('up', flush=True)\n    time.sleep(60)\nfinally:\n    print('down')");
    request.limits.time_ms = 500;
    let ran = place.run_both(&request);
    assert_eq!(
        (ran.end, ran.stdout.as_str()),
        (End::TimedOut { limit_ms: 500 }, "up\ndown\n")
    );
}

#[test]
fn standard_input_is_the_same() {
    let Some(place) = place() else { return };
    for code in [
        "import sys\nprint(repr(sys.stdin.read()))",
        "import sys\nprint(input(), sys.stdin.tell(), sys.stdin.seek(0), sys.stdin.readline())",
        "import os, stat\nprint(os.lseek(0, 0, 1), stat.S_IFMT(os.fstat(0).st_mode), os.fstat(0).st_size, os.readlink('/proc/self/fd/0'), os.get_inheritable(0))",
        "import subprocess\nsubprocess.run(['cat'])",
        "import os\nfor what in (lambda: os.write(0, b'x'), lambda: os.ftruncate(0, 1)):\n    try: print(what())\n    except OSError as error: print(error)",
    ] {
        for text in ["", "one\ntwo ü\n", &"long ".repeat(50_000)] {
            let mut request = place.request(code);
            request.task.stdin = text.to_owned();
            place.run_both(&request);
        }
    }
}

#[test]
fn what_differs_is_what_the_documentation_names() {
    let heavy = "import os, sys, threading, time, atexit\nseed = hash('text')\nargv = list(sys.argv)\ntyped = hasattr(sys.modules['__main__'], '__file__')\n\
                 os.environ['OF_IMPORT'] = 'set'\nbegun = time.time()\nthreading.Thread(target=time.sleep, args=(600,), daemon=True, name='helper').start()";
    let Some(place) = Place::new(&announced(heavy)) else {
        return;
    };
    let code = "import sys\nloaded = 'heavy' in sys.modules\nthreads = len(__import__('threading').enumerate())\nimport os\nset = os.environ.get('OF_IMPORT')\n\
                import heavy, time\nprint(loaded, threads, set, hash('text') == heavy.seed, heavy.argv == sys.argv, heavy.typed,\n\
                time.time() - heavy.begun > 0.5, 'OF_TASK' in open('/proc/self/environ').read(), 'arg' in open('/proc/self/cmdline').read(), sys.argv[1:])";
    let mut request = place.request(code);
    request.task.args = vec!["arg".to_owned()];
    request.task.env.insert("OF_TASK".to_owned(), "1".to_owned());
    let pod = place.pod(Some(&["heavy"]));
    pod.wait_for_file("shm/imported");
    std::thread::sleep(Duration::from_millis(600));
    let prepared = pod.run(&request);
    assert!(prepared.was_prepared, "{prepared:?}");
    assert_eq!(
        prepared.stdout, "True 2 set True False True True False False ['arg']\n",
        "{prepared:?}"
    );
    let plain = place.pod(None).run(&request);
    assert_eq!(
        plain.stdout, "False 1 None True True True False True True ['arg']\n",
        "{plain:?}"
    );
}

#[test]
fn a_task_with_a_variable_that_was_read_before_gets_an_interpreter_of_its_own() {
    let Some(place) = place() else { return };
    let code =
        "import os, sys\nloaded = 'heavy' in sys.modules\nimport heavy\nprint(loaded, heavy.mode, os.listdir('.'))";
    for (name, is_used) in [
        ("PYTHONHASHSEED", false),
        ("OMP_NUM_THREADS", false),
        ("LD_BIND_NOW", false),
        ("TZ", false),
        // The module reads it.
        ("HEAVY_MODE", false),
        ("MODE", true),
    ] {
        let mut request = place.request(code);
        request.task.env.insert(name.to_owned(), "3".to_owned());
        let pod = place.pod(Some(&["heavy"]));
        pod.wait_for_file("shm/imported");
        let ran = pod.run(&request);
        let mode = if name == "HEAVY_MODE" { "3" } else { "None" };
        let loaded = if is_used { "True" } else { "False" };
        assert_eq!(ran.stdout, format!("{loaded} {mode} ['main.py']\n"), "{name}: {ran:?}");
        assert_eq!(ran.was_prepared, is_used, "{name}: {ran:?}");
    }
    let all = Place::new(&announced("import os\ncopied = dict(os.environ)")).unwrap();
    let mut request = all.request("print(1)");
    for is_used in [true, false] {
        let pod = all.pod(Some(&["heavy"]));
        pod.wait_for_file("shm/imported");
        assert_eq!(pod.run(&request).was_prepared, is_used);
        request.task.env.insert("ANY".to_owned(), String::new());
    }
}

#[test]
fn whatever_cannot_be_prepared_leaves_an_ordinary_standby_pod_and_a_note() {
    let missing: &[&str] = &["heavy", "missing.module"];
    for (heavy, imports, words) in [
        ("value = 1", missing, "missing.module: ModuleNotFoundError"),
        ("raise ValueError('broken')", &["heavy"], "heavy: ValueError: broken"),
        ("raise SystemExit(3)", &["heavy"], "heavy: SystemExit: 3"),
        (
            "print('hello from heavy')",
            &["heavy"],
            "wrote something: hello from heavy",
        ),
        (
            "import sys\nsys.stderr.write('oops')",
            &["heavy"],
            "wrote something: oops",
        ),
        ("import os\nos._exit(3)", &["heavy"], "it has ended"),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            &["heavy"],
            "it has ended",
        ),
        (
            "import os, threading\nthreading.Timer(0.3, os._exit, [1]).start()",
            &["heavy"],
            "it has ended",
        ),
    ] {
        let Some(place) = Place::new(heavy) else { return };
        let pod = place.pod(Some(imports));
        let note = pod.note();
        assert!(note.contains(words), "{note}");
        let ran = pod.run(&place.request("import sys\nprint('ran', 'heavy' in sys.modules)"));
        assert_eq!(
            (ran.stdout.as_str(), &ran.end),
            ("ran False\n", &End::Exited { code: 0 }),
            "{ran:?}"
        );
    }
    let Some(place) = place() else { return };
    for text in ["{", "{}"] {
        let pod = place.pod_with(Some(text.to_owned()));
        assert!(pod.note().contains("cannot be parsed"));
        assert_eq!(pod.run(&place.request("print('ran')")).stdout, "ran\n");
    }
}

#[test]
fn a_process_that_does_not_fit_the_task_is_ended_without_a_trace() {
    let heavy = "import os\nopen('/scratch/home/left', 'w').close()\nopen('/scratch/work/left', 'w').close()\nos.fork() or __import__('time').sleep(600)";
    let Some(place) = Place::new(&announced(heavy)) else {
        return;
    };
    let code = "import os, sys\nprint('heavy' in sys.modules, os.listdir('/scratch/home'), os.listdir('.'), \
                sum(name.isdigit() for name in os.listdir('/proc')))";
    let mut request = place.request(code);
    request.limits.open_files = 99;
    let pod = place.pod(Some(&["heavy"]));
    pod.wait_for_file("shm/imported");
    let ran = pod.run(&request);
    assert_eq!(ran.stdout, "False [] ['main.py'] 2\n", "{ran:?}");
    // Another environment has been published since.
    let pod = place.pod(Some(&["heavy"]));
    pod.wait_for_file("shm/imported");
    place.publish("second", "value = 'second'", &image());
    let ran = pod.run(&place.request("import heavy\nprint(heavy.value)"));
    assert_eq!((ran.stdout.as_str(), ran.was_prepared), ("second\n", false), "{ran:?}");
}

#[test]
fn an_order_before_the_imports_are_done_waits_a_moment_and_no_longer() {
    let Some(place) = Place::new(&announced("import time\ntime.sleep(0.3)")) else {
        return;
    };
    let code = "import sys\nprint('heavy' in sys.modules)";
    let ran = place.pod(Some(&["heavy"])).run(&place.request(code));
    assert_eq!((ran.stdout.as_str(), ran.was_prepared), ("True\n", true), "{ran:?}");
    let Some(place) = Place::new("import time\ntime.sleep(600)") else {
        return;
    };
    let ran = place.pod(Some(&["heavy"])).run(&place.request(code));
    assert_eq!((ran.stdout.as_str(), ran.was_prepared), ("False\n", false), "{ran:?}");
}

#[test]
fn an_environment_that_comes_later_is_prepared_then() {
    let Some(place) = place() else { return };
    let link = place.dir.path().join("volume/tenants/default/requests");
    std::fs::rename(&link, link.with_file_name("aside")).unwrap();
    let pod = place.pod(Some(&["heavy"]));
    assert!(pod.note().contains("not in the caches"));
    std::fs::rename(link.with_file_name("aside"), &link).unwrap();
    pod.wait_for_file("shm/imported");
    let ran = pod.run(&place.request("import sys\nprint('heavy' in sys.modules)"));
    assert_eq!((ran.stdout.as_str(), ran.was_prepared), ("True\n", true), "{ran:?}");
}

#[test]
fn code_that_was_imported_before_the_order_cannot_reach_the_token_or_the_runner() {
    // A thread of the import tries for as long as the program runs.
    let heavy = r"
import os, threading, time
found = []
NAMES = ['environ', 'mem', 'maps', 'root/etc/passwd'] + [f'fd/{number}' for number in range(10)]

def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read(1 << 20)
    except OSError:
        return b''

def look():
    while True:
        for pid in filter(str.isdigit, os.listdir('/proc')):
            found.extend((pid, name) for name in NAMES if int(pid) != os.getpid() and read(f'/proc/{pid}/{name}'))
        for path in ('/dev/termination-log', '/standby/started'):
            try:
                open(path, 'a').close()
                found.append(path)
            except OSError:
                pass
        found.extend(name for name in os.environ if name.startswith('HYBRID'))
        time.sleep(0.001)

threading.Thread(target=look, daemon=True).start()
";
    let Some(place) = Place::new(&announced(heavy)) else {
        return;
    };
    let pod = place.pod(Some(&["heavy"]));
    pod.wait_for_file("shm/imported");
    std::thread::sleep(Duration::from_millis(200));
    let code = "import heavy, os, time\ntime.sleep(0.3)\nprint(heavy.found, [name for name in os.environ if name.startswith('HYBRID')])\n\
                try: os.listdir('/scratch/../standby')\nexcept OSError as error: print(error.strerror)\n\
                print(any(b'0123456789abcdef0123456789abcdef' in open(f'/scratch/prepare/{name}', 'rb').read() for name in os.listdir('/scratch/prepare')))";
    let ran = pod.run(&place.request(code));
    assert!(ran.was_prepared, "{ran:?}");
    assert_eq!(ran.stdout, "[] []\nPermission denied\nFalse\n", "{ran:?}");
}

#[test]
fn a_pod_that_is_told_to_end_ends_with_what_it_has_prepared() {
    let Some(place) = place() else { return };
    let mut pod = place.pod(Some(&["heavy"]));
    pod.wait_for_file("shm/imported");
    assert!(pod.ends_without_order(), "it still runs");
}
