//! A system volume with a scripted double for Nix.

#![expect(dead_code, reason = "each of the test programs uses another part of this")]
#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::protocol::{
    EnvironmentContext, Interpreter, Keep, PackageSource, PrepareRequest, Provider, SystemTools, Volumes,
};
use hybrid_cache_model::{Failure, SystemKey, TaskSpec};
use hybrid_cache_runner::child::Deadline;
use hybrid_cache_runner::clock::Recorder;
use hybrid_cache_runner::prepare;
use hybrid_cache_runner::system::{SystemPrepared, SystemVolume};
use tempfile::TempDir;

/// Answers like Nix and changes the store like Nix; `@ROOT@` is the volume.
const NIX_DOUBLE: &str = r#"#!/bin/sh
root=@ROOT@
echo "$@" >> $root/calls
case "$1" in
build)
    [ -e $root/broken ] && { sleep 1; echo "error: attribute 'x' in selection path 'x' not found" >&2; exit 1; }
    [ -e $root/full ] && { echo "error: writing: No space left on device" >&2; echo "error: networking issues" >&2; exit 1; }
    sleep 0.1
    mkdir -p $root/store/0a-git/bin $root/store/0b-gnumake/bin $root/store/0c-libc
    echo program > $root/store/0a-git/bin/git
    echo '[{"drvPath":"x","outputs":{"out":"'$root'/store/0a-git"}},{"drvPath":"y","outputs":{"out":"'$root'/store/0b-gnumake"}}]' ;;
path-info)
    echo '[{"path":"/nix/store/0a-git","narSize":100},{"path":"/nix/store/0b-gnumake","narSize":20},{"path":"/nix/store/0c-libc","narSize":3}]' ;;
store)
    rm -f $root/full
    [ -e $root/var/nix/gcroots/hybrid-cache/*/*/0 ] || rm -rf $root/store/* ;;
esac
"#;

/// A system volume, and the request for `make,git` on it.
pub struct Bench {
    pub dir: Arc<TempDir>,
    pub request: PrepareRequest,
}

pub fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let program = dir.path().join("nix");
    std::fs::write(&program, NIX_DOUBLE.replace("@ROOT@", &root)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(dir.path().join("store/0c-libc")).unwrap();
    let interpreter = Interpreter {
        platform: "x86_64-linux-gnu".to_owned(),
        ..Interpreter::default()
    };
    let context = EnvironmentContext {
        volumes: Volumes {
            python: root.clone(),
            nix: root,
        },
        interpreter,
        index: String::new(),
        system_source: "nixpkgs:1".to_owned(),
        max_age_s: 0,
        tenant: Default::default(),
        index_scope: Default::default(),
        no_builds: false,
        sources: Default::default(),
    };
    let tools = SystemTools {
        provider: Provider::Nix {
            program: program.display().to_string(),
        },
        source: PackageSource::Nixpkgs {
            flake: "github:NixOS/nixpkgs/1".to_owned(),
        },
        variables: Vec::new(),
    };
    let request = PrepareRequest {
        task: TaskSpec {
            system_dependencies: "make,git".to_owned(),
            ..TaskSpec::new("1")
        },
        context,
        keep: Keep::Publish,
        python_tools: None,
        system_tools: Some(tools),
        deadline_ms: 20_000,
        other_pythons: Vec::new(),
        budgets: Budgets::default(),
        describe: false,
        builds: None,
    };
    Bench {
        dir: Arc::new(dir),
        request,
    }
}

impl Bench {
    /// The same volume and request of another tenant.
    pub fn of_tenant(&self, tenant: &str) -> Bench {
        let mut request = self.request.clone();
        request.context.tenant = tenant.parse().unwrap();
        Bench {
            dir: self.dir.clone(),
            request,
        }
    }

    pub fn key(&self) -> SystemKey {
        let task = self.request.task.check().unwrap();
        SystemKey::new(&task.system, &self.request.context)
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn prepare(&self) -> Result<SystemPrepared, Failure> {
        prepare::system::prepare(&self.request, &Recorder::start())
    }

    pub fn calls(&self, command: &str) -> usize {
        let calls = std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with(command)).count()
    }

    pub fn volume(&self) -> SystemVolume {
        SystemVolume::from_context(&self.request.context)
    }

    pub fn entries(&self) -> usize {
        std::fs::read_dir(self.volume().index()).map_or(0, Iterator::count)
    }
}

pub fn deadline() -> Deadline {
    Deadline::at(std::time::Instant::now() + std::time::Duration::from_secs(20)).unwrap()
}
