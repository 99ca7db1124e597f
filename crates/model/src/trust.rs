//! The certificates that user code trusts: the variables by which programs find them, and the text of a bundle.

use std::collections::HashSet;

/// Where programs look for the file with the certificates that they trust. OpenSSL and Go read the first, requests the second,
/// curl the third; Node.js, pip, git, botocore and Nix's programs have names of their own.
pub const CERTIFICATE_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
];

/// The variables of a program that trusts the certificates of `file`.
pub fn certificate_variables(file: &str) -> impl Iterator<Item = (String, String)> {
    CERTIFICATE_VARIABLES
        .map(|name| (name.to_owned(), file.to_owned()))
        .into_iter()
}

/// The certificates of some files, each once, without private keys and without the comments that make a file of some distributions twice as
/// long.
pub fn bundle<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let (mut bundle, mut seen) = (String::new(), HashSet::new());
    for text in texts {
        let mut certificate = String::new();
        for line in text.lines().map(str::trim_end) {
            if line.starts_with("-----BEGIN ") {
                certificate.clear();
            }
            let begins = line.starts_with("-----BEGIN ") && line.contains("CERTIFICATE");
            if begins || !certificate.is_empty() {
                certificate.push_str(line);
                certificate.push('\n');
            }
            if line.starts_with("-----END ") && !certificate.is_empty() {
                let certificate = std::mem::take(&mut certificate);
                if !seen.contains(&certificate) {
                    bundle.push_str(&certificate);
                    seen.insert(certificate);
                }
            }
        }
    }
    bundle
}

/// The name of a file for a bundle, made of its content.
pub fn bundle_name(bundle: &str) -> String {
    let hash = blake3::hash(bundle.as_bytes()).to_hex();
    format!("certificates-{}.pem", &hash[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_each_certificate_once_and_no_key() {
        let certificate = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        let other = certificate.replace("QUJD", "REVG");
        let text = format!(
            "# A root\n{key}{certificate}\nName: x\n{}{key}",
            other.replace('\n', "\r\n")
        );
        assert_eq!(bundle([text.as_str(), certificate]), format!("{certificate}{other}"));
        assert_eq!(bundle(["", key, "-----BEGIN CERTIFICATE-----\nQUJD"]), "");
    }
}
