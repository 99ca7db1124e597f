//! Damage to published environments: a lookup repairs what it sees, and `verify` finds and repairs the rest.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::CacheStatus;
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::maintenance::python::{repair, usage, verify};
use hybrid_cache_runner::python::record::site;
use hybrid_cache_runner::python::{Lookup, pool};

mod python_support;
use python_support::Bench;
use python_support::wheel::Wheel;

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(60)).unwrap()
}

/// A volume with one environment of one package, and another that shares it.
fn bench() -> Option<Bench> {
    let bench = Bench::offline()?;
    for name in ["hcone", "hctwo"] {
        Wheel::new(name, "1.0")
            .file(&format!("{name}/__init__.py"), "x = 1\n")
            .file(&format!("{name}/data.bin"), "0123456789")
            .write(&bench.wheels());
    }
    for dependencies in ["hcone", "hcone,hctwo"] {
        assert_eq!(bench.prepare(dependencies).warnings(), Vec::<String>::new());
    }
    Some(bench)
}

fn environment(bench: &Bench, dependencies: &str) -> PathBuf {
    let Lookup::Hit(leased) = bench.lookup(dependencies) else {
        panic!("{dependencies} is no hit")
    };
    leased.path().to_owned()
}

/// Changes one bit, and keeps size and times.
fn flip(path: &Path) {
    let before = path.metadata().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    let at = before.len() / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

fn problems(bench: &Bench) -> Vec<String> {
    let problems = verify(&bench.volume()).unwrap().problems.into_iter();
    problems
        .map(|problem| format!("{}: {}", problem.path, problem.what))
        .collect()
}

/// uv's notes about packages that came from a folder.
fn notes(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir() && !path.is_symlink());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rev"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| notes(folder)));
    found
}

