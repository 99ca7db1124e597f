//! What user code learns of this machine's network: its certificates and its proxies.

use std::path::PathBuf;

use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_model::trust;

use crate::{certificates, environment};

/// Says that tasks may learn the password in the address of a proxy. Any value but an empty one is a yes.
const SHARE_PASSWORD: &str = "HYBRID_CACHE_SHARE_PROXY_PASSWORD";
/// The variables that name a proxy.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
const NO_PROXY: &str = "NO_PROXY";

/// What tasks get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskNetwork {
    /// Files and folders with the certificates that they trust; empty if this machine's settings name none.
    pub certificates: Vec<PathBuf>,
    /// Their variables, but for those that name the certificates.
    pub variables: Vec<(String, String)>,
    /// What they do not get, with the next step.
    pub warnings: Vec<String>,
}

impl TaskNetwork {
    /// For tasks on this machine. `uv` has uv's variables, into which the settings of pip have gone; `loopback` says whether
    /// tasks reach this machine's loopback.
    pub fn on_machine(uv: &[(String, String)], loopback: bool) -> TaskNetwork {
        let read = |name: &str| value(uv, name).map(str::to_owned).or_else(|| environment::text(name));
        let mut network = proxies(uv, loopback, environment::text(SHARE_PASSWORD).is_some());
        let named = [read("SSL_CERT_FILE"), read("SSL_CERT_DIR")].into_iter().flatten();
        let named: Vec<_> = named.chain(certificates::OTHERS.into_iter().filter_map(read)).collect();
        if !named.is_empty() {
            // Programs that look at another variable keep what they trusted without any.
            let usual = read("SSL_CERT_FILE").is_none().then(certificates::usual).flatten();
            network.certificates = usual.into_iter().chain(named.into_iter().map(PathBuf::from)).collect();
        }
        network
    }

    /// For tasks in pods, which have this machine's certificates mounted.
    pub fn in_pods(settings: &NetworkSettings) -> TaskNetwork {
        let uv = &settings.python_variables;
        let mut network = proxies(uv, false, environment::text(SHARE_PASSWORD).is_some());
        let file = value(uv, "SSL_CERT_FILE");
        network
            .variables
            .extend(file.into_iter().flat_map(trust::certificate_variables));
        network
    }
}

fn value<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = variables.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.as_str())
}

/// The proxies of tasks, in both cases: some programs read only one of them.
fn proxies(uv: &[(String, String)], loopback: bool, share_password: bool) -> TaskNetwork {
    let mut network = TaskNetwork::default();
    let (mut secret, mut local) = (Vec::new(), Vec::new());
    for name in PROXIES {
        let Some(address) = value(uv, name) else { continue };
        let (user, host) = user_and_host(address);
        if user.is_some() && !share_password {
            secret.push(name);
        } else if is_loopback(host) && !loopback {
            local.push(name);
        } else {
            network.variables.extend(in_both_cases(name, address));
        }
    }
    if let (Some(hosts), false) = (value(uv, NO_PROXY), network.variables.is_empty()) {
        network.variables.extend(in_both_cases(NO_PROXY, hosts));
    }
    if !secret.is_empty() {
        network.warnings.push(format!(
            "tasks do not get {}, which holds a user or a password\nhint: if user code may learn it, set {SHARE_PASSWORD}=1",
            secret.join(", ")
        ));
    }
    if !local.is_empty() {
        network.warnings.push(format!(
            "tasks do not get {}: they cannot reach a proxy on this machine's loopback\nhint: on this machine `--network \
             shared` lets them",
            local.join(", ")
        ));
    }
    network
}

fn in_both_cases(name: &str, value: &str) -> [(String, String); 2] {
    [name.to_owned(), name.to_lowercase()].map(|name| (name, value.to_owned()))
}

/// The part of an address in front of `@`, and the host behind it, with its port.
fn user_and_host(address: &str) -> (Option<&str>, &str) {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    // A password may contain what ends a host.
    let (user, host) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(user, host)| (Some(user), host));
    (user, host.split(['/', '?', '#']).next().unwrap_or_default())
}

/// True if an address leads to this machine's loopback.
pub fn leads_to_loopback(address: &str) -> bool {
    is_loopback(user_and_host(address).1)
}

fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    ["127.", "localhost", "[::1]", "0.0.0.0"]
        .iter()
        .any(|start| host.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uv(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        variables.iter().map(owned).collect()
    }

    #[test]
    fn a_proxy_reaches_tasks_in_both_cases_with_its_exceptions() {
        let proxy = "http://proxy.example:3128";
        let network = proxies(&uv(&[("HTTPS_PROXY", proxy), ("NO_PROXY", ".corp")]), false, false);
        let expected = [
            ("HTTPS_PROXY", proxy),
            ("https_proxy", proxy),
            ("NO_PROXY", ".corp"),
            ("no_proxy", ".corp"),
        ];
        assert_eq!(network.variables, uv(&expected));
        assert_eq!(network.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_proxys_password_reaches_tasks_only_if_the_operator_says_so() {
        for address in [
            "http://me:pass/word@proxy.example:3128",
            "http://token@proxy.example",
            "me:s3cret@proxy.example:3128",
            "socks5h://me:p@ss@proxy.example",
        ] {
            let settings = uv(&[("HTTPS_PROXY", address), ("NO_PROXY", ".corp")]);
            let network = proxies(&settings, false, false);
            assert_eq!(network.variables, [], "{address}");
            let reported = network.warnings.concat();
            assert!(
                reported.contains("HTTPS_PROXY") && reported.contains(SHARE_PASSWORD),
                "{reported}"
            );
            assert!(
                !reported.contains("pass") || !reported.contains("proxy.example"),
                "{reported}"
            );
            let shared = proxies(&settings, false, true);
            assert_eq!(value(&shared.variables, "https_proxy"), Some(address));
            assert_eq!(shared.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn a_proxy_on_loopback_reaches_only_tasks_that_reach_loopback() {
        for address in ["http://127.0.0.1:3128", "localhost:3128", "http://[::1]:1/"] {
            let settings = uv(&[("HTTP_PROXY", address)]);
            let network = proxies(&settings, false, false);
            assert_eq!((network.variables.len(), network.warnings.len()), (0, 1), "{address}");
            let network = proxies(&settings, true, false);
            assert_eq!((network.variables.len(), network.warnings.len()), (2, 0), "{address}");
        }
    }

    #[test]
    fn a_pod_is_told_where_its_certificates_are_if_it_has_any() {
        let file = "/etc/ssl/certs/ca-certificates.crt";
        let settings = NetworkSettings {
            python_variables: uv(&[("SSL_CERT_FILE", file)]),
            ..NetworkSettings::default()
        };
        let network = TaskNetwork::in_pods(&settings);
        assert_eq!(value(&network.variables, "REQUESTS_CA_BUNDLE"), Some(file));
        assert_eq!(
            TaskNetwork::in_pods(&NetworkSettings::default()),
            TaskNetwork::default()
        );
    }

    #[test]
    fn a_file_that_only_requests_is_told_of_is_trusted_beside_the_usual_ones() {
        let of = |variables: &[(&str, &str)]| TaskNetwork::on_machine(&uv(variables), false).certificates;
        let own = PathBuf::from("/srv/ca.pem");
        let found = of(&[("REQUESTS_CA_BUNDLE", "/srv/ca.pem")]);
        assert!(found.contains(&own), "{found:?}");
        let found = of(&[("SSL_CERT_FILE", "/srv/ca.pem")]);
        assert_eq!(found.first(), Some(&own));
    }
}
