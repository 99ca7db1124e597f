//! Control groups that bound the memory of tasks, if this process may create some.
//!
//! ```text
//! <parent>/                          of version 1 this process's own group, of version 2 the nearest one above it that
//!                                    may have groups with a memory bound below it
//!   hybrid-cache-<pid>-<start>/      one driver's; deleted by the next driver if this one is killed
//!     <task>/                        created while the sandbox starts, deleted when the task has ended
//! ```
//! Only the user's program enters. The runner stays outside, so that it survives to report. It receives the open file by
//! which processes enter, because the sandbox does not show control groups.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::ids;

const PREFIX: &str = "hybrid-cache-";
/// How long deleting a group waits for processes that are ending.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
const DELETE_PAUSE: Duration = Duration::from_millis(10);

/// Which interface of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group that holds those of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    version: Version,
    folder: PathBuf,
}

/// The control groups of one driver.
#[derive(Debug)]
pub struct MemoryGroups {
    /// The group above them; the text says why there can be none.
    parent: Result<Parent, String>,
    own: OnceLock<PathBuf>,
}

/// The group of one task. It is deleted when this is dropped.
#[derive(Debug)]
pub struct MemoryGroup {
    version: Version,
    folder: PathBuf,
    bytes: u64,
}

impl MemoryGroups {
    /// Finds out where groups can be created, and deletes those of ended drivers.
    pub fn open() -> MemoryGroups {
        let parent = find_parent();
        if let Ok(parent) = &parent {
            sweep(&parent.folder);
        }
        MemoryGroups {
            parent,
            own: OnceLock::new(),
        }
    }

    /// Creates a group for one task.
    ///
    /// # Errors
    /// There can be no groups, or the kernel refuses.
    pub fn create(&self, task: &str, bytes: u64) -> io::Result<MemoryGroup> {
        let parent = self.parent.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let own = self.own_folder(parent)?;
        let folder = own.join(ids::unique(task));
        fs::create_dir(&folder)?;
        let group = MemoryGroup {
            version: parent.version,
            folder,
            bytes,
        };
        let (limit, swap) = match group.version {
            Version::One => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes)),
            Version::Two => ("memory.max", ("memory.swap.max", 0)),
        };
        fs::write(group.folder.join(limit), bytes.to_string())?;
        // A kernel without swap accounting has no such file.
        let _ = fs::write(group.folder.join(swap.0), swap.1.to_string());
        Ok(group)
    }

    fn own_folder(&self, parent: &Parent) -> io::Result<&Path> {
        if let Some(own) = self.own.get() {
            return Ok(own);
        }
        let pid = std::process::id();
        let start = start_time(pid).ok_or_else(|| io::Error::other("/proc does not tell when this process began"))?;
        // Several drivers of one process have a folder each.
        let folder = parent.folder.join(ids::unique(&format!("{PREFIX}{pid}-{start}")));
        fs::create_dir(&folder)?;
        if parent.version == Version::Two {
            fs::write(folder.join("cgroup.subtree_control"), "+memory")?;
        }
        match self.own.set(folder.clone()) {
            Ok(()) => {}
            // Another thread was faster.
            Err(unused) => drop(fs::remove_dir(unused)),
        }
        Ok(self.own.get_or_init(|| folder))
    }
}

impl Drop for MemoryGroups {
    fn drop(&mut self) {
        if let Some(own) = self.own.get() {
            // If a group in it is not empty yet, both stay, and the next driver deletes them.
            let _ = fs::remove_dir(own);
        }
    }
}

impl MemoryGroup {
    /// The file by which a process enters: it writes 0 to it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        // A program has one thread when it enters, and moving a thread takes no lock of the whole machine.
        let name = match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        };
        let file = File::options().write(true).open(self.folder.join(name))?;
        file.as_fd().try_clone_to_owned()
    }

    /// What the user should know if the kernel ended a process because memory ran out; `None` if it did not. `raised_by` names
    /// what sets the limit.
    pub fn out_of_memory(&self, raised_by: &str) -> Option<String> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(name)).ok()?;
        (count_of(&text, "oom_kill")? > 0).then(|| {
            format!(
                "a process of the task needed more memory than the limit of {} MiB and was ended by the kernel; raise the \
                 limit with `{raised_by}`, or use less",
                self.bytes >> 20
            )
        })
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if is_busy(fs::remove_dir(&self.folder)) {
            let folder = std::mem::take(&mut self.folder);
            // Killed processes take a moment to end. The thread ends by itself.
            std::thread::spawn(move || {
                let deadline = Instant::now() + DELETE_TIMEOUT;
                while is_busy(fs::remove_dir(&folder)) && Instant::now() < deadline {
                    std::thread::sleep(DELETE_PAUSE);
                }
            });
        }
    }
}

