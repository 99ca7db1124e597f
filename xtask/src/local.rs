//! This machine as a place to run tasks: tools provisioned, the runner built, the local driver configured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hybrid_cache_driver::local::config::{DEFAULT_MAX_AGE_S, DEFAULT_NETWORK_IDLE_S};
use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Network, SystemConfig};
use hybrid_cache_model::protocol::{
    EnvironmentContext, IndexScope, Interpreter, Limits, PackageSource, Provider, PythonTools, SystemTools,
};
use hybrid_cache_model::sample::ToolRecord;
use hybrid_cache_model::{Scenario, TaskSpec, Tenant};

use crate::checkout::Checkout;
use crate::exit::Expected;
use crate::tools::{self, NixProvider, Origin, ProviderChoice, SourceChoice, Tool, ToolChoice, Tools};
use crate::{flags, remembered, runner};

/// A machine that is ready to run tasks.
pub struct Machine {
    /// What the local driver is told.
    pub config: LocalConfig,
    /// Bounds on each task.
    pub limits: Limits,
    /// Which Nix: `nix` or `nix-portable`, or `none`.
    pub provider: String,
    /// The programs in use, for the report.
    pub tools: Vec<ToolRecord>,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// What cannot be had here, with its next step.
    pub lacking: Vec<String>,
}

/// Who may share what comes from an index: its tenant alone where it says so or where an address carries credentials.
pub fn index_scope(index: &tools::IndexSettings, private: bool) -> IndexScope {
    if private || index.is_private {
        IndexScope::Private
    } else {
        IndexScope::Public
    }
}

impl Machine {
    /// Brings the tools and builds the runner.
    ///
    /// # Errors
    /// A tool that every run needs cannot be had, or the runner does not build.
    pub fn provision(checkout: &Checkout, flags: &flags::Local) -> Result<Machine> {
        let choice = choice(flags.provider, flags.source);
        let tools = tools::provision(checkout.root(), &choice, tools::for_stderr().as_ref()).map_err(prerequisite)?;
        let runner = runner::build_kept(checkout)?;
        let root = match &flags.cache_dir {
            Some(folder) => absolute(folder)?,
            None => default_root()?,
        };
        let mut notes = runner.notes;
        if choice != ToolChoice::default() {
            notes.push(format!("forced: provider {:?}, source {:?}", flags.provider, flags.source).to_lowercase());
        }
        let records = records(&tools);
        let provider = tools.nix.as_ref().map_or("none", |nix| match nix.provider {
            NixProvider::Nix => "nix",
            NixProvider::NixPortable => "nix-portable",
        });
        let system = match system(&tools)? {
            Some(system) => {
                remembered::keep(&root, &system);
                Some(system)
            }
            None if choice == ToolChoice::default() => remembered::recall(&root),
            None => None,
        };
        let network = match flags.network() {
            flags::NetworkName::Isolated => Network::Isolated,
            flags::NetworkName::Shared => Network::Shared,
            flags::NetworkName::None => Network::None,
        };
        let config = LocalConfig {
            root,
            runner: runner.program,
            bubblewrap: tools.bwrap.command.clone(),
            interpreter: interpreter(&tools),
            interpreter_prefix: tools.interpreter.base_prefix.clone(),
            index: tools.index.identity.clone(),
            index_scope: index_scope(&tools.index, flags.private_index),
            python_tools: PythonTools {
                uv: text(&tools.uv.path)?,
                variables: tools.index.env.clone().into_iter().collect(),
                allow_source_builds: false,
            },
            system,
            tool_folders: tool_folders(checkout, &tools),
            max_age_s: DEFAULT_MAX_AGE_S,
            task_variables: Vec::new(),
            network,
            pasta: tools.pasta.as_ref().map(|pasta| pasta.command.clone()),
            network_idle_s: DEFAULT_NETWORK_IDLE_S,
            budget_bytes: 0,
            budget_inodes: 0,
            trace_bytes: flags.trace_bytes(),
        };
        Ok(Machine {
            config,
            limits: flags.bounds.limits(),
            provider: provider.to_owned(),
            tools: records,
            notes,
            lacking: tools.lacking,
        })
    }

    /// Where everything is inside the sandboxes: what keys are made for.
    pub fn context(&self) -> EnvironmentContext {
        self.config.context(&Tenant::default())
    }

    /// Opens the driver.
    ///
    /// # Errors
    /// The cache folder cannot be written.
    pub fn driver(&self) -> Result<LocalDriver> {
        LocalDriver::open(self.config.clone()).context("opening the caches")
    }

    /// Refuses a task that this machine has no tools for, before anything is started.
    ///
    /// # Errors
    /// The task is not acceptable, or asks for system packages where there is no Nix.
    pub fn can_run_task(&self, spec: &TaskSpec) -> Result<()> {
        let task = spec.check().map_err(|error| Expected::usage(error.to_string()))?;
        if task.system.is_empty() || self.config.system.is_some() {
            return Ok(());
        }
        let lacking = self.lacking.join("\n");
        Err(Expected::prerequisite(format!(
            "system packages cannot be made on this machine\n{lacking}"
        )))
    }

