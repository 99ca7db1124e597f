//! Scripts of packages start with the interpreter of their environment, wherever they are called from.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hybrid_cache_runner::maintenance::python::verify;
use hybrid_cache_runner::python::Lookup;

mod python_support;
use python_support::Bench;
use python_support::wheel::Wheel;

/// The start that uv 0.13.9 writes to scripts of a relocatable environment.
const UV: &str = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n";
const BODY: &str = "import os, sys; print('script', sys.argv[1:], sys.prefix != sys.base_prefix)\n";

fn tool() -> Wheel {
    Wheel::new("hctool", "1.0")
        .file(
            "hctool.py",
            "import sys\ndef main():\n    print('entry', sys.argv[1:])\n",
        )
        .file(
            "hctool-1.0.dist-info/entry_points.txt",
            "[console_scripts]\nhctool = hctool:main\n",
        )
        .file("hctool-1.0.data/scripts/hcscript", &format!("#!python\n{BODY}"))
        .data("bin/hccopy", &format!("{UV}{BODY}"))
        .data("bin/hcother", "#!/bin/sh\necho other\n")
}

/// A working folder with a `python` that must not run, and only two basic tools on the search path.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let tools = dir.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        for tool in ["readlink", "dirname"] {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
            symlink(found.iter().find(|path| path.exists()).unwrap(), tools.join(tool)).unwrap();
        }
        let python = dir.path().join("python");
        std::fs::write(&python, "#!/bin/sh\necho stranger\n").unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        Folder { dir }
    }

    fn call(&self, program: &Path) -> Output {
        let mut command = Command::new(program);
        command.arg("an argument").current_dir(self.dir.path()).env_clear();
        command
            .env("PATH", self.dir.path().join("tools"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap()
    }

    fn says(&self, program: &Path) -> String {
        let output = self.call(program);
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

fn programs(bench: &Bench, dependencies: &str) -> PathBuf {
    let Lookup::Hit(leased) = bench.lookup(dependencies) else {
        panic!("{dependencies} is no hit")
    };
    leased.python().parent().unwrap().to_owned()
}

#[test]
fn scripts_need_neither_realpath_nor_the_current_folder() {
    let Some(bench) = Bench::offline() else { return };
    tool().write(&bench.wheels());
    let reported = bench.prepare("hctool");
    // Every file matches its RECORD, because the lines of scripts are corrected.
    assert_eq!(reported.warnings(), Vec::<String>::new());
    let folder = Folder::new();
    let staged = bench.root().join(reported.path()).join("venv/bin");
    for bin in [staged, programs(&bench, "hctool")] {
        assert_eq!(folder.says(&bin.join("hctool")), "entry ['an argument']\n");
        assert_eq!(folder.says(&bin.join("hcscript")), "script ['an argument'] True\n");
        let mode = bin.join("hctool").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o755, "{mode:o}");
        // Called through a link elsewhere, it still finds its own environment.
        let link = folder.dir.path().join("linked");
        drop(std::fs::remove_file(&link));
        symlink(bin.join("hctool"), &link).unwrap();
        assert_eq!(folder.says(&link), "entry ['an argument']\n");
    }
    let report = verify(&bench.volume()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_script_that_lies_in_no_environment_runs_nothing_and_says_so() {
    let Some(bench) = Bench::offline() else { return };
    tool().write(&bench.wheels());
    bench.prepare("hctool").warnings();
    let folder = Folder::new();
    let alone = folder.dir.path().join("hctool");
    std::fs::copy(programs(&bench, "hctool").join("hctool"), &alone).unwrap();
    let output = folder.call(&alone);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(127), 0), "{said}");
    assert!(said.contains("hctool: ") && said.contains("pyvenv.cfg"), "{said}");
}

#[test]
fn a_script_that_is_shared_with_uvs_cache_is_not_written_through() {
    let Some(bench) = Bench::offline() else { return };
    tool().write(&bench.wheels());
    bench.prepare("hctool").warnings();
    let bin = programs(&bench, "hctool");
    // A wheel's own script with this start is rewritten too, as a separate file.
    let copy = bin.join("hccopy");
    assert_eq!(copy.metadata().unwrap().nlink(), 1);
    assert!(!std::fs::read_to_string(&copy).unwrap().contains("realpath"));
    let other = bin.join("hcother").metadata().unwrap();
    let in_cache: Vec<PathBuf> = below(&bench.volume().uv_cache())
        .into_iter()
        .filter(|path| path.ends_with("data/bin/hccopy"))
        .collect();
    assert!(!in_cache.is_empty() && other.nlink() > 1, "{in_cache:?}");
    for path in in_cache {
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{UV}{BODY}"));
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
