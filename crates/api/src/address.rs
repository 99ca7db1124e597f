//! The address of a service and the token for it, checked before anything is sent.

use std::net::IpAddr;
use std::path::Path;

use ureq::http::Uri;

use crate::error::ConfigError;

/// Checks an address, and cuts off the slash at its end.
///
/// # Errors
/// It is not an HTTP address, or holds a password, a query or a fragment.
pub fn check(url: &str) -> Result<String, ConfigError> {
    let refuse = |reason: &'static str| Err(ConfigError::Address { reason });
    let Ok(uri) = url.parse::<Uri>() else {
        return refuse("it is not a URL");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refuse("it begins with neither http:// nor https://");
    }
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.contains('@') {
        return refuse("it holds a name or password, which would appear in messages; give a token instead");
    }
    if host(&uri).is_empty() {
        return refuse("it names no host");
    }
    if uri.query().is_some() || url.contains('#') {
        return refuse("it has a query or a fragment after its path");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The host without brackets; empty if there is none.
fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Host and port of a checked address: an IPv6 address without brackets, and the scheme's port if the address has none.
pub fn host_and_port(base: &str) -> (String, u16) {
    let uri: Uri = base.parse().unwrap_or_default();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    (host(&uri).to_owned(), uri.port_u16().unwrap_or(default))
}

/// True if the address names this machine's loopback interface.
pub fn is_loopback(base: &str) -> bool {
    let (host, _) = host_and_port(base);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The Authorization header for a token. No message repeats the token.
///
/// # Errors
/// The token is not one line of visible ASCII characters.
pub fn authorization(token: &str) -> Result<String, ConfigError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::Token);
    }
    Ok(format!("Bearer {token}"))
}

/// The Authorization header for the token in a file.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub fn authorization_from(file: &Path) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError::TokenFile {
        file: file.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    authorization(&text).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_name_a_service_and_nothing_secret() {
        assert_eq!(check("http://localhost:8000/").unwrap(), "http://localhost:8000");
        assert_eq!(check("https://host/tasks/").unwrap(), "https://host/tasks");
        for wrong in [
            "localhost:8000",
            "ftp://host",
            "http://me:secret@host",
            "http://host/?a=b",
            "http://host/#a",
            "http://h ost",
            "http://:80",
            "",
        ] {
            let message = check(wrong).unwrap_err().to_string();
            assert!(
                message.contains("hint: ") && !message.contains("secret"),
                "{wrong}: {message}"
            );
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let of = |base| {
            let (host, port) = host_and_port(base);
            format!("{host} {port}")
        };
        let found = ["http://a:1/tasks", "http://a", "https://a", "http://[::1]:2"].map(of);
        assert_eq!(found, ["a 1", "a 80", "a 443", "::1 2"]);
    }

    #[test]
    fn a_loopback_address_is_recognised() {
        for here in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(is_loopback(here), "{here}");
        }
        assert!(!is_loopback("http://localhost.example:1"));
    }

    #[test]
    fn a_token_is_one_line_and_stays_out_of_every_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, " 0123\n").unwrap();
        assert_eq!(authorization_from(&file).unwrap(), "Bearer 0123");
        std::fs::write(&file, "secret one\nsecret two").unwrap();
        let message = authorization_from(&file).unwrap_err().to_string();
        assert!(message.contains("token") && !message.contains("secret"), "{message}");
        assert!(authorization("").is_err());
        assert!(authorization_from(&folder.path().join("none")).is_err());
    }
}
