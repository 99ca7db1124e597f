//! What a requirements file demands beyond names: hashes, pre-releases and an index; and what uv itself makes of each line.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use hybrid_cache_model::protocol::PrepareRequest;
use hybrid_cache_model::requirement::parse_file;
use hybrid_cache_model::{CacheStatus, FailureKind, PythonRequest, RequestKey, TaskSpec, Tenant};
use hybrid_cache_runner::python::{Lookup, PythonVolume};

mod python_support;
use python_support::wheel::{Wheel, hash_of};
use python_support::{Bench, prepare};

/// An index with `aaa` 1.0, 2.0 and 3.0rc1, and `bbb`, which needs `aaa`.
fn bench() -> Option<Bench> {
    let bench = Bench::offline()?;
    for version in ["1.0", "2.0", "3.0rc1"] {
        Wheel::new("aaa", version)
            .file("aaa.py", &format!("VERSION = '{version}'\n"))
            .write(&bench.wheels());
    }
    Wheel::new("bbb", "1.0").file("bbb.py", "").write(&bench.wheels());
    Some(bench)
}

fn request(bench: &Bench, file: &str) -> PrepareRequest {
    constrained(bench, file, "")
}

fn constrained(bench: &Bench, file: &str, constraints: &str) -> PrepareRequest {
    let plain = bench.request("");
    PrepareRequest {
        task: TaskSpec {
            requirements_file: file.to_owned(),
            constraints: constraints.to_owned(),
            ..plain.task
        },
        ..plain
    }
}

fn lookup(bench: &Bench, file: &str) -> Lookup {
    lookup_request(bench, &request(bench, file))
}

fn lookup_request(bench: &Bench, request: &PrepareRequest) -> Lookup {
    let task = request.task.check().unwrap();
    let key = RequestKey::new(&PythonRequest::of(&task, &request.context));
    let volume = PythonVolume::open_read(&bench.root(), &Tenant::default()).unwrap();
    volume.lookup(&key, std::time::Duration::from_secs(3600)).unwrap()
}

fn resolved(bench: &Bench, file: &str) -> Vec<String> {
    pins(bench, &request(bench, file))
}

fn pins(bench: &Bench, request: &PrepareRequest) -> Vec<String> {
    match lookup_request(bench, request) {
        Lookup::Hit(leased) => leased.resolved().unwrap(),
        _ => panic!("{:?} is no hit", request.task),
    }
}

#[test]
fn a_hash_is_verified_before_anything_is_published_and_belongs_to_the_request() {
    let Some(bench) = bench() else { return };
    let good = hash_of(&bench.wheels(), "aaa", "1.0");
    let bad = format!("sha256:{}", "0".repeat(64));
    let with = |hash: &str| format!("aaa==1.0 \\\n    --hash={hash}\n");
    // A filled cache holds the very package, so uv need not download it again.
    assert!(matches!(
        prepare(&request(&bench, "aaa==1.0")).status(),
        CacheStatus::Built { .. }
    ));
    for file in [with(&bad), format!("{}bbb\n", with(&bad))] {
        let reported = prepare(&request(&bench, &file));
        let failure = reported.failure();
        assert!(failure.message.contains("Hash mismatch"), "{file:?}: {failure}");
        assert!(matches!(lookup(&bench, &file), Lookup::Miss), "{file:?}");
    }
    for file in [
        with(&good),
        with(&good.to_ascii_uppercase().replace("SHA256", "sha256")),
        format!("{}bbb\n", with(&good)),
        with(&format!("{bad} --hash={good}")),
    ] {
        prepare(&request(&bench, &file)).warnings();
        assert!(resolved(&bench, &file).contains(&"aaa==1.0".to_owned()), "{file:?}");
    }
    // Nothing without a hash is installed if all requirements have one, or if the file says so.
    for file in [
        "--require-hashes\naaa==1.0\n".to_owned(),
        format!("--require-hashes\n{}bbb==1.0", with(&good)),
    ] {
        let reported = prepare(&request(&bench, &file));
        assert!(
            reported.failure().message.contains("hash"),
            "{file:?}: {}",
            reported.failure()
        );
    }
}

#[test]
fn pre_releases_are_chosen_only_if_the_file_says_so() {
    let Some(bench) = bench() else { return };
    for (file, pin) in [
        ("aaa", "aaa==2.0"),
        ("--pre\naaa", "aaa==3.0rc1"),
        ("aaa>=3.0rc1", "aaa==3.0rc1"),
    ] {
        prepare(&request(&bench, file)).warnings();
        assert_eq!(resolved(&bench, file), [pin], "{file:?}");
    }
}

