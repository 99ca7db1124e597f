//! What the sandboxes see of /etc. Each mount costs bubblewrap 0.15 ms, and one mount for each file was a fifth of a cached
//! run's sandbox. So small files that hardly ever change are copied to one folder, which is one mount:
//!
//! ```text
//! <shared>/etc/passwd, group             the one user of the sandbox
//! <shared>/etc/<each of COPIED>          copied whenever a driver is opened
//! <shared>/etc/<each of LIVE>            empty: the machine's own is mounted over it
//! <shared>/etc/hybrid-cache              bundles of the certificates that tasks trust, by their hash (`certificates.rs`)
//! <shared>/hosts                         the machine's names and the sandbox's, mounted as /etc/hosts
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use hybrid_cache_model::protocol::Identity;

use crate::ids;
use crate::local::mounts::SCRATCH;
use crate::local::sandbox::arguments::{Arguments, HOST_NAME};

/// Small, public, and the same for months: the dynamic linker, name lookup, the time zone, the chosen alternatives.
const COPIED: [&str; 10] = [
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "protocols",
    "services",
    "timezone",
];

/// Programs learn the name of the time zone from the link of `/etc/localtime` into this folder.
const TIME_ZONES: &str = "/usr/share/zoneinfo";

/// What may change while a driver runs (a laptop changes its network), or has parts that not everyone may read, which its
/// own permissions protect.
const LIVE: [&str; 5] = ["ca-certificates", "hosts", "pki", "resolv.conf", "ssl"];

/// /etc as the sandboxes see it.
#[derive(Clone, Debug)]
pub struct Etc {
    /// The folder of copies.
    pub folder: PathBuf,
    /// The machine's own files and folders that are mounted over it.
    pub live: Vec<PathBuf>,
    /// The files and folders that it holds copies of.
    pub copied: Vec<PathBuf>,
    /// The file that is mounted as `/etc/resolv.conf`; `None` for this machine's own.
    pub resolver: Option<PathBuf>,
    /// The file that is mounted as `/etc/hosts`; `None` for this machine's own, or if it has none.
    pub hosts: Option<PathBuf>,
}

impl Etc {
    /// Updates the copies. What is up to date is not written, because the folder may be read-only.
    ///
    /// # Errors
    /// The folder lacks something and cannot be written.
    pub fn read(shared: &Path, user: Identity) -> io::Result<Etc> {
        let folder = shared.join("etc");
        make_folder(&folder)?;
        for (name, text) in user_database(user) {
            put_file(&folder.join(name), text.as_bytes())?;
        }
        let present = |names: &[&str]| -> Vec<PathBuf> {
            let paths = names.iter().map(|name| Path::new("/etc").join(name));
            paths.filter(|path| path.exists()).collect()
        };
        let (live, mut copied) = (present(&LIVE), present(&COPIED));
        for path in &live {
            let at = at(&folder, path);
            if path.is_dir() {
                make_folder(&at)?;
            } else if !at.exists() {
                put_file(&at, b"")?;
            }
        }
        copied.retain(|path| {
            let at = at(&folder, path);
            // An older copy will do; what cannot be copied is left out.
            copy(path, &at).is_ok() || at.exists()
        });
        Ok(Etc {
            folder,
            live,
            copied,
            resolver: None,
            hosts: update_hosts(shared),
        })
    }

    /// Mounts the copies as one folder, for the sandbox of every run.
    pub fn mount(&self, arguments: &mut Arguments) {
        arguments.bind("--ro-bind", &self.folder, "/etc");
        for path in &self.live {
            let own = match path.file_name().and_then(|name| name.to_str()) {
                Some("resolv.conf") => &self.resolver,
                Some("hosts") => &self.hosts,
                _ => &None,
            };
            arguments.bind("--ro-bind", own.as_ref().unwrap_or(path), path);
        }
    }

    /// Mounts each file by itself, for the sandbox in which further settings of the machine may have to appear beside them.
    pub fn mount_each(&self, arguments: &mut Arguments) {
        for path in self.live.iter().chain(&self.copied) {
            arguments.bind_below_new("--ro-bind", path, path);
        }
        for name in ["passwd", "group"] {
            arguments.bind_below_new("--ro-bind", &self.folder.join(name), &Path::new("/etc").join(name));
        }
    }
}

/// Writes the names of this machine and of the sandbox, unless they are up to date. A sandbox that runs keeps the file that
/// it was started with. `None` if this machine has no such file, or the folder cannot be written and has none.
pub fn update_hosts(shared: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string("/etc/hosts").ok()?;
    let file = shared.join("hosts");
    let written = put_file(&file, with_own_name(text).as_bytes());
    (written.is_ok() || file.exists()).then_some(file)
}

