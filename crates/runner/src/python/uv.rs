//! Runs uv with a cleared environment and without user text in its arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::key::INDEX_STRATEGY;
use hybrid_cache_model::protocol::{Interpreter, PythonTools};
use hybrid_cache_model::requirement::PythonOptions;
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement, Task};

use super::uv_errors;
use crate::child::{self, Deadline};
use crate::store::IoContext;

/// Seconds uv waits for a lock of its own, unless the preparation's deadline comes first.
const UV_LOCK_TIMEOUT_S: &str = "300";
/// Seconds without data after which uv aborts a transfer.
const UV_HTTP_TIMEOUT_S: &str = "30";
/// One retry covers a short outage; uv's default of three takes ten seconds to report an unreachable index.
const UV_HTTP_RETRIES: &str = "1";

/// The uv settings that an operator may set: where packages come from and how to reach them. The source is part of
/// every key (`EnvironmentContext::index`); the others do not change what is installed.
const ALLOWED: [&str; 10] = [
    "UV_DEFAULT_INDEX",
    "UV_FIND_LINKS",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_NO_INDEX",
    "UV_SYSTEM_CERTS",
];
/// The glibc minor versions that uv accepts as a platform, ascending.
const GLIBC_MINORS: [u32; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// A wheel that was built or fetched for a task, in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltWheel {
    /// The package's name in normal form.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:…` of the source distribution, or of the wheel itself if it was fetched; empty for a commit.
    pub source: String,
    /// `sha256:…` of the wheel.
    pub hash: String,
    /// The folder.
    pub folder: PathBuf,
    /// The address or the commit that a requirement names for it; `None` if it is a package of the index.
    pub address: Option<String>,
}

impl BuiltWheel {
    /// `name==version`, and `name @ address` if a requirement names its place.
    pub fn reference(&self) -> Option<(String, String)> {
        let address = self.address.as_ref()?;
        Some((
            format!("{}=={}", self.name, self.version),
            format!("{} @ {address}", self.name),
        ))
    }
}

/// uv as one preparation uses it.
pub struct Uv<'a> {
    /// The program and its settings.
    pub tools: &'a PythonTools,
    /// UV_CACHE_DIR.
    pub cache: &'a Path,
    /// An empty private folder: working folder, HOME and TMPDIR.
    pub work: &'a Path,
    /// When to give up.
    pub deadline: &'a Deadline,
}