    /// The same for every scenario.
    ///
    /// # Errors
    /// See [`Machine::can_run_task`].
    pub fn can_run(&self, scenarios: &[Scenario]) -> Result<()> {
        let check = |scenario: &Scenario| {
            self.can_run_task(&scenario.request)
                .with_context(|| format!("scenario {}", scenario.name))
        };
        scenarios.iter().try_for_each(check)
    }
}

/// The tools a person asked for by name.
pub fn choice(provider: flags::ProviderName, source: flags::SourceName) -> ToolChoice {
    ToolChoice {
        provider: match provider {
            flags::ProviderName::Auto => ProviderChoice::Auto,
            flags::ProviderName::Nix => ProviderChoice::Nix,
            flags::ProviderName::NixPortable => ProviderChoice::NixPortable,
        },
        source: match source {
            flags::SourceName::Auto => SourceChoice::Auto,
            flags::SourceName::Nixpkgs => SourceChoice::Nixpkgs,
            flags::SourceName::Debnix => SourceChoice::Debnix,
        },
    }
}

/// A tool that cannot be had, with its next step.
pub fn prerequisite(error: tools::ToolError) -> anyhow::Error {
    Expected::prerequisite(format!("{error}\nhint: {}", error.hint()))
}

/// `hybrid-cache` in the user's cache folder, as the XDG base directory specification places it.
pub fn default_root() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| {
        Expected::prerequisite("neither XDG_CACHE_HOME nor HOME names a folder\nhint: name one with --cache-dir")
    })?;
    Ok(cache.join("hybrid-cache"))
}

fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))
}

fn interpreter(tools: &Tools) -> Interpreter {
    let found = &tools.interpreter;
    Interpreter {
        path: found.path.display().to_string(),
        implementation: found.implementation.clone(),
        version: found.version.clone(),
        abi: found.cache_tag.clone(),
        platform: found.platform.clone(),
        libc: found.libc.clone(),
        binary_hash: found.blake3.clone(),
    }
}

fn system(tools: &Tools) -> Result<Option<SystemConfig>> {
    let (Some(nix), Some(source)) = (&tools.nix, &tools.source) else {
        return Ok(None);
    };
    let program = text(&nix.program)?;
    let provider = match nix.provider {
        NixProvider::Nix => Provider::Nix { program },
        NixProvider::NixPortable => Provider::NixPortable { program },
    };
    let (source, source_id) = match source {
        tools::PackageSource::Nixpkgs { revision, .. } => {
            let flake = format!("github:NixOS/nixpkgs/{revision}");
            (PackageSource::Nixpkgs { flake }, format!("nixpkgs:{revision}"))
        }
        tools::PackageSource::Debnix { folder, digest } => {
            let busybox = tools
                .busybox
                .as_ref()
                .context("debnix was chosen without its busybox")?;
            let source = PackageSource::Debnix {
                folder: text(folder)?,
                mirrors: tools.apt_mirror.iter().cloned().collect(),
                busybox: text(&busybox.path)?,
            };
            (source, format!("debnix:{}", digest.get(..16).unwrap_or(digest)))
        }
    };
    let variables = nix.env.clone().into_iter().collect();
    Ok(Some(SystemConfig {
        tools: SystemTools {
            provider,
            source,
            variables,
        },
        source_id,
    }))
}

/// What the preparing sandbox sees of the checkout and of this machine beside the basics.
fn tool_folders(checkout: &Checkout, tools: &Tools) -> Vec<PathBuf> {
    let mut folders = vec![checkout.path(".tools"), checkout.path("images/debnix")];
    folders.extend(
        [&tools.uv.path]
            .into_iter()
            .filter_map(|program| Some(program.parent()?.to_owned())),
    );
    folders.extend(tools.index.files.iter().cloned());
    folders.retain(|folder| folder.exists() && !folder.starts_with("/usr") && !folder.starts_with("/etc/ssl"));
    folders.sort();
    folders.dedup();
    folders
}

fn records(tools: &Tools) -> Vec<ToolRecord> {
    let record = |name: &str, version: &str, origin: &Origin| match origin {
        Origin::Found { .. } => ToolRecord {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: None,
            origin: "found".to_owned(),
        },
        Origin::Brought { sha256, .. } => ToolRecord {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: Some(sha256.clone()),
            origin: "brought".to_owned(),
        },
    };
    let programs = [
        Some(&tools.uv),
        Some(&tools.bwrap),
        tools.pasta.as_ref(),
        tools.busybox.as_ref(),
    ]
    .into_iter()
    .flatten();
    let mut records: Vec<_> = programs
        .map(
            |Tool {
                 name, version, origin, ..
             }| record(name, version, origin),
        )
        .collect();
    records.extend(tools.nix.as_ref().map(|nix| record("nix", &nix.version, &nix.origin)));
    records
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is no UTF-8 path", path.display()))
}
