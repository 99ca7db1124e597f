//! What was installed, as the wheels themselves list it: every `RECORD` read, checked, and made part of the key.
//!
//! A `uv pip install` that was killed leaves an environment that uv itself calls complete, so "uv said so" is no
//! proof. Each entry of each `RECORD` is compared by presence and size, one `stat` per file; hashing the content
//! again would cost a thousand times as much and uv has done it while unpacking.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use hybrid_cache_model::{Failure, FailureKind};

use crate::store::At;

/// File systems stamp new files with the time of the last timer tick: this much may lie between that and the clock.
const TIMESTAMP_SLACK: Duration = Duration::from_millis(20);
/// Files of a dist-info folder that tell how a package came here, not what it is.
const NOT_CONTENT: [&str; 5] = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"];

/// One line of a `RECORD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to site-packages; may leave it: `../../../bin/f2py`.
    pub path: String,
    /// `sha256=…`, empty where the wheel gives none.
    pub hash: String,
    /// Size in bytes, where given.
    pub size: Option<u64>,
}

/// One installed distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// `name==version`, the name in its normal form.
    pub pin: String,
    /// Hexadecimal digest of its normalised `RECORD`: of what was installed.
    pub digest: String,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// All distributions of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The folder that holds them.
    pub site_packages: PathBuf,
    /// Sorted by pin.
    pub distributions: Vec<Distribution>,
}

/// What a check found beside problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of files that came into being since the given moment.
    pub downloaded_bytes: u64,
    /// Bytes of files that were there before and are shared.
    pub reused_bytes: u64,
}

impl Installed {
    /// Reads every `RECORD` of the environment at `environment`.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] where a distribution has none, or one that cannot be read.
    pub fn read(environment: &Path) -> Result<Installed, Failure> {
        let site_packages = site_packages(environment)?;
        let mut distributions = Vec::new();
        for entry in std::fs::read_dir(&site_packages).at("read the folder", &site_packages)? {
            let name = entry.at("read the folder", &site_packages)?.file_name();
            if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".dist-info")) {
                distributions.push(distribution(&site_packages, stem)?);
            }
        }
        distributions.sort_by(|one, other| one.pin.cmp(&other.pin));
        Ok(Installed {
            site_packages,
            distributions,
        })
    }

    /// `(name==version, digest)` of each distribution, as the environment's key wants them.
    pub fn pins(&self) -> Vec<(String, String)> {
        self.distributions
            .iter()
            .map(|one| (one.pin.clone(), one.digest.clone()))
            .collect()
    }

    /// Compares every entry with the disk by presence and size.
    ///
    /// An inode born after `since` was downloaded for this environment, an older one is shared with what the volume
    /// held before. Where the file system keeps no time of birth, an inode with no other name than the one in uv's
    /// cache counts as new. Files that uv generates itself (scripts) count as neither.
    ///
    /// # Errors
    /// [`FailureKind::CacheDamaged`] naming the first file that is missing or has another size.
    pub fn check(&self, since: SystemTime) -> Result<Checked, Failure> {
        let since = since.checked_sub(TIMESTAMP_SLACK).unwrap_or(since);
        let mut checked = Checked::default();
        for distribution in &self.distributions {
            for entry in &distribution.entries {
                let path = self.site_packages.join(&entry.path);
                let found = match path.metadata() {
                    Ok(found) => found,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Err(damaged(distribution, &path, "is missing"));
                    }
                    Err(error) => return Err(error).at("look at", &path),
                };
                if entry.size.is_some_and(|size| size != found.len()) && !self.is_overwritten(entry, found.len()) {
                    let what = format!(
                        "has {} bytes instead of {}",
                        found.len(),
                        entry.size.unwrap_or_default()
                    );
                    return Err(damaged(distribution, &path, &what));
                }
                checked.files += 1;
                if found.nlink() == 1 && (leaves(&entry.path) || !is_content(&entry.path)) {
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

    /// True where another distribution brought a file of the same name and this size: the last one wins, and pip and
    /// uv both let it.
    fn is_overwritten(&self, entry: &Entry, size: u64) -> bool {
        let entries = self.distributions.iter().flat_map(|one| &one.entries);
        entries
            .filter(|other| other.path == entry.path)
            .any(|other| other.size == Some(size))
    }
}

/// The folder of an environment that holds its packages.
///
/// # Errors
/// There is none.
pub fn site_packages(environment: &Path) -> Result<PathBuf, Failure> {
    let lib = environment.join("lib");
    for entry in std::fs::read_dir(&lib).at("read the folder", &lib)? {
        let folder = entry.at("read the folder", &lib)?.path().join("site-packages");
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    Err(Failure::new(
        FailureKind::CacheDamaged,
        format!("{} holds no site-packages folder", lib.display()),
    ))
}

fn distribution(site_packages: &Path, stem: &str) -> Result<Distribution, Failure> {
    let path = site_packages.join(format!("{stem}.dist-info")).join("RECORD");
    let (name, version) = stem.rsplit_once('-').unwrap_or((stem, ""));
    let pin = format!("{}=={version}", normal_name(name));
    let content = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "{pin} was installed without its list of files: {} is missing",
                path.display()
            );
            return Err(Failure::new(FailureKind::CacheDamaged, message));
        }
        other => other.at("read", &path)?,
    };
    let entries = parse(&content).map_err(|what| {
        Failure::new(
            FailureKind::CacheDamaged,
            format!("could not read {}: {what}", path.display()),
        )
    })?;
    Ok(Distribution {
        pin,
        digest: digest(&entries),
        entries,
    })
}