impl Uv<'_> {
    /// Creates an empty environment at `environment`.
    ///
    /// It is relocatable, because publishing renames it. Used only for interpreters that [`super::venv`] does not
    /// support.
    ///
    /// # Errors
    /// uv failed; the message contains uv's explanation.
    pub fn make_environment(&self, environment: &Path, interpreter: &Interpreter) -> Result<(), Failure> {
        let mut command = self.command("venv");
        command
            .args(["--relocatable", "--no-project", "--python"])
            .arg(&interpreter.path)
            .arg(environment);
        self.run(&mut command, "uv venv")
    }

    /// Resolves, downloads and links a task's requirements into `environment`, and verifies their hashes.
    ///
    /// The requirements are passed in a file: as arguments, a leading hyphen would make them options.
    ///
    /// # Errors
    /// uv failed; the message contains uv's explanation.
    pub fn install(
        &self,
        environment: &Path,
        task: &Task,
        list: &Path,
        interpreter: &Interpreter,
        built: &[BuiltWheel],
    ) -> Result<(), Failure> {
        self.check_variables()?;
        std::fs::write(list, requirements_text(task, built)).io_context("write", list)?;
        let mut command = self.command("pip");
        command
            .arg("install")
            .arg("--python")
            .arg(environment.join("bin/python"))
            .arg("--requirements")
            .arg(list);
        command.args(selection(task.options.pre_releases, interpreter, &self.tools.variables));
        if !task.constraints.is_empty() {
            let limits = list.with_file_name("constraints.txt");
            std::fs::write(&limits, constraints_text(task)).io_context("write", &limits)?;
            command.arg("--constraints").arg(limits);
        }
        command.arg(match task.options.require_hashes {
            true => "--require-hashes",
            false => "--verify-hashes",
        });
        if !built.is_empty() {
            // The option replaces the variable, whose folders stay in use.
            let of_operator = find_links(&self.tools.variables).into_iter().map(OsString::from);
            for folder in of_operator.chain(built.iter().map(|one| one.folder.clone().into_os_string())) {
                command.arg("--find-links").arg(folder);
            }
        }
        self.forbid_builds(&mut command);
        self.run(&mut command, "uv pip install")
    }

    /// Writes the files that fit each pin in the file `pins` to `listing`, a `pylock.toml`: from answers of the index that
    /// are in uv's cache, without network.
    ///
    /// # Errors
    /// uv failed; the message contains uv's explanation.
    pub fn list_files(&self, pins: &Path, listing: &Path, task: &Task, by: &Interpreter) -> Result<(), Failure> {
        let mut command = self.command("pip");
        command.args(["compile", "--offline", "--no-deps", "--quiet"]);
        command.args(["--format", "pylock.toml", "--python", &by.path]);
        command.arg("--output-file").arg(listing);
        command.args(selection(task.options.pre_releases, by, &self.tools.variables));
        self.forbid_builds(&mut command);
        command.arg(pins);
        self.run(&mut command, "uv pip compile")
    }

    fn forbid_builds(&self, command: &mut Command) {
        if Protection::WheelsOnly.is_on() {
            command.arg("--no-build");
        }
    }

    /// Pins `requirements`, one a line in `list`, and what they need, with hashes, into `lock`. Uses only wheels.
    ///
    /// # Errors
    /// uv failed, for example because something has no wheel.
    pub fn pin(&self, list: &Path, lock: &Path, interpreter: &Interpreter) -> Result<(), Failure> {
        self.check_variables()?;
        let mut command = self.command("pip");
        command.arg("compile").arg(list).arg("--output-file").arg(lock);
        command.args(["--python", &interpreter.path, "--no-build", "--generate-hashes"]);
        command.args(["--no-header", "--no-annotate"]);
        command.args(selection(false, interpreter, &self.tools.variables));
        self.run(&mut command, "uv pip compile")
    }

    /// Removes from uv's cache what nothing refers to. Never `--ci`, which drops every pre-built wheel.
    ///
    /// # Errors
    /// uv failed; the message contains uv's explanation.
    pub fn prune(&self) -> Result<(), Failure> {
        let mut command = self.command("cache");
        command.arg("prune");
        self.run(&mut command, "uv cache prune")
    }

    /// # Errors
    /// A variable changes what uv installs and is not in a key.
    fn check_variables(&self) -> Result<(), Failure> {
        let unknown = |name: &&str| {
            let is_login =
                name.starts_with("UV_INDEX_") && ["_USERNAME", "_PASSWORD"].iter().any(|end| name.ends_with(end));
            name.starts_with("UV_") && !ALLOWED.contains(name) && !is_login
        };
        let mut names = self.tools.variables.iter().map(|(name, _)| name.as_str());
        match names.find(unknown) {
            None => Ok(()),
            Some(name) => {
                let message =
                    format!("the uv setting {name} may change what is installed, but no cache key contains it");
                let hint = format!("unset it; uv may have the settings {}", ALLOWED.join(", "));
                Err(Failure::new(FailureKind::Tool, message).hint(hint))
            }
        }
    }

    /// uv with a cleared environment.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.tools.uv);
        command.arg(verb).current_dir(self.work).env_clear();
        command.envs([("HOME", self.work), ("TMPDIR", self.work), ("UV_CACHE_DIR", self.cache)]);
        command.envs([
            ("LC_ALL", "C.UTF-8"),
            ("NO_COLOR", "1"),
            ("UV_HTTP_RETRIES", UV_HTTP_RETRIES),
            ("UV_HTTP_TIMEOUT", UV_HTTP_TIMEOUT_S),
            ("UV_LINK_MODE", "hardlink"),
            ("UV_LOCK_TIMEOUT", UV_LOCK_TIMEOUT_S),
            ("UV_NO_CONFIG", "1"),
            ("UV_NO_PROGRESS", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
        ]);
        command.envs(self.tools.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs uv.
    ///
    /// # Errors
    /// uv failed; the message contains uv's explanation.
    pub(crate) fn run(&self, command: &mut Command, name: &str) -> Result<(), Failure> {
        let mut exit = child::run(command, name, Vec::new(), self.deadline).map_err(|failure| {
            let hint = "check the uv program named in the request";
            if failure.kind == FailureKind::Tool {
                failure.hint(hint)
            } else {
                failure
            }
        })?;
        if exit.status.success() {
            Ok(())
        } else {
            exit.stderr = without_secrets(&exit.stderr, &self.tools.variables);
            Err(uv_errors::failure(name, &exit))
        }
    }
}

/// Shortest password that a message is searched for: a shorter one is part of ordinary words.
const MIN_PASSWORD: usize = 4;

/// A text of uv without passwords. uv hides those of addresses by itself; none is in a message because uv has changed.
fn without_secrets(text: &str, variables: &[(String, String)]) -> String {
    let mut text = without_logins(text);
    for (name, value) in variables {
        let is_secret = name.starts_with("UV_INDEX_") && name.ends_with("_PASSWORD") && value.len() >= MIN_PASSWORD;
        if is_secret {
            text = text.replace(value.as_str(), "****");
        }
    }
    text
}

/// The text without what stands between `://` and an `@` of the same address. A password may hold a comma.
pub fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut open = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#'))
            .unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        open.push_str("://");
        open.push_str(&part[host..]);
    }
    open
}

/// The requirements, each with its hashes, as uv reads them: one a line, in normal form. A wheel that was built from a
/// source distribution with one of the hashes adds its own.
pub fn requirements_text(task: &Task, built: &[BuiltWheel]) -> String {
    lines(&task.requirements, &task.options, built)
}

