//! The orders for the sandbox that runs code of packages: each is one program with its settings in front.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{BuildOrder, BuildSettings, PythonTools};
use hybrid_cache_model::{End, Failure, FailureKind, Protection};
use serde::Deserialize;

use super::proposal::{self, Proposed};
use crate::prepare::context::{Builder, PrepareJob};
use crate::python::{setuptools, uv, uv_errors};
use crate::store::{IoContext, files};

const PROGRAM: &str = include_str!("program.py");
/// The answer of a program, beside a wheel.
const ANSWER: &str = "answer.json";
/// Most bytes of an answer.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Time that is kept for what follows a build.
const REST: Duration = Duration::from_secs(5);
/// Fixed settings of uv in the sandbox.
const FIXED: [(&str, &str); 7] = [
    ("LC_ALL", "C.UTF-8"),
    ("NO_COLOR", "1"),
    ("UV_HTTP_RETRIES", "1"),
    ("UV_HTTP_TIMEOUT", "30"),
    ("UV_NO_CONFIG", "1"),
    ("UV_NO_PROGRESS", "1"),
    ("UV_PYTHON_DOWNLOADS", "never"),
];

/// What a program answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    /// The end of what uv said when it failed.
    said: Option<String>,
    packages: Vec<Proposed>,
    wheel: Option<String>,
}

/// Makes the orders of one preparation and hands them to the driver.
pub struct Orders<'a> {
    job: &'a PrepareJob<'a>,
    tools: &'a PythonTools,
    settings: &'a BuildSettings,
    builder: Builder<'a>,
    system: Vec<String>,
    count: Cell<u32>,
}

impl<'a> Orders<'a> {
    /// Orders for a task with the store paths `system`.
    pub fn new(
        job: &'a PrepareJob<'a>,
        tools: &'a PythonTools,
        settings: &'a BuildSettings,
        builder: Builder<'a>,
        system: Vec<String>,
    ) -> Orders<'a> {
        Orders {
            job,
            tools,
            settings,
            builder,
            system,
            count: Cell::new(0),
        }
    }

    /// The packages that must be built, as the sandbox proposes them. `known` are names that it does not ask for.
    ///
    /// # Errors
    /// The requirements cannot be resolved, or the sandbox cannot be made.
    pub fn resolve(&self, known: &BTreeSet<&str>) -> Result<Vec<Proposed>, Failure> {
        let mut task = self.job.task.clone();
        task.requirements.retain(|one| !known.contains(one.name()));
        if task.requirements.is_empty() {
            return Ok(Vec::new());
        }
        let requirements = uv::sandbox_text(&task);
        let constraints = uv::constraints_text(&self.job.task);
        let settings = serde_json::json!({
            "work": "resolve",
            "requirements": requirements,
            "constraints": constraints,
            "older": if self.job.adds_setuptools() { setuptools::PIN } else { "" },
        });
        let (answer, folder) = self.run("resolving", settings)?;
        // A stranger's files; what cannot be deleted is deleted with the task.
        drop(files::delete(&folder));
        proposal::checked(answer.packages)
    }

    /// Builds one package. Returns the file that is called its wheel.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn build(&self, package: &Proposed, constraints: &str) -> Result<PathBuf, Failure> {
        let settings = serde_json::json!({
            "work": "build",
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "constraints": constraints,
        });
        let name = format!("building {}=={}", package.name, package.version);
        self.wheel(&name, settings)
    }

    /// Builds the package at a commit of a repository. Returns the file that is called its wheel.
    ///
    /// # Errors
    /// It cannot be fetched or built.
    pub fn build_commit(&self, name: &str, address: &str, constraints: &str) -> Result<PathBuf, Failure> {
        let settings =
            serde_json::json!({"work": "commit", "name": name, "address": address, "constraints": constraints});
        self.wheel(&format!("building {name} from {address}"), settings)
    }

    fn wheel(&self, name: &str, settings: serde_json::Value) -> Result<PathBuf, Failure> {
        let (answer, folder) = self.run(name, settings)?;
        let wheel = answer
            .wheel
            .filter(|name| !name.contains('/'))
            .map(|name| folder.join(name));
        // Not the link that a stranger may have left in its place.
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file());
        wheel
            .filter(is_file)
            .ok_or_else(|| Failure::new(FailureKind::NoWheel, format!("{name} left no wheel")))
    }

    /// Runs one program. Returns its answer, and the folder of its files.
    fn run(&self, name: &str, mut settings: serde_json::Value) -> Result<(Answer, PathBuf), Failure> {
        let (variables, without_login) = for_strangers(&self.tools.variables);
        let interpreter = &self.job.request.context.interpreter;
        let pre_releases = self.job.task.options.pre_releases;
        settings["uv"] = self.tools.uv.clone().into();
        settings["python"] = interpreter.path.clone().into();
        settings["arguments"] = uv::selection(pre_releases, interpreter, &self.tools.variables).into();
        settings["variables"] = variables.into();
        settings["only_binary"] = self.job.task.options.wheels_only.clone().into();
        self.count.set(self.count.get() + 1);
        let left = self.job.deadline.instant().saturating_duration_since(Instant::now());
        let order = BuildOrder {
            number: self.count.get(),
            code: code(&settings),
            system: self.system.clone(),
            time_ms: u64::try_from(left.saturating_sub(REST).as_millis()).unwrap_or(u64::MAX),
        };
        let folder = Path::new(&self.settings.folder).join(order.number.to_string());
        let answered = || {
            check_end(name, (self.builder)(&order)?.end)?;
            let answer = read(&folder.join(ANSWER)).map_err(|failure| failure_of(name, &failure.to_string()))?;
            match answer.said {
                Some(said) => Err(uv_errors::of_build(name, &said, without_login, interpreter)),
                None => Ok((answer, folder.clone())),
            }
        };
        let answered = answered();
        // A task that makes room on a full volume begins its orders anew, with the same numbers.
        if answered.is_err() {
            drop(files::delete(&folder));
        }
        answered
    }
}

