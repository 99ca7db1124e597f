//! The bubblewrap sandbox: what a task sees of this machine, as pure argument lists.
//!
//! Two sandboxes, one rule: who runs user code writes nowhere but its own scratch, who writes the caches never runs
//! user code. Neither sees the user's home folder.

mod etc;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::{Identity, Limits};
use hybrid_cache_model::{Protection, Tenant};

use super::config::{LocalConfig, Network};
use super::folders::VolumePair;
use etc::Etc;

/// Mount point of the Python volume inside every sandbox.
pub const PYTHON_MOUNT: &str = "/cache/python";
/// Mount point of the store inside every sandbox.
pub const NIX_MOUNT: &str = "/nix";
/// Where an environment is mounted that is not published yet: its own folder will be renamed under the task.
pub const STAGED_MOUNT: &str = "/cache/staged";
/// The task's own folder.
pub const SCRATCH: &str = "/tmp/task";
/// The search path behind the environments' own.
pub const BASE_PATH: &str = "/hybrid-cache/bin";
const RUNNER: &str = "/hybrid-cache/runner";

/// Basic tools a program may expect on its search path. Compilers and clients are not among them: on a cluster the
/// image has none either, and a task must ask for what it needs.
const BASIC_TOOLS: [&str; 44] = [
    "sh", "bash", "awk", "basename", "cat", "chmod", "cmp", "cp", "cut", "date", "dirname", "echo", "env", "expr",
    "false", "find", "grep", "gzip", "head", "hostname", "id", "ln", "ls", "mkdir", "mktemp", "mv", "nproc", "printf",
    "pwd", "readlink", "realpath", "rm", "rmdir", "sed", "sleep", "sort", "tail", "tar", "test", "touch", "tr", "true",
    "uname", "wc",
];

/// How one folder of the root file system appears in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RootEntry {
    Bind(PathBuf),
    Link { at: PathBuf, to: PathBuf },
}

/// What the sandboxes need to know of this machine, read once.
#[derive(Clone, Debug)]
pub struct HostLayout {
    root: Vec<RootEntry>,
    etc: Etc,
    /// The user that runs user code, where this process is root.
    pub identity: Option<Identity>,
    shared: PathBuf,
}

/// The user and group "nobody", which owns nothing on any machine.
const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };

impl HostLayout {
    /// Reads the machine's layout and writes the files that every sandbox shares.
    ///
    /// # Errors
    /// The shared files cannot be written.
    pub fn read(shared: &Path) -> io::Result<HostLayout> {
        let mut root = vec![RootEntry::Bind("/usr".into())];
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
            let at = PathBuf::from(name);
            match fs::read_link(&at) {
                Ok(to) => root.push(RootEntry::Link { at, to }),
                Err(_) if at.is_dir() => root.push(RootEntry::Bind(at)),
                Err(_) => {}
            }
        }
        let identity = rustix::process::geteuid().is_root().then_some(NOBODY);
        let etc = Etc::read(shared, identity.unwrap_or_else(own_identity))?;
        link_basic_tools(shared)?;
        Ok(HostLayout {
            root,
            etc,
            identity,
            shared: shared.to_owned(),
        })
    }

    /// The same with another file as `/etc/resolv.conf`.
    pub fn with_resolver(&self, resolver: Option<&Path>) -> Cow<'_, HostLayout> {
        let mut host = Cow::Borrowed(self);
        if let Some(resolver) = resolver {
            host.to_mut().etc.resolver = Some(resolver.to_owned());
        }
        host
    }

    /// What both kinds of sandbox have, with /etc as `mount_etc` puts it there. `limits` bounds what may be written.
    fn base(&self, mount_etc: fn(&Etc, &mut Arguments), limits: Option<&Limits>) -> Arguments {
        let mut arguments = Arguments::default();
        for entry in &self.root {
            match entry {
                RootEntry::Bind(path) => arguments.bind("--ro-bind", path, path),
                RootEntry::Link { at, to } => arguments.add("--symlink").add(to).add(at),
            };
        }
        mount_etc(&self.etc, &mut arguments);
        arguments.bind_below_new("--ro-bind", &self.shared.join("bin"), Path::new(BASE_PATH));
        arguments.add("--proc").add("/proc").add("--dev").add("/dev");
        // bubblewrap's own is for its user alone, and without it Python's multiprocessing has no locks.
        arguments.open_folder("/dev/shm", limits.map(|limits| limits.shm_bytes));
        arguments.open_folder("/tmp", limits.map(|limits| limits.tmp_bytes));
        arguments.add("--perms").add("0777").add("--dir").add(SCRATCH);
        arguments
    }
}

fn own_identity() -> Identity {
    Identity {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    }
}