#[test]
fn constraints_choose_versions_install_nothing_and_belong_to_the_request() {
    let Some(bench) = bench() else { return };
    let good = hash_of(&bench.wheels(), "aaa", "1.0");
    let bad = format!("sha256:{}", "0".repeat(64));
    for (constraints, expected) in [
        ("", "aaa==2.0"),
        ("aaa<2", "aaa==1.0"),
        ("aaa[more]<2 # uv ignores an extra here", "aaa==1.0"),
        ("aaa<2 ; sys_platform == 'win32'", "aaa==2.0"),
        ("bbb==1.0", "aaa==2.0"),
        ("--pre", "aaa==3.0rc1"),
        (&format!("aaa==1.0 --hash={good}"), "aaa==1.0"),
    ] {
        let request = constrained(&bench, "aaa", constraints);
        prepare(&request).warnings();
        assert_eq!(pins(&bench, &request), [expected], "{constraints:?}");
    }
    for (file, constraints, reported) in [
        ("aaa", "aaa==9", "aaa==9"),
        ("aaa>=2", "aaa<2", "aaa<2"),
        ("aaa", &format!("aaa==1.0 --hash={bad}"), "Hash mismatch"),
        ("aaa==1.0", &format!("aaa==1.0 --hash={bad}"), "Hash mismatch"),
    ] {
        let request = constrained(&bench, file, constraints);
        let failed = prepare(&request);
        assert!(failed.failure().message.contains(reported), "{}", failed.failure());
        assert!(matches!(lookup_request(&bench, &request), Lookup::Miss));
    }
    // An environment of its own would have a request.
    let request = constrained(&bench, "", "aaa==1.0");
    assert!(matches!(prepare(&request).status(), CacheStatus::NotAsked));
}

#[test]
fn another_index_is_refused_and_the_one_in_use_is_not() {
    let Some(mut bench) = bench() else { return };
    let file = "-i https://index.invalid/simple/\naaa==1.0\n";
    let reported = prepare(&request(&bench, file));
    let failure = reported.failure();
    assert_eq!(failure.kind, FailureKind::InvalidTask);
    assert!(
        failure
            .message
            .contains("https://index.invalid/simple is not the one in use"),
        "{failure}"
    );
    let own = ("UV_DEFAULT_INDEX".to_owned(), "https://index.invalid/simple".to_owned());
    bench.tools.variables.retain(|(name, _)| name != "UV_NO_INDEX");
    bench.tools.variables.push(own);
    // It is asked then, which fails in another way.
    assert_ne!(prepare(&request(&bench, file)).failure().kind, FailureKind::InvalidTask);
}

#[test]
fn without_an_index_only_the_named_folders_are_used() {
    let Some(bench) = bench() else { return };
    // uv 0.13.9 does not read UV_NO_INDEX itself: without the option it would ask the public index for this name.
    let failure = prepare(&request(&bench, "six\n")).failure().clone();
    assert_eq!(failure.kind, FailureKind::UnknownPackage, "{failure}");
}

/// How a line fares with uv and with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Read,
    Refused,
}
use Fate::{Read, Refused};

const RUNS_CODE: &str = "it would run code: builds are";
const LOCAL: &str = "it names a file of another machine";
const VARIABLE: &str = "it reads a variable of the machine";
const UNVERIFIED: &str = "uv ignores or cannot use the hash; we verify each one";
const AMBIGUOUS: &str = "uv reads the rest as a further requirement, other installers as a mistake";
const HARMLESS: &str = "other installers read it, and it cannot be misunderstood";
const ASCII: &str = "only ASCII stands in a normal form";
const NEWER: &str = "a variable of lock files (PEP 751), which no environment sets";

