//! Runs Nix on the volume's store: settings, environment variables, commands, and parsing of the answers.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hybrid_cache_model::protocol::PackageSource;
use hybrid_cache_model::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::Value;

use super::SystemVolume;
use super::nix_errors;
use crate::child::{self, Deadline};
use crate::store::{IoContext, files};

/// Nix's settings. They replace the machine's nix.conf, which may not fit: Debian's names a missing sandbox shell, and
/// others name unreachable substituters. Nix syncs its database but not the files of a path. Without
/// `sync-before-registering`, a crash of the machine could leave empty files that Nix considers valid.
const SETTINGS: &str = "\
experimental-features = nix-command flakes
build-users-group =
sandbox = false
sandbox-paths =
flake-registry =
accept-flake-config = false
max-jobs = 8
connect-timeout = 5
download-attempts = 5
stalled-download-timeout = 60
warn-dirty = false
sync-before-registering = true
";
/// For a package source that builds everything from its own files.
const NO_SUBSTITUTERS: &str = "substituters =\n";
/// Outputs without programs, libraries or headers.
const DOCUMENTATION: [&str; 4] = ["man", "doc", "devdoc", "info"];

/// Name of the permanent folder: a collection must not need free space to create one.
pub const STANDING: &str = "gc";

/// A private working folder on the volume, removed when it is dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    stays: bool,
}

impl WorkDir {
    /// Creates a new folder.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn create(volume: &SystemVolume) -> Result<WorkDir, Failure> {
        let path = volume.state().join("work").join(files::unique_name("nix"));
        files::ensure_folder(&path)?;
        Ok(WorkDir { path, stays: false })
    }

    /// The permanent folder, for a process that holds the store's lock.
    ///
    /// # Errors
    /// It does not exist, and the volume cannot be written.
    pub fn standing(volume: &SystemVolume) -> Result<WorkDir, Failure> {
        let path = volume.state().join("work").join(STANDING);
        files::ensure_folder(&path)?;
        Ok(WorkDir { path, stays: true })
    }

    /// It is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.stays {
            // The next sweep deletes the rest.
            let _ = files::delete(&self.path);
        }
    }
}

/// Nix's cache of downloads and evaluations. It only grows, and Nix recreates what is deleted.
pub fn cache(volume: &SystemVolume) -> PathBuf {
    volume.state().join("nix-cache")
}

/// A Nix program with everything that it needs to run.
#[derive(Debug)]
pub struct Nix<'a> {
    /// The program.
    pub program: PathBuf,
    /// Certificates and proxies.
    pub variables: &'a [(String, String)],
    /// The volume.
    pub volume: &'a SystemVolume,
    /// Its home and temporary folder.
    pub work_dir: &'a WorkDir,
    /// When to give up.
    pub deadline: &'a Deadline,
}

#[derive(Deserialize)]
struct Built {
    outputs: BTreeMap<String, String>,
}

impl Nix<'_> {
    /// Builds `packages` from `source`. Returns the store paths of each, in the order of the packages.
    ///
    /// # Errors
    /// A package is unknown, the network or the disk fails, or Nix fails otherwise.
    pub fn build(&self, source: &PackageSource, packages: &[String]) -> Result<Vec<Vec<String>>, Failure> {
        let mut failure = None;
        for mirror in mirrors(source) {
            let mut command = self.command(source);
            command.args(["build", "--no-link", "--json"]);
            add_packages(&mut command, source, mirror, packages);
            match self.answer(&mut command, "nix build") {
                Ok(answer) => return read_built(&answer, packages),
                // Try the next mirror; what was fetched so far stays in the store.
                Err(error) if error.kind == FailureKind::Offline => failure = Some(error),
                Err(error) => return Err(nix_errors::with_suggestion(error, source, packages)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Failure::new(FailureKind::Tool, "no mirror is given for the Debian packages")
                .hint("name a Debian mirror in this machine's apt settings")
        }))
    }

    /// The unpacked size in bytes of every path in the closure of `paths`, by name.
    ///
    /// # Errors
    /// Nix fails.
    pub fn closure(&self, source: &PackageSource, paths: &[String]) -> Result<BTreeMap<String, u64>, Failure> {
        let mut command = self.command(source);
        command.args(["path-info", "--json", "--recursive"]).args(paths);
        read_sizes(&self.answer(&mut command, "nix path-info")?)
    }

    /// Runs any other subcommand for its effect.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = self.bare_command("");
        command.args(arguments);
        self.answer(&mut command, &format!("nix {}", arguments.join(" ")))
            .map(drop)
    }

    fn command(&self, source: &PackageSource) -> Command {
        self.bare_command(match source {
            PackageSource::Nixpkgs { .. } => "",
            PackageSource::Debnix { .. } => NO_SUBSTITUTERS,
        })
    }

    fn bare_command(&self, more_settings: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear();
        command
            .env("HOME", self.work_dir.path())
            .env("TMPDIR", self.work_dir.path());
        // Keep the cache on the volume, so that the next preparation can use it.
        command.env("XDG_CACHE_HOME", cache(self.volume));
        command
            .env("PATH", "/usr/bin:/bin")
            .env("USER", "nix")
            .env("LANG", "C.UTF-8");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Set this last: these settings affect builds and are part of every key.
        command.env("NIX_CONFIG", format!("{SETTINGS}{more_settings}"));
        command.current_dir(self.work_dir.path());
        command
    }

    /// Runs the command and returns its standard output.
    fn answer(&self, command: &mut Command, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.work_dir.path().join("answer.json");
        let file = File::create(&path).io_context("write", &path)?;
        let exit = child::run_into(command, name, Vec::new(), Stdio::from(file), self.deadline)?;
        if !exit.status.success() {
            return Err(nix_errors::failure(name, &exit.describe(), &exit.stderr));
        }
        std::fs::read(&path).io_context("read", &path)
    }
}

