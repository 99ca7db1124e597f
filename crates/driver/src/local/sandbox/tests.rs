//! What the sandboxes are made of, as a reader of the security page would want to see it.

use std::ffi::OsString;
use std::path::Path;

use hybrid_cache_model::Tenant;
use hybrid_cache_model::protocol::{Identity, Interpreter, Limits, PythonTools};

use crate::local::config::{LocalConfig, Network};
use crate::local::mounts::PYTHON_MOUNT;
use crate::local::sandbox::command::{build_command, prepare_command, task_command};
use crate::local::sandbox::etc::Etc;
use crate::local::sandbox::host::{HostLayout, NOBODY, RootEntry};
use crate::local::volumes::VolumePair;
use crate::needs::Needs;

pub(crate) fn config() -> LocalConfig {
    LocalConfig {
        root: "/cache".into(),
        runner: "/build/runner".into(),
        bubblewrap: vec!["bwrap".into()],
        interpreter: Interpreter {
            path: "/opt/python/bin/python3.11".into(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: "linux-x86_64".into(),
            libc: String::new(),
            binary_hash: "0".into(),
            start: String::new(),
        },
        interpreter_prefix: "/opt/python".into(),
        other_interpreters: Vec::new(),
        index: "default".into(),
        index_scope: Default::default(),
        python_tools: PythonTools {
            uv: "/tools/uv".into(),
            variables: vec![],
        },
        system: None,
        tool_folders: vec!["/tools".into()],
        max_age_s: 1,
        task_variables: vec![],
        certificates: vec![],
        network: Network::Shared,
        pasta: None,
        network_idle_s: 1,
        budget_bytes: 0,
        budget_inodes: 0,
        trace_bytes: 0,
        no_builds: false,
        sources: Default::default(),
    }
}

fn host(identity: Option<Identity>) -> HostLayout {
    HostLayout {
        root: vec![
            RootEntry::Bind("/usr".into()),
            RootEntry::Link {
                at: "/bin".into(),
                to: "usr/bin".into(),
            },
            RootEntry::Bind("/lib64".into()),
        ],
        etc: Etc {
            folder: "/cache/sandbox/etc".into(),
            live: vec!["/etc/hosts".into(), "/etc/resolv.conf".into(), "/etc/ssl".into()],
            copied: vec!["/etc/nsswitch.conf".into()],
            resolver: None,
            hosts: Some("/cache/sandbox/hosts".into()),
        },
        identity,
        shared: "/cache/sandbox".into(),
    }
}

fn volumes() -> VolumePair {
    VolumePair {
        python: "/cache/volumes/python".into(),
        system: "/cache/volumes/system".into(),
    }
}

/// One option with its values a line.
fn lines(command: &[OsString]) -> String {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned());
    words.fold(String::new(), |text, word| {
        if word.starts_with("--") {
            text + "\n" + &word
        } else {
            text + " " + &word
        }
    })
}

#[test]
fn user_code_of_an_ordinary_user() {
    let command = task_command(
        &config(),
        &host(None),
        &volumes(),
        &Tenant::default(),
        Needs::BOTH,
        None,
        &Limits::default(),
    );
    insta::assert_snapshot!(lines(&command));
}

#[test]
fn user_code_started_by_root_with_a_staged_environment() {
    let staged = Path::new("/cache/volumes/python/tenants/default/staging/x");
    let command = task_command(
        &config(),
        &host(Some(NOBODY)),
        &volumes(),
        &Tenant::default(),
        Needs::BOTH,
        Some(staged),
        &Limits::default(),
    );
    insta::assert_snapshot!(lines(&command));
}

#[test]
fn building_a_package_has_the_sandbox_of_a_task_without_the_python_volume() {
    for (name, host) in [("ordinary", host(None)), ("root", host(Some(NOBODY)))] {
        let out = Path::new("/cache/builds/x/1");
        let limits = Limits::default();
        let command = lines(&build_command(
            &config(),
            &host,
            &volumes(),
            &Tenant::default(),
            Needs::BOTH,
            out,
            &limits,
        ));
        let writable: Vec<&str> = command.lines().filter(|line| line.starts_with("--bind ")).collect();
        assert_eq!(writable, ["--bind /cache/builds/x/1 /hybrid-cache/out"], "{name}");
        assert!(!command.contains(PYTHON_MOUNT), "{command}");
        insta::assert_snapshot!(format!("building_{name}"), command);
    }
}

#[test]
fn preparing() {
    insta::assert_snapshot!(lines(&prepare_command(
        &config(),
        &host(None),
        &volumes(),
        Needs::BOTH,
        None
    )));
}

#[test]
fn a_task_sees_only_the_caches_it_asks_for_and_none_of_them_writable() {
    let needs = Needs {
        python: false,
        system: true,
    };
    let command = lines(&task_command(
        &config(),
        &host(None),
        &volumes(),
        &Tenant::default(),
        needs,
        None,
        &Limits::default(),
    ));
    assert!(!command.contains(PYTHON_MOUNT), "{command}");
    for folder in ["store", "var/hybrid-cache/tenants/default"] {
        let bind = format!("--ro-bind /cache/volumes/system/.nix-portable/nix/{folder} /nix/{folder}");
        assert!(command.contains(&bind), "{command}");
    }
    assert!(!command.contains("--bind "), "{command}");
}

#[test]
fn without_network_only_preparing_has_one() {
    let config = LocalConfig {
        network: Network::None,
        ..config()
    };
    for host in [host(None), host(Some(NOBODY))] {
        let task = lines(&task_command(
            &config,
            &host,
            &volumes(),
            &Tenant::default(),
            Needs::BOTH,
            None,
            &Limits::default(),
        ));
        assert!(task.contains("--unshare-net"), "{task}");
        let prepare = lines(&prepare_command(&config, &host, &volumes(), Needs::BOTH, None));
        assert!(!prepare.contains("--unshare-net"), "{prepare}");
    }
}
