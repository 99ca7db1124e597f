//! The image that ours is put together on: a public one, one that a person names, or one made from Debian packages.

use std::path::Path;
use std::time::Duration;

use hybrid_cache_tools::{Checkout, Error, ErrorContext, Progress, Result, apt, failed};
use xshell::{Shell, cmd};

use super::context;
use super::recipe::FOLDER;
use super::reproducible::EPOCH_S;
use crate::docker::Engine;

/// Longest time for a pull.
const PULL_TIMEOUT: Duration = Duration::from_secs(600);
/// The release that assemble.sh knows the packages of.
const SUITE: &str = "bookworm";
const REPOSITORY: &str = "hybrid-cache-debian-base";

/// Which base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// Made here from Debian packages, for machines that reach no registry.
    Debian,
    /// The public one that the Dockerfile names; if it cannot be pulled, one from Debian packages.
    #[default]
    PublicOrDebian,
    /// What a person named.
    Named(String),
}

/// A base that the engine has.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its reference.
    pub reference: String,
    /// What a person should know about the choice.
    pub note: Option<String>,
}

impl Base {
    /// The base that `--base` selects.
    pub fn from_flag(flag: Option<&str>) -> Base {
        match flag {
            // As in `up`: what one builds, the other finds.
            None => Base::PublicOrDebian,
            Some("debian") => Base::Debian,
            Some(reference) => Base::Named(reference.to_owned()),
        }
    }

    /// For the hash of what an image is made of.
    pub fn name(&self) -> &str {
        match self {
            Base::Debian => "debian",
            Base::PublicOrDebian => "public, else debian",
            Base::Named(reference) => reference,
        }
    }
}

/// What getting a base works with.
pub struct BaseContext<'a> {
    /// The engine that gets it.
    pub engine: &'a Engine,
    /// Where the package lists are.
    pub checkout: &'a Checkout,
    /// An empty folder.
    pub work: &'a Path,
    /// True makes or pulls it even if it exists.
    pub is_forced: bool,
    /// Who listens.
    pub progress: &'a dyn Progress,
}

impl BaseContext<'_> {
    /// Gets a base.
    ///
    /// # Errors
    /// It cannot be pulled or made; the message says what else would do.
    pub async fn provide(&self, base: &Base) -> Result<Ready> {
        let plain = |reference: String| Ready { reference, note: None };
        let public = public(self.checkout)?;
        match base {
            Base::Named(reference) => self.pull(reference).await.map(|()| plain(reference.clone())),
            Base::Debian => self.debian().await.map(plain),
            Base::PublicOrDebian => match self.pull(&public).await {
                Ok(()) => Ok(plain(public)),
                Err(error) => {
                    self.progress.detail(&error.to_string());
                    let note = format!("{public} cannot be pulled here; the image is built on Debian packages instead");
                    let reference = self.debian().await?;
                    Ok(Ready {
                        reference,
                        note: Some(note),
                    })
                }
            },
        }
    }

    async fn pull(&self, reference: &str) -> Result<()> {
        let is_pinned = reference.contains("@sha256:");
        if (is_pinned || !self.is_forced) && self.engine.image(reference).await?.is_some() {
            return Ok(());
        }
        self.progress.step(&["pulling ", reference].concat());
        let pulled = self
            .engine
            .pull(reference, PULL_TIMEOUT, &mut |line| self.progress.detail(line))
            .await;
        match pulled {
            // A base that only this engine has is as good as it gets.
            Err(_) if self.engine.image(reference).await?.is_some() => Ok(()),
            other => other,
        }
    }

    /// Named after the packages it is made of, so that it is made once for each list of them.
    async fn debian(&self) -> Result<String> {
        let packages = packages(self.checkout)?;
        let hash = blake3::hash([SUITE, packages.as_str()].join("\n").as_bytes()).to_hex();
        let reference = [REPOSITORY, ":", &hash[..16]].concat();
        if !self.is_forced && self.engine.image(&reference).await?.is_some() {
            return Ok(reference);
        }
        let archive = self.work.join("base.tar");
        self.progress.step("making a base from Debian packages");
        bootstrap(&packages, &archive)?;
        self.progress.step("importing the base");
        self.engine
            .import(&archive, &reference, &mut |line| self.progress.detail(line))
            .await?;
        std::fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
        Ok(reference)
    }
}

