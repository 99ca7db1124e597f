//! A scratch folder that looks like the checkout to a command, and commands that run in it.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::pages::{Shown, root};
use crate::rows::ROWS;
use crate::table::{Need, Row, Way};

/// Names the configuration that `cargo xtask test` writes once all tools are there.
pub const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// Names a context of the kubeconfig, of a cluster that is there for tests.
pub const CONTEXT_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONTEXT";
/// Names the driver's configuration for Argo, if that cluster has it.
const ARGO_VARIABLE: &str = "HYBRID_CACHE_ARGO_CONFIG";
/// No command of a guide takes longer; one builds the service for its image.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often a running command is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// A folder with everything of the checkout that commands name, an empty cache, and `cargo xtask` as the program under test.
pub struct Session {
    folder: tempfile::TempDir,
    /// What stands in the place of a word of any command.
    words: Vec<(String, String)>,
    caches: PathBuf,
    number: usize,
}

/// What a command came to.
pub struct Ended {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// Both streams.
    pub printed: String,
}

/// A command that goes on.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Session {
    pub fn new() -> Session {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        for entry in std::fs::read_dir(root()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            // A guide's command may write below `reports` and `target`.
            if !["reports", "target", ".git", ".tools"].contains(&name.to_str().unwrap_or_default()) {
                symlink(entry.path(), path.join(&name)).unwrap();
            }
        }
        std::fs::create_dir(path.join("home")).unwrap();
        let baseline = path.join("reports/baseline");
        std::fs::create_dir_all(&baseline).unwrap();
        for entry in std::fs::read_dir(root().join("reports/baseline")).unwrap().flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), baseline.join(entry.file_name())).unwrap();
            }
        }
        let session = Session {
            caches: path.join("caches"),
            words: vec![
                ("{checkout}".to_owned(), root().display().to_string()),
                ("{scratch}".to_owned(), path.display().to_string()),
            ],
            folder,
            number: 0,
        };
        session.shim(
            "cargo",
            &format!(
                "if [ \"$1\" = xtask ]; then shift; exec '{}' \"$@\"; fi\nexec '{}' \"$@\"",
                env!("CARGO_BIN_EXE_xtask"),
                which("cargo").unwrap_or_default().display()
            ),
        );
        // The service's token, and no proxy between: what a reader adds to each call.
        session.write("token", &format!("{}\n", "0123456789abcdef".repeat(4)));
        session.write(
            ".curlrc",
            &format!(
                "header = \"Authorization: Bearer {}\"\nnoproxy = \"*\"\n",
                "0123456789abcdef".repeat(4)
            ),
        );
        session
    }

    /// A session in which `cargo xtask` and `kubectl` mean a cluster, and `~/.cache` is the user's own.
    pub fn on_cluster(context: &str) -> Session {
        let mut session = Session::new();
        let kubectl = which("kubectl").unwrap_or_default();
        session.shim(
            "kubectl",
            &format!("exec '{}' --context '{context}' \"$@\"", kubectl.display()),
        );
        let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        session.caches = own.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
        let name = context.strip_prefix("kind-").unwrap_or(context);
        let state = session.caches.join("hybrid-cache/clusters").join(name);
        // A cluster that `up` made is known by its name; by its context it would count as somebody else's.
        let cluster = context.strip_prefix("kind-").map(|name| format!("--name {name}"));
        session.replace("{cluster}", &cluster.unwrap_or_else(|| format!("--context {context}")));
        session.replace("{context}", context);
        session.replace("{state}", &state.display().to_string());
        session
    }

    fn shim(&self, name: &str, script: &str) {
        let file = self.write(&format!("programs/{name}"), &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// From now on a word of the pages means this.
    pub fn replace(&mut self, word: &str, means: &str) {
        self.words.insert(0, (word.to_owned(), means.to_owned()));
    }

    /// What is missing for a row, for a person to read.
    pub fn lacks(&self, row: &Row) -> Option<String> {
        row.needs.iter().find_map(|need| match need {
            Need::Program(name) => which(name).is_none().then(|| format!("there is no {name}")),
            Need::Nix => (!has_nix()).then(|| "this machine has no Nix".to_owned()),
            Need::Git => {
                let found = which("git").is_some() && root().join(".git").exists();
                (!found).then(|| "this checkout has no history".to_owned())
            }
            Need::Root => {
                let is_root = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
                (!is_root).then(|| "it needs root and loop devices".to_owned())
            }
            Need::Hera => (!self.has_hera()).then(|| "pip found no hera".to_owned()),
            Need::Argo => std::env::var_os(ARGO_VARIABLE)
                .is_none()
                .then(|| format!("{ARGO_VARIABLE} is not set")),
        })
    }

    fn has_hera(&self) -> bool {
        let libraries = self.folder.path().join("target/hera/lib");
        let versions = std::fs::read_dir(libraries).into_iter().flatten().flatten();
        versions
            .map(|version| version.path().join("site-packages/hera"))
            .any(|package| package.is_dir())
    }

    /// The command as it runs here: after the lines of its block that a reader has typed before.
    fn script(&self, row: &Row, shown: &Shown) -> String {
        let mut lines = vec!["set -e".to_owned()];
        for line in &shown.before {
            let setting = ROWS.iter().find(|row| row.command == line);
            lines.push(setting.map_or_else(|| line.clone(), |row| self.filled(row)));
        }
        let exec = if row.goes_on { "exec " } else { "" };
        lines.push(format!("{exec}{}", self.filled(row)));
        lines.join("\n")
    }

    fn filled(&self, row: &Row) -> String {
        let mut command = row.command.to_owned();
        for (word, means) in row.given {
            assert!(
                command.contains(word),
                "{:?} is not in the row of `{}`",
                word,
                row.command
            );
            command = command.replace(word, means);
        }
        if !row.with.is_empty() {
            command = format!("{command} {}", row.with);
        }
        if row.way == Way::Cluster && command.starts_with("cargo xtask") && !command.contains("--context") {
            // Behind the options of this command, before those of a further one.
            let at = command.find(" && ").unwrap_or(command.len());
            command.insert_str(at, " {cluster}");
        }
        for (word, means) in &self.words {
            command = command.replace(word, means);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&mut self, row: &Row, shown: &Shown) -> Ended {
        let mut running = self.start(row, shown);
        let ended = running.wait(DEADLINE);
        ended.unwrap_or_else(|| {
            running.signal(Signal::KILL);
            let printed = running.printed();
            let _ = running.child.wait();
            let code = None;
            let printed = format!("{printed}\n(killed after {DEADLINE:?})");
            Ended { code, printed }
        })
    }

    /// Starts a command.
    pub fn start(&mut self, row: &Row, shown: &Shown) -> Running {
        self.number += 1;
        let output = self.folder.path().join(format!("output-{}", self.number));
        let file = File::create(&output).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("sh")
            .args(["-c", &self.script(row, shown)])
            .current_dir(self.folder.path())
            .env(
                "PATH",
                format!("{}:{path}", self.folder.path().join("programs").display()),
            )
            .env("XDG_CACHE_HOME", &self.caches)
            .env("CURL_HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child, output }
    }
}

impl Running {
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// The end, if it comes in time.
    pub fn wait(&mut self, deadline: Duration) -> Option<Ended> {
        let began = Instant::now();
        while began.elapsed() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(Ended {
                    code: status.code(),
                    printed: self.printed(),
                });
            }
            std::thread::sleep(PAUSE);
        }
        None
    }

    /// What it printed once a text is among it.
    ///
    /// # Errors
    /// It ended before, or does not come to it in time.
    pub fn until(&mut self, text: &str) -> Result<String, String> {
        let began = Instant::now();
        loop {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let printed = self.printed();
            if printed.contains(text) {
                return Ok(printed);
            }
            if has_ended || began.elapsed() > DEADLINE {
                return Err(printed);
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends it as Ctrl-C in a terminal does.
    pub fn end(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(60)).unwrap_or_else(|| Ended {
            code: None,
            printed: format!("{}\n(it did not end)", self.printed()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |folder: PathBuf| Some(folder.join(name)).filter(|file| file.is_file());
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .find_map(found)
}

fn has_nix() -> bool {
    let file = std::env::var_os(CONFIG_VARIABLE).map(std::fs::read);
    let config = file.and_then(Result::ok).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&config).is_ok_and(|config| !config["system"].is_null())
}
