//! This machine as a place to run tasks: tools provisioned, the runner built, the local driver configured.

use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::config::{DEFAULT_MAX_AGE_S, DEFAULT_NETWORK_IDLE_S};
use hybrid_cache_driver::local::{LocalConfig, LocalDriver, LocalInterpreter, Network, SystemConfig};
use hybrid_cache_model::protocol::{
    EnvironmentContext, IndexScope, Interpreter, Limits, PackageSource, Provider, PythonTools, SystemTools,
};
use hybrid_cache_model::sample::ToolRecord;
use hybrid_cache_model::{Scenario, TaskErrors, TaskSpec, Tenant, python_version};
use serde::{Deserialize, Serialize};

use crate::checkout::Checkout;
use crate::error::{Error, ErrorContext, Result};
use crate::programs::Built;
use crate::progress::Progress;
use crate::provision::provision;
use crate::python::PythonInterpreter;
use crate::settings::OperatorSettings;
use crate::task_network::TaskNetwork;
use crate::tool::{self, NixProvider, Origin, Tool, ToolChoice, Tools};
use crate::{environment, facts, failed, machine_facts, programs, saved_source, uv_python};

/// What a person chooses for tasks on this machine.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// Cache folder; `None` is [`default_root`].
    pub cache_dir: Option<PathBuf>,
    /// Which Nix, and which packages.
    pub choice: ToolChoice,
    /// The network of user code.
    pub network: Network,
    /// Keep what comes from the package index to the tenant, whatever its address says.
    pub private_index: bool,
    /// Refuse packages without a wheel instead of building them.
    pub no_builds: bool,
    /// The operator's settings file; `None` is the one that the variable names, or none.
    pub settings: Option<PathBuf>,
    /// Most bytes of recorded requests; 0 if none are to be recorded.
    pub trace_bytes: u64,
    /// Bounds on each task.
    pub limits: Limits,
}

/// A machine that is ready to run tasks.
pub struct Machine {
    /// The local driver's settings.
    pub config: LocalConfig,
    /// Bounds on each task.
    pub limits: Limits,
    /// Which Nix: `nix` or `nix-portable`, or `none`.
    pub provider: String,
    /// The programs in use, for the report.
    pub tools: Vec<ToolRecord>,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// What is not available here, with the next step.
    pub lacking: Vec<String>,
}

/// What was found on a machine, whatever a person chooses beside the tools.
#[derive(Serialize, Deserialize)]
struct FoundTools {
    /// The caches' folder, the runner and the options are not set.
    config: LocalConfig,
    is_index_private: bool,
    provider: String,
    tools: Vec<ToolRecord>,
    notes: Vec<String>,
    lacking: Vec<String>,
}

impl FoundTools {
    fn find(checkout: &Checkout, choice: &ToolChoice, progress: &dyn Progress) -> Result<FoundTools> {
        let fingerprint = machine_facts::fingerprint(checkout, choice);
        if let Some(found) = facts::recall(checkout, "tools", &fingerprint) {
            return Ok(found);
        }
        let tools = provision(checkout.root(), choice, progress)?;
        let found = FoundTools::from_tools(checkout, choice, &tools)?;
        // What is missing now may be there the next time, without any file that says so.
        if found.lacking.is_empty() {
            let witnesses = machine_facts::witnesses(&tools);
            facts::keep(checkout, "tools", &fingerprint, &witnesses, &found);
        }
        Ok(found)
    }