/// Each line, what uv does, what we do, and why if that differs. `HASH` stands for 64 digits.
const TABLE: &[(&str, Fate, Fate, &str)] = &[
    ("aaa", Read, Read, ""),
    ("aaa # why", Read, Read, ""),
    ("# only a comment", Read, Read, ""),
    ("aaa#why", Refused, Refused, ""),
    ("aaa==1.0 --hash=sha256:HASH", Read, Read, ""),
    ("aaa==1.0 --hash sha256:HASH --hash=sha256:HASH # why", Read, Read, ""),
    (
        "aaa==1.0 \\\n    --hash=sha256:HASH \\\r\n    --hash=sha256:HASH",
        Read,
        Read,
        "",
    ),
    ("aaa>=1.0 --hash=sha256:HASH", Read, Refused, UNVERIFIED),
    ("aaa==1.0 --hash=sha256:00", Read, Refused, UNVERIFIED),
    ("aaa==1.0 --hash=sha1:00", Read, Refused, UNVERIFIED),
    ("aaa==1.0 --hash=sha256:HASH bbb", Read, Refused, AMBIGUOUS),
    ("aaa==1.0 --hash=sha256:HASH# bbb", Read, Refused, AMBIGUOUS),
    ("aaa==1.0 --pre", Refused, Refused, ""),
    ("aaa \\\n==1.0", Refused, Read, HARMLESS),
    ("aaa===1.0", Read, Read, ""),
    ("aaa===one", Refused, Refused, ""),
    ("aaa (>=1)", Read, Read, ""),
    ("aaa(>=1,<3) ; os_name == 'posix'", Read, Read, ""),
    ("aaa ()", Refused, Refused, ""),
    ("aaa (>=1", Refused, Refused, ""),
    ("aaa [] >=1", Read, Read, ""),
    ("aaa^1", Refused, Refused, ""),
    ("aaa=1=py_0", Refused, Refused, ""),
    ("aaa 1.0", Refused, Refused, ""),
    ("aaa\rbbb", Read, Read, ""),
    ("# why\raaa", Read, Read, ""),
    ("aaa # why \\\nbbb", Read, Read, ""),
    ("\u{feff}aaa", Read, Read, ""),
    ("aaa\u{a0}>=1", Read, Refused, ASCII),
    ("--pre\naaa", Read, Read, ""),
    ("--prefer-binary\naaa", Read, Read, ""),
    ("--only-binary :all:\naaa", Read, Read, ""),
    ("--only-binary=aaa\naaa", Read, Read, ""),
    ("--no-binary :none:\naaa", Read, Read, ""),
    ("--no-binary=bbb\naaa", Read, Refused, RUNS_CODE),
    ("--require-hashes\naaa==1.0 --hash=sha256:HASH", Read, Read, ""),
    ("--trusted-host host.invalid\naaa", Read, Read, ""),
    ("--use-feature=x\naaa", Read, Read, ""),
    ("-i https://host.invalid/simple\naaa", Read, Read, ""),
    ("-i=https://host.invalid/simple\naaa", Read, Read, ""),
    ("--index-url=https://host.invalid/simple # why\naaa", Read, Read, ""),
    ("--extra-index-url \"https://host.invalid/simple\"\naaa", Read, Read, ""),
    ("--find-links .\naaa", Read, Refused, LOCAL),
    ("--no-index\naaa", Read, Refused, "the operator chooses the index"),
    ("--foo\naaa", Refused, Refused, ""),
    ("-r other.txt", Read, Refused, LOCAL),
    ("-c other.txt\naaa", Read, Refused, LOCAL),
    ("aaa ; extra == 'x'", Read, Read, ""),
    ("aaa ; extra in 'x'", Read, Read, ""),
    ("aaa ; os.name == 'posix' and sys.platform != 'x'", Read, Read, ""),
    ("aaa ; python_implementation == 'CPython'", Read, Read, ""),
    (
        "aaa ; platform.machine != 'x' or platform.version != 'x'",
        Read,
        Read,
        "",
    ),
    ("aaa ; os_name == sys_platform", Read, Read, ""),
    ("aaa ; 'a' == 'b'", Read, Read, ""),
    ("aaa ; '3' in python_version", Read, Read, ""),
    ("aaa ; '3.1' ~= python_version", Read, Read, ""),
    ("aaa ; python_version not in '2.6, 2.7'", Read, Read, ""),
    ("aaa ; python_version in '3.11 3.12'", Read, Read, ""),
    ("aaa ; python_version == 'new'", Read, Read, ""),
    ("aaa ; python_version >= '3.*'", Read, Read, ""),
    ("aaa ; python_version === '3.11'", Refused, Refused, ""),
    ("aaa ; python_version >= 3.8", Refused, Refused, ""),
    ("aaa ; os_name ~= 'posix'", Read, Read, ""),
    ("aaa ; os_name == ''", Read, Read, ""),
    ("aaa ; os_name == '-e'", Read, Read, ""),
    ("aaa ; os_name == ' --x'", Refused, Refused, ""),
    ("aaa ; os_name == 'a #b'", Refused, Refused, ""),
    ("aaa ; os_name != 'a\"b'", Read, Read, ""),
    ("aaa ; os_name != 'a\\b/c@d'", Read, Read, ""),
    ("aaa ; os_name != 'é'", Read, Refused, ASCII),
    ("aaa ; os_name != '${HOME}'", Read, Refused, VARIABLE),
    ("aaa ; 'linux' in sys_platform", Read, Read, ""),
    ("aaa ; 'x' not in sys_platform", Read, Read, ""),
    ("aaa ; 'x' in extras", Read, Refused, NEWER),
    ("aaa ; foo == 'x'", Refused, Refused, ""),
    ("aaa ; os_name not in 'x'and os_name != 'y'", Read, Read, ""),
    ("aaa ; (os_name != 'x'", Refused, Refused, ""),
    (
        "aaa ; python_version >= '3.8' , os_name == 'posix'",
        Refused,
        Refused,
        "",
    ),
];

