//! What the machine's own apt settings say: which mirrors it uses, through which proxy, and which of them serves a file.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::download;

/// One repository of the machine's apt settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// Base address without a trailing slash.
    pub uri: String,
    /// Suites asked of it: `bookworm`, `bookworm-updates`…
    pub suites: Vec<String>,
    /// The keyring that signs it, if the settings name one.
    pub signed_by: Option<PathBuf>,
}

/// Reads `sources.list` and `sources.list.d/*.{list,sources}` under `etc_apt`; unreadable or odd entries are skipped.
pub fn sources(etc_apt: &Path) -> Vec<AptSource> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            Some("sources") => found.extend(text.split("\n\n").flat_map(stanza)),
            _ => {}
        }
    }
    found.retain(|source| source.uri.starts_with("http://") || source.uri.starts_with("https://"));
    found
}

/// `deb [signed-by=KEY] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let mut rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|o| o.strip_prefix("signed-by="))
            .map(PathBuf::from);
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?.trim_end_matches('/').to_owned();
    Some(AptSource {
        uri,
        suites: vec![words.next()?.to_owned()],
        signed_by,
    })
}

/// One deb822 stanza; it may name several addresses.
fn stanza(text: &str) -> Vec<AptSource> {
    let field = |name: &str| -> Option<String> {
        let mut lines = text.lines().skip_while(|line| !starts_with_field(line, name));
        let mut value = lines.next()?.split_once(':')?.1.trim().to_owned();
        for line in lines
            .filter(|line| !line.starts_with('#'))
            .take_while(|line| line.starts_with([' ', '\t']))
        {
            value.push(' ');
            value.push_str(line.trim());
        }
        Some(value)
    };
    let is_deb = field("Types").is_some_and(|types| types.split_whitespace().any(|t| t == "deb"));
    if !is_deb || field("Enabled").is_some_and(|enabled| enabled.eq_ignore_ascii_case("no")) {
        return Vec::new();
    }
    let suites: Vec<String> = field("Suites")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    // the stanza may also contain the key itself, which is not a path
    let signed_by = field("Signed-By")
        .filter(|key| key.starts_with('/') && !key.contains(' '))
        .map(PathBuf::from);
    let uris = field("URIs").unwrap_or_default();
    uris.split_whitespace()
        .map(|uri| AptSource {
            uri: uri.trim_end_matches('/').to_owned(),
            suites: suites.clone(),
            signed_by: signed_by.clone(),
        })
        .collect()
}

fn starts_with_field(line: &str, name: &str) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
        && line[name.len()..].trim_start().starts_with(':')
}

/// The proxy that apt uses for plain http, if any.
pub fn proxy() -> Option<String> {
    let output = Command::new("apt-config")
        .args(["shell", "PROXY", "Acquire::http::Proxy"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = text.trim().strip_prefix("PROXY=")?.trim_matches('\'').to_owned();
    (!value.is_empty() && value != "DIRECT").then_some(value)
}

/// The mirrors of `sources`, most likely Debian archives first, each once.
pub fn mirrors(sources: &[AptSource], suite: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let same_suite = sources.iter().filter(|s| s.suites.iter().any(|name| name == suite));
    for source in same_suite.chain(sources) {
        if !found.contains(&source.uri) {
            found.push(source.uri.clone());
        }
    }
    found
}

/// The first of `mirrors` that serves `path`. A machine's list also names vendors' repositories and, on other
/// distributions, archives without Debian's packages: only a request shows it.
pub fn serving(mirrors: &[String], path: &str, proxy: Option<&str>) -> Option<String> {
    let agent = download::agent(proxy, Duration::from_secs(5));
    mirrors
        .iter()
        .find(|mirror| download::exists(&agent, &url(mirror, path)))
        .cloned()
}

/// The address of a pool path on a mirror.
pub fn url(mirror: &str, path: &str) -> String {
    format!("{mirror}/{}", path.replace('%', "%25").replace('+', "%2b"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats_and_skips_what_is_not_a_mirror() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        std::fs::write(
            dir.path().join("sources.list"),
            "# deb http://off.example/x bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://one.example/debian/ bookworm main\n\
             deb-src http://src.example/debian bookworm main\ndeb cdrom:[x]/ bookworm main\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("sources.list.d/more.sources"),
            "Types: deb deb-src\n# a comment\nURIs: http://two.example/debian\n  https://three.example/debian/\nSuites: trixie trixie-updates\n\
             Signed-By: /keys/a.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/\nSuites: x\n",
        )
        .unwrap();
        let found = sources(dir.path());
        let uris: Vec<_> = found.iter().map(|s| s.uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "http://one.example/debian",
                "http://two.example/debian",
                "https://three.example/debian"
            ]
        );
        assert_eq!(found[0].signed_by.as_deref(), Some(Path::new("/k.gpg")));
        assert_eq!(found[1].suites, ["trixie", "trixie-updates"]);
        assert_eq!(mirrors(&found, "trixie")[0], "http://two.example/debian");
    }

    #[test]
    fn a_plus_in_a_pool_path_is_escaped() {
        assert_eq!(
            url("http://m", "pool/main/g/g++_1_amd64.deb"),
            "http://m/pool/main/g/g%2b%2b_1_amd64.deb"
        );
    }
}
