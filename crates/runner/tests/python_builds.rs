//! Wheels that a preparation fetches or builds itself: how they fill a volume, count on it, and are found again.
//!
//! Builds run here without a sandbox, which the driver's tests have: these are about what is done with their files.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hybrid_cache_model::protocol::{BuildOrder, BuildReport, BuildSettings, PrepareEvent, PrepareRequest};
use hybrid_cache_model::{End, Failure, FailureKind, TaskSpec};
use hybrid_cache_runner::ledger;
use rustix::mount::{MountFlags, MountPropagationFlags};

mod python_support;
#[expect(dead_code, reason = "nothing is compiled here")]
#[path = "../../driver/tests/shared/sdists.rs"]
mod sdists;
use python_support::wheel::Wheel;
use python_support::{Bench, Prepared, prepare_building, prepare_observed};

/// Runs orders as plain programs, and counts those that build.
struct Builder<'a> {
    python: &'a str,
    folder: PathBuf,
    builds: AtomicUsize,
}

impl<'a> Builder<'a> {
    fn new(bench: &'a Bench) -> Builder<'a> {
        let folder = bench.dir.path().join("orders");
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir(&folder).unwrap();
        Builder {
            python: &bench.interpreter.path,
            folder,
            builds: AtomicUsize::new(0),
        }
    }

    fn run(&self, order: &BuildOrder) -> Result<BuildReport, Failure> {
        if order.code.contains(r#"\"work\":\"build\""#) {
            self.builds.fetch_add(1, Ordering::Relaxed);
        }
        let scratch = tempfile::tempdir().unwrap();
        let [work, temporary] = ["work", "tmp"].map(|name| scratch.path().join(name));
        for folder in [&work, &temporary] {
            std::fs::create_dir(folder).unwrap();
        }
        let status = Command::new(self.python)
            .args(["-c", &order.code])
            .current_dir(&work)
            .env_clear()
            .envs([
                ("PATH", Path::new("/usr/bin:/bin")),
                ("TMPDIR", &temporary),
                ("HOME", &temporary),
            ])
            .status()
            .unwrap();
        let out = self.folder.join(order.number.to_string());
        std::fs::create_dir(&out).unwrap();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(work.join("out")).unwrap().flatten() {
            std::fs::copy(entry.path(), out.join(entry.file_name())).unwrap();
            files.push(entry.file_name().to_string_lossy().into_owned());
        }
        let end = End::Exited {
            code: status.code().unwrap(),
        };
        Ok(BuildReport { end, files })
    }

    fn prepare(&self, bench: &Bench, task: TaskSpec) -> Prepared {
        self.prepare_observed(bench, task, |_| {})
    }

    fn prepare_observed(&self, bench: &Bench, task: TaskSpec, observe: impl Fn(&PrepareEvent) + Sync) -> Prepared {
        prepare_building(&self.request(bench, task), observe, &|order| self.run(order))
    }

    fn request(&self, bench: &Bench, task: TaskSpec) -> PrepareRequest {
        PrepareRequest {
            task,
            builds: Some(BuildSettings {
                folder: self.folder.to_str().unwrap().to_owned(),
                network: "none".into(),
            }),
            ..bench.request("")
        }
    }

    fn builds(&self) -> usize {
        self.builds.load(Ordering::Relaxed)
    }
}

fn file(requirements_file: impl Into<String>) -> TaskSpec {
    TaskSpec {
        requirements_file: requirements_file.into(),
        ..TaskSpec::new("print(1)")
    }
}

/// Runs `work` in a thread that sees a small file system at the volume's place; `None` if this user may not mount.
fn on_small_volume<T: Send>(bench: &Bench, mebibytes: u32, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::fs::create_dir_all(bench.root()).unwrap();
    let ran = std::thread::scope(|scope| {
        scope
            .spawn(|| mount(&bench.root(), mebibytes).ok().map(|()| work()))
            .join()
    });
    let ran = ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if ran.is_none() {
        println!("skipped: this user may not mount");
    }
    ran
}

fn mount(at: &Path, mebibytes: u32) -> rustix::io::Result<()> {
    python_support::own_mounts()?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let options = std::ffi::CString::new(format!("size={mebibytes}m")).unwrap();
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str())
}