fn is_busy(deleted: io::Result<()>) -> bool {
    deleted.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}

/// Creates the group of a task and opens its entrance. `bytes` bounds the memory; 0 sets no bound. If there can be no group,
/// the task runs without one, and `warnings` say so.
pub fn enter(
    groups: &MemoryGroups,
    task: &str,
    bytes: u64,
    group: &mut Option<MemoryGroup>,
    warnings: &mut Vec<String>,
) -> Option<OwnedFd> {
    if bytes == 0 {
        return None;
    }
    let made = groups.create(task, bytes);
    match made.and_then(|made| Ok((made.entrance()?, made))) {
        Ok((entrance, made)) => {
            *group = Some(made);
            Some(entrance)
        }
        Err(error) => {
            warnings.push(format!(
                "the memory limit of {} MiB is not enforced: {error}",
                bytes >> 20
            ));
            None
        }
    }
}

/// Why this process cannot bound the memory of tasks; `None` if it can.
pub fn lacking() -> Option<String> {
    let parent = match find_parent() {
        Ok(parent) => parent,
        Err(why) => return Some(why),
    };
    let trial = parent.folder.join(ids::unique("hybrid-cache-trial"));
    match fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "cannot create a control group in {}: {error}",
            parent.folder.display()
        )),
    }
}

fn find_parent() -> Result<Parent, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    if let Some(folder) = own_folder(&mounts, &groups, Version::One) {
        return Ok(Parent {
            version: Version::One,
            folder,
        });
    }
    let own = own_folder(&mounts, &groups, Version::Two).ok_or("no control groups are mounted")?;
    let has_memory = |folder: &&Path| {
        let text = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        text.split_whitespace().any(|controller| controller == "memory")
    };
    let parent = own
        .ancestors()
        .take_while(|folder| folder.join("cgroup.procs").exists())
        .find(has_memory);
    let folder =
        parent.ok_or("the control groups above this process have no memory controller for groups below them")?;
    Ok(Parent {
        version: Version::Two,
        folder: folder.to_owned(),
    })
}

/// This process's group, as a folder.
fn own_folder(mounts: &str, groups: &str, version: Version) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match version {
            Version::One => controllers.split(',').any(|one| one == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        let is_it = match version {
            Version::One => name == "cgroup" && options.split(',').any(|one| one == "memory"),
            Version::Two => name == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok()?;
        is_it.then(|| Path::new(at).join(below))
    })
}

/// Deletes the groups of ended drivers. A group that cannot be deleted costs next to nothing.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let mut parts = owner.split('-');
        let (pid, start) = (parts.next().and_then(|pid| pid.parse().ok()), parts.next());
        let (Some(pid), Some(start)) = (pid, start) else {
            continue;
        };
        if start_time(pid).as_deref() == Some(start) {
            continue;
        }
        for group in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            if group.path().is_dir() {
                let _ = fs::remove_dir(group.path());
            }
        }
        let _ = fs::remove_dir(entry.path());
    }
}

/// When a process started, in the kernel's unit. Together with the process id it identifies one process for good.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

/// The number after `name` on a line of its own.
fn count_of(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                       36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n";
    const TWO: &str = "30 24 0:26 /machine/a /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_group_of_this_process_is_found_in_both_versions() {
        let groups = "9:name=systemd:/\n4:pids,memory:/a/b\n0::/c\n";
        assert_eq!(
            own_folder(ONE, groups, Version::One),
            Some("/sys/fs/cgroup/memory/a/b".into())
        );
        assert_eq!(own_folder(ONE, groups, Version::Two), None);
        let groups = "0::/machine/a/user.slice/app\n";
        assert_eq!(
            own_folder(TWO, groups, Version::Two),
            Some("/sys/fs/cgroup/user.slice/app".into())
        );
        assert_eq!(own_folder(TWO, groups, Version::One), None);
        // A group that lies outside what is mounted here.
        assert_eq!(own_folder(TWO, "0::/elsewhere\n", Version::Two), None);
    }

    #[test]
    fn a_count_is_read_by_its_whole_name() {
        assert_eq!(
            count_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"),
            Some(3)
        );
        assert_eq!(count_of("oom 1\noom_group_kill 2\n", "oom_kill"), None);
    }

    #[test]
    fn groups_of_ended_drivers_are_deleted() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: String| {
            let folder = parent.path().join(name);
            fs::create_dir_all(folder.join("task")).unwrap();
            folder
        };
        let pid = std::process::id();
        let own = make(format!("{PREFIX}{pid}-{}-x", start_time(pid).unwrap()));
        let earlier = make(format!("{PREFIX}{pid}-1-x"));
        let other = make("other".to_owned());
        sweep(parent.path());
        assert!(own.join("task").exists() && other.join("task").exists() && !earlier.exists());
    }
}
