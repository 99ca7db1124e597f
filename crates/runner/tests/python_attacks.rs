//! Malicious wheels, installed by a real uv: their content and claims do not affect other environments.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hybrid_cache_model::FailureKind;
use hybrid_cache_runner::maintenance::python::verify;
use hybrid_cache_runner::python::Lookup;

mod python_support;
use python_support::Bench;
use python_support::wheel::{Wheel, claim};

const GENUINE: &str = "WHO = 'genuine'\n";
const EVIL: &str = "WHO = 'evil'\n";

fn genuine() -> Wheel {
    Wheel::new("hcsix", "1.17.0").file("hcsix.py", GENUINE)
}

/// Every file below `folder`, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// The unpacked wheels of uv's cache.
fn archives(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = files(&bench.volume().uv_cache());
    found.retain(|path, _| path.to_string_lossy().contains("/archive-v"));
    found
}

fn is_clean(bench: &Bench) {
    let report = verify(&bench.volume()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn bytecode_under_a_forged_hash_is_not_shared_with_the_genuine_file() {
    let Some(bench) = Bench::offline() else { return };
    genuine().write(&bench.wheels());
    // The hash of the genuine file, and no size.
    let forge = |record: String| {
        record.replace(
            &format!("hcsix.py,{},{}", claim(EVIL.as_bytes()), EVIL.len()),
            &format!("hcsix.py,{},", claim(GENUINE.as_bytes())),
        )
    };
    Wheel::new("hcevil", "1.0")
        .file("hcsix.py", EVIL)
        .claiming(forge)
        .write(&bench.wheels());
    let reported = bench.prepare("hcevil");
    assert!(
        reported
            .warnings()
            .iter()
            .any(|warning| warning.contains("hcsix.py") && warning.contains("hcevil==1.0")),
        "{:?}",
        reported.warnings()
    );
    assert_eq!(bench.run("hcevil", "import hcsix; print(hcsix.WHO)"), "evil");
    assert_eq!(bench.prepare("hcsix").warnings(), Vec::<String>::new());
    let code = "import hcsix, os; print(hcsix.WHO, os.path.exists(hcsix.__cached__))";
    assert_eq!(bench.run("hcsix", code), "genuine True");
    is_clean(&bench);
}

#[test]
fn decoys_for_an_installed_package_are_refused() {
    let Some(bench) = Bench::offline() else { return };
    // Use a new name each time, because uv identifies a file by name and time.
    for (name, folder) in [
        ("hcevil1", "lib/any/site-packages"),
        ("hcevil2", "lib/python3.99/site-packages"),
        ("hcevil3", "lib"),
    ] {
        let path = |name: &str| format!("{folder}/hcsix-1.17.0.dist-info/{name}");
        Wheel::new(name, "1.0")
            .data(
                &path("METADATA"),
                "Metadata-Version: 2.1\nName: hcsix\nVersion: 1.17.0\n",
            )
            .data(&path("RECORD"), "")
            .write(&bench.wheels());
        let reported = bench.prepare(&format!("{name},hcsix; python_version < '3'"));
        let failure = reported.failure();
        assert_eq!(failure.kind, FailureKind::Unsatisfiable, "{failure}");
        assert!(
            failure.message.contains(folder.trim_end_matches("/site-packages")),
            "{failure}"
        );
    }
    // Public wheels put shared libraries below lib.
    Wheel::new("hclib", "1.0")
        .data("lib/libhc.so.2", "shared library")
        .write(&bench.wheels());
    assert_eq!(bench.prepare("hclib").warnings(), Vec::<String>::new());
}

#[test]
fn a_wheel_with_our_file_names_installs_as_data_and_uvs_cache_stays_unchanged() {
    let Some(bench) = Bench::offline() else { return };
    let names = [".lease", ".lock", "lock.txt", "manifest.json", "content", "damaged"];
    let wheel = names
        .iter()
        .fold(Wheel::new("hcevil", "1.0"), |wheel, name| wheel.data(name, "theirs"));
    let info = |name: &str| format!("hcevil-1.0.dist-info/{name}");
    wheel
        .file(&info("INSTALLER"), "theirs")
        .file(&info("REQUESTED"), "theirs")
        .file(&info("uv_cache.json"), "theirs")
        .file(
            &info("direct_url.json"),
            "{\"url\": \"https://example.invalid\", \"archive_info\": {}}",
        )
        .file("hcevil.py", "")
        .write(&bench.wheels());
    genuine().write(&bench.wheels());
    assert_eq!(bench.prepare("hcevil").warnings(), Vec::<String>::new());
    let cached = archives(&bench);
    for (path, content) in &cached {
        let name = path.file_name().unwrap().to_str().unwrap();
        if names.contains(&name) {
            assert_eq!(content, b"theirs", "{}", path.display());
        }
    }
    let Lookup::Hit(leased) = bench.lookup("hcevil") else {
        panic!("no hit")
    };
    assert_eq!(leased.resolved().unwrap(), ["hcevil==1.0"]);
    for name in names.iter().filter(|name| **name != ".lock") {
        assert_eq!(std::fs::read_to_string(leased.venv().join(name)).unwrap(), "theirs");
    }
    // Another set of packages uses the same wheel.
    assert_eq!(bench.prepare("hcevil,hcsix").warnings(), Vec::<String>::new());
    bench.run("hcevil,hcsix", "import hcevil, hcsix");
    let after = archives(&bench);
    for (path, content) in cached {
        assert_eq!(after.get(&path), Some(&content), "{}", path.display());
    }
    is_clean(&bench);
}

#[test]
fn a_wheel_cannot_replace_the_environments_own_files() {
    let Some(bench) = Bench::offline() else { return };
    let interpreter = std::fs::read(&bench.interpreter.path).unwrap();
    for (package, name) in [
        ("hcevil1", "pyvenv.cfg"),
        ("hcevil2", "bin/python"),
        ("hcevil3", "bin/python3"),
    ] {
        Wheel::new(package, "1.0").data(name, "theirs").write(&bench.wheels());
        let reported = bench.prepare(package);
        let failure = reported.failure();
        assert!(
            failure.message.contains(&format!("{package}==1.0"))
                && failure.message.contains(name.trim_start_matches("bin/")),
            "{name}: {failure}"
        );
    }
    assert_eq!(std::fs::read(&bench.interpreter.path).unwrap(), interpreter);
    assert!(archives(&bench).values().any(|content| content == b"theirs"));
}

#[test]
fn a_wrong_record_installs_with_a_warning() {
    let Some(bench) = Bench::offline() else { return };
    Wheel::new("hcwrong", "1.0")
        .file("hcwrong.py", "x = 1\n")
        .claiming(|record| {
            record
                .replace("hcwrong.py,sha256=", "hcwrong.py,sha256=AAAA")
                .replace(",6\n", ",7\n")
        })
        .write(&bench.wheels());
    let reported = bench.prepare("hcwrong");
    assert!(
        reported.warnings()[0].contains("hcwrong.py (hcwrong==1.0)"),
        "{:?}",
        reported.warnings()
    );
    bench.run("hcwrong", "import hcwrong");
    is_clean(&bench);
}

#[test]
fn two_packages_with_the_same_file_cause_a_warning() {
    let Some(bench) = Bench::offline() else { return };
    for name in ["hcone", "hctwo"] {
        Wheel::new(name, "1.0")
            .file("hcshared.py", &format!("WHO = '{name}'\n"))
            .write(&bench.wheels());
    }
    let warnings = bench.prepare("hcone,hctwo").warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("hcshared.py (hcone==1.0, hctwo==1.0)"),
        "{warnings:?}"
    );
    is_clean(&bench);
}

#[test]
fn bytecode_in_a_wheel_is_never_run() {
    let Some(bench) = Bench::offline() else { return };
    let abi = &bench.interpreter.abi;
    Wheel::new("hccached", "1.0")
        .file("hccached.py", "WHO = 'source'\n")
        .file(&format!("__pycache__/hccached.{abi}.pyc"), "no bytecode")
        .write(&bench.wheels());
    assert_eq!(bench.prepare("hccached").warnings(), Vec::<String>::new());
    assert_eq!(bench.run("hccached", "import hccached; print(hccached.WHO)"), "source");
    is_clean(&bench);
}

#[test]
fn uv_settings_outside_every_key_are_refused() {
    let Some(mut bench) = Bench::offline() else { return };
    genuine().write(&bench.wheels());
    bench.tools.variables.push(("UV_PRERELEASE".into(), "allow".into()));
    let reported = bench.prepare("hcsix");
    assert!(
        reported.failure().message.contains("UV_PRERELEASE"),
        "{}",
        reported.failure()
    );
}
