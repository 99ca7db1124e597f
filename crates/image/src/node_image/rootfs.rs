//! Root file systems of Debian packages, from the mirrors that the machine itself uses.

use std::path::{Path, PathBuf};

use hybrid_cache_tools::{ErrorContext, Result, apt, failed};
use xshell::{Shell, cmd};

use super::command;
use super::context::BuildContext;

/// What an image has no use for.
const LEFT_OUT: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/lintian/*",
];

/// Makes the root file system of a name if it does not exist yet, and returns its tar archive.
///
/// # Errors
/// There is no such root, no mirror has the suite, or mmdebstrap fails.
pub fn archive(context: &BuildContext<'_>, name: &str) -> Result<PathBuf> {
    let root = context
        .pins
        .root
        .get(name)
        .with_context(|| format!("no root {name} is pinned"))?;
    let identity = super::identity::root(&context.pins, root, &context.files, context.architecture)?;
    let product = context.dir.product(&format!("root-{name}"), &identity, |staging| {
        let part = format!("root file system {name} (Debian {})", context.pins.suite);
        context.making(&part, || make(context, name, &staging.join("root.tar")))
    })?;
    Ok(product.join("root.tar"))
}

fn make(context: &BuildContext<'_>, name: &str, archive: &Path) -> Result<()> {
    let (root, suite) = (&context.pins.root[name], &context.pins.suite);
    let sources = sources(suite)?;
    let shell = Shell::new()?;
    shell.set_var("SOURCE_DATE_EPOCH", context.pins.made_at_s.to_string());
    let (variant, include) = (&root.variant, root.packages.join(","));
    let options = LEFT_OUT.map(|option| format!("--dpkgopt={option}"));
    let hook = root.hook.as_ref().map(|hook| context.files_folder.join(hook));
    let hook = hook.map(|hook| format!("--customize-hook={}", hook.display()));
    let command = cmd!(
        shell,
        "mmdebstrap --variant={variant} --include={include} {options...} {hook...} {suite} {archive} {sources...}"
    );
    command::run(command, &format!("making root file system {name}"))
        .context("hint: mmdebstrap needs root, or user namespaces with entries in /etc/subuid and /etc/subgid")?;
    Ok(())
}

/// The machine's sources of the suite, of its updates and of its security fixes, as lines of a `sources.list`. A machine
/// of another release has none; then any of its mirrors that serves the suite will do.
fn sources(suite: &str) -> Result<Vec<String>> {
    let known = apt::sources("/etc/apt".as_ref());
    let wanted = [
        suite.to_owned(),
        format!("{suite}-updates"),
        format!("{suite}-security"),
    ];
    let mut lines = lines(&known, &wanted);
    if !known.iter().any(|source| source.suites.contains(&wanted[0])) {
        let release = format!("dists/{suite}/InRelease");
        let proxy = apt::proxy();
        let Some(mirror) = apt::serving(&apt::mirrors(&known, suite), &release, proxy.as_deref()) else {
            return Err(failed!("none of this machine's apt sources serves Debian {suite}"));
        };
        lines.insert(0, format!("deb {mirror} {suite} main"));
    }
    Ok(lines)
}

fn lines(known: &[apt::AptSource], wanted: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for source in known {
        let key = source.signed_by.as_ref();
        let options = key.map_or_else(String::new, |key| format!("[signed-by={}] ", key.display()));
        for suite in source.suites.iter().filter(|suite| wanted.contains(suite)) {
            lines.push(format!("deb {options}{} {suite} main", source.uri));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_of_the_suite_are_used_with_their_keys() {
        let source = |uri: &str, suites: &[&str], key: Option<&str>| apt::AptSource {
            uri: uri.to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            signed_by: key.map(PathBuf::from),
        };
        let known = [
            source("http://one.example/debian", &["s", "s-updates"], Some("/k.gpg")),
            source("http://vendor.example/tools", &["nodistro"], None),
        ];
        assert_eq!(
            lines(&known, &["s".to_owned(), "s-updates".to_owned()]),
            [
                "deb [signed-by=/k.gpg] http://one.example/debian s main",
                "deb [signed-by=/k.gpg] http://one.example/debian s-updates main"
            ]
        );
    }
}
