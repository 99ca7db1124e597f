//! Which files a program may read, and which it may change.

use std::path::{Component, Path, PathBuf};

use hybrid_cache_model::Tenant;
use hybrid_cache_model::protocol::RunRequest;

use crate::python::environment::MANIFEST_FILE;
use crate::run::environment::Environment;

/// Folder of the shared bytecode, on the Python volume and below each tenant's folder of it.
const BYTECODE: &str = "bytecode";
/// The paths that a program may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// Readable and executable, with everything below; absent paths are ignored.
    pub read: Vec<PathBuf>,
    /// Also writable.
    pub write: Vec<PathBuf>,
}

/// What the program of `request` may use.
pub fn visible(request: &RunRequest, environment: &Environment) -> Visible {
    let volumes = &request.context.volumes;
    let mut read: Vec<PathBuf> = request.base_path.split(':').map(PathBuf::from).collect();
    read.extend(prefixes(Path::new(&request.context.interpreter.path)));
    if let Some(venv) = environment.venv() {
        // Not the folder around it, which holds the lease and the runner's records.
        read.push(venv);
        read.extend(bytecode(
            environment,
            Path::new(&volumes.python),
            &request.context.tenant,
        ));
    }
    read.extend(environment.store(Path::new(&volumes.nix)));
    read.extend(request.readable.iter().map(PathBuf::from));
    read.retain(|path| path.is_absolute() && path.parent().is_some());
    Visible {
        read,
        write: vec![PathBuf::from(&request.scratch)],
    }
}

/// The shared bytecode folders that the environment's manifest lists. An environment in staging has no manifest and no
/// bytecode yet. Without a readable manifest the program runs slower, without bytecode.
fn bytecode(environment: &Environment, volume: &Path, tenant: &Tenant) -> Vec<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Record {
        bytecode: Option<Vec<String>>,
    }
    let own = format!("{}/{BYTECODE}", tenant.folder());
    let record = environment.python.as_ref().map(|folder| folder.join(MANIFEST_FILE));
    let text = record.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    let listed = serde_json::from_slice(&text)
        .ok()
        .and_then(|record: Record| record.bytecode);
    let is_inside = |folder: &&String| {
        let folder = Path::new(folder);
        let leaves = folder.components().any(|part| !matches!(part, Component::Normal(_)));
        !leaves && (folder.starts_with(BYTECODE) || folder.starts_with(&own))
    };
    let listed = listed.unwrap_or_default();
    listed
        .iter()
        .filter(is_inside)
        .map(|folder| volume.join(folder))
        .collect()
}

/// The folders above an interpreter's `bin`, before and after resolving links.
fn prefixes(interpreter: &Path) -> impl Iterator<Item = PathBuf> {
    let real = std::fs::canonicalize(interpreter).ok();
    let above_bin = |path: &Path| path.parent()?.parent().map(Path::to_owned);
    let named = above_bin(interpreter);
    named.into_iter().chain(real.as_deref().and_then(above_bin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_opens_only_bytecode_folders() {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment {
            python: Some(dir.path().to_owned()),
            ..Environment::default()
        };
        let (volume, tenant) = (Path::new("/v"), Tenant::default());
        let found = || bytecode(&environment, volume, &tenant);
        assert_eq!(found(), [] as [PathBuf; 0], "an environment in staging");
        std::fs::write(dir.path().join(MANIFEST_FILE), "{").unwrap();
        assert_eq!(found(), [] as [PathBuf; 0], "a damaged record");
        let record = r#"{"schema": 1, "bytecode": ["bytecode/a/b", "bytecode/../uv", "/etc", "envs/x", "tenants/other/bytecode/k"]}"#;
        std::fs::write(dir.path().join(MANIFEST_FILE), record).unwrap();
        assert_eq!(found(), [PathBuf::from("/v/bytecode/a/b")]);
    }

    #[test]
    fn an_interpreter_in_the_root_folder_does_not_open_the_whole_file_system() {
        let found: Vec<_> = prefixes(Path::new("/bin/python9")).collect();
        assert_eq!(found, [PathBuf::from("/")]);
        let request: RunRequest = serde_json::from_value(serde_json::json!({
            "task": {"pythonCode": "pass"},
            "place": {
                "volumes": {"python": "/cache/python", "nix": "/nix"},
                "interpreter": {
                    "path": "/bin/python9", "implementation": "cpython", "version": "3.9.9", "abi": "cpython-39",
                    "platform": "linux", "binary_hash": "0",
                },
                "index": "", "system_source": "", "max_age_s": 1,
            },
            "environments": {"source": "lookup"},
            "accept_stale": false,
            "limits": {},
            "scratch": "/tmp/task",
            "base_path": "/hybrid-cache/bin:",
        }))
        .unwrap();
        let visible = visible(&request, &Environment::default());
        assert_eq!(visible.read, [PathBuf::from("/hybrid-cache/bin")]);
    }
}
