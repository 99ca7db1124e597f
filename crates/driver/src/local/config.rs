//! The configuration of the local driver: where its caches are, and which programs it uses.

use std::path::PathBuf;

use hybrid_cache_model::protocol::{EnvironmentContext, IndexScope, Interpreter, PythonTools, SystemTools, Volumes};
use hybrid_cache_model::{AllowedSources, SourcePolicy, Task, TaskErrors, TaskSpec, Tenant, python_version};
use serde::{Deserialize, Serialize};

use crate::local::mounts::{NIX_MOUNT, PYTHON_MOUNT};
use crate::trace::{FOLDER, TraceConfig};

/// Default age in seconds after which a request is resolved again: seven days.
pub const DEFAULT_MAX_AGE_S: u64 = 7 * 24 * 3600;

/// Default of [`LocalConfig::network_idle_s`] in seconds: five minutes.
pub const DEFAULT_NETWORK_IDLE_S: u64 = 300;

fn default_network_idle_s() -> u64 {
    DEFAULT_NETWORK_IDLE_S
}

/// The network of user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A network of its own, which reaches the outside and resolves names, but reaches neither this machine nor link-local
    /// addresses.
    Isolated,
    /// The machine's own network, including loopback.
    Shared,
    /// A network of its own with nothing but an unused loopback.
    None,
}

/// An interpreter of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalInterpreter {
    /// The interpreter.
    pub interpreter: Interpreter,
    /// The folder of the interpreter and its standard library; bound read-only at the same path.
    pub prefix: PathBuf,
}

/// Everything that the local driver needs. The driver reads no environment variable and searches no path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalConfig {
    /// The cache folder; see [`crate::local::folders`].
    pub root: PathBuf,
    /// The runner program, static or at least runnable with the machine's own libraries.
    pub runner: PathBuf,
    /// The command that starts bubblewrap.
    pub bubblewrap: Vec<String>,
    /// The interpreter that environments are made for.
    pub interpreter: Interpreter,
    /// The folder of the interpreter and its standard library; bound read-only at the same path.
    pub interpreter_prefix: PathBuf,
    /// Further interpreters, for tasks that ask for another version.
    #[serde(default)]
    pub other_interpreters: Vec<LocalInterpreter>,
    /// Identity of the package index, without credentials.
    pub index: String,
    /// Who may share packages from the index.
    #[serde(default)]
    pub index_scope: IndexScope,
    /// uv and its settings.
    pub python_tools: PythonTools,
    /// Nix and its settings; `None` if the machine has none.
    pub system: Option<SystemConfig>,
    /// Folders that the preparing sandbox sees read-only at the same path, such as the tool folder.
    pub tool_folders: Vec<PathBuf>,
    /// Age in seconds after which a request is resolved again.
    pub max_age_s: u64,
    /// Variables of user code, such as the address of a proxy.
    pub task_variables: Vec<(String, String)>,
    /// Files and folders of certificates that user code trusts, which gets one copy and the variables that name it. Empty if it
    /// gets none.
    #[serde(default)]
    pub certificates: Vec<PathBuf>,
    /// Network of user code.
    pub network: Network,
    /// pasta, which [`Network::Isolated`] needs; `None` if the machine has none.
    #[serde(default)]
    pub pasta: Option<Vec<String>>,
    /// Seconds that an unused network of [`Network::Isolated`] is kept for the next task.
    #[serde(default = "default_network_idle_s")]
    pub network_idle_s: u64,
    /// Most bytes that each volume may hold; 0 for half of what its file system has for it (free space and what it holds).
    pub budget_bytes: u64,
    /// Most inodes that each volume may hold; 0 for half of what its file system has for it.
    pub budget_inodes: u64,
    /// Most bytes of recorded requests, in `trace/` below the cache folder; 0 records none.
    #[serde(default)]
    pub trace_bytes: u64,
    /// True if packages without a wheel are refused instead of built.
    #[serde(default)]
    pub no_builds: bool,
    /// Where packages may come from beside the index.
    #[serde(default)]
    pub sources: AllowedSources,
}

impl LocalConfig {
    /// Where requests are recorded; `None` if they are not.
    pub fn trace(&self) -> Option<TraceConfig> {
        (self.trace_bytes > 0).then(|| TraceConfig {
            folder: self.root.join(FOLDER),
            max_bytes: self.trace_bytes,
        })
    }

