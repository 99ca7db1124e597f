//! nix, and where its packages come from: chosen by what the machine has and reaches, or by the person.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::deb::{self, Mirror};
use crate::download::{self, Wanted};
use crate::pins::{DebPins, ToolPins};
use crate::progress::Progress;
use crate::tool::{
    NixProvider, NixTool, Origin, PackageSource, ProviderChoice, SourceChoice, ToolChoice, version_of, version_reached,
};
use crate::tool_dir::{Label, ToolDir};
use crate::tool_error::ToolError;
use crate::{environment, process};

/// Starts nix with the loader and the libraries of its own packages, so that the machine's own need not fit. Never on a
/// warm path: nix only prepares.
const LAUNCHER: &str = r#"root=${0%/bin/nix}
for folder in "$root"/lib/*-linux-gnu; do libraries=$folder; done
for loader in "$libraries"/ld-linux*.so.*; do :; done
exec "$loader" --library-path "$libraries:$root/usr/lib/${libraries##*/}:$root/usr/lib/nix" --argv0 nix \
  "$root/usr/bin/nix" --option build-hook "$root/libexec/no-remote-builds" "$@"
"#;

/// nix asks this program whether another machine builds; the packaged one is looked for at a path that is not ours. It reads
/// on until nix has asked: one that ends earlier can end nix by SIGPIPE.
const NO_REMOTE_BUILDS: &str = "echo '# decline-permanently' >&2\nwhile read -r _; do :; done\n";

/// What choosing looks at.
pub struct NixContext<'a> {
    pub checkout: &'a Path,
    pub dir: &'a ToolDir,
    pub tool_pins: &'a ToolPins,
    pub deb_pins: &'a DebPins,
    pub arch: &'a str,
    pub mirror: Option<&'a Mirror>,
}

/// Chooses and provides a nix and its packages.
pub fn provide(
    at: &NixContext<'_>,
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

impl NixContext<'_> {
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
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .map_err(ToolError::io("read", &folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|ending| ["nix", "sh", "json"].iter().any(|one| ending == *one))
            })
            .collect();
        files.sort();
        let mut hash = blake3::Hasher::new();
        for file in files {
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
        let folder = self.dir.tool(label, sha256, progress, |folder| {
            let file = self.dir.downloads().join(format!("nix-portable-{}", pin.version));
            let urls = [url.to_owned()];
            let file = download::fetch(
                &Wanted {
                    what: "nix-portable",
                    urls: &urls,
                    sha256,
                    agent: &download::agent(None, download::ANSWER_TIMEOUT),
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
        let root = deb::bring_and(self.dir, label, &debs, self.mirror, progress, &add_launchers)?;
        let origin = Origin::Brought {
            package: pin.package.clone(),
            version: version.clone(),
            sha256: deb::digest(&debs),
        };
        let program = root.join("bin/nix");
        Ok(NixTool {
            provider: NixProvider::Nix,
            version,
            origin,
            program,
            env: environment(),
        })
    }
}

/// Puts scripts beside the packages' files. They run under the busybox that lies there too, because a sandbox may have
/// no shell, and name it by the path at which it will be used.
fn add_launchers(staging: &Path, target: &Path) -> Result<(), ToolError> {
    let busybox = target.join("bin/busybox");
    let busybox = busybox.to_str().unwrap_or_default();
    // the kernel splits this line at blanks and cuts it at 255 bytes
    let is_plain = !busybox.is_empty() && busybox.len() < 200 && !busybox.contains(char::is_whitespace);
    let interpreter = if is_plain {
        [busybox, " sh"].concat()
    } else {
        "/bin/sh".to_owned()
    };
    for (name, script) in [("bin/nix", LAUNCHER), ("libexec/no-remote-builds", NO_REMOTE_BUILDS)] {
        let file = staging.join(name);
        let folder = file.parent().unwrap_or(staging);
        std::fs::create_dir_all(folder).map_err(ToolError::io("create", folder))?;
        let text = ["#!", &interpreter, "\n", script].concat();
        std::fs::write(&file, text).map_err(ToolError::io("write", &file))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
            .map_err(ToolError::io("mark as program", &file))?;
    }
    Ok(())
}

/// A nix that a distribution installed below /usr. One that lives in /nix does not count: the volume is mounted over it.
fn installed(at_least: &str) -> Option<NixTool> {
    let path = process::find("nix")?
        .canonicalize()
        .ok()
        .filter(|path| path.starts_with("/usr"))?;
    let said = process::output(Command::new(&path).arg("--version"), Duration::from_secs(10)).ok()?;
    let version = said.split_whitespace().last()?.to_owned();
    version_reached(&version, at_least).then(|| NixTool {
        provider: NixProvider::Nix,
        version,
        origin: Origin::Found { path: path.clone() },
        program: path,
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
        .filter_map(|name| Some(((*name).to_owned(), environment::text(name)?)))
        .collect();
    if let Some(proxy) = super::apt::proxy() {
        env.entry("http_proxy".into()).or_insert(proxy);
    }
    let bundle = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"]
        .iter()
        .find_map(|name| environment::text(name));
    env.insert("USER".into(), "nix".into());
    // each download of nix is a process that resolves the mirror's name again; if a name server drops one of many
    // simultaneous queries, the usual wait of 5 s is as long as connect-timeout, and the download fails
    let resolver = environment::text("RES_OPTIONS").unwrap_or_else(|| "timeout:1 attempts:8".into());
    env.insert("RES_OPTIONS".into(), resolver);
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
