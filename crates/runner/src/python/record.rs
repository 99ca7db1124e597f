//! Reads the `RECORD` of every package, checks that all listed files exist, and normalises it.
//!
//! A `RECORD` is only a claim. uv does not check its hashes, so no key depends on them; a mismatch becomes a warning
//! (see [`super::claims`]). It is used to check completeness: a killed `uv pip install` leaves an environment that uv
//! calls complete, and a missing listed file reveals that at one `stat` per file.
//!
//! uv records how a package was installed (whether it was requested by name, from where, with which time stamp). This
//! would make environments with the same files differ, so [`Installed::normalise`] removes it.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Protection};

use super::pool::PYCACHE;
use crate::store::{IoContext, files};

/// The largest difference between the clock and a new file's time stamp, which is the time of the last timer tick.
const TIMESTAMP_SLACK: Duration = Duration::from_millis(20);
/// The list of files of a distribution.
const RECORD: &str = "RECORD";
/// The file that names the installer.
const INSTALLER: &str = "INSTALLER";
/// Files of a dist-info folder that say how a package was installed, not what it contains.
const BOOKKEEPING: [&str; 3] = ["REQUESTED", "direct_url.json", "uv_cache.json"];

/// One line of a `RECORD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The path as it is listed, relative to site-packages; may leave it: `../../../bin/f2py`.
    pub listed: String,
    /// The same relative to the environment: `bin/f2py`.
    pub path: String,
    /// `sha256=…`, empty if the wheel has none.
    pub hash: String,
    /// Size in bytes, if given.
    pub size: Option<u64>,
}

/// One installed distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The name in its normal form.
    pub name: String,
    /// The version as its folder says it.
    pub version: String,
    /// Its folder in site-packages: `name-version.dist-info`.
    pub folder: String,
    /// Its files, sorted, without bytecode.
    pub entries: Vec<Entry>,
}

impl Distribution {
    /// `name==version`
    pub fn pin(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }
}

/// All distributions of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The virtual environment.
    pub venv: PathBuf,
    /// `lib/python3.x/site-packages`
    pub site: String,
    /// Sorted by name.
    pub distributions: Vec<Distribution>,
}

/// The sizes that a successful check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The number of files.
    pub files: u64,
    /// Bytes of files created since the given time.
    pub downloaded_bytes: u64,
    /// Bytes of older files, which are shared.
    pub reused_bytes: u64,
}

/// The site-packages folder of an interpreter of this version, relative to the environment.
pub fn site(interpreter: &Interpreter) -> String {
    let mut numbers = interpreter.version.split('.');
    let mut number = || numbers.next().unwrap_or_default();
    format!("lib/python{}.{}/site-packages", number(), number())
}

impl Installed {
    /// Reads every `RECORD` of the virtual environment at `venv`.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] if a distribution has no list of files; [`FailureKind::Unsatisfiable`] if a
    /// `RECORD` cannot be used, or a package contains forbidden folders.
    pub fn read(venv: &Path, interpreter: &Interpreter) -> Result<Installed, Failure> {
        let site = site(interpreter);
        if Protection::InstalledCheck.is_on() {
            super::layout::check(venv, &site)?;
        }
        let folder = venv.join(&site);
        let mut distributions = Vec::new();
        for entry in std::fs::read_dir(&folder).io_context("read the folder", &folder)? {
            let name = entry.io_context("read the folder", &folder)?.file_name();
            if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".dist-info")) {
                distributions.push(distribution(venv, &site, stem)?);
            }
        }
        distributions.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
        Ok(Installed {
            venv: venv.to_owned(),
            site,
            distributions,
        })
    }

    /// `name==version` of each distribution, sorted.
    pub fn pins(&self) -> Vec<String> {
        self.distributions.iter().map(Distribution::pin).collect()
    }

    /// The name in normal form and the version that a distribution's METADATA claims; `None` if it has no such claims.
    pub fn metadata(&self, distribution: &Distribution) -> Option<(String, String)> {
        let path = self.venv.join(&self.site).join(&distribution.folder).join("METADATA");
        let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
        let head = text.lines().take_while(|line| !line.trim().is_empty());
        let field = |name: &str| {
            let mut values = head.clone().filter_map(|line| line.split_once(':'));
            let value = values.find(|(found, _)| found.eq_ignore_ascii_case(name))?.1;
            Some(value.trim().to_owned())
        };
        Some((normal_name(&field("Name")?), field("Version")?))
    }

    /// The distribution that lists `path`, relative to the environment.
    pub fn owner(&self, path: &str) -> Option<&Distribution> {
        let lists = |one: &&Distribution| one.entries.iter().any(|entry| entry.path == path);
        self.distributions.iter().find(lists)
    }

    /// Checks that every listed file exists.
    ///
    /// An inode created after `since` was downloaded for this environment; an older one is shared. If the file system
    /// has no creation times, an inode whose only other name is in uv's cache counts as new. Files that uv generates
    /// (scripts) count as neither.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] naming the first file that is missing.
    pub fn check(&self, since: SystemTime) -> Result<Checked, Failure> {
        let since = since.checked_sub(TIMESTAMP_SLACK).unwrap_or(since);
        let mut checked = Checked::default();
        for distribution in &self.distributions {
            for entry in &distribution.entries {
                let path = self.venv.join(&entry.path);
                let found = match path.metadata() {
                    Ok(found) => found,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Err(damaged(distribution, &path, "is missing"));
                    }
                    Err(error) => return Err(error).io_context("look at", &path),
                };
                checked.files += 1;
                if found.nlink() == 1 && (leaves(&entry.listed) || is_bookkeeping(distribution, entry)) {
                    continue;
                }
                let new = found.created().map_or(found.nlink() <= 2, |born| born >= since);
                *(if new {
                    &mut checked.downloaded_bytes
                } else {
                    &mut checked.reused_bytes
                }) += found.len();
            }
        }
        Ok(checked)
    }

    /// Removes from the environment what says how its packages were installed.
    ///
    /// Deletes `REQUESTED`, `direct_url.json` and `uv_cache.json`, writes `uv` to `INSTALLER`, and sorts `RECORD`
    /// without duplicates and deleted files. Each becomes a new file, because the old one may be the same inode as in
    /// uv's cache.
    ///
    /// # Errors
    /// The volume cannot be written.
    pub fn normalise(&mut self) -> Result<(), Failure> {
        for distribution in &mut self.distributions {
            let folder = self.venv.join(&self.site).join(&distribution.folder);
            let names = BOOKKEEPING.map(|name| format!("{}/{name}", distribution.folder));
            for name in BOOKKEEPING {
                files::delete(&folder.join(name))?;
            }
            replace(&folder.join(INSTALLER), b"uv")?;
            let installer = format!("{}/{INSTALLER}", distribution.folder);
            let entries = &mut distribution.entries;
            entries.retain(|entry| !names.contains(&entry.listed) && entry.listed != installer);
            entries.push(Entry {
                path: format!("{}/{installer}", self.site),
                listed: installer,
                hash: String::new(),
                size: None,
            });
            entries.sort();
            entries.dedup();
            replace(&folder.join(RECORD), &write(entries)?)?;
        }
        Ok(())
    }
}

