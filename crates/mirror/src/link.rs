//! A link of an index page to a file: what of it is believed.

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::path::{self, ID_LENGTH};

/// Longest address.
const MAX_ADDRESS: usize = 2048;

/// A file that a page has a link to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its address: no user, no password, no query.
    pub url: String,
    /// Its name.
    pub name: String,
    /// Its digest, if the page says one.
    pub sha256: Option<String>,
    /// The digest of its metadata (PEP 658), if the page says one.
    pub metadata_sha256: Option<String>,
}

impl Link {
    /// Reads an address on the page at `page`; `None` if it is left out of the mirror's page:
    ///
    /// - it does not lead to a file with an ordinary name by `http` or `https`, or leads from `https` to `http`;
    /// - it has a user, a password or a query, which may be a secret and would be in the recording;
    /// - it leads from elsewhere to this machine or to its link, whose services trust what comes from here.
    pub fn read(page: &Url, address: &str) -> Option<Link> {
        if address.len() > MAX_ADDRESS || address.contains(char::is_control) {
            return None;
        }
        let mut url = page.join(address.trim()).ok()?;
        let digest = url
            .fragment()
            .and_then(|text| text.split('&').find_map(|part| part.strip_prefix("sha256=")));
        let sha256 = digest.and_then(sha256);
        url.set_fragment(None);
        let is_open = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let name = path::decoded(url.path_segments()?.next_back()?)?;
        if !(is_open && may_follow(page, &url) && path::is_file_name(&name)) {
            return None;
        }
        Some(Link {
            url: url.into(),
            name,
            sha256,
            metadata_sha256: None,
        })
    }

    /// What identifies the file in addresses of the mirror.
    pub fn id(&self) -> String {
        blake3::hash(self.url.as_bytes()).to_hex()[..ID_LENGTH].to_owned()
    }

    /// The address of the mirror, from a page that lies so far below its root.
    pub fn relative(&self, way_up: &str) -> String {
        format!("{way_up}{}/{}/{}", path::FILES, self.id(), path::encoded(&self.name))
    }
}

/// True if a link or a redirect may lead from one address to another: by `http` or `https`, not from `https` to `http`, and not from
/// elsewhere to this machine.
pub fn may_follow(from: &Url, to: &Url) -> bool {
    let is_safe = match (from.scheme(), to.scheme()) {
        (_, "https") => true,
        (from, "http") => from == "http",
        _ => false,
    };
    is_safe && (!is_of_this_machine(to) || is_of_this_machine(from))
}

/// A digest in lower case; `None` if it is none.
pub fn sha256(text: &str) -> Option<String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_lowercase())
}

/// True for addresses of loopback and of the link, and for names that always mean loopback.
fn is_of_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => {
            let mapped = ip.to_ipv4_mapped();
            let is_mapped = mapped.is_some_and(|ip| ip.is_loopback() || ip.is_link_local() || ip.is_unspecified());
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || is_mapped
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(page: &str, address: &str) -> Option<Link> {
        Link::read(&Url::parse(page).unwrap(), address)
    }

    const PAGE: &str = "https://index.example/simple/numpy/";

    #[test]
    fn links_are_resolved_and_only_plain_files_of_the_outside_are_kept() {
        let digest = "A".repeat(64);
        let link = read(PAGE, &format!("../../x/./n-1%2Bcpu.whl#sha256={digest}&x=y")).unwrap();
        assert_eq!(link.url, "https://index.example/x/n-1%2Bcpu.whl");
        assert_eq!(link.name, "n-1+cpu.whl");
        assert_eq!(link.sha256.as_deref(), Some("a".repeat(64).as_str()));
        let relative = link.relative("../../");
        assert!(
            relative.starts_with("../../files/") && relative.ends_with("/n-1%2Bcpu.whl"),
            "{relative}"
        );
        assert!(read(PAGE, "https://files.example/a/n.whl").is_some());
        // No way leads above the root of a host.
        assert_eq!(
            read(PAGE, "../../../../etc/n.whl").unwrap().url,
            "https://index.example/etc/n.whl"
        );
        for refused in [
            "http://files.example/n.whl",
            "file:///etc/passwd",
            "ftp://files.example/n.whl",
            "https://me:secret@files.example/n.whl",
            "https://token@files.example/n.whl",
            "https://files.example/n.whl?signature=secret",
            "https://127.0.0.1/n.whl",
            "https://169.254.169.254/n.whl",
            "https://[::ffff:127.0.0.1]/n.whl",
            "https://0x7f.1/n.whl",
            "https://localhost/n.whl",
            "https://x.localhost./n.whl",
            "https://files.example/folder/",
            "https://files.example/..%2f..%2fn.whl",
            "https://files.example/n%0a.whl",
            "n.whl\n",
            "a\nb.whl",
            "https://files.example/.hidden",
            "https://files.example/%22onclick%22.whl",
            "",
        ] {
            assert_eq!(read(PAGE, refused), None, "{refused}");
        }
    }

    #[test]
    fn an_index_of_this_machine_has_files_on_this_machine() {
        let page = "http://127.0.0.1:8000/simple/x/";
        assert!(read(page, "http://localhost:9000/x-1.whl").is_some());
        assert_eq!(read(page, "x-1.whl#md5=1").unwrap().sha256, None);
    }
}
