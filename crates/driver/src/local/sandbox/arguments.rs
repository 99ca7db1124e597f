//! Builds the command line of a sandbox.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hybrid_cache_model::Protection;
use hybrid_cache_model::protocol::Identity;

use crate::local::config::Network;
use crate::local::mounts::RUNNER;

/// The host name of every sandbox.
pub const HOST_NAME: &str = "task";

/// A command line that is being built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    list: Vec<OsString>,
    made: BTreeSet<PathBuf>,
}

impl Arguments {
    /// Adds one argument.
    pub fn add(&mut self, argument: impl Into<OsString>) -> &mut Arguments {
        self.list.push(argument.into());
        self
    }

    /// Binds `from` at a new path. Creates the path's parents first, because bubblewrap would make them accessible to its own
    /// user alone.
    pub fn bind_below_new(&mut self, option: &str, from: &Path, to: &Path) -> &mut Arguments {
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

    /// Binds `from` at a path that exists.
    pub fn bind(&mut self, option: &str, from: impl Into<OsString>, to: impl Into<OsString>) -> &mut Arguments {
        self.add(option).add(from).add(to)
    }

    /// Adds a folder in memory that everyone may write. Without a size it may take half of this machine's memory.
    pub fn open_folder(&mut self, at: &str, bytes: Option<u64>) -> &mut Arguments {
        self.add("--perms").add("1777");
        if let Some(bytes) = bytes.filter(|_| Protection::ScratchSize.is_on()) {
            self.add("--size").add(bytes.to_string());
        }
        self.add("--tmpfs").add(at)
    }

    /// Sets namespaces and rights. Root keeps its own user namespace, so that the runner can become another user in it. Any
    /// other user gets a new one, without rights outside.
    pub fn isolate(&mut self, identity: Option<Identity>, network: Network, capabilities: &[&str]) -> &mut Arguments {
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
            .add(HOST_NAME)
            .add("--die-with-parent")
            .add("--new-session")
            .add("--as-pid-1")
    }

    /// Ends the list with the runner and its subcommand. `command` is bubblewrap.
    pub fn finish(mut self, command: &[String], subcommand: &[&str]) -> Vec<OsString> {
        // Last, because everything above is mounted onto it.
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
