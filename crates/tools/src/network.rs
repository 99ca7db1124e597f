//! What this machine's settings say about the network, as it holds inside a pod.

use std::path::Path;

use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_model::protocol::IndexScope;

use crate::checkout::Checkout;
use crate::error::{ErrorContext, Result};
use crate::index::IndexSettings;
use crate::machine::index_scope;
use crate::provision::network;
use crate::settings::OperatorSettings;
use crate::tool::ToolChoice;
use crate::{facts, machine_facts, python};

/// Where a pod finds this machine's trusted certificates.
const POD_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The machine's settings as they hold inside a pod, read or recalled, with the operator's settings of a file.
///
/// # Errors
/// They cannot be read, or contradict each other.
pub async fn network_settings(checkout: &Checkout, settings: Option<&Path>) -> Result<NetworkSettings> {
    let operator = OperatorSettings::read(settings)?;
    let checkout = checkout.clone();
    let read = tokio::task::spawn_blocking(move || read(&checkout)).await;
    let mut network = read.context("reading this machine's network settings")??;
    operator.add_to(&mut network.python_variables)?;
    if operator.is_private() {
        network.index_scope = IndexScope::Private;
    }
    network.sources = operator.sources;
    Ok(network)
}

fn read(checkout: &Checkout) -> Result<NetworkSettings> {
    let fingerprint = machine_facts::fingerprint(checkout, &ToolChoice::default());
    if let Some(settings) = facts::recall(checkout, "network", &fingerprint) {
        return Ok(settings);
    }
    let (index, mirror) = network(checkout.root())?;
    let is_whole = mirror.is_some();
    let settings = inside_a_pod(&index, mirror);
    // A mirror that cannot be reached now may be reached the next time.
    if is_whole {
        let mut witnesses = index.witnesses();
        // pip has named the index, and its interpreter may have settings of its own.
        if let Ok(interpreter) = python::find() {
            witnesses.extend(machine_facts::interpreter_witnesses(&interpreter));
        }
        facts::keep(checkout, "network", &fingerprint, &witnesses, &settings);
    }
    Ok(settings)
}

/// The machine's settings as they hold inside a pod, which has the machine's certificates but none of its files.
fn inside_a_pod(index: &IndexSettings, mirror: Option<String>) -> NetworkSettings {
    const FILES: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "NETRC"];
    const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
    let certificates = |name: &str| (name.to_owned(), POD_CERTIFICATES.to_owned());
    let mut python_variables = vec![certificates("SSL_CERT_FILE")];
    let mut system_variables = vec![certificates("NIX_SSL_CERT_FILE"), certificates("SSL_CERT_FILE")];
    for (name, value) in &index.env {
        if PROXIES.contains(&name.as_str()) {
            system_variables.push((name.clone(), value.clone()));
        }
        let elsewhere = |part: &str| !part.starts_with('/') && !part.starts_with("file:");
        let value = match name.as_str() {
            name if FILES.contains(&name) => continue,
            // A folder of this machine is not in the pod.
            "UV_FIND_LINKS" => value
                .split(',')
                .filter(|part| elsewhere(part))
                .collect::<Vec<_>>()
                .join(","),
            _ => value.clone(),
        };
        if !value.is_empty() {
            python_variables.push((name.clone(), value));
        }
    }
    NetworkSettings {
        index: index.identity.clone(),
        python_variables,
        system_variables,
        mirrors: mirror.into_iter().collect(),
        index_scope: index_scope(index.is_private),
        no_builds: false,
        sources: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_addresses_but_no_files_of_this_machine() {
        let variables = [
            ("UV_DEFAULT_INDEX", "https://index.example/simple"),
            ("SSL_CERT_FILE", "/home/me/ca.pem"),
            ("SSL_CERT_DIR", "/etc/ssl/certs"),
            ("NETRC", "/home/me/.netrc"),
            ("UV_FIND_LINKS", "/opt/wheels,https://wheels.example/"),
            ("HTTPS_PROXY", "http://proxy.example:3128"),
        ];
        let index = IndexSettings {
            env: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            identity: "index-1".to_owned(),
            ..IndexSettings::default()
        };
        let settings = inside_a_pod(&index, Some("http://mirror.example/debian".to_owned()));
        let value = |name: &str| {
            settings
                .python_variables
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
        };
        assert_eq!(value("UV_DEFAULT_INDEX"), Some("https://index.example/simple"));
        assert_eq!(value("SSL_CERT_FILE"), Some(POD_CERTIFICATES));
        assert_eq!(value("UV_FIND_LINKS"), Some("https://wheels.example/"));
        assert_eq!((value("SSL_CERT_DIR"), value("NETRC")), (None, None));
        assert!(
            settings
                .system_variables
                .contains(&("HTTPS_PROXY".into(), "http://proxy.example:3128".into()))
        );
        assert_eq!(settings.mirrors, ["http://mirror.example/debian"]);
    }
}