fn parse(content: &[u8]) -> Result<Vec<Entry>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(content);
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let field = |at: usize| record.get(at).unwrap_or_default();
        if field(0).is_empty() {
            continue;
        }
        if Path::new(field(0)).is_absolute() {
            return Err(format!("it lists the absolute path {}", field(0)));
        }
        let size = match field(2) {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| format!("the size of {} is `{text}`", field(0)))?,
            ),
        };
        entries.push(Entry {
            path: field(0).to_owned(),
            hash: field(1).to_owned(),
            size,
        });
    }
    Ok(entries)
}

/// What was installed, whatever the order of the lines and however it was asked for.
fn digest(entries: &[Entry]) -> String {
    let mut content: Vec<&Entry> = entries.iter().filter(|entry| is_content(&entry.path)).collect();
    content.sort_by(|one, other| one.path.cmp(&other.path));
    let mut hasher = blake3::Hasher::new();
    for entry in content {
        for field in [&entry.path, &entry.hash] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
    }
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(32);
    hex
}

fn is_content(path: &str) -> bool {
    match path.split_once(".dist-info/") {
        Some((_, name)) => !NOT_CONTENT.contains(&name),
        None => true,
    }
}

/// True where the path leads out of site-packages.
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
        "the installation of {} is not complete: {} {what}",
        distribution.pin,
        path.display()
    );
    Failure::new(FailureKind::CacheDamaged, message).hint("nothing was published; try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "a/__init__.py,sha256=abc,3\n\"a/with,comma.py\",sha256=def,1\n../../../bin/a,sha256=x,2\n\
                          a-1.0.dist-info/RECORD,,\na-1.0.dist-info/REQUESTED,sha256=e3b0,0\n";

    fn environment(record: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.11/site-packages");
        for folder in ["a", "a-1.0.dist-info"] {
            std::fs::create_dir_all(site.join(folder)).unwrap();
        }
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let files = [
            ("a/__init__.py", "abc"),
            ("a/with,comma.py", "x"),
            ("../../../bin/a", "xy"),
        ];
        for (path, content) in files.into_iter().chain([("a-1.0.dist-info/REQUESTED", "")]) {
            std::fs::write(site.join(path), content).unwrap();
        }
        std::fs::write(site.join("a-1.0.dist-info/RECORD"), record).unwrap();
        dir
    }

    #[test]
    fn a_complete_environment_passes() {
        let dir = environment(RECORD);
        let installed = Installed::read(dir.path()).unwrap();
        assert_eq!(installed.distributions[0].pin, "a==1.0");
        let checked = installed.check(SystemTime::now() - Duration::from_secs(60)).unwrap();
        assert_eq!(
            (checked.files, checked.downloaded_bytes, checked.reused_bytes),
            (5, 4, 0)
        );
    }

    #[test]
    fn what_was_there_before_is_reused() {
        let dir = environment(RECORD);
        let checked = Installed::read(dir.path())
            .unwrap()
            .check(SystemTime::now() + Duration::from_secs(60))
            .unwrap();
        assert_eq!((checked.downloaded_bytes, checked.reused_bytes), (0, 4));
    }

    #[test]
    fn missing_short_and_unlisted_files_are_damage() {
        for spoil in [
            |site: &Path| std::fs::remove_file(site.join("a/with,comma.py")).unwrap(),
            |site: &Path| std::fs::write(site.join("a/__init__.py"), "").unwrap(),
            |site: &Path| std::fs::remove_file(site.join("a-1.0.dist-info/RECORD")).unwrap(),
            |site: &Path| std::fs::remove_file(site.join("../../../bin/a")).unwrap(),
        ] {
            let dir = environment(RECORD);
            spoil(&site_packages(dir.path()).unwrap());
            let checked = Installed::read(dir.path()).and_then(|installed| installed.check(SystemTime::now()));
            assert_eq!(checked.unwrap_err().kind, FailureKind::CacheDamaged);
        }
    }

    #[test]
    fn the_digest_is_of_content_alone() {
        let other_order = "../../../bin/a,sha256=x,2\na/__init__.py,sha256=abc,3\n\"a/with,comma.py\",sha256=def,1\n\
                           a-1.0.dist-info/RECORD,,\n";
        let other_content = RECORD.replace("abc", "abd");
        let digest = |record: &str| super::digest(&parse(record.as_bytes()).unwrap());
        assert_eq!(digest(RECORD), digest(other_order));
        assert_ne!(digest(RECORD), digest(&other_content));
    }

    #[test]
    fn absolute_paths_and_odd_sizes_are_refused() {
        assert!(parse(b"/etc/passwd,,\n").unwrap_err().contains("/etc/passwd"));
        assert!(parse(b"a,,many\n").unwrap_err().contains("many"));
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(normal_name("Charset_Normalizer"), "charset-normalizer");
        assert_eq!(normal_name("zope.interface"), "zope-interface");
    }
}
