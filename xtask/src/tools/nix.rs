//! nix, and where its packages come from: chosen by what the machine has and reaches, or by the person.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::deb::{self, Mirror};
use super::download::{self, Wanted};
use super::error::ToolError;
use super::pins::{DebPins, ToolPins};
use super::place::{Label, Place};
use super::process;
use super::progress::Progress;
use super::{Origin, PackageSource, ProviderChoice, SourceChoice, ToolChoice, version_of, version_reached};

/// Which program runs nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NixProvider {
    /// A nix program.
    Nix,
    /// nix-portable, whose store brings its own nix.
    NixPortable,
}

/// A read-only bind mount that the sandbox needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bind {
    /// On the machine.
    pub from: PathBuf,
    /// In the sandbox.
    pub to: PathBuf,
}

/// A nix that can be had here. [`NixTool::on`] says how to run it on a volume.
#[derive(Debug, Clone, Serialize)]
pub struct NixTool {
    /// Which kind.
    pub provider: NixProvider,
    /// Its version; for nix-portable its own, not that of the nix inside.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
    /// The program on the machine.
    pub program: PathBuf,
    /// The program in the sandbox; none for nix-portable, whose nix is on the volume.
    pub inside: Option<String>,
    /// Read-only binds of a sandbox that runs it.
    pub binds: Vec<Bind>,
    /// Variables it needs: proxies and certificates, and a user name for sandboxes without /etc/passwd.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
}

/// How to run nix in a sandbox that has the volume's store at /nix.
#[derive(Debug, Clone, Serialize)]
pub struct NixCommand {
    /// The program as seen in the sandbox; arguments are appended.
    pub command: Vec<String>,
    /// Read-only binds.
    pub binds: Vec<Bind>,
}

impl NixTool {
    /// Makes a volume ready for this nix and says how to run it there. For nix-portable the first call unpacks the store
    /// that it carries; the caller holds the volume's lock, because nix-portable has none.
    pub fn on(&self, volume: &Path) -> Result<NixCommand, ToolError> {
        let nix = match self.inside.clone().or_else(|| nix_in_store(volume)) {
            Some(nix) => nix,
            None => self.bootstrap(volume)?,
        };
        Ok(NixCommand {
            command: vec![nix],
            binds: self.binds.clone(),
        })
    }

    fn bootstrap(&self, volume: &Path) -> Result<String, ToolError> {
        let mut command = Command::new(&self.program);
        command.args(["nix", "--version"]).env("NP_LOCATION", volume);
        process::output(&mut command, Duration::from_secs(300))?;
        nix_in_store(volume).ok_or_else(|| ToolError::Program {
            program: self.program.display().to_string(),
            problem: format!(
                "it ended well but left no nix in {}",
                volume.join(".nix-portable/nix/store").display()
            ),
        })
    }
}

/// The nix in a volume's store, as a path in the sandbox.
fn nix_in_store(volume: &Path) -> Option<String> {
    let store = volume.join(".nix-portable/nix/store");
    let mut found: Vec<String> = std::fs::read_dir(&store)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    found.retain(|name| {
        let version = name.get(33..).and_then(|rest| rest.strip_prefix("nix-"));
        version.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
            && store.join(name).join("bin/nix").exists()
    });
    found.sort();
    found.pop().map(|name| format!("/nix/store/{name}/bin/nix"))
}

/// What choosing looks at.
pub struct Surroundings<'a> {
    pub checkout: &'a Path,
    pub place: &'a Place,
    pub tool_pins: &'a ToolPins,
    pub deb_pins: &'a DebPins,
    pub arch: &'a str,
    pub mirror: Option<&'a Mirror>,
}

/// Chooses and provides a nix and its packages.
pub fn provide(
    at: &Surroundings<'_>,
    choice: &ToolChoice,
    progress: &dyn Progress,
) -> Result<(NixTool, PackageSource), ToolError> {
    // nixpkgs comes from the same host as nix-portable's releases: one look answers for both
    let release = at.release_url();
    let needs_release = choice.source != SourceChoice::Debnix || choice.provider == ProviderChoice::NixPortable;
    let reaches_release = needs_release && download::exists(&download::agent(None, Duration::from_secs(4)), &release);
    let source = match choice.source {
        SourceChoice::Nixpkgs => at.nixpkgs(),
        SourceChoice::Auto if reaches_release => at.nixpkgs(),
        SourceChoice::Debnix | SourceChoice::Auto if at.mirror.is_some() => at.debnix()?,
        SourceChoice::Debnix | SourceChoice::Auto => {
            return Err(lacking(
                "neither nixpkgs nor a mirror with Debian's packages can be reached",
            ));
        }
    };
    let tool = match choice.provider {
        ProviderChoice::NixPortable => at.nix_portable(&release, progress)?,
        ProviderChoice::Nix => at.nix(progress)?,
        ProviderChoice::Auto if reaches_release => at.nix_portable(&release, progress).or_else(|_| at.nix(progress))?,
        ProviderChoice::Auto => at.nix(progress)?,
    };
    Ok((tool, source))
}