/// Links the basic tools. Links that are there stay: a running sandbox uses them.
fn link_basic_tools(shared: &Path) -> io::Result<()> {
    let bin = shared.join("bin");
    fs::create_dir_all(&bin)?;
    for tool in BASIC_TOOLS {
        let places = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
        if let Some(place) = places.into_iter().find(|place| place.exists()) {
            match symlink(place, bin.join(tool)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// An argument list under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Arguments {
    list: Vec<OsString>,
    made: BTreeSet<PathBuf>,
}

impl Arguments {
    fn add(&mut self, argument: impl Into<OsString>) -> &mut Arguments {
        self.list.push(argument.into());
        self
    }

    /// Binds at a place of our own, whose parents bubblewrap would make accessible to its own user only.
    fn bind_below_new(&mut self, option: &str, from: &Path, to: &Path) -> &mut Arguments {
        let mut parents: Vec<_> = to
            .ancestors()
            .skip(1)
            .filter(|parent| parent.parent().is_some())
            .collect();
        parents.reverse();
        for parent in parents {
            if self.made.insert(parent.to_owned()) {
                self.add("--perms").add("0755").add("--dir").add(parent);
            }
        }
        self.bind(option, from, to)
    }

    fn bind(&mut self, option: &str, from: impl Into<OsString>, to: impl Into<OsString>) -> &mut Arguments {
        self.add(option).add(from).add(to)
    }

    /// A folder in memory that everybody may write; without a size it may take half of this machine's memory.
    fn open_folder(&mut self, at: &str, bytes: Option<u64>) -> &mut Arguments {
        self.add("--perms").add("1777");
        if let Some(bytes) = bytes.filter(|_| Protection::ScratchSize.is_on()) {
            self.add("--size").add(bytes.to_string());
        }
        self.add("--tmpfs").add(at)
    }

    /// Namespaces and rights. Root keeps its own user namespace, so that the runner can become somebody else in it;
    /// anybody else gets a new one, in which it has no rights outside.
    fn isolate(&mut self, identity: Option<Identity>, network: Network, capabilities: &[&str]) -> &mut Arguments {
        match identity {
            Some(_) => {
                for option in [
                    "--unshare-ipc",
                    "--unshare-pid",
                    "--unshare-uts",
                    "--unshare-cgroup-try",
                ] {
                    self.add(option);
                }
                self.add("--cap-drop").add("ALL");
                for capability in capabilities {
                    self.add("--cap-add").add(*capability);
                }
            }
            None => {
                self.add("--unshare-all").add("--share-net");
            }
        }
        if network == Network::None {
            self.add("--unshare-net");
        }
        self.add("--hostname")
            .add("task")
            .add("--die-with-parent")
            .add("--new-session")
            .add("--as-pid-1")
    }

    fn finish(mut self, command: &[String], subcommand: &[&str]) -> Vec<OsString> {
        // Last, as everything above is mounted onto it.
        self.add("--remount-ro")
            .add("/")
            .add("--chdir")
            .add("/")
            .add("--")
            .add(RUNNER);
        let mut all: Vec<OsString> = command.iter().map(OsString::from).collect();
        all.extend(self.list);
        all.extend(subcommand.iter().map(OsString::from));
        all
    }
}

/// Which volumes a task's sandbox needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The Python volume.
    pub python: bool,
    /// The system volume.
    pub system: bool,
}

/// The command line of the sandbox that runs user code: of both volumes what its tenant's tasks need, read-only.
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
    bind_interpreter(&mut arguments, config);
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
    arguments.isolate(
        host.identity,
        config.network,
        &["CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN"],
    );
    arguments.finish(&config.bubblewrap, &["run", "--report-back"])
}

/// What user code sees of the volumes: the host's folder, and its place in the sandbox. A task that could open the locks
/// of preparations, or uv's cache, could keep others waiting or read what another tenant fetched.
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

/// The command line of the sandbox that fills the caches: volumes writable, tools visible, no user code.
pub fn prepare_command(config: &LocalConfig, host: &HostLayout, volumes: &VolumePair, needs: Needs) -> Vec<OsString> {
    maintenance_command(config, host, volumes, needs, "prepare")
}

/// The command line of a sandbox with both volumes writable for one of the runner's cache commands.
pub fn maintenance_command(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    needs: Needs,
    subcommand: &str,
) -> Vec<OsString> {
    let mut arguments = host.base(Etc::mount_each, None);
    bind_interpreter(&mut arguments, config);
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
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"];
    arguments.isolate(host.identity, Network::Shared, &capabilities);
    arguments.finish(&config.bubblewrap, &[subcommand])
}

fn bind_interpreter(arguments: &mut Arguments, config: &LocalConfig) {
    // Below /usr it is there already, and binding it again would cost a mount on every run.
    if !config.interpreter_prefix.starts_with("/usr") {
        arguments.bind_below_new("--ro-bind", &config.interpreter_prefix, &config.interpreter_prefix);
    }
}

#[cfg(test)]
pub(crate) mod tests;
