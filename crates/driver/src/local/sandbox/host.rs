//! What the sandboxes show of this machine: its root file system, basic tools, and users.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::{Identity, Limits};

use crate::local::mounts::{BASE_PATH, SCRATCH};
use crate::local::sandbox::arguments::Arguments;
use crate::local::sandbox::certificates;
use crate::local::sandbox::etc::{Etc, update_hosts};

/// The list that the image is made of, too.
const BASIC_TOOLS: &str = include_str!("../../../../../images/nix-portable-base/basic-tools");

/// Basic tools that a program may expect on its search path, in a sandbox as in a pod. This machine may lack some.
pub fn basic_tools() -> impl Iterator<Item = &'static str> {
    let lines = BASIC_TOOLS.lines().filter(|line| !line.starts_with('#'));
    // The words with a colon name the packages of the image.
    lines
        .flat_map(str::split_whitespace)
        .filter(|word| !word.ends_with(':'))
}

/// How one folder of the root file system appears in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootEntry {
    /// A folder, bound read-only at the same path.
    Bind(PathBuf),
    /// A symbolic link.
    Link {
        /// Its path.
        at: PathBuf,
        /// Its target.
        to: PathBuf,
    },
}

/// What the sandboxes need to know of this machine; read once.
#[derive(Clone, Debug)]
pub struct HostLayout {
    pub(super) root: Vec<RootEntry>,
    pub(super) etc: Etc,
    /// The user that runs user code, if this process is root.
    pub identity: Option<Identity>,
    pub(super) shared: PathBuf,
}

/// The user and group "nobody", which owns nothing on any machine.
pub(super) const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };

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

    /// Makes the certificates of these files and folders visible as one file. Returns its path in the sandbox; `None` if there
    /// are none.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn trust(&self, sources: &[PathBuf]) -> io::Result<Option<String>> {
        certificates::trust(&self.etc, sources)
    }

    /// The same for one task: with this machine's names as they are now, and `resolver` as `/etc/resolv.conf` if it is given.
    pub fn for_task(&self, resolver: Option<&Path>) -> Cow<'_, HostLayout> {
        let mut host = Cow::Borrowed(self);
        let hosts = update_hosts(&self.shared);
        if hosts != self.etc.hosts {
            host.to_mut().etc.hosts = hosts;
        }
        if let Some(resolver) = resolver {
            host.to_mut().etc.resolver = Some(resolver.to_owned());
        }
        host
    }

    /// What both kinds of sandbox have, with /etc as `mount_etc` mounts it. `limits` bounds what may be written.
    pub(super) fn base(&self, mount_etc: fn(&Etc, &mut Arguments), limits: Option<&Limits>) -> Arguments {
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
        // bubblewrap's own /dev/shm is for its user alone, and without it Python's multiprocessing has no locks.
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
    for tool in basic_tools() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_basic_tool_of_this_machine_is_linked_once() {
        let shared = tempfile::tempdir().unwrap();
        link_basic_tools(shared.path()).unwrap();
        link_basic_tools(shared.path()).unwrap();
        let mut linked: Vec<String> = fs::read_dir(shared.path().join("bin"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        linked.sort_unstable();
        let there = |tool: &&str| {
            ["/usr/bin", "/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(tool).exists())
        };
        let mut expected: Vec<&str> = basic_tools().filter(there).collect();
        expected.sort_unstable();
        assert_eq!(linked, expected);
        assert!(expected.contains(&"sh") && expected.contains(&"sort"), "{expected:?}");
    }
    /// The packages of the list with the tools that each of them brings.
    fn packages() -> Vec<(&'static str, Vec<&'static str>)> {
        let mut packages: Vec<(&str, Vec<&str>)> = Vec::new();
        let lines = BASIC_TOOLS.lines().filter(|line| !line.starts_with('#'));
        for word in lines.flat_map(str::split_whitespace) {
            match (word.strip_suffix(':'), packages.last_mut()) {
                (Some(package), _) => packages.push((package, Vec::new())),
                (None, Some((_, tools))) => tools.push(word),
                (None, None) => panic!("{word} stands behind no package"),
            }
        }
        packages
    }

    #[test]
    fn the_images_packages_bring_the_same_tools() {
        const OF_THE_IMAGE: &str = include_str!("../../../../../images/nix-portable-base/packages.task");
        // Links that the packages' scripts make, and so does assemble.sh.
        const LINKS: [&str; 3] = ["sh", "awk", "which"];
        let mut all: Vec<&str> = Vec::new();
        for (package, tools) in packages() {
            assert!(OF_THE_IMAGE.lines().any(|line| line == package), "{package}");
            all.extend(tools.iter().copied());
            let listed = std::process::Command::new("dpkg-query")
                .args(["--listfiles", package])
                .output();
            // Another distribution, or a machine without the package: the build of the image checks it.
            let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
                println!("not checked here: {package}");
                continue;
            };
            let listed = String::from_utf8(listed.stdout).unwrap();
            for tool in tools.into_iter().filter(|tool| !LINKS.contains(tool)) {
                let brings = |line: &str| line.ends_with(&format!("/bin/{tool}"));
                assert!(listed.lines().any(brings), "{package} does not bring {tool}");
            }
        }
        assert_eq!(all, basic_tools().collect::<Vec<_>>());
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len(), "{all:?}");
    }
}