/// Replaces `path` by a new file with this content. Never writes to the existing file.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if !Protection::OwnFiles.is_on() {
        return std::fs::write(path, content).io_context("write", path);
    }
    let temporary = path.with_file_name(files::unique_name(".new"));
    std::fs::write(&temporary, content).io_context("write", &temporary)?;
    std::fs::rename(&temporary, path).io_context("rename into place", path)
}

fn is_bookkeeping(distribution: &Distribution, entry: &Entry) -> bool {
    let inside = entry
        .listed
        .strip_prefix(&distribution.folder)
        .and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|name| name == RECORD || name == INSTALLER || BOOKKEEPING.contains(&name))
}

fn distribution(venv: &Path, site: &str, stem: &str) -> Result<Distribution, Failure> {
    let folder = format!("{stem}.dist-info");
    let path = venv.join(site).join(&folder).join(RECORD);
    let (name, version) = stem.rsplit_once('-').unwrap_or((stem, ""));
    let name = normal_name(name);
    let content = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "{name}=={version} was installed without its list of files: {} is missing",
                path.display()
            );
            return Err(Failure::new(FailureKind::CacheDamaged, message));
        }
        other => other.io_context("read", &path)?,
    };
    let mut entries = parse(&content, site).map_err(|what| {
        let message = format!("{name}=={version} cannot be used: its RECORD {what}");
        Failure::new(FailureKind::Unsatisfiable, message)
            .hint("the package is built wrongly; ask for another version of it")
    })?;
    entries.sort();
    Ok(Distribution {
        name,
        version: version.to_owned(),
        folder,
        entries,
    })
}

fn parse(content: &[u8], site: &str) -> Result<Vec<Entry>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(content);
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("cannot be read: {error}"))?;
        let field = |at: usize| record.get(at).unwrap_or_default();
        let listed = field(0);
        if listed.is_empty() || listed.split('/').any(|part| part == PYCACHE) {
            continue;
        }
        let path = inside(site, listed).ok_or_else(|| format!("lists `{listed}`, which is not in the environment"))?;
        entries.push(Entry {
            listed: listed.to_owned(),
            path,
            hash: field(1).to_owned(),
            // An invalid size matches no file.
            size: match field(2) {
                "" => None,
                text => Some(text.parse().unwrap_or(u64::MAX)),
            },
        });
    }
    Ok(entries)
}

/// `listed`, relative to the environment; `None` if it is not in it.
fn inside(site: &str, listed: &str) -> Option<String> {
    let mut parts: Vec<&str> = site.split('/').collect();
    for part in Path::new(listed).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    if parts.first() == Some(&"lib64") {
        parts[0] = "lib";
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn write(entries: &[Entry]) -> Result<Vec<u8>, Failure> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let bug = |error: String| Failure::new(FailureKind::Internal, format!("a RECORD cannot be written: {error}"));
    for entry in entries {
        let size = entry.size.map_or_else(String::new, |size| size.to_string());
        let written = writer.write_record([&entry.listed, &entry.hash, &size]);
        written.map_err(|error| bug(error.to_string()))?;
    }
    writer.into_inner().map_err(|error| bug(error.to_string()))
}

/// True if the path contains `..` and may lead out of its folder.
pub fn leaves(path: &str) -> bool {
    Path::new(path).components().any(|part| part == Component::ParentDir)
}

/// PEP 503: lower case, runs of `-`, `_` and `.` as one `-`.
fn normal_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        if !matches!(letter, '-' | '_' | '.') {
            normal.push(letter.to_ascii_lowercase());
        } else if !normal.ends_with('-') {
            normal.push('-');
        }
    }
    normal
}

fn damaged(distribution: &Distribution, path: &Path, what: &str) -> Failure {
    let message = format!(
        "the installation of {} is incomplete: {} {what}",
        distribution.pin(),
        path.display()
    );
    Failure::new(FailureKind::CacheDamaged, message).hint("nothing was published; run the task again")
}

#[cfg(test)]
mod tests;
