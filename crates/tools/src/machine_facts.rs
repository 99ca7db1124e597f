//! What the tools of this machine depend on: variables, settings of pip, uv and apt, programs, and the checkout's pins.

use std::path::{Path, PathBuf};

use crate::checkout::Checkout;
use crate::environment;
use crate::facts::{Fingerprint, Witness};
use crate::pins;
use crate::python::{self, PythonInterpreter};
use crate::tool::{ToolChoice, Tools};

/// Beginnings of the names of variables that tools, pip, apt or a manager of interpreters read.
const VARIABLES: [&str; 20] = [
    "PATH",
    "HOME",
    "USER",
    "XDG_",
    "PIP_",
    "PYTHON",
    "PYENV",
    "ASDF_",
    "MISE_",
    "VIRTUAL_ENV",
    "CONDA_",
    "UV_",
    "SSL_",
    "NETRC",
    "APT_CONFIG",
    "RES_OPTIONS",
    "NIX_",
    "LD_",
    "LC_ALL",
    "LANG",
];
/// Programs that provisioning looks for.
const PROGRAMS: [&str; 6] = ["python3", "uv", "bwrap", "pasta", "nix", "apt-config"];
/// Files in which a manager of interpreters (pyenv, asdf, mise) reads which one a folder and the folders below use.
const INTERPRETER_FILES: [&str; 4] = [".python-version", ".tool-versions", "mise.toml", ".mise.toml"];

fn is_read(name: &str) -> bool {
    let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
    is_proxy || VARIABLES.iter().any(|start| name.starts_with(start))
}

/// A digest of all that decides over the tools, as far as it is known before they are found.
pub fn fingerprint(checkout: &Checkout, choice: &ToolChoice) -> Fingerprint {
    let mut fingerprint = Fingerprint::from_program();
    fingerprint.text(&format!("{choice:?}"));
    fingerprint.variables(is_read);
    for name in PROGRAMS {
        let found = fingerprint.program(name);
        if name == "python3" && found.is_some_and(|path| python::is_script(&path)) {
            interpreter_choice(&mut fingerprint);
        }
    }
    for candidate in python::candidates() {
        fingerprint.file(&candidate);
    }
    for file in settings_files() {
        fingerprint.file(&file);
    }
    for folder in ["sources.list.d", "apt.conf.d", "keyrings"] {
        fingerprint.folder(&Path::new("/etc/apt").join(folder));
    }
    fingerprint.file(&checkout.path(pins::TOOLS_FILE));
    fingerprint.folder(&checkout.path("images/debnix"));
    fingerprint
}

/// What such a shim looks at.
fn interpreter_choice(fingerprint: &mut Fingerprint) {
    let here = environment::current_folder().unwrap_or_default();
    fingerprint.text(&here.display().to_string());
    for folder in here.ancestors() {
        for name in INTERPRETER_FILES {
            fingerprint.file(&folder.join(name));
        }
    }
    let home = home();
    let pyenv = python::pyenv_root();
    fingerprint.file(&pyenv.join("version"));
    fingerprint.folder(&pyenv.join("versions"));
    for name in INTERPRETER_FILES {
        fingerprint.file(&home.join(name));
    }
    fingerprint.file(&config_home().join("mise/config.toml"));
}

fn home() -> PathBuf {
    environment::raw("HOME").map(PathBuf::from).unwrap_or_default()
}

fn config_home() -> PathBuf {
    environment::raw("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from)
}

/// Where pip, uv and apt look for settings.
fn settings_files() -> Vec<PathBuf> {
    let (home, config) = (home(), config_home());
    let mut files: Vec<PathBuf> = [
        "/etc/pip.conf",
        "/etc/xdg/pip/pip.conf",
        "/etc/apt/sources.list",
        "/etc/apt/apt.conf",
    ]
    .map(PathBuf::from)
    .into();
    files.extend([home.join(".pip/pip.conf"), config.join("pip/pip.conf")]);
    let named = ["PIP_CONFIG_FILE", "APT_CONFIG"]
        .into_iter()
        .filter_map(environment::raw);
    files.extend(named.map(PathBuf::from));
    let folders = environment::text("XDG_CONFIG_DIRS").unwrap_or_default();
    files.extend(folders.split(':').map(|folder| Path::new(folder).join("pip/pip.conf")));
    let environment = environment::raw("VIRTUAL_ENV").map(PathBuf::from);
    files.extend(environment.map(|folder| folder.join("pip.conf")));
    files
}

/// Files that the tools themselves named. If one of them is replaced, the tools are looked up again.
pub fn witnesses(tools: &Tools) -> Vec<Witness> {
    let programs = [
        Some(&tools.uv),
        Some(&tools.bwrap),
        tools.pasta.as_ref(),
        tools.busybox.as_ref(),
    ];
    let mut paths: Vec<PathBuf> = programs.into_iter().flatten().map(|tool| tool.path.clone()).collect();
    paths.extend(tools.nix.as_ref().map(|nix| nix.program.clone()));
    let witnesses = paths.into_iter().map(Witness::new);
    let witnesses = witnesses.chain(interpreter_witnesses(&tools.interpreter));
    let others = tools
        .other_interpreters
        .iter()
        .map(|other| Witness::new(other.path.clone()));
    let witnesses = witnesses.chain(others);
    witnesses.chain(tools.index.witnesses()).collect()
}

/// The interpreter, and the settings of pip that lie beside it.
pub fn interpreter_witnesses(interpreter: &PythonInterpreter) -> [Witness; 2] {
    [interpreter.path.clone(), interpreter.base_prefix.join("pip.conf")].map(Witness::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_count_in_both_cases_and_any_name_is_looked_at_whole() {
        for name in ["https_proxy", "HTTPS_PROXY", "PIP_INDEX_URL", "PATH"] {
            assert!(is_read(name), "{name}");
        }
        // The sixth byte from the end is within a letter.
        for name in ["ÄÖÜäx", "TERM", "ß"] {
            assert!(!is_read(name), "{name}");
        }
    }
}
