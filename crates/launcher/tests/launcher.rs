//! The launcher in a scratch workspace with a small `xtask`: what it rebuilds, what it passes through.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No call takes longer: the packages depend on nothing.
const DEADLINE: Duration = Duration::from_secs(120);
/// After this a file counts as one that nobody is changing.
const SETTLED: Duration = Duration::from_millis(3100);
const MAIN: &str = r#"fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("exit") => std::process::exit(arguments[1].parse().unwrap()),
        Some("wait") => { println!("waiting {}", std::process::id()); std::thread::sleep(std::time::Duration::from_secs(60)) }
        _ => println!("{} {arguments:?} {}", library::NAME, std::env::current_dir().unwrap().display()),
    }
}
"#;

/// A workspace with an `xtask`, a library that it uses, and the launcher of this checkout.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Workspace {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace(folder);
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let alias = fs::read_to_string(own.join("../../.cargo/config.toml")).unwrap();
        workspace.write(".cargo/config.toml", &alias);
        let package =
            "version = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.85\"\nlicense = \"MIT\"\npublish = false\n";
        workspace.write(
            "Cargo.toml",
            &format!(
                "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\", \"crates/*\"]\n[workspace.package]\n{package}[workspace.lints.rust]\n[profile.dev]\ndebug = false\n"
            ),
        );
        workspace.write(
            "xtask/Cargo.toml",
            "[package]\nname = \"xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nlibrary = { path = \"../crates/library\" }\n",
        );
        workspace.write("xtask/src/main.rs", MAIN);
        workspace.write(
            "crates/library/Cargo.toml",
            "[package]\nname = \"library\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
        workspace.library("one");
        // The launcher's manifest asks for development packages that the scratch workspace does not have.
        let manifest = fs::read_to_string(own.join("Cargo.toml")).unwrap();
        let manifest = manifest.split("[dev-dependencies]").next().unwrap();
        workspace.write("crates/launcher/Cargo.toml", manifest);
        symlink(own.join("src"), workspace.path("crates/launcher/src")).unwrap();
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn library(&self, name: &str) {
        self.write(
            "crates/library/src/lib.rs",
            &format!("pub const NAME: &str = {name:?};\n"),
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg("xtask").args(arguments).current_dir(self.0.path());
        // The scratch workspace has a target folder, flags and a package of its own.
        for name in [
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET_DIR",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        command
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null());
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ended(child)
    }

    /// What a call prints, and whether cargo was asked to build.
    fn prints(&self) -> (String, bool) {
        let output = self.call(&["a b", "--c"]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        let rest = format!(
            " [\"a b\", \"--c\"] {}\n",
            self.0.path().canonicalize().unwrap().display()
        );
        let name = stdout
            .strip_suffix(&rest)
            .unwrap_or_else(|| panic!("{stdout:?} does not end with {rest:?}"));
        (name.to_owned(), stderr.contains("Finished"))
    }

    /// Calls until no build is needed: files that have just been written are not trusted at once.
    fn settle(&self, name: &str) {
        let began = Instant::now();
        loop {
            let (printed, built) = self.prints();
            assert_eq!(printed, name);
            if !built {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "it builds each time");
            std::thread::sleep(SETTLED);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ended(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_program_that_is_up_to_date_starts_without_a_build_and_any_change_builds_it() {
    let workspace = Workspace::new();
    let first = workspace.call(&["a b", "--c"]);
    let said = text(&first.stderr);
    assert!(
        said.contains("building cargo xtask: the first time takes about") && said.contains("Compiling library"),
        "{said}"
    );
    workspace.settle("one");

    workspace.library("two");
    assert_eq!(workspace.prints(), ("two".to_owned(), true));
    // The same length, at once: a second of the clock is not enough to tell.
    workspace.library("six");
    assert_eq!(workspace.prints().0, "six");
    workspace.settle("six");

    // A manifest, settings, a lock file, a build script that was not there, another compiler's flags.
    for (name, text) in [
        (
            "crates/library/Cargo.toml",
            "[package]\nname = \"library\"\nversion = \"0.2.0\"\nedition = \"2024\"\n",
        ),
        ("crates/library/build.rs", "fn main() {}\n"),
    ] {
        workspace.write(name, text);
        assert!(workspace.prints().1, "{name}");
    }
    workspace.settle("six");
    let output = workspace
        .command(&["a"])
        .env("RUSTFLAGS", "--cfg other")
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("Finished"), "{}", text(&output.stderr));
}

#[test]
fn a_file_that_is_replaced_by_another_of_the_same_size_and_time_asks_cargo() {
    let workspace = Workspace::new();
    workspace.prints();
    workspace.settle("one");
    let source = workspace.path("crates/library/src/lib.rs");
    let before = fs::metadata(&source).unwrap();
    workspace.library("six");
    let file = fs::File::options().write(true).open(&source).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    drop(file);
    let after = fs::metadata(&source).unwrap();
    assert_eq!(
        (before.mtime_nsec(), before.size(), before.ino()),
        (after.mtime_nsec(), after.size(), after.ino())
    );
    assert!(workspace.prints().1, "cargo decides");
}

#[test]
fn a_program_that_is_missing_or_replaced_is_built() {
    let workspace = Workspace::new();
    workspace.prints();
    workspace.settle("one");
    fs::remove_file(workspace.path("target/debug/xtask")).unwrap();
    assert_eq!(workspace.prints(), ("one".to_owned(), true));
    workspace.settle("one");
    let record = workspace.path("target/debug/xtask.launch");
    let whole = fs::read_to_string(&record).unwrap();
    fs::write(&record, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(workspace.prints(), ("one".to_owned(), true));
}

#[test]
fn a_build_that_fails_ends_with_cargos_code_and_message_and_starts_nothing() {
    let workspace = Workspace::new();
    workspace.prints();
    workspace.settle("one");
    workspace.write("crates/library/src/lib.rs", "pub const NAME: &str = 1;\n");
    let failed = workspace.call(&["a"]);
    let said = text(&failed.stderr);
    assert_eq!(
        (failed.status.code(), text(&failed.stdout).as_str()),
        (Some(101), ""),
        "{said}"
    );
    assert!(
        said.contains("error[E0308]") && said.contains("error: cargo xtask does not build\nhint: "),
        "{said}"
    );
    workspace.library("two");
    assert_eq!(workspace.prints(), ("two".to_owned(), true));
}

#[test]
fn exit_codes_and_signals_pass_through() {
    let workspace = Workspace::new();
    for code in [0, 5, 130] {
        assert_eq!(workspace.call(&["exit", &code.to_string()]).status.code(), Some(code));
    }
    let mut child = workspace
        .command(&["wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    // Cargo, the launcher and the program are one process after the other.
    assert_eq!(line, format!("waiting {}\n", child.id()));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}
