//! debnix for real: built by the provisioned nix in a sandbox, and its tools used where only /nix is to be seen.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tests::{checkout, provisioned};
use crate::{Origin, PackageSource, SourceChoice, ToolChoice, Tools};

const NIX_CONFIG: &str = "experimental-features = nix-command flakes\nbuild-users-group =\nsandbox = false\nsandbox-paths =\n\
    flake-registry =\nmax-jobs = 8\nconnect-timeout = 5\ndownload-attempts = 5\nsubstituters =\n";

/// A volume in a temporary folder and the tools to fill it.
struct Bench {
    tools: Tools,
    volume: tempfile::TempDir,
}

impl Bench {
    /// None, and a line that says so, on a machine that reaches no Debian mirror.
    fn new() -> Option<Self> {
        let tools = provisioned(&ToolChoice {
            source: SourceChoice::Debnix,
            ..ToolChoice::default()
        })?;
        let volume = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(volume.path().join(".nix-portable/nix")).unwrap();
        Some(Self { tools, volume })
    }

    fn sandbox(&self) -> Command {
        let mut bwrap = Command::new(&self.tools.bwrap.command[0]);
        bwrap.args(&self.tools.bwrap.command[1..]);
        bwrap.args([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--die-with-parent",
            "--clearenv",
        ]);
        bwrap.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        bwrap
    }

    /// nix with the volume at /nix, as a task with system dependencies is prepared.
    fn nix(&self, arguments: &[&str]) -> Output {
        let nix = self.tools.nix.as_ref().unwrap();
        let mut bwrap = self.sandbox();
        bwrap
            .arg("--bind")
            .arg(self.volume.path().join(".nix-portable/nix"))
            .arg("/nix");
        // a brought nix needs nothing of the machine, one that was found its libraries
        let found = matches!(nix.origin, Origin::Found { .. });
        let machine = ["/usr", "/bin", "/lib", "/lib64"]
            .iter()
            .filter(|_| found)
            .map(PathBuf::from);
        let network = ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl"].iter().map(PathBuf::from);
        let seen = machine
            .chain(network)
            .chain([self.folder().to_path_buf(), checkout().join(".tools")]);
        for path in seen {
            bwrap.arg("--ro-bind-try").args([&path, &path]);
        }
        for (name, value) in &nix.env {
            bwrap.arg("--setenv").args([name, value]);
        }
        bwrap.args(["--setenv", "NIX_CONFIG", NIX_CONFIG, "--setenv", "HOME", "/tmp/home"]);
        bwrap.arg(&nix.program).args(arguments).output().unwrap()
    }

    fn folder(&self) -> &Path {
        match &self.tools.source {
            Some(PackageSource::Debnix { folder, .. }) => folder,
            other => panic!("debnix was asked for, not {other:?}"),
        }
    }

    fn try_build(&self, attributes: &[&str]) -> Output {
        let set = self.folder().join("default.nix");
        let busybox = &self.tools.busybox.as_ref().unwrap().path;
        let mirror = self.tools.apt_mirror.as_ref().unwrap();
        let mut arguments = vec![
            "build",
            "--no-link",
            "--json",
            "-f",
            set.to_str().unwrap(),
            "--argstr",
            "mirror",
            mirror,
        ];
        arguments.extend(["--argstr", "busybox", busybox.to_str().unwrap()]);
        arguments.extend(attributes);
        self.nix(&arguments)
    }