#[test]
fn notes_of_uv_that_a_power_cut_left_unfinished_do_not_fail_a_build() {
    let Some(bench) = bench() else { return };
    for (kept, name) in [(0, "hcthree"), (7, "hcfour")] {
        let notes = notes(&bench.volume().uv_cache());
        assert!(!notes.is_empty());
        for note in notes {
            std::fs::File::options()
                .write(true)
                .open(note)
                .unwrap()
                .set_len(kept)
                .unwrap();
        }
        Wheel::new(name, "1.0")
            .file(&format!("{name}/__init__.py"), "x = 1\n")
            .write(&bench.wheels());
        let prepared = bench.prepare(&format!("hcone,{name}"));
        assert_eq!(prepared.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_flipped_bit_is_named_and_repaired_in_every_environment_and_in_uvs_cache() {
    let Some(bench) = bench() else { return };
    let inside = Path::new("venv").join(site(&bench.interpreter)).join("hcone/data.bin");
    let damaged = environment(&bench, "hcone").join(&inside);
    let inode = damaged.metadata().unwrap().ino();
    flip(&damaged);
    let found = problems(&bench);
    let named = found
        .iter()
        .filter(|text| text.contains("hcone/data.bin: differs from the published content"));
    assert_eq!(named.count(), 2, "{found:?}");
    let report = repair(&bench.volume(), &deadline()).unwrap();
    assert!(
        report.repaired.iter().any(|line| line.contains("uv's cache")),
        "{report:?}"
    );
    assert!(matches!(bench.lookup("hcone"), Lookup::Miss));
    assert_eq!(problems(&bench), Vec::<String>::new());
    for dependencies in ["hcone", "hcone,hctwo"] {
        let reported = bench.prepare(dependencies);
        assert!(matches!(reported.status(), CacheStatus::Built { .. }) && reported.warnings().is_empty());
        let healed = environment(&bench, dependencies).join(&inside);
        assert_eq!(std::fs::read_to_string(&healed).unwrap(), "0123456789");
        assert_ne!(healed.metadata().unwrap().ino(), inode);
    }
    assert_eq!(problems(&bench), Vec::<String>::new());
}

#[test]
fn every_other_change_is_found_named_and_repaired() {
    let Some(bench) = bench() else { return };
    type Change = fn(&Path, &Path);
    let changes: [(&str, Change); 9] = [
        ("content", |environment, _| flip(&environment.join("content"))),
        ("manifest.json", |environment, _| {
            flip(&environment.join("manifest.json"))
        }),
        ("lock.txt", |environment, _| flip(&environment.join("lock.txt"))),
        ("added.py", |_, site| std::fs::write(site.join("added.py"), "").unwrap()),
        ("emptyfolder", |_, site| {
            std::fs::create_dir(site.join("emptyfolder")).unwrap()
        }),
        ("hctwo/data.bin", |_, site| {
            std::fs::remove_file(site.join("hctwo/data.bin")).unwrap()
        }),
        ("hctwo/__pycache__", |_, site| {
            let link = site.join("hctwo/__pycache__");
            let target = std::fs::read_link(site.join("hcone/__pycache__")).unwrap();
            std::fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        }),
        ("bytecode", |_, site| {
            std::fs::remove_file(site.join("hctwo/__pycache__")).unwrap()
        }),
        ("pyvenv.cfg", |environment, _| {
            flip(&environment.join("venv/pyvenv.cfg"))
        }),
    ];
    for (name, change) in changes {
        let path = environment(&bench, "hcone,hctwo");
        change(&path, &path.join("venv").join(site(&bench.interpreter)));
        let found = problems(&bench);
        assert!(found.iter().any(|text| text.contains(name)), "{name}: {found:?}");
        // A concurrent test may be starting a process, which has a copy of every lease until its exec.
        for _ in 0..20 {
            repair(&bench.volume(), &deadline()).unwrap();
            if problems(&bench).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(problems(&bench), Vec::<String>::new(), "{name}");
        assert_eq!(bench.prepare("hcone,hctwo").warnings(), Vec::<String>::new());
        assert_eq!(problems(&bench), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_flipped_bit_in_bytecode_is_found_and_the_bytecode_is_rebuilt() {
    let Some(bench) = bench() else { return };
    let pool = bench.volume().bytecode();
    let link = pool::links(&pool, &environment(&bench, "hcone")).unwrap().remove(0);
    let folder = pool.join(link.folder);
    let code = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let code = code.filter(|path| path.extension().is_some_and(|end| end == "pyc"));
    flip(&code.collect::<Vec<_>>()[0]);
    let found = problems(&bench);
    assert!(
        found
            .iter()
            .any(|text| text.starts_with("bytecode/") && text.contains(".pyc: differs from the published content")),
        "{found:?}"
    );
    repair(&bench.volume(), &deadline()).unwrap();
    assert!(!folder.exists());
    assert_eq!(problems(&bench), Vec::<String>::new());
    bench.prepare("hcone");
    assert!(folder.exists());
    assert_eq!(problems(&bench), Vec::<String>::new());
}

#[test]
fn a_damaged_environment_in_use_is_marked_missed_and_replaced_once_free() {
    let Some(bench) = bench() else { return };
    let Lookup::Hit(used) = bench.lookup("hcone") else {
        panic!("no hit")
    };
    std::fs::write(used.venv().join("added"), "").unwrap();
    let report = repair(&bench.volume(), &deadline()).unwrap();
    assert!(
        report.repaired.iter().any(|line| line.contains("a task uses it")),
        "{report:?}"
    );
    assert!(matches!(bench.lookup("hcone"), Lookup::Damaged { .. }) && used.python().exists());
    let reported = bench.prepare("hcone");
    assert!(matches!(reported.status(), CacheStatus::Built { .. }));
    assert!(
        reported
            .warnings()
            .iter()
            .any(|warning| warning.contains("a task uses it")),
        "{:?}",
        reported.warnings()
    );
    drop(used);
    let reported = bench.prepare("hcone");
    assert!(
        reported.warnings()[0].contains("was removed"),
        "{:?}",
        reported.warnings()
    );
    assert!(matches!(bench.lookup("hcone"), Lookup::Hit(_)));
    assert_eq!(problems(&bench), Vec::<String>::new());
}

#[test]
fn damage_seen_by_a_lookup_is_a_miss_that_is_repaired_and_counted() {
    let Some(bench) = bench() else { return };
    for (healed, name) in ["lock.txt", "manifest.json", "venv", "venv/bin/python", ".lease"]
        .iter()
        .enumerate()
    {
        let path = environment(&bench, "hcone");
        let gone = path.join(name);
        if gone.is_dir() {
            std::fs::remove_dir_all(gone).unwrap();
        } else {
            std::fs::remove_file(gone).unwrap();
        }
        assert!(!matches!(bench.lookup("hcone"), Lookup::Hit(_)), "{name}");
        let reported = bench.prepare("hcone");
        assert!(matches!(reported.status(), CacheStatus::Built { .. }), "{name}");
        if *name != ".lease" {
            assert!(
                reported.warnings()[0].contains("damaged"),
                "{name}: {:?}",
                reported.warnings()
            );
            assert_eq!(usage(&bench.volume()).unwrap().healed, healed as u64 + 1);
        }
        assert!(matches!(bench.lookup("hcone"), Lookup::Hit(_)), "{name}");
        assert_eq!(problems(&bench), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_environment_whose_interpreter_has_gone_or_moved_is_built_again() {
    let Some(mut bench) = Bench::offline() else { return };
    Wheel::new("hcone", "1.0").file("hcone.py", "").write(&bench.wheels());
    let real = PathBuf::from(&bench.interpreter.path);
    let moved = |bench: &mut Bench, name: &str| {
        let prefix = bench.dir.path().join(name);
        std::fs::create_dir_all(prefix.join("bin")).unwrap();
        let program = prefix.join("bin").join(real.file_name().unwrap());
        std::os::unix::fs::symlink(&real, &program).unwrap();
        std::os::unix::fs::symlink(real.parent().unwrap().parent().unwrap().join("lib"), prefix.join("lib")).unwrap();
        bench.interpreter.path = program.to_str().unwrap().to_owned();
        prefix
    };
    let first = moved(&mut bench, "first");
    bench.prepare("hcone");
    assert!(matches!(bench.lookup("hcone"), Lookup::Hit(_)));
    std::fs::rename(&first, bench.dir.path().join("away")).unwrap();
    assert!(matches!(bench.lookup("hcone"), Lookup::Damaged { .. }));
    let found = problems(&bench);
    assert!(
        found.iter().any(|text| text.contains("interpreter that is gone")),
        "{found:?}"
    );
    moved(&mut bench, "second");
    assert!(matches!(bench.lookup("hcone"), Lookup::Miss));
    bench.prepare("hcone");
    bench.run("hcone", "import hcone");
    repair(&bench.volume(), &deadline()).unwrap();
    assert_eq!(problems(&bench), Vec::<String>::new());
    bench.run("hcone", "import hcone");
}