    fn from_tools(checkout: &Checkout, choice: &ToolChoice, tools: &Tools) -> Result<FoundTools> {
        let mut notes = Vec::new();
        if *choice != ToolChoice::default() {
            notes.push(format!("forced: provider {:?}, source {:?}", choice.provider, choice.source).to_lowercase());
        }
        let provider = tools.nix.as_ref().map_or("none", |nix| match nix.provider {
            NixProvider::Nix => "nix",
            NixProvider::NixPortable => "nix-portable",
        });
        let config = LocalConfig {
            root: PathBuf::new(),
            runner: PathBuf::new(),
            bubblewrap: tools.bwrap.command.clone(),
            interpreter: interpreter(&tools.interpreter),
            interpreter_prefix: tools.interpreter.base_prefix.clone(),
            other_interpreters: tools.other_interpreters.iter().map(local_interpreter).collect(),
            index: tools.index.identity.clone(),
            index_scope: IndexScope::Public,
            python_tools: PythonTools {
                uv: text(&tools.uv.path)?,
                variables: tools.index.env.clone().into_iter().collect(),
            },
            system: system(tools)?,
            tool_folders: tool_folders(checkout, tools),
            max_age_s: DEFAULT_MAX_AGE_S,
            task_variables: Vec::new(),
            certificates: Vec::new(),
            network: Network::Isolated,
            pasta: tools.pasta.as_ref().map(|pasta| pasta.command.clone()),
            network_idle_s: DEFAULT_NETWORK_IDLE_S,
            budget_bytes: 0,
            budget_inodes: 0,
            trace_bytes: 0,
            no_builds: false,
            sources: Default::default(),
        };
        Ok(FoundTools {
            config,
            is_index_private: tools.index.is_private,
            provider: provider.to_owned(),
            tools: records(tools),
            notes,
            lacking: tools.lacking.clone(),
        })
    }

    /// With the runner and what a person chose.
    fn into_machine(self, options: &MachineOptions, runner: Built, progress: &dyn Progress) -> Result<Machine> {
        let root = cache_root(options.cache_dir.as_deref())?;
        let system = match self.config.system.clone() {
            Some(system) => {
                if let Some(warning) = saved_source::keep(&root, &system) {
                    progress.line(&warning);
                }
                Some(system)
            }
            None if options.choice == ToolChoice::default() => saved_source::recall(&root),
            None => None,
        };
        let reaches_loopback = options.network == Network::Shared;
        let operator = OperatorSettings::read(options.settings.as_deref())?;
        let mut python_tools = self.config.python_tools;
        operator.add_to(&mut python_tools.variables)?;
        let is_private = self.is_index_private || operator.is_private() || options.private_index;
        let tasks = TaskNetwork::on_machine(&python_tools.variables, reaches_loopback);
        tasks.warnings.iter().for_each(|warning| progress.line(warning));
        let config = LocalConfig {
            root,
            task_variables: tasks.variables,
            certificates: tasks.certificates,
            runner: runner.program,
            index_scope: index_scope(is_private),
            python_tools,
            sources: operator.sources,
            system,
            network: options.network,
            trace_bytes: options.trace_bytes,
            no_builds: options.no_builds,
            ..self.config
        };
        let mut notes = runner.notes;
        notes.extend(self.notes);
        Ok(Machine {
            config,
            limits: options.limits.clone(),
            provider: self.provider,
            tools: self.tools,
            notes,
            lacking: self.lacking,
        })
    }
}

/// Who may share what comes from an index.
pub fn index_scope(is_private: bool) -> IndexScope {
    if is_private {
        IndexScope::Private
    } else {
        IndexScope::Public
    }
}

impl Machine {
    /// Brings the tools and builds the runner, side by side, or recalls both if nothing has changed since.
    ///
    /// # Errors
    /// A tool that every run needs is not available, or the runner does not build.
    pub fn provision(checkout: &Checkout, options: &MachineOptions, progress: &dyn Progress) -> Result<Machine> {
        let (found, runner) = std::thread::scope(|scope| {
            let found = scope.spawn(|| FoundTools::find(checkout, &options.choice, progress));
            let runner = programs::build_kept(checkout, progress);
            (found.join(), runner)
        });
        let found = found.map_err(|_| failed!("finding the tools panicked"))??;
        found.into_machine(options, runner?, progress)
    }