    /// Builds the attributes and returns their store paths in the same order.
    fn build(&self, attributes: &[&str]) -> Vec<String> {
        let output = self.try_build(attributes);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        built
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["outputs"]["out"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Runs a program of the store in a sandbox that holds nothing else, with `work` as the current folder.
    fn run(&self, work: &Path, path: &[String], command: &[&str]) -> String {
        let shell = path
            .iter()
            .find(|one| one.ends_with("-bash"))
            .map(|bash| format!("{bash}/bin/sh"));
        let path: Vec<String> = path.iter().map(|one| format!("{one}/bin")).collect();
        let mut bwrap = self.sandbox();
        bwrap
            .args(["--unshare-net", "--ro-bind"])
            .arg(self.volume.path().join(".nix-portable/nix"))
            .arg("/nix");
        bwrap
            .arg("--bind")
            .arg(work)
            .args(["/work", "--chdir", "/work", "--setenv", "PATH", &path.join(":")]);
        if let Some(shell) = shell {
            bwrap.args(["--symlink", &shell, "/bin/sh"]);
        }
        let output = bwrap.args(command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

const C: &str = "#include <math.h>\n#include <stdio.h>\nint main(int n, char **v) { printf(\"%.1f\\n\", sqrt(n * 4.0)); return 0; }\n";
const CXX: &str = "#include <iostream>\n#include <thread>\nint main() { try { std::thread([] {}).join(); throw 42; } catch (int n) { std::cout << n << '\\n'; } }\n";
const MAKEFILE: &str = "all: c cxx static openmp\nc: a.c\n\tgcc -O2 -flto a.c -o c -lm\ncxx: b.cc\n\tg++ b.cc -o cxx -pthread\n\
    static: a.c\n\tgcc -static a.c -o static -lm\nopenmp: a.c\n\tgcc -fopenmp a.c -o openmp -lm\n";

/// One volume for all of it: each package is downloaded once.
#[test]
fn every_attribute_works_where_only_the_store_is_seen() {
    let Some(bench) = Bench::new() else { return };
    the_compiler_compiles(&bench);
    git_clones(&bench);
    every_tool_answers(&bench);
    a_library_comes_with_its_headers(&bench);
    an_unknown_attribute_is_nix_own_error(&bench);
}

fn the_compiler_compiles(bench: &Bench) {
    let path = bench.build(&["gcc", "gnumake", "bash", "coreutils"]);
    let work = tempfile::tempdir().unwrap();
    for (name, text) in [("a.c", C), ("b.cc", CXX), ("Makefile", MAKEFILE)] {
        std::fs::write(work.path().join(name), text).unwrap();
    }
    bench.run(work.path(), &path, &["make", "all"]);
    for (program, said) in [
        ("./c", "2.0\n"),
        ("./cxx", "42\n"),
        ("./static", "2.0\n"),
        ("./openmp", "2.0\n"),
    ] {
        assert_eq!(bench.run(work.path(), &path, &[program]), said, "{program}");
    }
}

/// Each attribute with what its program is asked and what the answer must hold.
const TOOLS: [(&str, &[&str], &str); 29] = [
    ("bash", &["bash", "--version"], "GNU bash"),
    ("binutils", &["ld", "--version"], "GNU ld"),
    ("bzip2", &["bzip2", "--help"], ""),
    ("cmake", &["cmake", "--version"], "cmake version 3."),
    ("coreutils", &["sort", "--version"], "GNU coreutils"),
    ("curl", &["curl", "--version"], "libcurl"),
    ("diffutils", &["diff", "--version"], "GNU diffutils"),
    ("file", &["file", "--version"], "magic file from /nix/store"),
    ("findutils", &["find", "--version"], "GNU findutils"),
    ("gawk", &["awk", "BEGIN { print 6 * 7 }"], "42"),
    ("git", &["git", "--version"], "git version 2."),
    ("gnugrep", &["grep", "--version"], "GNU grep"),
    ("gnumake", &["make", "--version"], "GNU Make"),
    ("gnused", &["sed", "--version"], "GNU sed"),
    ("gnutar", &["tar", "--version"], "GNU tar"),
    ("gzip", &["gzip", "--version"], "gzip 1."),
    ("jq", &["jq", "-n", "6 * 7"], "42"),
    ("m4", &["m4", "--version"], "GNU M4"),
    ("ninja", &["ninja", "--version"], "1."),
    ("patch", &["patch", "--version"], "GNU patch"),
    ("patchelf", &["patchelf", "--version"], "patchelf 0."),
    ("pkg-config", &["pkg-config", "--version"], "1."),
    (
        "python3",
        &["python3", "-c", "import ssl, sqlite3, ctypes, lzma, zlib; print(6 * 7)"],
        "42",
    ),
    ("rsync", &["rsync", "--version"], "rsync  version 3."),
    ("sqlite", &["sqlite3", ":memory:", "select 6 * 7"], "42"),
    ("unzip", &["unzip", "-v"], "UnZip 6."),
    ("wget", &["wget", "--version"], "GNU Wget"),
    ("xz", &["xz", "--version"], "xz (XZ Utils)"),
    ("zip", &["zip", "--version"], "Zip 3."),
];

fn every_tool_answers(bench: &Bench) {
    let attributes: Vec<&str> = TOOLS.iter().map(|(attribute, ..)| *attribute).collect();
    let paths = bench.build(&attributes);
    let work = tempfile::tempdir().unwrap();
    for ((attribute, command, said), path) in TOOLS.iter().zip(paths) {
        let text = bench.run(work.path(), &[path], command);
        assert!(text.contains(said), "{attribute}: {text}");
    }
}

fn a_library_comes_with_its_headers(bench: &Bench) {
    let path = bench.build(&["gcc", "pkg-config", "bash", "zlib"]);
    let work = tempfile::tempdir().unwrap();
    let code = "#include <stdio.h>\n#include <zlib.h>\nint main(void) { return puts(zlibVersion()) < 0; }\n";
    std::fs::write(work.path().join("z.c"), code).unwrap();
    let described = format!("PKG_CONFIG_LIBDIR={}/lib/pkgconfig", path[3]);
    let line =
        format!("{described} && export PKG_CONFIG_LIBDIR && gcc z.c -o z $(pkg-config --cflags --libs zlib) && ./z");
    assert!(bench.run(work.path(), &path, &["bash", "-c", &line]).starts_with("1."));
}

fn git_clones(bench: &Bench) {
    let path = bench.build(&["git", "bash"]);
    let work = tempfile::tempdir().unwrap();
    bench.run(work.path(), &path, &["git", "init", "-q", "one"]);
    bench.run(work.path(), &path, &["git", "clone", "-q", "file:///work/one", "two"]);
    assert!(work.path().join("two/.git").is_dir());
}

#[test]
fn two_builds_give_the_same_bytes() {
    let contents = || {
        let bench = Bench::new()?;
        let built = bench.build(&["gnumake", "pkg-config"]);
        let arguments: Vec<&str> = ["path-info", "--json", "--recursive"]
            .into_iter()
            .chain(built.iter().map(String::as_str))
            .collect();
        let output = bench.nix(&arguments);
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let paths = listed.as_array().unwrap().iter();
        Some(
            paths
                .map(|path| (path["path"].to_string(), path["narHash"].to_string()))
                .collect::<Vec<_>>(),
        )
    };
    let (Some(one), Some(two)) = (contents(), contents()) else {
        return;
    };
    assert!(one.len() > 2);
    assert_eq!(one, two);
}

fn an_unknown_attribute_is_nix_own_error(bench: &Bench) {
    let output = bench.try_build(&["gnumak"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains("attribute 'gnumak'") && text.contains("not found") && text.contains("Did you mean"),
        "{text}"
    );
}

#[test]
fn no_file_of_debnix_names_a_host() {
    let folder: PathBuf = checkout().join("images/debnix");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{}",
            path.display()
        );
    }
}