/// The program with its settings. A JSON string is a Python string too.
fn code(settings: &serde_json::Value) -> String {
    let text = serde_json::Value::String(settings.to_string());
    format!("import json\nORDER = json.loads({text})\n{PROGRAM}")
}

fn check_end(name: &str, end: End) -> Result<(), Failure> {
    match end {
        End::Exited { code: 0 } => Ok(()),
        End::Exited { code } => Err(failure_of(name, &format!("it ended with exit code {code}"))),
        End::Signaled { signal } => Err(failure_of(name, &format!("it was ended by signal {signal}"))),
        End::TimedOut { limit_ms } => Err(failure_of(name, &format!("it took longer than {} s", limit_ms / 1000))),
        End::Cancelled => Err(Failure::new(FailureKind::Deadline, format!("{name} was cancelled"))),
        End::Failed { failure } => Err(failure),
    }
}

fn failure_of(name: &str, what: &str) -> Failure {
    let message = format!("{name}, which runs code of packages, failed: {what}");
    Failure::new(FailureKind::NoWheel, message).hint("try a version of the package that has a wheel")
}

fn read(path: &Path) -> Result<Answer, Failure> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).io_context("open", path)?;
    file.take(MAX_ANSWER_BYTES)
        .read_to_end(&mut text)
        .io_context("read", path)?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::new(FailureKind::NoWheel, format!("its answer cannot be read: {error}")))
}

/// The settings that code of packages may read: no user names, no passwords. Also true if some were left out.
fn for_strangers(variables: &[(String, String)]) -> (serde_json::Map<String, serde_json::Value>, bool) {
    let is_known = |name: &str| {
        let upper = name.to_ascii_uppercase();
        name.starts_with("UV_") || name.starts_with("SSL_CERT_") || upper.ends_with("_PROXY")
    };
    let is_login = |name: &str| {
        let is_index = name.starts_with("UV_INDEX_") && name != "UV_INDEX_STRATEGY";
        Protection::IndexLogins.is_on() && (is_index || name == "UV_KEYRING_PROVIDER")
    };
    let mut left_out = false;
    let mut kept = serde_json::Map::new();
    for (name, value) in FIXED {
        kept.insert(name.to_owned(), value.into());
    }
    for (name, value) in variables.iter().filter(|(name, _)| is_known(name)) {
        if is_login(name) {
            left_out = true;
            continue;
        }
        let open = uv::without_logins(value);
        left_out |= open != *value;
        kept.insert(name.clone(), open.into());
    }
    (kept, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_packages_gets_no_login() {
        for (text, open) in [
            ("https://host/simple", "https://host/simple"),
            ("https://me:pass@host/simple", "https://host/simple"),
            (
                "a=https://t@x.test/a,b=https://u:p@q@y.test",
                "a=https://x.test/a,b=https://y.test",
            ),
            ("https://host/a@b", "https://host/a@b"),
            ("http://u:p@proxy:8080", "http://proxy:8080"),
            ("http://u:p,w@proxy:8080,http://other", "http://proxy:8080,http://other"),
        ] {
            assert_eq!(uv::without_logins(text), open);
        }
        let variables = [
            ("UV_INDEX_OURS_PASSWORD", "secret"),
            ("UV_INDEX", "ours=https://u:secret@host/"),
            ("HTTPS_PROXY", "http://u:secret@proxy"),
            ("NETRC", "/secret"),
            ("SSL_CERT_FILE", "/etc/ssl/x"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (kept, left_out) = for_strangers(&variables);
        assert!(
            left_out && !serde_json::to_string(&kept).unwrap().contains("secret"),
            "{kept:?}"
        );
        assert_eq!(kept["SSL_CERT_FILE"], "/etc/ssl/x");
    }

    #[test]
    fn settings_of_any_text_are_one_line_of_the_program() {
        let code = code(&serde_json::json!({"requirements": "a\n\"\\'''\u{2028}\u{1}"}));
        let line = code.lines().nth(1).unwrap();
        assert!(
            line.starts_with("ORDER = json.loads(\"{") && line.ends_with("\")"),
            "{line}"
        );
    }
}
