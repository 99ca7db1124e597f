//! The command lines of the sandboxes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{Protection, Tenant};

use crate::local::config::{LocalConfig, Network};
use crate::local::mounts::{BUILD_OUT_MOUNT, BUILDS_MOUNT, NIX_MOUNT, PYTHON_MOUNT, RUNNER, STAGED_MOUNT};
use crate::local::sandbox::arguments::Arguments;
use crate::local::sandbox::etc::Etc;
use crate::local::sandbox::host::HostLayout;
use crate::local::volumes::VolumePair;
use crate::needs::Needs;

/// The command line of the sandbox that runs user code. Of both volumes it shows what the tenant's tasks need, read-only.
///
/// `staged` is the host's folder of an environment that is not published yet.
pub fn task_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    tenant: &Tenant,
    needs: Needs,
    staged: Option<&Path>,
    limits: &Limits,
) -> Vec<OsString> {
    let mut arguments = host.base(Etc::mount, Some(limits));
    bind_interpreter(&mut arguments, &config.interpreter_prefix);
    arguments.bind_below_new("--ro-bind", &config.runner, Path::new(RUNNER));
    let bind = if Protection::ReadOnlyMounts.is_on() {
        "--ro-bind"
    } else {
        "--bind"
    };
    for (from, to) in visible(volumes, tenant, needs) {
        arguments.bind_below_new(bind, &from, &to);
    }
    if let Some(staged) = staged {
        arguments.bind_below_new("--ro-bind", staged, Path::new(STAGED_MOUNT));
    }
    arguments.isolate(host.identity, config.network, &USER_CODE_CAPABILITIES);
    arguments.finish(&config.bubblewrap, &["run", "--report-back"])
}

/// The command line of the sandbox that runs code of packages to build them: that of a task without the Python volume, with
/// uv beside it. `out` is the host's folder for the files of this build, which only the runner writes.
pub fn build_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    tenant: &Tenant,
    needs: Needs,
    out: &Path,
    limits: &Limits,
) -> Vec<OsString> {
    let mut arguments = host.base(Etc::mount, Some(limits));
    bind_interpreter(&mut arguments, &config.interpreter_prefix);
    arguments.bind_below_new("--ro-bind", &config.runner, Path::new(RUNNER));
    for path in build_tools(config) {
        if !path.starts_with("/usr") && !path.starts_with("/etc/ssl") {
            arguments.bind_below_new("--ro-bind", &path, &path);
        }
    }
    let needs = Needs { python: false, ..needs };
    for (from, to) in visible(volumes, tenant, needs) {
        arguments.bind_below_new("--ro-bind", &from, &to);
    }
    if !Protection::BuildMounts.is_on() {
        arguments.bind_below_new("--bind", &volumes.python, Path::new(PYTHON_MOUNT));
    }
    arguments.bind_below_new("--bind", out, Path::new(BUILD_OUT_MOUNT));
    arguments.isolate(host.identity, config.network, &USER_CODE_CAPABILITIES);
    arguments.finish(&config.bubblewrap, &["build"])
}

/// What a build may read beside what a task may: uv, folders of packages that the operator named, and certificates.
pub fn build_tools(config: &LocalConfig) -> Vec<PathBuf> {
    let tools = &config.python_tools;
    let mut paths = Vec::new();
    for (name, value) in &tools.variables {
        match name.as_str() {
            "UV_FIND_LINKS" => paths.extend(value.split(',').map(|link| {
                let link = link.trim();
                PathBuf::from(link.strip_prefix("file://").unwrap_or(link))
            })),
            "SSL_CERT_FILE" | "SSL_CERT_DIR" => paths.push(PathBuf::from(value)),
            _ => {}
        }
    }
    // bubblewrap would refuse what is not there.
    paths.retain(|path: &PathBuf| path.is_absolute() && path.exists());
    paths.insert(0, PathBuf::from(&tools.uv));
    paths
}

/// What the runner needs to become the user of user code, to end its processes and to give it its folders.
const USER_CODE_CAPABILITIES: [&str; 4] = ["CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN"];

/// What user code sees of the volumes: folders of the host, and their paths in the sandbox. A task that could open the locks
/// of preparations, or uv's cache, could block other tasks or read what another tenant fetched.
fn visible(volumes: &VolumePair, tenant: &Tenant, needs: Needs) -> Vec<(PathBuf, PathBuf)> {
    let state = format!("var/hybrid-cache/{}", tenant.folder());
    let python = [tenant.folder(), "bytecode".to_owned()];
    let system = ["store".to_owned(), state];
    let parts = [
        (needs.python, volumes.python.clone(), PYTHON_MOUNT, python),
        (needs.system, volumes.nix(), NIX_MOUNT, system),
    ];
    let mut visible = Vec::new();
    for (_, volume, mount, folders) in parts.into_iter().filter(|(is_needed, ..)| *is_needed) {
        if Protection::NarrowMounts.is_on() {
            visible.extend(folders.map(|folder| (volume.join(&folder), Path::new(mount).join(folder))));
        } else {
            visible.push((volume, PathBuf::from(mount)));
        }
    }
    visible
}

/// The command line of the sandbox that fills the caches: volumes writable, tools visible, no user code. `builds` is the
/// host's folder in which builds leave their files.
pub fn prepare_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    needs: Needs,
    builds: Option<&Path>,
) -> Vec<OsString> {
    writing_command(config, host, volumes, needs, builds, (&[], "prepare"))
}

/// The command line of a sandbox for one of the runner's cache commands, with the volumes writable.
pub fn maintenance_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    needs: Needs,
    subcommand: &str,
) -> Vec<OsString> {
    // `verify` follows the links of environments to each interpreter. One that was removed since must not stop it.
    let others = config.other_interpreters.iter().map(|other| other.prefix.as_path());
    let others: Vec<&Path> = others.filter(|prefix| prefix.read_dir().is_ok()).collect();
    writing_command(config, host, volumes, needs, None, (&others, subcommand))
}

fn writing_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    needs: Needs,
    builds: Option<&Path>,
    (other_interpreters, subcommand): (&[&Path], &str),
) -> Vec<OsString> {
    let mut arguments = host.base(Etc::mount_each, None);
    bind_interpreter(&mut arguments, &config.interpreter_prefix);
    for prefix in other_interpreters {
        bind_interpreter(&mut arguments, prefix);
    }
    for folder in &config.tool_folders {
        arguments.bind_below_new("--ro-bind", folder, folder);
    }
    arguments.bind_below_new("--ro-bind", &config.runner, Path::new(RUNNER));
    if needs.python {
        arguments.bind_below_new("--bind", &volumes.python, Path::new(PYTHON_MOUNT));
    }
    if needs.system {
        arguments.bind("--bind", volumes.nix(), NIX_MOUNT);
    }
    if let Some(builds) = builds {
        arguments.bind_below_new("--bind", builds, Path::new(BUILDS_MOUNT));
    }
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"];
    arguments.isolate(host.identity, Network::Shared, &capabilities);
    arguments.finish(&config.bubblewrap, &[subcommand])
}

fn bind_interpreter(arguments: &mut Arguments, prefix: &Path) {
    // An interpreter below /usr is visible already, and binding it again would cost a mount in every run.
    if !prefix.starts_with("/usr") {
        arguments.bind_below_new("--ro-bind", prefix, prefix);
    }
}
