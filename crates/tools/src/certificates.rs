//! The certificates that this machine trusts, as one file: pods get them, so that they reach what the machine reaches.

use crate::environment;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Where distributions keep them: Debian, Fedora, openSUSE, Alpine and macOS.
const USUAL: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The most that a ConfigMap holds.
const MAX_BYTES: usize = 1 << 20;

/// The file that `SSL_CERT_FILE` names, else the distribution's own.
///
/// # Errors
/// There is none, or it holds no certificate.
pub fn bundle() -> Result<String> {
    let named = environment::raw("SSL_CERT_FILE").map(PathBuf::from);
    let usual = USUAL.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = named.or(usual).ok_or_else(|| {
        Error::prerequisite(
            "no file with trusted certificates was found on this machine\nhint: install ca-certificates, or name the \
             file in SSL_CERT_FILE",
        )
    })?;
    read(&path)
}

fn read(path: &Path) -> Result<String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Error::prerequisite(format!("{name}: {error}")))?;
    let bundle = certificates_alone(&text);
    if bundle.is_empty() || bundle.len() >= MAX_BYTES {
        return Err(Error::prerequisite(format!(
            "{name}: {} bytes of certificates; a ConfigMap takes between one certificate and {MAX_BYTES} bytes\nhint: \
             name another file in SSL_CERT_FILE",
            bundle.len()
        )));
    }
    Ok(bundle)
}

/// Without the comments between the certificates, which make a file of some distributions twice as long.
fn certificates_alone(text: &str) -> String {
    let mut inside = false;
    let mut bundle = String::new();
    for line in text.lines().map(str::trim_end) {
        inside |= line.starts_with("-----BEGIN ") && line.contains("CERTIFICATE");
        if inside {
            bundle.push_str(line);
            bundle.push('\n');
        }
        inside &= !line.starts_with("-----END ");
    }
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_passed_on() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n";
        let text = format!("# a comment\n{one}{key}Name: x\n{one}");
        assert_eq!(certificates_alone(&text), format!("{one}{one}"));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read(file.path()).unwrap_err();
        assert_eq!(error.class(), crate::error::ErrorClass::Prerequisite);
    }
}