/// Programs look up the name of their own host.
fn with_own_name(mut hosts: String) -> String {
    let mut names = hosts.lines().flat_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1)
    });
    if !names.any(|name| name.eq_ignore_ascii_case(HOST_NAME)) {
        if !hosts.is_empty() && !hosts.ends_with('\n') {
            hosts.push('\n');
        }
        hosts.push_str(&format!("127.0.1.1 {HOST_NAME}\n"));
    }
    hosts
}

fn at(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.file_name().unwrap_or_default())
}

fn user_database(user: Identity) -> [(&'static str, String); 2] {
    let Identity { uid, gid } = user;
    let root = if uid == 0 {
        ""
    } else {
        "root:x:0:0:root:/root:/bin/sh\n"
    };
    let passwd = format!("{root}task:x:{uid}:{gid}:task:{SCRATCH}/home:/bin/sh\n");
    let root = if gid == 0 { "" } else { "root:x:0:\n" };
    [("passwd", passwd), ("group", format!("{root}task:x:{gid}:\n"))]
}

/// Copies a file, or a folder of files and links. Deletes nothing, because a running sandbox may be using it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(target) = fs::read_link(from).ok().filter(|target| is_time_zone(from, target)) {
        return put_link(to, &target);
    }
    if !from.is_dir() {
        return put_file(to, &fs::read(from)?);
    }
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match fs::read_link(&from) {
            Ok(target) => put_link(&to, &target)?,
            Err(_) if from.is_file() => put_file(&to, &fs::read(&from)?)?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// True if the link at `from` leads to a time zone, which a sandbox sees at the same path.
fn is_time_zone(from: &Path, target: &Path) -> bool {
    let mut path = PathBuf::new();
    for part in from.parent().unwrap_or(from).join(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.starts_with(TIME_ZONES)
}

/// Creates a folder that the user that runs user code may read, whatever the umask of this process.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Replaces a file as a whole, unless it is up to date.
pub(super) fn put_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !path.is_symlink() && fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let staged = path.with_extension(ids::unique("new"));
    fs::write(&staged, bytes)?;
    fs::set_permissions(&staged, Permissions::from_mode(0o644))?;
    fs::rename(&staged, path)
}

fn put_link(path: &Path, target: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let staged = path.with_extension(ids::unique("new"));
    symlink(target, &staged)?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_that_is_up_to_date_is_kept_and_another_is_replaced() {
        let shared = tempfile::tempdir().unwrap();
        let user = Identity { uid: 7, gid: 8 };
        let etc = Etc::read(shared.path(), user).unwrap();
        let passwd = etc.folder.join("passwd");
        let inode = fs::metadata(&passwd).unwrap().ino();
        assert!(fs::read_to_string(&passwd).unwrap().contains("task:x:7:8:"));
        Etc::read(shared.path(), user).unwrap();
        assert_eq!(fs::metadata(&passwd).unwrap().ino(), inode);
        Etc::read(shared.path(), Identity { uid: 9, gid: 8 }).unwrap();
        assert!(fs::read_to_string(&passwd).unwrap().contains("task:x:9:8:"));
        assert_eq!(fs::metadata(&passwd).unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn the_sandboxs_name_is_added_to_the_machines_names_once() {
        let cases = [
            ("127.0.0.1 localhost", "127.0.0.1 localhost\n127.0.1.1 task\n"),
            ("::1 a # task\n", "::1 a # task\n127.0.1.1 task\n"),
            ("", "127.0.1.1 task\n"),
            ("10.0.0.1 build Task\n", "10.0.0.1 build Task\n"),
        ];
        for (machine, expected) in cases {
            assert_eq!(with_own_name(machine.to_owned()), expected);
        }
    }

    #[test]
    fn a_link_to_a_time_zone_stays_a_link_and_another_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("localtime"), dir.path().join("copy"));
        let up = "../".repeat(dir.path().components().count());
        let absolute = "/usr/share/zoneinfo/Europe/Berlin".to_owned();
        for target in [absolute.clone(), format!("{up}{}", &absolute[1..])] {
            symlink(&target, &from).unwrap();
            fs::write(&to, "an older driver's copy").unwrap();
            copy(&from, &to).unwrap();
            assert_eq!(fs::read_link(&to).unwrap(), Path::new(&target));
            fs::remove_file(&from).unwrap();
        }
        fs::write(dir.path().join("zone"), "TZif2").unwrap();
        symlink("zone", &from).unwrap();
        copy(&from, &to).unwrap();
        assert!(!to.is_symlink());
        assert_eq!(fs::read_to_string(&to).unwrap(), "TZif2");
    }

    #[test]
    fn a_folder_is_copied_with_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), "text").unwrap();
        symlink("/usr/bin/mawk", from.join("awk")).unwrap();
        copy(&from, &to).unwrap();
        fs::remove_file(from.join("awk")).unwrap();
        symlink("/usr/bin/gawk", from.join("awk")).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "text");
        assert_eq!(fs::read_link(to.join("awk")).unwrap(), Path::new("/usr/bin/gawk"));
    }
}
