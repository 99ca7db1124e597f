//! A task's own network: the process that creates and keeps it, and joining it.
//!
//! ```text
//! this machine          pasta: opens ordinary connections for what comes out of its interface
//!   router namespace    pasta's interface, unreachable routes to this machine's addresses, and one end of a pair
//!     task namespace    the other end, as `eth0`, and a loopback of its own
//! ```
//!
//! The two namespaces belong to one user namespace, in which no task has a capability. The router namespace forwards
//! the task's packets, so its routes apply to every packet. In the router namespace itself, a socket bound to the
//! interface (SO_BINDTODEVICE, IP_PKTINFO, MSG_DONTROUTE) would bypass unreachable routes, and pasta would open the
//! connection.

mod holder;
mod namespaces;
pub mod netlink;
mod router;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::run::kernel;

pub use holder::hold;

/// Closes inherited descriptors, because another process may wait for them to close.
///
/// Call this only at the beginning of a program.
pub fn close_inherited() {
    kernel::close_descriptors();
}

/// Becomes `program` in the namespaces that the holder `pid` keeps. Returns only on failure, with the reason.
///
/// `user` and `network` are the inodes of the namespaces, so that another process with the same id is not mistaken for
/// the holder; 0 keeps the user namespace.
pub fn join(pid: &str, user: &str, network: &str, program: &str, arguments: &[&str]) -> String {
    match try_join(pid, user, network) {
        Ok(()) => become_program(program, arguments),
        Err(error) => format!("the task's network cannot be joined: {error}"),
    }
}

fn try_join(pid: &str, user: &str, network: &str) -> Result<(), String> {
    // Open both first: after entering the user namespace, the process may not access the holder.
    let user = (user != "0").then(|| open_namespace(pid, "user", user)).transpose()?;
    let network = open_namespace(pid, "net", network)?;
    let enter = |namespace: &File, kind| {
        let entered = move_into_link_name_space(namespace.as_fd(), Some(kind));
        entered.map_err(|error| format!("holder {pid}: {error}"))
    };
    if let Some(user) = user {
        enter(&user, LinkNameSpaceType::User)?;
    }
    enter(&network, LinkNameSpaceType::Network)
}

fn open_namespace(pid: &str, kind: &str, inode: &str) -> Result<File, String> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
    let found = file.metadata().map_err(|error| format!("{path}: {error}"))?.ino();
    if found.to_string() != inode {
        return Err(format!("{path} is namespace {found} instead of {inode}"));
    }
    Ok(file)
}

/// Waits for one byte on standard input and becomes pasta, attached to the parent's namespaces and killed with the
/// parent. Returns only on failure, with the reason.
///
/// This is a separate process, because pasta must stay in this machine's namespaces, which its parent leaves.
pub fn start_pasta(program: &str, arguments: &[&str]) -> String {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("pasta cannot be tied to its holder: {error}");
    }
    let mut byte = [0; 1];
    match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
        Ok(1) => become_program(program, arguments),
        _ => "the holder has ended".to_owned(),
    }
}

fn become_program(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    if program.starts_with("/proc/self/fd/") {
        // pasta's behaviour depends on its name.
        command.arg0("pasta");
    }
    format!("cannot start {program}: {}", command.args(arguments).exec())
}
