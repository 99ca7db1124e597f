//! Damage to the system volume: found by content hashes without Nix, and repaired with Nix.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::SystemKey;
use hybrid_cache_model::protocol::{EXIT_MISSED, PackageSource, Provider, SystemTools};
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::maintenance::system::{clear_damaged, repair, sweep_if_idle, verify};
use hybrid_cache_runner::store::lock::{self, Missing, Mode};
use hybrid_cache_runner::system::{IndexEntry, SystemVolume, path_hashes};
use run_harness::Case;

fn deadline() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(20)).unwrap()
}

struct Set {
    case: Case,
    volume: SystemVolume,
    key: SystemKey,
    library: PathBuf,
}

/// A registered set of one package that needs a library; the content of both is recorded.
fn set() -> Set {
    let case = Case::new("print(1)").change(|request| request.task.system_dependencies = "git".to_owned());
    let volume = SystemVolume::from_context(&case.request.context);
    volume.lay_out().unwrap();
    let [package, library] = ["0a-git", "0b-library"].map(|name| volume.root().join("store").join(name));
    for path in [&package, &library] {
        std::fs::create_dir_all(path.join("lib")).unwrap();
        std::fs::write(path.join("lib/file"), "0123456789").unwrap();
    }
    let task = case.request.task.check().unwrap();
    let key = SystemKey::new(&task.system, &case.request.context);
    std::fs::create_dir_all(volume.roots_path(&key)).unwrap();
    std::os::unix::fs::symlink(&package, volume.roots_path(&key).join("0")).unwrap();
    std::fs::write(volume.lease_path(&key), "").unwrap();
    let text = |path: &PathBuf| path.display().to_string();
    let entry = IndexEntry::new(&key, "test:1", vec!["git".to_owned()], vec![text(&package)]);
    let entry = entry.with_closure(vec![text(&package), text(&library)]);
    std::fs::write(volume.index_path(&key), entry.to_json().unwrap()).unwrap();
    assert_eq!(verify(&volume, None, &deadline()).unwrap().unhashed, 2);
    path_hashes::record(&volume, &key).unwrap();
    let set = Set {
        case,
        volume,
        key,
        library,
    };
    assert_eq!(set.problems(), Vec::<String>::new());
    set
}

impl Set {
    fn problems(&self) -> Vec<String> {
        let report = verify(&self.volume, None, &deadline()).unwrap();
        assert_eq!(report.unhashed, 0);
        let problems = report.problems.into_iter();
        problems
            .map(|problem| format!("{}: {}", problem.path, problem.what))
            .collect()
    }

    /// A double for Nix whose collection deletes the library if no root is left, and whose verification always
    /// succeeds.
    fn nix(&self) -> SystemTools {
        let program = self.volume.root().join("nix-for-tests");
        let (roots, library) = (self.volume.roots(), self.library.display());
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = 'store gc' ] || exit 0\n[ \"$(ls '{}')\" ] || rm -r '{library}'\n",
            roots.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        SystemTools {
            provider: Provider::Nix {
                program: program.display().to_string(),
            },
            source: PackageSource::Nixpkgs { flake: String::new() },
            variables: Vec::new(),
        }
    }
}

#[test]
fn every_change_to_a_store_path_is_named_without_a_nix() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        (
            "store/0b-library/lib/file: differs from the published content",
            |path| {
                std::fs::write(path.join("lib/file"), "0123x56789").unwrap();
            },
        ),
        ("store/0b-library/lib/file: is missing", |path| {
            std::fs::remove_file(path.join("lib/file")).unwrap()
        }),
        ("store/0b-library/lib/new: was not", |path| {
            std::fs::write(path.join("lib/new"), "").unwrap()
        }),
        ("store/0b-library", |path| std::fs::remove_dir_all(path).unwrap()),
    ];
    for (named, change) in changes {
        let set = set();
        change(&set.library);
        let found = set.problems();
        assert!(found.iter().any(|text| text.starts_with(named)), "{named}: {found:?}");
    }
}

#[test]
fn a_sweep_removes_nothing_that_a_verification_uses() {
    let set = set();
    let nix = set.nix();
    let Provider::Nix { program } = &nix.provider else {
        panic!("another provider")
    };
    let (started, text) = (
        set.volume.root().join("started"),
        std::fs::read_to_string(program).unwrap(),
    );
    let slow = format!("|| {{ touch '{}'; sleep 1; exit 0; }}\n", started.display());
    std::fs::write(program, text.replace("|| exit 0\n", &slow)).unwrap();
    let recording = path_hashes::folder(&set.volume).join(".0c-new-1-1-1");
    std::fs::write(&recording, "").unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    let report = std::thread::scope(|scope| {
        let verifying = scope.spawn(|| verify(&set.volume, Some(&nix), &deadline()).unwrap());
        while !started.exists() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(10));
        }
        sweep_if_idle(&set.volume).unwrap();
        verifying.join().unwrap()
    });
    assert!(report.is_clean(), "{report:?}");
    sweep_if_idle(&set.volume).unwrap();
    assert!(recording.exists(), "its writer may be at work");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::open(&recording).unwrap().set_modified(long_ago).unwrap();
    sweep_if_idle(&set.volume).unwrap();
    assert!(!recording.exists());
}

#[test]
fn a_repair_removes_the_entry_and_the_store_path_and_both_are_rebuilt() {
    let set = set();
    std::fs::write(set.library.join("lib/file"), "0123x56789").unwrap();
    repair(&set.volume, Some(&set.nix()), &deadline()).unwrap();
    assert!(!set.library.exists() && !set.volume.index_path(&set.key).exists());
    assert_eq!(set.case.run().code, EXIT_MISSED);
    assert_eq!(set.problems(), Vec::<String>::new());
}

#[test]
fn a_damaged_set_in_use_is_marked_missed_and_rebuilt_once_free() {
    let set = set();
    let nix = set.nix();
    let task = lock::attempt(&set.volume.lease_path(&set.key), Mode::Shared, Missing::Absent).unwrap();
    std::fs::write(set.library.join("lib/file"), "0123x56789").unwrap();
    let report = repair(&set.volume, Some(&nix), &deadline()).unwrap();
    assert!(report.repaired[0].contains("a task uses it"), "{report:?}");
    assert!(set.library.exists());
    assert_eq!(set.case.run().code, EXIT_MISSED);
    let refused = clear_damaged(&set.volume, &set.key, &nix, &deadline()).unwrap_err();
    assert!(refused.message.contains("a task uses them"), "{refused}");
    // Damage is never recorded as content.
    path_hashes::record(&set.volume, &set.key).unwrap();
    assert!(!set.problems().is_empty());
    drop(task);
    clear_damaged(&set.volume, &set.key, &nix, &deadline()).unwrap();
    assert!(!set.library.exists() && !set.volume.index_path(&set.key).exists());
}
