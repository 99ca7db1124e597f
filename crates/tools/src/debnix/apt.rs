//! A private apt: the machine's own mirrors and keys, but empty package lists and status, and no need of root.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use crate::apt;
use crate::error::{ErrorContext, Result};
use crate::failed;
use crate::pins::Deb;

/// One suite for one architecture, with nothing installed, so that a closure holds every dependency.
pub struct PrivateApt {
    config: PathBuf,
    // the lists live as long as this value
    _folder: tempfile::TempDir,
}

impl PrivateApt {
    /// Fetches the suite's list from the first of the machine's mirrors that has it.
    pub fn new(suite: &str, architecture: &str) -> Result<Self> {
        let sources = apt::sources("/etc/apt".as_ref());
        let proxy = apt::proxy();
        let release = format!("dists/{suite}/InRelease");
        let Some(mirror) = apt::serving(&apt::mirrors(&sources, suite), &release, proxy.as_deref()) else {
            return Err(failed!("none of this machine's apt sources serves Debian {suite}"));
        };
        let folder = tempfile::tempdir().context("cannot make a temporary folder for apt")?;
        let root = folder.path();
        for part in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(root.join(part))?;
        }
        std::fs::write(root.join("status"), "")?;
        let key = sources
            .iter()
            .find(|s| s.uri == mirror)
            .and_then(|s| s.signed_by.as_ref());
        let options = key
            .map(|key| format!("[signed-by={}] ", key.display()))
            .unwrap_or_default();
        std::fs::write(
            root.join("sources.list"),
            format!("deb {options}{mirror} {suite} main\n"),
        )?;
        let proxy = proxy
            .map(|proxy| format!("Acquire::http::Proxy \"{proxy}\";\n"))
            .unwrap_or_default();
        let settings = [
            ("APT::Architecture", architecture.to_owned()),
            ("APT::Architectures", architecture.to_owned()),
            ("APT::Install-Recommends", "false".to_owned()),
            // as root apt would drop to a user who cannot write to our folder
            ("APT::Sandbox::User", String::new()),
            ("Dir::State", root.join("state").display().to_string()),
            ("Dir::State::status", root.join("status").display().to_string()),
            ("Dir::Cache", root.join("cache").display().to_string()),
            ("Dir::Etc::sourcelist", root.join("sources.list").display().to_string()),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ];
        let mut text = proxy;
        for (name, value) in settings {
            text.push_str(&format!("{name} \"{value}\";\n"));
        }
        let config = root.join("apt.conf");
        std::fs::write(&config, text)?;
        let apt = Self {
            config,
            _folder: folder,
        };
        apt.run("apt-get", ["update", "-q"])?;
        Ok(apt)
    }

    /// Names of everything that would be installed for `roots` on an empty machine, sorted.
    pub fn closure(&self, roots: &[String]) -> Result<BTreeSet<String>> {
        let arguments = ["install", "--print-uris", "-y", "-qq"]
            .into_iter()
            .chain(roots.iter().map(String::as_str));
        let output = self.run("apt-get", arguments)?;
        // 'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE DIGEST
        let names = output.lines().filter(|line| line.starts_with('\'')).filter_map(|line| {
            let file = line.split_whitespace().nth(1)?;
            Some(file.split_once('_')?.0.to_owned())
        });
        let names: BTreeSet<String> = names.collect();
        if names.is_empty() {
            return Err(failed!("apt resolves {} to no package", roots.join(" ")));
        }
        Ok(names)
    }

    /// The pinned file of each package.
    pub fn files(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Deb>> {
        let arguments = ["show", "--no-all-versions"]
            .into_iter()
            .chain(names.iter().map(String::as_str));
        let output = self.run("apt-cache", arguments)?;
        let mut debs = BTreeMap::new();
        for stanza in output.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
            let field = |name: &str| {
                stanza
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                    .map(str::to_owned)
            };
            let package = field("Package").context("apt-cache shows a package without a name")?;
            let wanted = |name: &str| field(name).with_context(|| format!("apt-cache shows no {name} of {package}"));
            let deb = Deb {
                version: wanted("Version")?,
                path: wanted("Filename")?,
                size: wanted("Size")?.parse()?,
                sha256: wanted("SHA256")?,
            };
            debs.insert(package, deb);
        }
        for name in names {
            if !debs.contains_key(name) {
                return Err(failed!("apt-cache knows no file of {name}"));
            }
        }
        Ok(debs)
    }

    fn run<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let output = Command::new(program)
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C")
            // some images switch apt's cache off in a file that is read later than ours: every call would parse all lists
            .args(["-o", "Dir::Cache::pkgcache=pkgcache.bin"])
            .args(arguments)
            .output()
            .with_context(|| format!("cannot start {program}; debnix's pins are made on a machine with apt"))?;
        if !output.status.success() {
            return Err(failed!(
                "{program} failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}