    /// Brings all tools into the checkout's folder for tools, whatever is known from before, for a runner that is built already.
    ///
    /// # Errors
    /// A tool that every run needs is not available.
    pub fn bring(
        checkout: &Checkout,
        options: &MachineOptions,
        runner: PathBuf,
        progress: &dyn Progress,
    ) -> Result<Machine> {
        let tools = provision(checkout.root(), &options.choice, progress)?;
        let found = FoundTools::from_tools(checkout, &options.choice, &tools)?;
        let runner = Built {
            program: runner,
            notes: Vec::new(),
        };
        found.into_machine(options, runner, progress)
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
    /// The task is not acceptable, or asks for system packages and there is no Nix.
    pub fn can_run_task(&self, spec: &TaskSpec) -> Result<()> {
        let task = self.config.check(spec);
        let task = task.map_err(|error| Error::input([error.to_string(), next_step(&error)].concat()))?;
        if task.system.is_empty() || self.config.system.is_some() {
            return Ok(());
        }
        let lacking = self.lacking.join("\n");
        Err(Error::prerequisite(format!(
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

/// The command that gets a Python which is missing, as a line of its own, if that is what is wrong.
fn next_step(errors: &TaskErrors) -> String {
    match python_version::missing(errors) {
        Some(version) => format!("\nhint: `{}` gets one", uv_python::command_for(version)),
        None => String::new(),
    }
}

/// `hybrid-cache` in the user's cache folder, as the XDG base directory specification places it.
pub fn default_root() -> Result<PathBuf> {
    let absolute = |name: &str| {
        environment::raw(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| {
        Error::prerequisite("neither XDG_CACHE_HOME nor HOME names a folder\nhint: name one with --cache-dir")
    })?;
    Ok(cache.join("hybrid-cache"))
}

/// The folder of the caches: the named one, or [`default_root`].
///
/// # Errors
/// The user has no cache folder and none is named.
pub fn cache_root(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display())),
        None => default_root(),
    }
}

fn local_interpreter(found: &PythonInterpreter) -> LocalInterpreter {
    LocalInterpreter {
        interpreter: interpreter(found),
        prefix: found.base_prefix.clone(),
    }
}

fn interpreter(found: &PythonInterpreter) -> Interpreter {
    Interpreter {
        path: found.path.display().to_string(),
        implementation: found.implementation.clone(),
        version: found.version.clone(),
        abi: found.cache_tag.clone(),
        platform: found.platform.clone(),
        libc: found.libc.clone(),
        binary_hash: found.blake3.clone(),
        start: found.start.clone(),
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
        tool::PackageSource::Nixpkgs { revision, .. } => {
            let flake = format!("github:NixOS/nixpkgs/{revision}");
            (PackageSource::Nixpkgs { flake }, format!("nixpkgs:{revision}"))
        }
        tool::PackageSource::Debnix { folder, digest } => {
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

impl Tool {
    /// The tool in a report.
    pub fn record(&self) -> ToolRecord {
        record(self.name, &self.version, &self.origin)
    }
}

fn record(name: &str, version: &str, origin: &Origin) -> ToolRecord {
    let (sha256, origin) = match origin {
        Origin::Found { .. } => (None, "found"),
        Origin::Brought { sha256, .. } => (Some(sha256.clone()), "brought"),
    };
    ToolRecord {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256,
        origin: origin.to_owned(),
    }
}

fn records(tools: &Tools) -> Vec<ToolRecord> {
    let programs = [
        Some(&tools.uv),
        Some(&tools.bwrap),
        tools.pasta.as_ref(),
        tools.busybox.as_ref(),
    ]
    .into_iter()
    .flatten();
    let mut records: Vec<_> = programs.map(Tool::record).collect();
    records.extend(tools.nix.as_ref().map(|nix| record("nix", &nix.version, &nix.origin)));
    records
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not a UTF-8 path", path.display()))
}