/// Bytes that no one can compress, as text of one line.
fn noise(bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Serves one file to everybody; the first answers may claim another length.
struct Host(std::net::SocketAddr);

impl Host {
    fn serve(files: Vec<(String, Vec<u8>, Option<u64>)>) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Host(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                let Some((_, bytes, length)) = files.iter().find(|(name, ..)| first.contains(name.as_str())) else {
                    continue;
                };
                let length = length.unwrap_or(bytes.len() as u64);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                // The reader may have gone.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes));
            }
        });
        host
    }

    fn address(&self, file: &str) -> String {
        format!("http://{}/{file}", self.0)
    }

    fn request(&self, bench: &Bench, requirements_file: impl Into<String>) -> PrepareRequest {
        let mut request = bench.request("");
        request.task = file(requirements_file);
        request.context.sources.wheel_hosts.push(self.0.to_string());
        request
    }
}

/// A wheel outside of the index, as a file.
fn wheel_elsewhere(bench: &Bench, name: &'static str, bytes: usize) -> (String, Vec<u8>) {
    let folder = bench.dir.path().join("elsewhere");
    Wheel::new(name, "1.0")
        .file(&format!("{name}.txt"), &noise(bytes))
        .write(&folder);
    let file = format!("{name}-1.0-py3-none-any.whl");
    let text = std::fs::read(folder.join(&file)).unwrap();
    (file, text)
}

#[test]
fn a_wheel_that_is_fetched_evicts_others_from_a_full_volume() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("large", "1.0")
        .file("large.txt", &noise(18 << 20))
        .write(&bench.wheels());
    let (name, text) = wheel_elsewhere(&bench, "fetched", 12 << 20);
    let host = Host::serve(vec![(name.clone(), text, None)]);
    let request = host.request(&bench, format!("fetched @ {}\n", host.address(&name)));
    on_small_volume(&bench, 26, || {
        bench.prepare("large").warnings();
        let warnings = prepare_observed(&request, |_| {}).warnings();
        assert!(warnings[0].contains("1 environments were evicted"), "{warnings:?}");
    });
}

#[test]
fn a_wheel_that_is_built_evicts_others_from_a_full_volume() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("large", "1.0")
        .file("large.txt", &noise(18 << 20))
        .write(&bench.wheels());
    let hook = "FILES['built.txt'] = os.urandom(9 << 20)\n";
    sdists::write(&bench.interpreter.path, &bench.wheels(), &[("built", "1.0", hook)]);
    on_small_volume(&bench, 26, || {
        bench.prepare("large").warnings();
        let builder = Builder::new(&bench);
        let warnings = builder.prepare(&bench, file("built\n")).warnings();
        assert!(warnings[0].contains("1 environments were evicted"), "{warnings:?}");
        assert_eq!(builder.builds(), 1, "the wheel that was there already is copied again");
        assert_eq!(
            std::fs::read_dir(&builder.folder).unwrap().count(),
            0,
            "files of orders are deleted"
        );
    });
}

