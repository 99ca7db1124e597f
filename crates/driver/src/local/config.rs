//! What the local driver has to be told: where its caches are and which programs it may use.

use std::path::PathBuf;

use hybrid_cache_model::Tenant;
use hybrid_cache_model::protocol::{EnvironmentContext, IndexScope, Interpreter, PythonTools, SystemTools, Volumes};
use serde::{Deserialize, Serialize};

use super::sandbox;
use crate::trace::{FOLDER, TraceConfig};

/// Default age after which a request is resolved anew: seven days, in seconds.
pub const DEFAULT_MAX_AGE_S: u64 = 7 * 24 * 3600;

/// Default of [`LocalConfig::network_idle_s`]: five minutes, in seconds.
pub const DEFAULT_NETWORK_IDLE_S: u64 = 300;

fn default_network_idle_s() -> u64 {
    DEFAULT_NETWORK_IDLE_S
}

/// Whether user code may use the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A network of its own that reaches the outside and names, but neither this machine nor link-local addresses.
    Isolated,
    /// The machine's own network, loopback included.
    Shared,
    /// A network of its own with nothing but an unused loopback.
    None,
}

/// Everything the local driver needs. It reads no environment variable and searches no path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalConfig {
    /// The cache folder; drawn in [`crate::local::folders`].
    pub root: PathBuf,
    /// The runner program, static or at least runnable with the machine's own libraries.
    pub runner: PathBuf,
    /// bubblewrap, with whatever must stand in front of it.
    pub bubblewrap: Vec<String>,
    /// The interpreter that environments are made for.
    pub interpreter: Interpreter,
    /// The folder it lives in, standard library included; bound read-only at the same place.
    pub interpreter_prefix: PathBuf,
    /// Identity of the package index, without credentials.
    pub index: String,
    /// Who may share what comes from it.
    #[serde(default)]
    pub index_scope: IndexScope,
    /// uv and its settings.
    pub python_tools: PythonTools,
    /// Nix and its settings; absent where the machine can have none.
    pub system: Option<SystemConfig>,
    /// Folders that the preparing sandbox sees read-only at the same place, such as the tool folder.
    pub tool_folders: Vec<PathBuf>,
    /// Age after which a request is resolved anew, in seconds.
    pub max_age_s: u64,
    /// Variables that user code gets, such as the place of the certificates.
    pub task_variables: Vec<(String, String)>,
    /// Network of user code.
    pub network: Network,
    /// pasta, which [`Network::Isolated`] needs; `None` if the machine has none.
    #[serde(default)]
    pub pasta: Option<Vec<String>>,
    /// Seconds that an unused network of [`Network::Isolated`] is kept for the next task.
    #[serde(default = "default_network_idle_s")]
    pub network_idle_s: u64,
    /// Most bytes each volume may hold; 0: half of what its file system has for it (what is free and what it holds).
    pub budget_bytes: u64,
    /// Most inodes each volume may hold; 0: half of what its file system has for it.
    pub budget_inodes: u64,
    /// Most bytes of recorded requests, in `trace/` below the cache folder; 0: none are recorded.
    #[serde(default)]
    pub trace_bytes: u64,
}

impl LocalConfig {
    /// Where requests are recorded; `None` if they are not.
    pub fn trace(&self) -> Option<TraceConfig> {
        (self.trace_bytes > 0).then(|| TraceConfig {
            folder: self.root.join(FOLDER),
            max_bytes: self.trace_bytes,
        })
    }

    /// Where everything of a tenant is inside the sandboxes: what every key is made for.
    pub fn context(&self, tenant: &Tenant) -> EnvironmentContext {
        EnvironmentContext {
            volumes: Volumes {
                python: sandbox::PYTHON_MOUNT.to_owned(),
                nix: sandbox::NIX_MOUNT.to_owned(),
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
        }
    }
}

/// The system package side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemConfig {
    /// Nix and the package source.
    pub tools: SystemTools,
    /// Identity of the package source: part of every key.
    pub source_id: String,
}
