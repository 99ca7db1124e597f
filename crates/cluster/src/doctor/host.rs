//! Reads facts about this machine, without starting a program or waiting.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use hybrid_cache_driver::local::{Landlock, memory_limit_lacking};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::system::suggest;
use hybrid_cache_tools::{Checkout, environment, leads_to_loopback, process};
use rustix::fs::Access;

use crate::doctor::facts::{Disk, Host, Name};

/// Bit of CAP_SYS_RESOURCE in a capability set.
const CAP_SYS_RESOURCE: u32 = 24;

/// Reads the facts. `folders` are on the file systems that fill up, `ports` are those that the cluster asks for.
pub fn look(checkout: &Checkout, folders: &[PathBuf], ports: &[u16]) -> Host {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Host {
        cgroup_version: if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            2
        } else {
            1
        },
        sys_resource: has_capability(&status, CAP_SYS_RESOURCE),
        user_namespaces_refused: user_namespaces_refused(|name| fs::read_to_string(name).ok()),
        landlock: Landlock::from_kernel(),
        memory_limit_lacking: memory_limit_lacking(),
        task_network_refused: task_network_refused(checkout),
        loopback_proxy: loopback_proxy(environment::text),
        disks: folders.iter().filter_map(|folder| disk(folder)).collect(),
        inotify_instances: number("/proc/sys/fs/inotify/max_user_instances").unwrap_or(u64::MAX),
        taken_ports: ports.iter().copied().filter(|port| is_taken(*port)).collect(),
    }
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// True if the bounding set in a `/proc/PID/status` has the capability, or if the file has no bounding set.
fn has_capability(status: &str, bit: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_none_or(|set| set >> bit & 1 == 1)
}

/// Why the kernel gives ordinary users no user namespaces; `read` reads one of its settings.
fn user_namespaces_refused(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let refusing = [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    refusing.iter().find_map(|(file, value)| {
        let is = read(file)?;
        let setting = file.strip_prefix("/proc/sys/")?.replace('/', ".");
        (is.trim() == *value).then(|| format!("{setting} is {value}"))
    })
}

/// Why tasks of the local driver get no network of their own, as far as this is visible without creating one.
fn task_network_refused(checkout: &Checkout) -> Option<String> {
    const TUN: &str = "/dev/net/tun";
    let brought = fs::read_dir(checkout.path(".tools")).into_iter().flatten().flatten();
    let mut brought = brought.map(|entry| entry.file_name().to_string_lossy().starts_with("passt"));
    if process::find("pasta").is_none() && !brought.any(|is| is) {
        return Some("there is no program `pasta`".to_owned());
    }
    if !fs::metadata(TUN).is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        return Some(format!("there is no {TUN}"));
    }
    // Root creates its own device file.
    let may =
        rustix::process::geteuid().is_root() || rustix::fs::access(TUN, Access::READ_OK | Access::WRITE_OK).is_ok();
    (!may).then(|| format!("{TUN} is not accessible to all users"))
}

/// The first proxy variable whose address is this machine's loopback; `read` reads a variable.
fn loopback_proxy(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let names = [
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "https_proxy",
        "http_proxy",
        "all_proxy",
    ];
    names.into_iter().find_map(|name| {
        let value = read(name)?;
        leads_to_loopback(&value).then(|| name.to_owned())
    })
}

/// Free space on the file system of a folder, or of its nearest ancestor that exists.
fn disk(folder: &Path) -> Option<Disk> {
    let (found, stat) = folder
        .ancestors()
        .find_map(|folder| Some((folder, rustix::fs::statvfs(folder).ok()?)))?;
    Some(Disk {
        folder: found.display().to_string(),
        free_bytes: stat.f_bavail * stat.f_frsize,
        free_inodes: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind(("127.0.0.1", port));
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Looks a system package up in the names of a package source (`None`: the source cannot be searched without running a program).
pub fn look_up(asked: &str, source: &str, known: Option<&[String]>) -> Name {
    let mut spec = TaskSpec::new("pass");
    asked.clone_into(&mut spec.system_dependencies);
    let packages = spec.check().map(|task| task.system).unwrap_or_default();
    let attributes: Vec<String> = packages.iter().map(ToString::to_string).collect();
    let is_known = |attribute: &String| known.is_none_or(|known| known.contains(attribute));
    let all_known = !attributes.is_empty() && attributes.iter().all(is_known);
    let near = known.and_then(|known| suggest(asked, known.iter().map(String::as_str)));
    Name {
        asked: asked.to_owned(),
        attributes: all_known.then_some(attributes),
        suggestion: near.map(str::to_owned),
        source: source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounding_set_without_the_capability_is_seen() {
        assert!(!has_capability("CapBnd:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
        assert!(has_capability("CapBnd:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(has_capability("", CAP_SYS_RESOURCE));
    }

    #[test]
    fn a_kernel_that_refuses_user_namespaces_says_by_which_setting() {
        let kernel =
            |file: &'static str, value: &'static str| move |asked: &str| (asked == file).then(|| format!("{value}\n"));
        assert_eq!(
            user_namespaces_refused(kernel("/proc/sys/user/max_user_namespaces", "0")).unwrap(),
            "user.max_user_namespaces is 0"
        );
        assert_eq!(
            user_namespaces_refused(kernel("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")).unwrap(),
            "kernel.apparmor_restrict_unprivileged_userns is 1"
        );
        assert_eq!(
            user_namespaces_refused(kernel("/proc/sys/user/max_user_namespaces", "9000")),
            None
        );
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_taken(port));
        drop(listener);
        assert!(!is_taken(port));
    }

    #[test]
    fn names_are_looked_up_as_a_task_would_and_a_misspelt_one_gets_a_suggestion() {
        let known = ["gnumake".to_owned(), "gcc".to_owned()];
        let make = look_up("make", "debnix", Some(&known));
        assert_eq!(make.attributes, Some(vec!["gnumake".to_owned()]));
        let misspelt = look_up("gnumak", "debnix", Some(&known));
        assert_eq!(
            (misspelt.attributes, misspelt.suggestion.as_deref()),
            (None, Some("gnumake"))
        );
        assert_eq!(
            look_up("anything", "nixpkgs", None).attributes,
            Some(vec!["anything".to_owned()])
        );
        assert_eq!(look_up("a b; rm", "nixpkgs", None).attributes, None);
    }
}
