//! Packages that import `pkg_resources`: setuptools is added to their environment, and only to theirs.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use hybrid_cache_model::protocol::PrepareRequest;
use hybrid_cache_model::{FailureKind, PythonRequest, RequestKey, TaskSpec, Tenant};
use hybrid_cache_runner::python::{Lookup, PythonVolume};

mod python_support;
use python_support::wheel::{Wheel, hash_of};
use python_support::{Bench, prepare};

/// An index with setuptools before and after it lost the module, and packages that import it in several ways.
fn bench() -> Option<Bench> {
    let bench = Bench::offline()?;
    let wheels = bench.wheels();
    let module = "pkg_resources/__init__.py";
    Wheel::new("setuptools", "80.9.0")
        .file("setuptools/__init__.py", "VERSION = 80\n")
        .file(module, "FOUND = 80\n")
        .write(&wheels);
    Wheel::new("setuptools", "82.0.0")
        .file("setuptools/__init__.py", "VERSION = 82\n")
        .write(&wheels);
    let needs =
        |metadata: &str| format!("Metadata-Version: 2.1\nName: asks\nVersion: 1.0\nRequires-Dist: {metadata}\n");
    Wheel::new("silent", "1.0")
        .file("silent/__init__.py", "")
        .file("silent/deep/x.py", "import sys\nfrom pkg_resources import FOUND\n")
        .write(&wheels);
    Wheel::new("asks", "1.0")
        .file("asks.py", "import pkg_resources\n")
        .file("asks-1.0.dist-info/METADATA", &needs("setuptools>=40"))
        .write(&wheels);
    Wheel::new("newer", "1.0")
        .file("newer.py", "import pkg_resources\n")
        .file(
            "newer-1.0.dist-info/METADATA",
            &needs("setuptools>=81").replace("asks", "newer"),
        )
        .write(&wheels);
    // Without the limit, and no choice for somebody who asks for the newest.
    Wheel::new("newer", "0.9")
        .file("newer.py", "import pkg_resources\n")
        .write(&wheels);
    Wheel::new("does_without", "1.0")
        .file(
            "does_without.py",
            "try:\n    import pkg_resources\nexcept ImportError:\n    pass\n",
        )
        .file("tests/x.py", "import pkg_resources\n")
        .write(&wheels);
    Wheel::new("brings", "1.0").file(module, "").write(&wheels);
    Some(bench)
}

fn request(bench: &Bench, file: &str) -> PrepareRequest {
    let plain = bench.request("");
    PrepareRequest {
        task: TaskSpec {
            requirements_file: file.to_owned(),
            ..plain.task
        },
        ..plain
    }
}

fn key(request: &PrepareRequest) -> RequestKey {
    RequestKey::new(&PythonRequest::of(&request.task.check().unwrap(), &request.context))
}

/// The packages of an environment that is there.
fn pins(bench: &Bench, request: &PrepareRequest) -> Vec<String> {
    let volume = PythonVolume::open_read(&bench.root(), &Tenant::default()).unwrap();
    let week = std::time::Duration::from_secs(604_800);
    match volume.lookup(&key(request), week).unwrap() {
        Lookup::Hit(leased) => leased.resolved().unwrap(),
        _ => panic!("{:?} is no hit", request.task),
    }
}

/// The packages of a new environment, and what the user reads of how it was made. Nothing of that is a warning.
fn made(bench: &Bench, request: &PrepareRequest) -> (Vec<String>, Vec<String>) {
    let reported = prepare(request);
    reported.path();
    assert_eq!(reported.warnings(), Vec::<String>::new());
    (pins(bench, request), reported.notes())
}

#[test]
fn a_package_that_imports_pkg_resources_gets_setuptools() {
    let Some(bench) = bench() else { return };
    let (pins, notes) = made(&bench, &request(&bench, "silent"));
    assert_eq!(pins, ["setuptools==80.9.0", "silent==1.0"]);
    let reported = notes.concat();
    assert!(
        reported.contains("`setuptools<81` was added, because silent==1.0 imports `pkg_resources` (silent/deep/x.py)"),
        "{reported}"
    );
    assert_eq!(
        bench.run("silent", "import silent.deep.x as x; print(x.FOUND)").trim(),
        "80"
    );
    // Also where the package asks for any setuptools, and the newest has no such module.
    let (pins, _) = made(&bench, &request(&bench, "asks"));
    assert_eq!(pins, ["asks==1.0", "setuptools==80.9.0"]);
}

#[test]
fn nothing_is_added_where_it_is_not_needed_or_not_wanted() {
    let Some(bench) = bench() else { return };
    let hash = hash_of(&bench.wheels(), "silent", "1.0");
    for (file, expected) in [
        ("does-without", vec!["does-without==1.0"]),
        ("brings\nsilent", vec!["brings==1.0", "silent==1.0"]),
        // Another package does not go with the older one.
        ("newer", vec!["newer==1.0", "setuptools==82.0.0"]),
        // The user decides.
        ("silent\nsetuptools", vec!["setuptools==82.0.0", "silent==1.0"]),
        (&format!("silent==1.0 --hash={hash}"), vec!["silent==1.0"]),
    ] {
        let (pins, notes) = made(&bench, &request(&bench, file));
        assert_eq!(
            (pins, notes.concat().as_str()),
            (expected.iter().map(|pin| (*pin).to_owned()).collect(), ""),
            "{file}"
        );
    }
    let mut off = request(&bench, "silent");
    off.context.sources.no_setuptools = true;
    assert_ne!(key(&off), key(&request(&bench, "silent")));
    assert_eq!(made(&bench, &off).0, ["silent==1.0"]);
}

#[test]
fn an_index_without_setuptools_is_no_obstacle() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("silent", "1.0")
        .file("silent.py", "import pkg_resources\n")
        .write(&bench.wheels());
    assert_eq!(made(&bench, &request(&bench, "silent")).0, ["silent==1.0"]);
}

#[test]
fn versions_that_fit_each_other_on_another_interpreter_name_it() {
    let Some(bench) = Bench::offline() else { return };
    let needs = "Metadata-Version: 2.1\nName: picky\nVersion: 1.0\nRequires-Dist: base>=2; python_version >= '3.9'\n";
    Wheel::new("picky", "1.0")
        .file("picky.py", "")
        .file("picky-1.0.dist-info/METADATA", needs)
        .write(&bench.wheels());
    for version in ["1.0", "2.0"] {
        Wheel::new("base", version).file("base.py", "").write(&bench.wheels());
    }
    let mut asked = request(&bench, "picky\nbase==1.0");
    asked.other_pythons = ["3.8.18", "3.9.18"].map(str::to_owned).into();
    let reported = prepare(&asked);
    let failure = reported.failure();
    assert_eq!(failure.kind, FailureKind::Unsatisfiable, "{failure}");
    let hint = failure.hint.as_deref().unwrap();
    assert!(
        hint.contains("fit each other for Python 3.8.18: set pythonVersion to 3.8"),
        "{hint}"
    );
    // Without one, the versions alone are to be corrected.
    asked.other_pythons = vec!["3.9.18".to_owned()];
    let hint = prepare(&asked).failure().hint.clone().unwrap();
    assert!(hint.starts_with("correct the requested versions"), "{hint}");
}