/// The requirements for the sandbox that runs code of packages, with the addresses that they name: it has the network of
/// tasks, and may contact whatever a task may.
pub fn sandbox_text(task: &Task) -> String {
    let named = task.requirements.iter().filter(|one| one.reference().is_some());
    let mut text = lines(&task.requirements, &task.options, &[]);
    named.for_each(|one| text.push_str(&format!("{one}\n")));
    text
}

/// The constraints in the same form.
pub fn constraints_text(task: &Task) -> String {
    lines(&task.constraints, &task.options, &[])
}

fn lines(requirements: &[Requirement], options: &PythonOptions, built: &[BuiltWheel]) -> String {
    let mut text = String::new();
    for requirement in requirements {
        if requirement.reference().is_some() {
            // The wheel is there already, in a folder: for uv it is one version of a package, and only the one with this
            // hash. Without it the marker does not hold; uv never gets the address, whose redirects it would follow.
            if let Some(wheel) = built.iter().find(|one| one.name == requirement.name()) {
                text.push_str(&requirement.pinned(&wheel.version));
                text.push_str(&format!(" --hash={}\n", wheel.hash));
            }
            continue;
        }
        text.push_str(requirement.as_str());
        let hashes: Vec<&str> = options.hashes_of(requirement.as_str()).collect();
        let own = built
            .iter()
            .filter(|one| one.name == requirement.name() && hashes.contains(&one.source.as_str()));
        for hash in hashes.iter().copied().chain(own.map(|one| one.hash.as_str())) {
            text.push_str(" --hash=");
            text.push_str(hash);
        }
        text.push('\n');
    }
    text
}

/// The options that decide which packages are chosen. They override the variables: see docs/cache-keys.md.
pub fn selection(pre_releases: bool, interpreter: &Interpreter, variables: &[(String, String)]) -> Vec<String> {
    let pre_releases = match pre_releases {
        true => "allow",
        false => "if-necessary-or-explicit",
    };
    let mut options = vec!["--index-strategy", INDEX_STRATEGY, "--prerelease", pre_releases];
    options.extend(["--resolution", "highest"]);
    let platform = platform(interpreter);
    if let Some(platform) = &platform {
        options.extend(["--python-platform", platform]);
    }
    // uv 0.13.9 knows the option, but no variable of that name.
    let is_set = |value: &str| !["", "0", "false"].contains(&value.to_ascii_lowercase().as_str());
    if variables
        .iter()
        .any(|(name, value)| name == "UV_NO_INDEX" && is_set(value))
    {
        options.push("--no-index");
    }
    options.into_iter().map(str::to_owned).collect()
}

/// The folders and addresses of UV_FIND_LINKS.
fn find_links(variables: &[(String, String)]) -> Vec<&str> {
    let found = variables.iter().find(|(name, _)| name == "UV_FIND_LINKS");
    let links = found.iter().flat_map(|(_, links)| links.split(','));
    links.map(str::trim).filter(|link| !link.is_empty()).collect()
}

/// uv's name for the interpreter's platform. It fixes the C library of wheels, and keeps the running kernel out of
/// markers. `None` if uv has no name for it; uv then asks the interpreter.
fn platform(interpreter: &Interpreter) -> Option<String> {
    let machine = interpreter.platform.strip_prefix("linux-")?;
    if !["x86_64", "aarch64"].contains(&machine) {
        return None;
    }
    let (name, version) = interpreter.libc.split_once(' ')?;
    match name {
        "musl" => Some(format!("{machine}-unknown-linux-musl")),
        "glibc" => {
            let minor: u32 = version.strip_prefix("2.")?.split('.').next()?.parse().ok()?;
            let known = GLIBC_MINORS.iter().rev().find(|known| **known <= minor)?;
            Some(format!("{machine}-manylinux_2_{known}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_names_the_libc_or_an_older_one() {
        let platform = |libc: &str, platform: &str| {
            let interpreter = Interpreter {
                path: String::new(),
                implementation: "cpython".into(),
                version: "3.11.7".into(),
                abi: "cpython-311".into(),
                platform: platform.into(),
                libc: libc.into(),
                binary_hash: String::new(),
                start: String::new(),
            };
            super::platform(&interpreter)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(platform("glibc 2.36", "linux-x86_64"), some("x86_64-manylinux_2_36"));
        assert_eq!(platform("glibc 2.30", "linux-aarch64"), some("aarch64-manylinux_2_28"));
        assert_eq!(platform("glibc 2.99", "linux-x86_64"), some("x86_64-manylinux_2_40"));
        assert_eq!(platform("musl 1.2", "linux-x86_64"), some("x86_64-unknown-linux-musl"));
        for (libc, machine) in [
            ("", "linux-x86_64"),
            ("glibc 2.5", "linux-x86_64"),
            ("glibc 2.36", "linux-riscv64"),
        ] {
            assert_eq!(platform(libc, machine), None);
        }
    }
}
