//! The tools of what people use instead: those that tasks use, pip as the interpreter brings it, and pex, pinned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_model::protocol::{Provider, PythonTools, SystemTools};
use hybrid_cache_model::sample::{Peer, ToolRecord};
use hybrid_cache_tools::{Checkout, Machine, Progress, Tool, ToolError, pex, process};

use crate::machine;

/// Prints the version of the pip that `venv` puts into an environment. Debian's Python has none unless a package is installed.
const PIP_VERSION: &str = "import ensurepip, venv; print(ensurepip.version())";
/// Longest time for that.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// The tools, and why others are missing.
#[derive(Clone, Debug)]
pub struct AlternativeTools {
    /// uv and the settings of the index.
    pub python: PythonTools,
    /// pex; `None` if it is missing.
    pub pex: Option<Pex>,
    /// Nix with its source of packages.
    pub nix: Option<NixShell>,
    /// Threads that libraries may use.
    pub threads: u32,
    /// Why a peer cannot be had on this machine.
    pub missing: BTreeMap<&'static str, String>,
    /// What the report says of tools that tasks do not use.
    pub records: Vec<ToolRecord>,
}

/// pex.
#[derive(Clone, Debug)]
pub struct Pex {
    /// The interpreter that starts it, which need not be that of a scenario.
    pub interpreter: PathBuf,
    /// The folder that it lies in, for `PYTHONPATH`.
    pub library: PathBuf,
}

/// What `nix shell` needs.
#[derive(Clone, Debug)]
pub struct NixShell {
    /// The program.
    pub program: PathBuf,
    /// The source of packages, and variables that Nix needs.
    pub tools: SystemTools,
    /// The command that starts bubblewrap.
    pub bubblewrap: Vec<String>,
    /// Folders and files of `/`, which it sees as they are.
    pub root_folders: Vec<PathBuf>,
}

impl AlternativeTools {
    /// Finds or brings the tools. What is not available is a reason in `missing`.
    pub fn find(checkout: &Checkout, machine: &Machine, progress: &dyn Progress) -> AlternativeTools {
        let mut tools = AlternativeTools {
            python: machine.config.python_tools.clone(),
            pex: None,
            nix: None,
            threads: machine::cpus(),
            missing: BTreeMap::new(),
            records: Vec::new(),
        };
        let interpreter = &machine.config.interpreter;
        let mut ask = Command::new(&interpreter.path);
        ask.args(["-I", "-c", PIP_VERSION]);
        match process::output(&mut ask, QUESTION_LIMIT) {
            Ok(version) => tools.records.push(ToolRecord {
                name: "pip".to_owned(),
                version: version.trim().to_owned(),
                sha256: None,
                origin: "found".to_owned(),
            }),
            Err(error) => tools.lacks(
                Peer::PipVenv,
                format!("this Python cannot create an environment with pip: {error}"),
            ),
        }
        let python = (interpreter.path.as_ref(), interpreter.version.as_str());
        tools.take_pex(
            pex::provide(checkout, &tools.python, python, progress),
            interpreter.path.as_ref(),
        );
        match nix_shell(machine) {
            Ok(nix) => tools.nix = Some(nix),
            Err(reason) => tools.lacks(Peer::NixShell, reason),
        }
        tools
    }

    /// Why this peer cannot be had on this machine; `None` if it can.
    pub fn missing(&self, peer: Peer) -> Option<&str> {
        self.missing.get(peer.name()).map(String::as_str)
    }

    fn lacks(&mut self, peer: Peer, reason: String) {
        self.missing.insert(peer.name(), reason.replace('\n', "; "));
    }

    fn take_pex(&mut self, brought: Result<Tool, ToolError>, interpreter: &Path) {
        match brought {
            Ok(tool) => {
                self.records.push(tool.record());
                self.pex = Some(Pex {
                    interpreter: interpreter.to_owned(),
                    library: tool.path,
                });
            }
            Err(error) => self.lacks(Peer::PexVenv, format!("{error}; {}", error.hint())),
        }
    }
}

fn nix_shell(machine: &Machine) -> Result<NixShell, String> {
    let Some(system) = &machine.config.system else {
        return Err(format!("this machine has no Nix: {}", machine.lacking.join("; ")));
    };
    let Provider::Nix { program } = &system.tools.provider else {
        return Err("nix-portable starts Nix in a sandbox of its own, with its own store".to_owned());
    };
    let entries = std::fs::read_dir("/").map_err(|error| format!("/ cannot be read: {error}"))?;
    let mut root_folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    root_folders.retain(|path| path.exists() && !["/nix", "/proc"].iter().any(|own| path.as_os_str() == *own));
    root_folders.sort();
    Ok(NixShell {
        program: program.into(),
        tools: system.tools.clone(),
        bubblewrap: machine.config.bubblewrap.clone(),
        root_folders,
    })
}