#[test]
fn an_order_that_filled_the_volume_is_given_again_once_there_is_room() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("large", "1.0")
        .file("large.txt", &noise(18 << 20))
        .write(&bench.wheels());
    sdists::write(&bench.interpreter.path, &bench.wheels(), &[("built", "1.0", "")]);
    on_small_volume(&bench, 26, || {
        bench.prepare("large").warnings();
        let builder = Builder::new(&bench);
        let request = builder.request(&bench, file("built\n"));
        let filled = AtomicUsize::new(0);
        let order = |order: &BuildOrder| {
            let is_build = order.code.contains(r#"\"work\":\"build\""#);
            if !is_build || filled.fetch_add(1, Ordering::Relaxed) > 0 {
                return builder.run(order);
            }
            std::fs::create_dir(builder.folder.join(order.number.to_string())).unwrap();
            let failure = Failure::new(FailureKind::DiskFull, "no space is left for the wheel");
            Ok(BuildReport {
                end: End::Failed { failure },
                files: Vec::new(),
            })
        };
        let warnings = prepare_building(&request, |_| {}, &order).warnings();
        assert!(warnings[0].contains("1 environments were evicted"), "{warnings:?}");
        assert_eq!(filled.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_wheel_that_is_kept_counts_against_the_budget() {
    let Some(bench) = Bench::offline() else { return };
    let hook = "FILES['built.txt'] = os.urandom(1 << 20)\n";
    sdists::write(&bench.interpreter.path, &bench.wheels(), &[("built", "1.0", hook)]);
    let builder = Builder::new(&bench);
    let counted = || {
        let open = ledger::open_python(&bench.volume(), Instant::now()).unwrap();
        (
            open.ledger.rest().unwrap(),
            ledger::python_rest(&bench.volume()).unwrap(),
        )
    };
    // Another process measures what is new before the wheel is kept.
    let measure = |event: &PrepareEvent| {
        if matches!(event, PrepareEvent::Ready { .. }) {
            counted();
        }
    };
    builder.prepare_observed(&bench, file("built\n"), measure).warnings();
    let (counted, there) = counted();
    assert!(there.bytes > 1 << 20, "{there:?}");
    assert_eq!(counted, there);
}

#[test]
fn a_task_fetches_no_more_than_it_may() {
    let Some(bench) = Bench::offline() else { return };
    let ((one, small), (two, large)) = (
        wheel_elsewhere(&bench, "one", 1 << 10),
        wheel_elsewhere(&bench, "two", 1 << 10),
    );
    let host = Host::serve(vec![(one.clone(), small, None), (two.clone(), large, Some(8 << 30))]);
    let lines = [("one", &one), ("two", &two)].map(|(name, file)| format!("{name} @ {}\n", host.address(file)));
    let reported = prepare_observed(&host.request(&bench, lines.concat()), |_| {});
    let failure = reported.failure();
    assert_eq!(failure.kind, FailureKind::Unsatisfiable, "{failure}");
    assert!(failure.message.contains("8 GiB"), "{failure}");
}

/// Requires a tool that it names only while it is built, and notes its version.
const USES_TOOL: &str = r#"
def get_requires_for_build_wheel(config_settings=None):
    return ["tool"]
def build_wheel(folder, config_settings=None, metadata_directory=None, made=build_wheel):
    import tool
    FILES["used.py"] = f"VERSION = {tool.VERSION!r}\n"
    return made(folder)
"#;

#[test]
fn a_wheel_serves_the_requests_whose_options_choose_the_same_build_requirements() {
    let Some(bench) = Bench::offline() else { return };
    for version in ["1.0", "3.0rc1"] {
        let module = format!("VERSION = '{version}'\n");
        Wheel::new("tool", version)
            .file("tool.py", &module)
            .write(&bench.wheels());
    }
    let tool = "FILES['tool.py'] = 'VERSION = \"2.0\"\\n'\n";
    let packages = [
        ("one", "1.0", USES_TOOL),
        ("two", "1.0", USES_TOOL),
        ("tool", "2.0", tool),
    ];
    sdists::write(&bench.interpreter.path, &bench.wheels(), &packages);
    // uv chooses pre-releases of what a task asks for, and none of build requirements.
    let plain = [("", "2.0"), ("--pre\n", "2.0")];
    let wheels = [("--only-binary tool\n", "1.0"), ("--pre\n--only-binary tool\n", "1.0")];
    for (name, all) in [("one", [plain, wheels].concat()), ("two", [wheels, plain].concat())] {
        let builder = Builder::new(&bench);
        for (option, version) in all {
            let reported = builder.prepare(&bench, file(format!("{option}{name}\n")));
            let python = bench.root().join(reported.path()).join("venv/bin/python");
            reported.warnings();
            let used = python_support::run(&python, "import used; print(used.VERSION)");
            assert_eq!(used, version, "{name}: {option:?}");
        }
        assert_eq!(builder.builds(), 2, "{name}");
    }
}

#[test]
fn a_wheel_is_fetched_through_the_proxy_for_all_addresses() {
    let Some(mut bench) = Bench::offline() else { return };
    bench.tools.variables.retain(|(name, _)| !name.ends_with("_PROXY"));
    let (name, text) = wheel_elsewhere(&bench, "fetched", 1 << 10);
    let proxy = Host::serve(vec![(name.clone(), text, None)]);
    let plain = bench.tools.variables.clone();
    // Nothing listens there: only a proxy gives the file.
    let file = format!("fetched @ http://127.0.0.1:9/{name}\n");
    let mut reported = |variables: &[(&str, &str)]| {
        let more = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        bench.tools.variables = plain.iter().cloned().chain(more).collect();
        let mut request = proxy.request(&bench, file.as_str());
        request.context.sources.wheel_hosts = vec!["127.0.0.1:9".to_owned()];
        request.keep = hybrid_cache_model::protocol::Keep::Discard;
        prepare_observed(&request, |_| {})
    };
    let address = proxy.address("");
    let bare = proxy.0.to_string();
    for name in ["ALL_PROXY", "all_proxy"] {
        for value in [&address, &bare] {
            assert_eq!(
                reported(&[(name, value)]).status(),
                hybrid_cache_model::CacheStatus::Bypassed,
                "{name}={value}"
            );
        }
    }
    for without in [
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "*"),
        ("http_proxy", "http://127.0.0.1:9"),
    ] {
        let reported = reported(&[("ALL_PROXY", &address), without]);
        assert_eq!(
            reported.failure().kind,
            FailureKind::Offline,
            "{without:?}: {}",
            reported.failure()
        );
    }
    for kind in ["socks5", "socks5h", "https"] {
        let reported = reported(&[("all_proxy", &format!("{kind}://me:hush@127.0.0.1:9"))]);
        let failure = reported.failure();
        assert_eq!(failure.kind, FailureKind::Tool, "{failure}");
        assert!(failure.message.contains(&format!("{kind}://")), "{failure}");
        assert!(
            failure.to_string().contains("NO_PROXY") && !failure.to_string().contains("hush"),
            "{failure}"
        );
    }
}

#[test]
fn a_volume_that_is_full_while_build_requirements_are_pinned_makes_no_unpinned_wheel() {
    let Some(mut bench) = Bench::offline() else { return };
    Wheel::new("tool", "1.0").file("tool.py", "").write(&bench.wheels());
    sdists::write(
        &bench.interpreter.path,
        &bench.wheels(),
        &[("built", "1.0", "# requires tool\n")],
    );
    // uv, which finds no room as it pins.
    let uv = bench.dir.path().join("uv");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--generate-hashes*) echo 'os error 28' >&2; exit 2;; esac\nexec {} \"$@\"\n",
        bench.tools.uv
    );
    std::fs::write(&uv, script).unwrap();
    std::fs::set_permissions(&uv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bench.tools.uv = uv.to_str().unwrap().to_owned();
    let builder = Builder::new(&bench);
    let reported = builder.prepare(&bench, file("built\n"));
    assert_eq!(
        (reported.failure().kind, builder.builds()),
        (FailureKind::DiskFull, 0),
        "{}",
        reported.failure()
    );
}

/// Imports the module as it is built for good, and not while it is resolved.
const LATE: &str = r#"# requires setuptools
if "--hash" in open(os.path.join(os.environ["TMPDIR"], "..", "work", "requirements.txt")).read():
    import pkg_resources
"#;

#[test]
fn a_build_that_imports_pkg_resources_is_repeated_with_an_older_setuptools() {
    let Some(bench) = Bench::offline() else { return };
    let wheels = bench.wheels();
    Wheel::new("setuptools", "80.9.0")
        .file("pkg_resources.py", "")
        .write(&wheels);
    Wheel::new("setuptools", "82.0.0")
        .file("setuptools.py", "")
        .write(&wheels);
    let early = "# requires setuptools\nimport pkg_resources\n";
    let modern = "# requires setuptools\nimport setuptools\n";
    let packages = [
        ("early", "1.0", early),
        ("late", "1.0", LATE),
        ("modern", "1.0", modern),
    ];
    sdists::write(&bench.interpreter.path, &wheels, &packages);
    for name in ["early", "late"] {
        let builder = Builder::new(&bench);
        let reported = builder.prepare(&bench, file(name));
        reported.path();
        let note = reported.notes().concat();
        let expected = format!("{name}==1.0 was built with `setuptools<81`, because its build imports `pkg_resources`");
        assert!(note.contains(&expected), "{note}");
        assert_eq!(builder.builds(), 2, "{name}");
    }
    // The wheel is found again, and what builds with the newest setuptools keeps it.
    let builder = Builder::new(&bench);
    let reported = builder.prepare(&bench, file("early\nmodern"));
    reported.path();
    let notes = reported.notes();
    assert!(
        notes.len() == 1 && notes[0].starts_with("early==1.0 was built"),
        "{notes:?}"
    );
    assert_eq!(builder.builds(), 1, "modern");
    // An operator can turn it off.
    let builder = Builder::new(&bench);
    let mut request = builder.request(&bench, file("early"));
    request.context.sources.no_setuptools = true;
    let reported = prepare_building(&request, |_| {}, &|order| builder.run(order));
    let failure = reported.failure();
    assert_eq!(failure.kind, FailureKind::NoWheel, "{failure}");
    assert!(failure.message.contains("No module named 'pkg_resources'"), "{failure}");
}