/// Lines of a constraints file: what uv does, what we do, and why if that differs.
const CONSTRAINTS: &[(&str, Fate, Fate, &str)] = &[
    ("aaa", Read, Read, ""),
    ("aaa<2 # why", Read, Read, ""),
    ("aaa[more]<2", Read, Read, ""),
    ("aaa<2 ; python_version >= '3'", Read, Read, ""),
    ("aaa==1.0 \\\n --hash=sha256:HASH", Read, Read, ""),
    ("--pre\naaa", Read, Read, ""),
    ("-i https://host.invalid/simple\naaa", Read, Read, ""),
    ("-r other.txt", Read, Refused, LOCAL),
    ("-c other.txt", Read, Refused, LOCAL),
    ("-e .", Refused, Refused, ""),
    ("aaa 1.0", Refused, Refused, ""),
];

#[test]
fn each_line_of_a_constraints_file_fares_as_with_uv_or_the_table_says_why_not() {
    let Some(bench) = bench() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.txt"), "bbb\n").unwrap();
    for &(line, of_uv, of_ours, why) in CONSTRAINTS {
        let text = line.replace("HASH", &"0".repeat(64));
        let limits = folder.path().join("limits.txt");
        std::fs::write(&limits, &text).unwrap();
        let (theirs, _) = uv_with(&bench, folder.path(), "bbb", &["-c".as_ref(), limits.as_os_str()]);
        let task = TaskSpec {
            constraints: text,
            ..TaskSpec::new("1")
        };
        let ours = if task.check().is_ok() { Read } else { Refused };
        assert_eq!((theirs, ours), (of_uv, of_ours), "{line:?}");
        assert_eq!(of_uv == of_ours, why.is_empty(), "{line:?}");
    }
}

/// What uv makes of a file: read, with the resolution, or refused while it reads.
fn uv(bench: &Bench, folder: &Path, text: &str) -> (Fate, String) {
    uv_with(bench, folder, text, &[])
}

fn uv_with(bench: &Bench, folder: &Path, text: &str, options: &[&OsStr]) -> (Fate, String) {
    let file = folder.join("file.txt");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(&bench.tools.uv)
        .args([
            "pip",
            "compile",
            "--no-config",
            "--no-header",
            "--no-annotate",
            "--no-index",
            "--find-links",
        ])
        .arg(bench.wheels())
        .args(["--python", &bench.interpreter.path])
        .arg(&file)
        .args(options)
        .env_clear()
        .envs([("HOME", folder), ("UV_CACHE_DIR", &folder.join("cache"))])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    // A resolution that fails ends with 1, a text that cannot be read with 2.
    let fate = if output.status.code() == Some(2) { Refused } else { Read };
    (fate, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn each_line_fares_as_with_uv_or_the_table_says_why_not() {
    let Some(bench) = bench() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.txt"), "bbb\n").unwrap();
    let mut wrong = Vec::new();
    for &(line, of_uv, of_ours, why) in TABLE {
        let text = line.replace("HASH", &"0".repeat(64));
        let (theirs, resolution) = uv(&bench, folder.path(), &text);
        let read = parse_file("/requirementsFile", &text, &Default::default());
        let ours = if read.is_ok() { Read } else { Refused };
        if (theirs, ours) != (of_uv, of_ours) || (of_uv == of_ours) != why.is_empty() {
            wrong.push(format!("{line:?}: uv {theirs:?}, we {ours:?}"));
        }
        // What we write means to uv what the text meant.
        if let (Read, Ok(file)) = (theirs, read) {
            let text: String = file.requirements.iter().map(|one| format!("{one}\n")).collect();
            let (again, same) = uv(&bench, folder.path(), &text);
            if (again, &same) != (Read, &resolution) {
                wrong.push(format!(
                    "{line:?}: our form {text:?} gives {same:?}, not {resolution:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
