//! Brings Debian packages without apt, dpkg or root: downloaded side by side from a mirror and unpacked into one folder.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::apt;
use crate::download::{self, Wanted};
use crate::pins::Deb;
use crate::progress::Progress;
use crate::tool::{Origin, Tool, version_of};
use crate::tool_dir::{Label, ToolDir};
use crate::tool_error::ToolError;

/// Enough to hide a mirror's latency; more only competes for two cores.
const WORKERS: usize = 6;

/// Where packages come from: a mirror that was seen to serve one of the pins, and the proxy on the way to it.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Base address.
    pub address: String,
    /// apt's own proxy for it.
    pub proxy: Option<String>,
}

/// The folder of a tool made of `debs`, unpacked side by side as they would be at `/`.
pub fn bring(
    dir: &ToolDir,
    label: Label<'_>,
    debs: &[(&str, &Deb)],
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
) -> Result<PathBuf, ToolError> {
    bring_and(dir, label, debs, mirror, progress, &|_, _| Ok(()))
}

/// A program that Debian packages bring.
pub struct Brought<'a> {
    /// The tool's name.
    pub name: &'static str,
    /// What its folder in `.tools` is called.
    pub folder: &'static str,
    /// The package that holds it.
    pub package: &'a str,
    /// Its file below `/` of the packages.
    pub program: &'a str,
    /// The architecture of both.
    pub arch: &'a str,
}

/// Brings a program and proves with `works` that it runs here, if need be through the loader of its own packages. What
/// `works` returns beside that is not used: the version is the package's.
pub fn bring_program(
    dir: &ToolDir,
    wanted: &Brought<'_>,
    debs: &[(&str, &Deb)],
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
    works: &dyn Fn(&[String]) -> Result<String, ToolError>,
) -> Result<Tool, ToolError> {
    let version = version_of(debs, wanted.package);
    let label = Label {
        name: wanted.folder,
        version: &version,
        arch: wanted.arch,
    };
    let folder = bring(dir, label, debs, mirror, progress)?;
    let path = folder.join(wanted.program);
    let origin = Origin::Brought {
        package: wanted.package.to_owned(),
        version: version.clone(),
        sha256: digest(debs),
    };
    let mut tool = Tool::new(wanted.name, &version, &path, origin)?;
    // The machine's own libraries will usually do, and start faster than a loader called by name.
    if works(&tool.command).is_err() {
        tool.command = through_loader(&folder, wanted.arch, &path);
        works(&tool.command)?;
    }
    Ok(tool)
}

/// The program started by the loader and with the libraries of its own packages.
pub fn through_loader(folder: &Path, arch: &str, program: &Path) -> Vec<String> {
    let libraries = [format!("lib/{arch}-linux-gnu"), format!("usr/lib/{arch}-linux-gnu")];
    let loader = if arch == "aarch64" {
        "ld-linux-aarch64.so.1"
    } else {
        "ld-linux-x86-64.so.2"
    };
    let path: Vec<String> = libraries
        .iter()
        .map(|part| folder.join(part).display().to_string())
        .collect();
    let loader = folder.join(&libraries[0]).join(loader);
    vec![
        loader.display().to_string(),
        "--library-path".into(),
        path.join(":"),
        program.display().to_string(),
    ]
}

/// The same, with `finish` called on the unpacked folder and on the path that it will have: what it writes may name
/// that path, so a checkout that was moved brings the tool again.
pub fn bring_and(
    dir: &ToolDir,
    label: Label<'_>,
    debs: &[(&str, &Deb)],
    mirror: Option<&Mirror>,
    progress: &dyn Progress,
    finish: &dyn Fn(&Path, &Path) -> Result<(), ToolError>,
) -> Result<PathBuf, ToolError> {
    let target = dir.folder(label);
    let stamp = format!("{} {}", digest(debs), target.display());
    dir.tool(label, &stamp, progress, |folder| {
        let mirror = mirror.ok_or_else(|| ToolError::Download {
            what: format!("{} {}", label.name, label.version),
            problem: "none of this machine's apt sources serves Debian's packages".into(),
        })?;
        let agent = download::agent(mirror.proxy.as_deref(), download::ANSWER_TIMEOUT);
        let total = Total {
            what: format!("{} {} ({} packages)", label.name, label.version, debs.len()),
            done_bytes: AtomicU64::new(0),
            total_bytes: debs.iter().map(|(_, deb)| deb.size).sum(),
            progress,
        };
        side_by_side(debs, |(name, deb)| {
            let file = dir.downloads().join(format!("{name}-{}.deb", &deb.sha256[..16]));
            let urls = [apt::url(&mirror.address, &deb.path)];
            let wanted = Wanted {
                what: name,
                urls: &urls,
                sha256: &deb.sha256,
                agent: &agent,
            };
            let file = download::fetch(&wanted, &file, &super::progress::Silent)?;
            unpack(&file, folder)?;
            total.add(deb.size);
            // the unpacked tool is what is kept
            std::fs::remove_file(&file).map_err(ToolError::io("remove", &file))
        })?;
        finish(folder, &target)
    })
}

/// One digest for a set of packages, whatever their order.
pub fn digest(debs: &[(&str, &Deb)]) -> String {
    if let [(_, only)] = debs {
        return only.sha256.clone();
    }
    let mut all: Vec<&str> = debs.iter().map(|(_, deb)| deb.sha256.as_str()).collect();
    all.sort_unstable();
    blake3::hash(all.join("\n").as_bytes()).to_hex().to_string()
}

/// Bytes of several downloads at once, shown as one.
struct Total<'a> {
    what: String,
    done_bytes: AtomicU64,
    total_bytes: u64,
    progress: &'a dyn Progress,
}

impl Total<'_> {
    fn add(&self, bytes: u64) {
        let done_bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.bytes(&self.what, done_bytes, self.total_bytes);
    }
}

fn side_by_side<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), ToolError> + Sync) -> Result<(), ToolError> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        // the first failure is reported; the others stop at their next item
                        next.store(items.len(), Ordering::Relaxed);
                        if let Ok(mut slot) = failure.lock() {
                            slot.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Unpacks a package's files into `folder`, without what only a person reads.
pub fn unpack(deb: &Path, folder: &Path) -> Result<(), ToolError> {
    let fail = |problem: String| ToolError::Unpack {
        archive: deb.to_path_buf(),
        problem,
    };
    let mut archive = ar::Archive::new(File::open(deb).map_err(ToolError::io("open", deb))?);
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(|e| fail(e.to_string()))?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        match name.trim_end_matches('/') {
            "data.tar.xz" => {
                return untar(liblzma::read::XzDecoder::new(entry), folder).map_err(|e| fail(e.to_string()));
            }
            "data.tar.gz" => {
                return untar(flate2::read::GzDecoder::new(entry), folder).map_err(|e| fail(e.to_string()));
            }
            other if other.starts_with("data.tar") => {
                return Err(fail(format!("{other} is compressed in a way not known here")));
            }
            _ => {}
        }
    }
    Err(fail("it holds no data.tar".into()))
}

fn untar(data: impl Read, folder: &Path) -> std::io::Result<()> {
    const UNREAD: [&str; 6] = [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/lintian",
        "usr/share/perl5",
        "usr/share/bug",
    ];
    let mut archive = tar::Archive::new(data);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        // packages that are unpacked side by side share their folders
        if UNREAD.iter().any(|prefix| path.starts_with(prefix))
            || (entry.header().entry_type().is_dir() && folder.join(path).is_dir())
        {
            continue;
        }
        entry.unpack_in(folder)?;
    }
    Ok(())
}
