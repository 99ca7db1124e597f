//! The two uv commands of a preparation, and what surrounds them: a cleared environment and nothing of the user's text
//! in an argument.

use std::path::Path;
use std::process::Command;

use hybrid_cache_model::key::INDEX_STRATEGY;
use hybrid_cache_model::protocol::{Interpreter, PythonTools};
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement};

use super::uv_errors;
use crate::child::{self, Deadline};
use crate::store::IoContext;

/// Seconds uv waits for a lock of its own, unless the preparation's deadline comes first.
const UV_LOCK_TIMEOUT_S: &str = "300";
/// Seconds of silence after which uv gives a transfer up.
const UV_HTTP_TIMEOUT_S: &str = "30";
/// One more attempt forgives a hiccup; uv's own three take ten seconds to say that nobody is there.
const UV_HTTP_RETRIES: &str = "1";

/// Settings of uv that an operator may make: where packages come from, and how they are reached. Where they come from is
/// part of every key (`EnvironmentContext::index`); of the others none changes what is delivered.
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
/// The minor versions of glibc that uv knows as a platform, ascending.
const GLIBC_MINORS: [u32; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// What uv works with in one preparation.
pub struct Uv<'a> {
    /// How to reach it.
    pub tools: &'a PythonTools,
    /// UV_CACHE_DIR.
    pub cache: &'a Path,
    /// An empty folder of this preparation's own: working folder, HOME and TMPDIR.
    pub work: &'a Path,
    /// How long it may take.
    pub deadline: &'a Deadline,
}

impl Uv<'_> {
    /// Makes an empty environment at `environment`.
    ///
    /// Relocatable, because it is renamed when it is published. Only for interpreters that [`super::venv`] does not know.
    ///
    /// # Errors
    /// uv failed; its own words are in the message.
    pub fn make_environment(&self, environment: &Path, interpreter: &Interpreter) -> Result<(), Failure> {
        let mut command = self.command("venv");
        command
            .args(["--relocatable", "--no-project", "--python"])
            .arg(&interpreter.path)
            .arg(environment);
        self.run(&mut command, "uv venv")
    }

    /// Resolves, downloads and links `requirements` into `environment`.
    ///
    /// The requirements travel in a file: as arguments, a leading hyphen would make options of them.
    ///
    /// # Errors
    /// uv failed; its own words are in the message.
    pub fn install(
        &self,
        environment: &Path,
        requirements: &[Requirement],
        list: &Path,
        interpreter: &Interpreter,
    ) -> Result<(), Failure> {
        self.check_variables()?;
        let text: String = requirements.iter().flat_map(|one| [one.as_str(), "\n"]).collect();
        std::fs::write(list, text).io_context("write", list)?;
        let mut command = self.command("pip");
        command
            .arg("install")
            .arg("--python")
            .arg(environment.join("bin/python"))
            .arg("--requirements")
            .arg(list);
        // What decides which packages come is ours, whatever the variables say: see docs/cache-keys.md.
        command.args(["--index-strategy", INDEX_STRATEGY]);
        command.args(["--prerelease", "if-necessary-or-explicit", "--resolution", "highest"]);
        if let Some(platform) = platform(interpreter) {
            command.args(["--python-platform", &platform]);
        }
        if !self.tools.allow_source_builds && Protection::WheelsOnly.is_on() {
            command.arg("--no-build");
        }
        self.run(&mut command, "uv pip install")
    }

    /// Removes from uv's cache what nothing refers to. Never `--ci`, which drops every pre-built wheel.
    ///
    /// # Errors
    /// uv failed; its own words are in the message.
    pub fn prune(&self) -> Result<(), Failure> {
        let mut command = self.command("cache");
        command.arg("prune");
        self.run(&mut command, "uv cache prune")
    }

    /// # Errors
    /// A variable changes what uv delivers, and is in no key.
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
                    format!("the setting {name} for uv may change what is installed, and no cache key knows it");
                let hint = format!("unset it; uv may be told {}", ALLOWED.join(", "));
                Err(Failure::new(FailureKind::Tool, message).hint(hint))
            }
        }
    }

    fn command(&self, verb: &str) -> Command {
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

    fn run(&self, command: &mut Command, name: &str) -> Result<(), Failure> {
        let exit = child::run(command, name, Vec::new(), self.deadline).map_err(|failure| {
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
            Err(uv_errors::failure(name, &exit))
        }
    }
}

/// uv's name for the interpreter's platform: fixes the C library that wheels may be linked to, and leaves the running
/// kernel out of markers. `None` where uv has no name for it; then it asks the interpreter.
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
    fn the_platform_is_that_of_the_libc_or_an_older_one() {
        let platform = |libc: &str, platform: &str| {
            let interpreter = Interpreter {
                path: String::new(),
                implementation: "cpython".into(),
                version: "3.11.7".into(),
                abi: "cpython-311".into(),
                platform: platform.into(),
                libc: libc.into(),
                binary_hash: String::new(),
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
