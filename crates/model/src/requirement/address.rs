//! Addresses in the one form that is compared and written again: lower-case scheme and host, no credentials, no query.

use super::refusal::{Refusal, quote};

/// Longest accepted address, in bytes.
const MAX_ADDRESS_BYTES: usize = 1024;

/// An address of a web server, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `https` or `http`.
    pub scheme: String,
    /// The host in lower case, with its port if it names one.
    pub host: String,
    /// The path without slashes at either end.
    pub path: String,
    /// True if a user name or a password stands in front of the host.
    pub has_login: bool,
    /// True if there is a query, in which a secret may stand.
    pub has_query: bool,
    /// What stands behind a `#`; empty if nothing does.
    pub fragment: String,
}

impl Address {
    /// Takes an address apart.
    ///
    /// # Errors
    /// It is not an address of `https` or `http`, or has characters that no address needs.
    pub fn read(text: &str) -> Result<Address, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("is not an address")?;
        let scheme = scheme.to_ascii_lowercase();
        let plain =
            |c: char| c.is_ascii_graphic() && !matches!(c, '$' | '{' | '}' | '"' | '\'' | '\\' | '<' | '>' | '`');
        if !["http", "https"].contains(&scheme.as_str()) || !rest.chars().all(plain) || text.len() > MAX_ADDRESS_BYTES {
            return Err("is not an address");
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = match rest.split_once('?') {
            Some((rest, _)) => (rest, true),
            None => (rest, false),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match host.rsplit_once('@') {
            Some((_, host)) => (true, host),
            None => (false, host),
        };
        if host.is_empty() {
            return Err("names no host");
        }
        Ok(Address {
            scheme,
            host: host.to_ascii_lowercase(),
            path: path.trim_matches('/').to_owned(),
            has_login: login,
            has_query: query,
            fragment: fragment.to_owned(),
        })
    }

    /// The address without credentials, query and fragment.
    pub fn plain(&self) -> String {
        let Address { scheme, host, path, .. } = self;
        match path.as_str() {
            "" => format!("{scheme}://{host}"),
            path => format!("{scheme}://{host}/{path}"),
        }
    }

    /// True for `https`, and for a server on this machine.
    pub fn is_protected(&self) -> bool {
        self.scheme == "https" || is_loopback(&self.host)
    }

    /// True if the host is a name or a number with at most a port, and no part of the path leads upwards.
    pub fn is_simple(&self) -> bool {
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') => (name, port),
            _ => (self.host.as_str(), "1"),
        };
        let is_host = is_host_name(name) || (name.starts_with('[') && name.ends_with(']'));
        let is_port = !port.is_empty() && port.len() < 6 && port.bytes().all(|byte| byte.is_ascii_digit());
        is_host && is_port && self.path.split('/').all(|part| !matches!(part, "." | ".."))
    }
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() < 64 && label.chars().all(inner)
    };
    name.len() < 254 && name.split('.').all(is_label)
}

/// True if a host, with or without a port, is this machine itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost" || name == "[::1]" || is_loopback_number(name)
}

/// True for `127.` and three more numbers, written as programs write them.
fn is_loopback_number(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let is_number = |part: &&str| part.parse::<u8>().is_ok_and(|number| number.to_string() == **part);
    parts.len() == 4 && parts[0] == "127" && parts.iter().all(is_number)
}

/// The address of an index in the form that is compared.
pub(super) fn index_address(text: &str) -> Result<String, Refusal> {
    match Address::read(text) {
        Ok(address) => Ok(address.plain()),
        Err(why) => {
            let hint = "write the whole address of the index, `https://…`, or leave the option out";
            let why = why.replace("an address", "the address of an index");
            Err(Refusal::new(format!("{} {why}", quote(text)), hint))
        }
    }
}

/// True if `asked`, as [`index_address`] writes it, is the same address as `used`.
pub(crate) fn is_same_index(asked: &str, used: &str) -> bool {
    Address::read(used).is_ok_and(|used| used.plain() == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_a_server_of_this_machine_needs_no_certificate() {
        let read = Address::read("HTTPS://me:pw@Host.test:8443/a//b/?token=1#sha256=0").unwrap();
        assert_eq!(read.plain(), "https://host.test:8443/a//b");
        assert!(read.has_login && read.has_query && read.is_protected() && read.is_simple());
        assert_eq!(read.fragment, "sha256=0");
        for (text, good) in [
            ("http://127.0.0.1:80/x", true),
            ("http://localhost", true),
            ("http://[::1]:80/x", true),
            ("http://host.test/x", false),
            ("http://127.0.0.1.host.test/x", false),
        ] {
            assert_eq!(Address::read(text).unwrap().is_protected(), good, "{text}");
        }
        for text in [
            "https://a..b/x",
            "https://a:b/x",
            "https://a/../x",
            "https://a:/x",
            "https://a%2e/x",
        ] {
            assert!(!Address::read(text).unwrap().is_simple(), "{text}");
        }
        for text in ["ftp://a/x", "a", "https:///x", "https://a/${X}", "https://u@/x"] {
            assert!(Address::read(text).is_err(), "{text}");
        }
    }
}
