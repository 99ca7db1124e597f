//! The certificates that this machine trusts, as one file: pods get them, so that they reach what the machine reaches.

use crate::environment;
use crate::error::{Error, Result};
use hybrid_cache_model::trust;
use std::path::PathBuf;

/// Where distributions keep them: Debian, Fedora, openSUSE, Alpine and macOS.
const USUAL: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The variables of requests and curl that name a further file, or a folder.
pub const OTHERS: [&str; 2] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// The most that a ConfigMap holds.
const MAX_BYTES: usize = 1 << 20;

/// The file of the distribution itself; `None` if no usual place has one.
pub fn usual() -> Option<PathBuf> {
    USUAL.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The file that `SSL_CERT_FILE` names, else the distribution's own, with those that requests and curl use.
///
/// # Errors
/// There is none, or it holds no certificate.
pub fn bundle() -> Result<String> {
    let first = environment::raw("SSL_CERT_FILE").map(PathBuf::from).or_else(usual);
    let mut paths = vec![first.ok_or_else(|| {
        Error::prerequisite(
            "no file with trusted certificates was found on this machine\nhint: install ca-certificates, or name the \
             file in SSL_CERT_FILE",
        )
    })?];
    let others = OTHERS.into_iter().filter_map(environment::raw).map(PathBuf::from);
    paths.extend(others.filter(|path| path.is_file()));
    read(&paths)
}

fn read(paths: &[PathBuf]) -> Result<String> {
    let mut texts = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path);
        texts.push(text.map_err(|error| Error::prerequisite(format!("{}: {error}", path.display())))?);
    }
    let bundle = trust::bundle(texts.iter().map(String::as_str));
    if bundle.is_empty() || bundle.len() >= MAX_BYTES {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::prerequisite(format!(
            "{}: {} bytes of certificates; a ConfigMap takes between one certificate and {MAX_BYTES} bytes\nhint: \
             name another file in SSL_CERT_FILE",
            names.join(", "),
            bundle.len()
        )));
    }
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read(&[file.path().to_owned()]).unwrap_err();
        assert_eq!(error.class(), crate::error::ErrorClass::Prerequisite);
    }
}