impl Surroundings<'_> {
    fn release_url(&self) -> String {
        let pin = &self.tool_pins.nix_portable;
        pin.url.replace("{version}", &pin.version).replace("{arch}", self.arch)
    }

    fn nixpkgs(&self) -> PackageSource {
        let pin = &self.tool_pins.nixpkgs;
        PackageSource::Nixpkgs {
            revision: pin.revision.clone(),
            nar_hash: pin.nar_hash.clone(),
        }
    }

    fn debnix(&self) -> Result<PackageSource, ToolError> {
        let folder = self.checkout.join("images/debnix");
        let folder = folder.canonicalize().map_err(ToolError::io("find", &folder))?;
        let mut hash = blake3::Hasher::new();
        for name in [
            "default.nix",
            "applets.sh",
            "gcc.sh",
            "pins.json",
            "sysroot.sh",
            "tool.sh",
            "unpack.sh",
        ] {
            let file = folder.join(name);
            let bytes = std::fs::read(&file).map_err(ToolError::io("read", &file))?;
            hash.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        Ok(PackageSource::Debnix {
            folder,
            digest: hash.finalize().to_hex().to_string(),
        })
    }

    fn nix_portable(&self, url: &str, progress: &dyn Progress) -> Result<NixTool, ToolError> {
        let pin = &self.tool_pins.nix_portable;
        let sha256 = pin
            .sha256
            .get(self.arch)
            .ok_or_else(|| lacking("no nix-portable is pinned for this architecture"))?;
        let label = Label {
            name: "nix-portable",
            version: &pin.version,
            arch: self.arch,
        };
        let folder = self.place.tool(label, sha256, progress, |folder| {
            let file = self.place.downloads().join(format!("nix-portable-{}", pin.version));
            let urls = [url.to_owned()];
            let file = download::fetch(
                &Wanted {
                    what: "nix-portable",
                    urls: &urls,
                    sha256,
                    proxy: None,
                },
                &file,
                progress,
            )?;
            let target = folder.join("nix-portable");
            std::fs::rename(&file, &target).map_err(ToolError::io("rename", &file))?;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))
                .map_err(ToolError::io("mark as program", &target))
        })?;
        let origin = Origin::Brought {
            package: "nix-portable".into(),
            version: pin.version.clone(),
            sha256: sha256.clone(),
        };
        let program = folder.join("nix-portable");
        Ok(NixTool {
            provider: NixProvider::NixPortable,
            version: pin.version.clone(),
            origin,
            program,
            inside: None,
            binds: Vec::new(),
            env: environment(),
        })
    }

    fn nix(&self, progress: &dyn Progress) -> Result<NixTool, ToolError> {
        let pin = &self.tool_pins.nix;
        if let Some(found) = installed(&pin.at_least) {
            return Ok(found);
        }
        let debs = self.deb_pins.tool(self.arch, "nix")?;
        let version = version_of(&debs, &pin.package);
        let label = Label {
            name: "nix",
            version: &version,
            arch: self.arch,
        };
        let root = deb::bring(self.place, label, &debs, self.mirror, progress)?;
        let origin = Origin::Brought {
            package: pin.package.clone(),
            version: version.clone(),
            sha256: deb::digest(&debs),
        };
        let program = root.join("usr/bin/nix");
        Ok(NixTool {
            provider: NixProvider::Nix,
            version,
            origin,
            program,
            inside: Some("/usr/bin/nix".into()),
            binds: system_folders(&root),
            env: environment(),
        })
    }
}

/// The folders that make `root` look like a machine of its own: nix, its build hook and its libraries are then where
/// they expect to be, whatever distribution is outside.
fn system_folders(root: &Path) -> Vec<Bind> {
    let folders = ["usr", "lib", "lib64"]
        .iter()
        .map(|name| (root.join(name), Path::new("/").join(name)));
    folders
        .filter(|(from, _)| from.is_dir())
        .map(|(from, to)| Bind { from, to })
        .collect()
}

/// A nix that a distribution installed below /usr. One that lives in /nix does not count: the volume is mounted over it.
fn installed(at_least: &str) -> Option<NixTool> {
    let path = process::find("nix")?
        .canonicalize()
        .ok()
        .filter(|path| path.starts_with("/usr"))?;
    let inside = path.to_str()?.to_owned();
    let said = process::output(Command::new(&path).arg("--version"), Duration::from_secs(10)).ok()?;
    let version = said.split_whitespace().last()?.to_owned();
    version_reached(&version, at_least).then(|| NixTool {
        provider: NixProvider::Nix,
        version,
        origin: Origin::Found { path: path.clone() },
        program: path,
        inside: Some(inside),
        binds: system_folders(Path::new("/")),
        env: environment(),
    })
}

/// What the environment says about proxies and certificates, in the names that nix's own client reads, and a user name:
/// nix asks for one and a sandbox may have no /etc/passwd.
fn environment() -> BTreeMap<String, String> {
    let names = [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ];
    let mut env: BTreeMap<String, String> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    if let Some(proxy) = super::apt::proxy() {
        env.entry("http_proxy".into()).or_insert(proxy);
    }
    let bundle = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    env.insert("USER".into(), "nix".into());
    env.insert(
        "NIX_SSL_CERT_FILE".into(),
        bundle.unwrap_or_else(|| "/etc/ssl/certs/ca-certificates.crt".into()),
    );
    env
}

fn lacking(problem: &str) -> ToolError {
    ToolError::Unavailable {
        tool: "nix",
        problem: problem.into(),
        remedy: "install your distribution's nix (it must not live in /nix), or let this machine reach a Debian mirror that its apt sources name; \
                 tasks without system dependencies run without it"
            .into(),
    }
}