    /// What the sources that a task names are held against.
    pub fn policy(&self) -> SourcePolicy<'_> {
        SourcePolicy::new(&self.sources, &self.python_tools.variables)
    }

    /// The task, if this machine may run it.
    ///
    /// # Errors
    /// Everything in it that is not acceptable; a source of packages that the operator does not allow; a version that no
    /// interpreter has.
    pub fn check(&self, spec: &TaskSpec) -> Result<Task, TaskErrors> {
        let task = spec.check_for(&self.policy())?;
        self.for_task(&task)?;
        Ok(task)
    }

    /// The configuration for a task that another interpreter than the default one must run; `None` if the default will do.
    ///
    /// # Errors
    /// The task asks for a version that no interpreter has.
    pub fn for_task(&self, task: &Task) -> Result<Option<LocalConfig>, TaskErrors> {
        let others = self.other_interpreters.iter().map(|other| &other.interpreter);
        let offered = std::iter::once(&self.interpreter).chain(others);
        let offered: Vec<&str> = offered.map(|one| one.version.as_str()).collect();
        let chosen = python_version::choose(task.python.as_ref(), &task.requires_python, &offered)?;
        let Some(chosen) = chosen
            .checked_sub(1)
            .and_then(|other| self.other_interpreters.get(other))
        else {
            return Ok(None);
        };
        let default = LocalInterpreter {
            interpreter: self.interpreter.clone(),
            prefix: self.interpreter_prefix.clone(),
        };
        let others = self.other_interpreters.iter().filter(|other| *other != chosen).cloned();
        Ok(Some(LocalConfig {
            interpreter: chosen.interpreter.clone(),
            interpreter_prefix: chosen.prefix.clone(),
            other_interpreters: std::iter::once(default).chain(others).collect(),
            ..self.clone()
        }))
    }

    /// Where a tenant's environments are in the sandboxes, and what they are made for: part of every key.
    pub fn context(&self, tenant: &Tenant) -> EnvironmentContext {
        EnvironmentContext {
            volumes: Volumes {
                python: PYTHON_MOUNT.to_owned(),
                nix: NIX_MOUNT.to_owned(),
            },
            interpreter: self.interpreter.clone(),
            index: self.index.clone(),
            system_source: self
                .system
                .as_ref()
                .map(|system| system.source_id.clone())
                .unwrap_or_default(),
            max_age_s: self.max_age_s,
            tenant: tenant.clone(),
            index_scope: self.index_scope,
            no_builds: self.no_builds,
            sources: self.sources.clone(),
        }
    }
}

/// Nix, and the source of system packages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemConfig {
    /// Nix and the package source.
    pub tools: SystemTools,
    /// Identity of the package source: part of every key.
    pub source_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::sandbox::tests::config;
    use hybrid_cache_model::TaskSpec;

    fn other(version: &str) -> LocalInterpreter {
        LocalInterpreter {
            interpreter: Interpreter {
                version: version.to_owned(),
                path: format!("/opt/{version}/bin/python3"),
                ..config().interpreter
            },
            prefix: format!("/opt/{version}").into(),
        }
    }

    fn task(version: &str) -> Task {
        let spec = TaskSpec {
            python_version: version.to_owned(),
            ..TaskSpec::new("1")
        };
        spec.check().unwrap()
    }

    #[test]
    fn a_task_gets_the_interpreter_that_it_asks_for_and_an_old_file_has_one() {
        let config = LocalConfig {
            other_interpreters: vec![other("3.98.1"), other("3.99.2")],
            ..config()
        };
        assert!(config.for_task(&task("")).unwrap().is_none());
        assert!(config.for_task(&task(&config.interpreter.version)).unwrap().is_none());
        let chosen = config.for_task(&task("3.99")).unwrap().unwrap();
        assert_eq!(chosen.interpreter.version, "3.99.2");
        assert_eq!(chosen.interpreter_prefix, PathBuf::from("/opt/3.99.2"));
        assert_eq!(chosen.other_interpreters.len(), 2);
        assert!(chosen.for_task(&task("3.98")).unwrap().is_some());
        let reported = config.for_task(&task("3.97")).unwrap_err().to_string();
        assert!(reported.contains("3.98.1, 3.99.2"), "{reported}");
        let mut old = serde_json::to_value(&config).unwrap();
        old.as_object_mut().unwrap().remove("other_interpreters");
        let old: LocalConfig = serde_json::from_value(old).unwrap();
        assert!(old.other_interpreters.is_empty() && old.for_task(&task("")).unwrap().is_none());
    }
}
