//! Creates the namespaces of a slot, in the process that keeps them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use hybrid_cache_model::protocol::Identity;
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;

use crate::run::kernel;

const TUN: &str = "/dev/net/tun";
/// Device number of `/dev/net/tun`, the same on every Linux.
const TUN_DEVICE: (u32, u32) = (10, 200);

/// Becomes the user that keeps the namespaces. On machines without udev only root may open `/dev/net/tun`; pasta then
/// gets its own device file in a private mount namespace.
pub fn become_keeper(identity: Identity) -> Result<(), String> {
    let mode = fs::metadata(TUN).map_err(|error| format!("{TUN}: {error}"))?;
    if !mode.file_type().is_char_device() {
        return Err(format!("{TUN} is not a device"));
    }
    if mode.permissions().mode() & 0o006 != 0o006 {
        open_tun().map_err(|error| format!("{TUN} is for root alone, and a second one cannot be created: {error}"))?;
    }
    kernel::become_identity(identity).map_err(|error| format!("cannot become user {}: {error}", identity.uid))?;
    // After the change of user, the process needs this to write its id maps in /proc.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(|error| error.to_string())
}

fn open_tun() -> io::Result<()> {
    kernel::enter_new(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount(
        "tmpfs",
        "/dev/net",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"mode=755,size=4k",
    )?;
    let (major, minor) = TUN_DEVICE;
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, TUN, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    // The umask may have removed bits.
    rustix::fs::chmod(TUN, Mode::from_raw_mode(0o666))?;
    Ok(())
}

/// Enters a user namespace in which this process has every capability and its own user id, and a network namespace.
///
/// The user id is not mapped to root: root of a network namespace may write its settings below /proc/sys, and a
/// program that a task starts would keep its capabilities.
pub fn enter_user_and_network() -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    kernel::enter_new(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
        .map_err(|error| format!("user and network namespaces are not permitted here: {error}"))?;
    let write = |path: &str, text: String| fs::write(path, text).map_err(|error| format!("{path}: {error}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Enters a second network namespace of the same user namespace, and returns the first.
pub fn enter_another_network() -> Result<File, String> {
    let left = File::open("/proc/self/ns/net").map_err(|error| format!("/proc/self/ns/net: {error}"))?;
    kernel::enter_new(UnshareFlags::NEWNET).map_err(|error| format!("a second network namespace: {error}"))?;
    Ok(left)
}