/// The base URLs to try in order; a source without mirrors is tried once.
fn mirrors(source: &PackageSource) -> Vec<&str> {
    match source {
        PackageSource::Nixpkgs { .. } => vec![""],
        PackageSource::Debnix { mirrors, .. } => mirrors.iter().map(String::as_str).collect(),
    }
}

/// Package names are single attributes by [`hybrid_cache_model::SystemPackage`]'s own rules: none can be mistaken for
/// an option, a path or another flake.
fn add_packages(command: &mut Command, source: &PackageSource, mirror: &str, packages: &[String]) {
    match source {
        PackageSource::Nixpkgs { flake } => {
            command.args(packages.iter().map(|package| format!("{flake}#{package}")));
        }
        PackageSource::Debnix { folder, busybox, .. } => {
            command
                .arg("--file")
                .arg(Path::new(folder).join("default.nix"))
                .args(packages);
            command.args([
                "--argstr",
                "mirror",
                mirror.trim_end_matches('/'),
                "--argstr",
                "busybox",
                busybox,
            ]);
        }
    }
}

/// Parses the answer of `nix build --json`: one element for each package, in order.
fn read_built(answer: &[u8], packages: &[String]) -> Result<Vec<Vec<String>>, Failure> {
    let built: Vec<Built> = serde_json::from_slice(answer).map_err(|error| strange("nix build", &error.to_string()))?;
    if built.len() != packages.len() {
        let problem = format!("{} results for {} packages", built.len(), packages.len());
        return Err(strange("nix build", &problem));
    }
    Ok(built.into_iter().map(|one| useful(one.outputs)).collect())
}

/// The outputs that belong on a search path, programs first.
fn useful(outputs: BTreeMap<String, String>) -> Vec<String> {
    let mut outputs: Vec<(String, String)> = outputs.into_iter().collect();
    if outputs.len() > 1 {
        outputs.retain(|(name, _)| !DOCUMENTATION.contains(&name.as_str()));
    }
    outputs.sort_by_key(|(name, _)| (name != "bin", name != "out", name.clone()));
    outputs.into_iter().map(|(_, path)| path).collect()
}

/// Parses the answer of `nix path-info --json`, which has three forms: a list with `path` (to 2.18), an object by path,
/// and an object by name inside `info` (from 2.33).
fn read_sizes(answer: &[u8]) -> Result<BTreeMap<String, u64>, Failure> {
    let answer: Value = serde_json::from_slice(answer).map_err(|error| strange("nix path-info", &error.to_string()))?;
    let size = |info: &Value| info.get("narSize").and_then(Value::as_u64);
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let sizes: Option<BTreeMap<String, u64>> = match answer.get("info").unwrap_or(&answer) {
        Value::Array(list) => list
            .iter()
            .map(|info| Some((name(info.get("path")?.as_str()?), size(info)?)))
            .collect(),
        Value::Object(by_path) => by_path
            .iter()
            .map(|(path, info)| Some((name(path), size(info)?)))
            .collect(),
        _ => None,
    };
    sizes.ok_or_else(|| strange("nix path-info", "an answer without sizes"))
}

fn strange(name: &str, problem: &str) -> Failure {
    Failure::new(
        FailureKind::Tool,
        format!("{name} gave an unexpected answer: {problem}"),
    )
    .hint("use the pinned version of nix; run `cargo xtask tools` to see which one is used")
}

/// The names of everything in the store now; none if the store does not exist yet.
///
/// # Errors
/// The store cannot be read.
pub fn store_names(volume: &SystemVolume) -> Result<HashSet<String>, Failure> {
    let store = volume.root().join("store");
    let entries = match std::fs::read_dir(&store) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        other => other.io_context("read the folder", &store)?,
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_come_in_the_packages_order_with_programs_first() {
        let answer = br#"[{"drvPath": "/nix/store/z.drv", "outputs": {"bin": "/nix/store/a-curl-bin",
            "man": "/nix/store/c-curl-man", "dev": "/nix/store/d-curl-dev"}},
            {"drvPath": "/nix/store/b.drv", "outputs": {"out": "/nix/store/b-make"}}]"#;
        let packages = ["curl".to_owned(), "gnumake".to_owned()];
        let built = read_built(answer, &packages).unwrap();
        assert_eq!(built[0], ["/nix/store/a-curl-bin", "/nix/store/d-curl-dev"]);
        assert_eq!(built[1], ["/nix/store/b-make"]);
        assert_eq!(read_built(b"[]", &packages).unwrap_err().kind, FailureKind::Tool);
    }

    #[test]
    fn every_form_of_path_info_is_read() {
        let expected = BTreeMap::from([("a-x".to_owned(), 7)]);
        for answer in [
            r#"[{"path": "/nix/store/a-x", "narSize": 7}]"#,
            r#"{"/nix/store/a-x": {"narSize": 7}}"#,
            r#"{"version": 1, "info": {"a-x": {"narSize": 7}}}"#,
        ] {
            assert_eq!(read_sizes(answer.as_bytes()).unwrap(), expected, "{answer}");
        }
        assert!(read_sizes(b"7").is_err());
    }
}
