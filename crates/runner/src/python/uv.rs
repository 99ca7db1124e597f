//! The two uv commands of a preparation, and what surrounds them: a cleared environment and nothing of the user's text
//! in an argument.

use std::path::Path;
use std::process::Command;

use hybrid_cache_model::protocol::{Interpreter, PythonTools};
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement};

use super::explain;
use crate::child::{self, Patience};
use crate::store::At;

/// Seconds uv waits for a lock of its own, unless the preparation's deadline comes first.
const UV_LOCK_TIMEOUT_S: &str = "300";
/// Seconds of silence after which uv gives a transfer up.
const UV_HTTP_TIMEOUT_S: &str = "30";
/// One more attempt forgives a hiccup; uv's own three take ten seconds to say that nobody is there.
const UV_HTTP_RETRIES: &str = "1";

/// What uv works with in one preparation.
pub struct Uv<'a> {
    /// How to reach it.
    pub tools: &'a PythonTools,
    /// UV_CACHE_DIR.
    pub cache: &'a Path,
    /// An empty folder of this preparation's own: working folder, HOME and TMPDIR.
    pub work: &'a Path,
    /// How long it may take.
    pub patience: &'a Patience,
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
    pub fn install(&self, environment: &Path, requirements: &[Requirement], list: &Path) -> Result<(), Failure> {
        let text: String = requirements.iter().flat_map(|one| [one.as_str(), "\n"]).collect();
        std::fs::write(list, text).at("write", list)?;
        let mut command = self.command("pip");
        command
            .arg("install")
            .arg("--python")
            .arg(environment.join("bin/python"))
            .arg("--requirements")
            .arg(list);
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
        let ended = child::run(command, name, Vec::new(), self.patience).map_err(|failure| {
            let hint = "check the uv program named in the request";
            if failure.kind == FailureKind::Tool {
                failure.hint(hint)
            } else {
                failure
            }
        })?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(explain::failure(name, &ended))
        }
    }
}