/// The default that the Dockerfile gives its argument.
fn public(checkout: &Checkout) -> Result<String> {
    let file = checkout.path(FOLDER).join("Dockerfile");
    let text = String::from_utf8(context::read(&file)?)?;
    let default = text.lines().find_map(|line| line.strip_prefix("ARG BASE_IMAGE="));
    let default = default.with_context(|| format!("{}: no line begins with ARG BASE_IMAGE=", file.display()))?;
    Ok(default.trim().to_owned())
}

/// Every package that assemble.sh may take files of, separated by commas.
fn packages(checkout: &Checkout) -> Result<String> {
    let mut names = Vec::new();
    for list in ["packages.task", "packages.nix"] {
        let text = String::from_utf8(context::read(&checkout.path(FOLDER).join(list))?)?;
        names.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    Ok(names.join(","))
}

fn bootstrap(packages: &str, archive: &Path) -> Result<()> {
    let shell = Shell::new()?;
    let mirrors = mirrors(&apt::sources("/etc/apt".as_ref()));
    let unread =
        ["doc", "man", "locale", "info"].map(|folder| ["--dpkgopt=path-exclude=/usr/share/", folder, "/*"].concat());
    let command = cmd!(
        shell,
        "timeout --foreground 1200 mmdebstrap --variant=essential --format=tar --include={packages} {unread...} {SUITE} {archive} {mirrors...}"
    );
    let output = command
        .env("SOURCE_DATE_EPOCH", EPOCH_S.to_string())
        .quiet()
        .ignore_status()
        .output()
        .context("starting mmdebstrap")?;
    // The exit code of `timeout` if the program does not exist.
    if output.status.code() == Some(127) {
        return Err(Error::prerequisite(
            "a base from Debian packages is made by mmdebstrap, which is not on this machine\n\
             hint: `sudo apt-get install mmdebstrap`, or name an image to build on with --base",
        ));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(6).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    if !output.status.success() {
        return Err(failed!(
            "mmdebstrap failed: {}\n{}\nhint: run it as root, or let this user make user namespaces; it uses the mirrors of /etc/apt",
            output.status,
            last.join("\n")
        ));
    }
    Ok(())
}

/// The machine's own mirrors of the suite and its updates; none lets mmdebstrap use its default.
fn mirrors(sources: &[apt::AptSource]) -> Vec<String> {
    let mut lines = Vec::new();
    for source in sources {
        for suite in source.suites.iter().filter(|suite| suite.starts_with(SUITE)) {
            let key = source.signed_by.as_ref().map(|key| key.display().to_string());
            let options = key.map(|key| ["[signed-by=", &key, "]"].concat());
            let words = [
                Some("deb"),
                options.as_deref(),
                Some(&source.uri),
                Some(suite),
                Some("main"),
            ];
            lines.push(words.into_iter().flatten().collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_names_a_public_base_by_digest() {
        let public = public(&crate::tests::checkout()).unwrap();
        assert!(public.contains("bookworm") && public.contains("@sha256:"), "{public}");
    }

    #[test]
    fn only_this_suites_mirrors_are_used_with_their_keys() {
        let source = |uri: &str, suites: &[&str], key: Option<&str>| apt::AptSource {
            uri: uri.to_owned(),
            suites: suites.iter().map(|suite| (*suite).to_owned()).collect(),
            signed_by: key.map(Into::into),
        };
        let lines = mirrors(&[
            source(
                "http://one.example/debian",
                &["bookworm", "bookworm-updates"],
                Some("/k.gpg"),
            ),
            source("http://two.example/debian", &["trixie"], None),
        ]);
        let expected = [
            "deb [signed-by=/k.gpg] http://one.example/debian bookworm main",
            "deb [signed-by=/k.gpg] http://one.example/debian bookworm-updates main",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_person_may_name_any_base() {
        assert_eq!(Base::from_flag(None), Base::default());
        assert_eq!(Base::default(), Base::PublicOrDebian);
        assert_eq!(Base::from_flag(Some("debian")), Base::Debian);
        assert_eq!(Base::from_flag(Some("debian:12")), Base::Named("debian:12".to_owned()));
    }
}
