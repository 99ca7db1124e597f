//! Asks upstreams, as this machine's settings say. Every wait has a deadline; a login goes to the host that it is for, and to no other.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use url::Url;

use crate::error::MirrorError;
use crate::link;
use crate::upstream::Upstream;

/// Longest wait for a connection, for the head of an answer, and for each piece of it.
const WAIT: Duration = Duration::from_secs(30);
/// Longest time for one answer.
const LONGEST: Duration = Duration::from_secs(3600);
/// Most redirects in a row.
const MAX_REDIRECTS: usize = 6;
/// Longest value of a header that is kept.
const MAX_HEADER: usize = 256;

/// How this machine reaches others. There is no `Debug`: the address of a proxy may hold a password.
#[derive(Clone, Default)]
pub struct ClientSettings {
    /// Proxy for `http`.
    pub http_proxy: Option<String>,
    /// Proxy for `https`.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy, separated by commas.
    pub no_proxy: String,
    /// A file with the certificates that are trusted; `None` for the system's.
    pub certificates: Option<PathBuf>,
    /// Hosts whose certificates are not checked.
    pub insecure_hosts: Vec<String>,
}

/// A client with its connections.
pub struct Client {
    settings: ClientSettings,
    roots: RootCerts,
    /// The address of each upstream, with its login if it has one.
    logins: Vec<(Url, Option<String>)>,
    /// By proxy, and whether certificates are checked.
    agents: Mutex<HashMap<(Option<String>, bool), Agent>>,
}

/// An upstream's answer.
pub struct Answer {
    pub status: u16,
    /// Where it came from, behind all redirects.
    pub at: Url,
    pub media_type: String,
    pub cache_control: Option<String>,
    pub length: Option<u64>,
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// # Errors
    /// The file with certificates cannot be used.
    pub fn new(settings: ClientSettings, upstreams: &[Upstream]) -> Result<Client, MirrorError> {
        let roots = match &settings.certificates {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let text = std::fs::read(path).map_err(MirrorError::folder(path))?;
                let found = ureq::tls::parse_pem(&text).filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                });
                RootCerts::Specific(Arc::new(found.collect::<Vec<Certificate<'static>>>()))
            }
        };
        let logins = upstreams
            .iter()
            .map(|upstream| (upstream.url.clone(), upstream.login.clone()));
        Ok(Client {
            logins: logins.collect(),
            settings,
            roots,
            agents: Mutex::default(),
        })
    }

    /// Asks for an address and follows redirects.
    ///
    /// # Errors
    /// There is no answer, or it leads where none may lead. The message holds no address.
    pub fn get(&self, url: &Url, accept: Option<&str>) -> Result<Answer, String> {
        let mut at = url.clone();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.agent(&at)?.get(at.as_str());
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            if let Some(login) = login_of(&self.logins, &at) {
                request = request.header("authorization", login);
            }
            let answer = request.call().map_err(|error| described(&error))?;
            let header = |name: &str| {
                let value = answer.headers().get(name)?.to_str().ok()?;
                (value.len() <= MAX_HEADER).then(|| value.to_owned())
            };
            if !answer.status().is_redirection() {
                return Ok(Answer {
                    status: answer.status().as_u16(),
                    media_type: header("content-type").unwrap_or_default(),
                    cache_control: header("cache-control"),
                    length: answer.body().content_length(),
                    at,
                    body: Box::new(answer.into_body().into_reader()),
                });
            }
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| at.join(location).ok());
            let next = next.filter(|next| link::may_follow(&at, next));
            at = next.ok_or("it is redirected to a place that is not followed")?;
        }
        Err(format!("it is redirected more than {MAX_REDIRECTS} times"))
    }

    fn agent(&self, url: &Url) -> Result<Agent, String> {
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let is_insecure = |one: &String| one == host || Some(one) == with_port.as_ref();
        let is_insecure = self.settings.insecure_hosts.iter().any(is_insecure);
        let proxy = if url.scheme() == "https" {
            &self.settings.https_proxy
        } else {
            &self.settings.http_proxy
        };
        let proxy = proxy.clone().filter(|_| !bypasses(&self.settings.no_proxy, host));
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&(proxy.clone(), is_insecure)) {
            return Ok(agent.clone());
        }
        let used = proxy.as_deref().map(ureq::Proxy::new).transpose();
        let used = used.map_err(|_| "the address of this machine's proxy cannot be used".to_owned())?;
        let tls = TlsConfig::builder()
            .root_certs(self.roots.clone())
            .disable_verification(is_insecure)
            .build();
        let agent: Agent = Agent::config_builder()
            .proxy(used)
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(WAIT))
            .timeout_connect(Some(WAIT))
            .timeout_recv_response(Some(WAIT))
            .timeout_per_read(Some(WAIT))
            .timeout_global(Some(LONGEST))
            .build()
            .into();
        agents.insert((proxy, is_insecure), agent.clone());
        Ok(agent)
    }
}

/// The login for an address: that of the nearest upstream above it, which may have none. Outside of all upstreams, it is the login
/// that all upstreams of the host with a login share.
fn login_of<'a>(logins: &'a [(Url, Option<String>)], at: &Url) -> Option<&'a str> {
    let of_host = || logins.iter().filter(|(url, _)| url.origin() == at.origin());
    let depth = |url: &Url| {
        let above = url.path().trim_end_matches('/');
        let below = at.path().strip_prefix(above)?;
        (below.is_empty() || below.starts_with('/')).then_some(above.len())
    };
    let above = of_host().filter_map(|(url, login)| Some((depth(url)?, login)));
    // Of two with one address, the one with a login.
    if let Some((_, login)) = above.max_by_key(|(depth, login)| (*depth, login.is_some())) {
        return login.as_deref();
    }
    let mut shared = of_host().filter_map(|(_, login)| login.as_deref());
    let first = shared.next()?;
    shared.all(|login| login == first).then_some(first)
}

/// What went wrong, without addresses.
fn described(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::HostNotFound => "its host is not found".to_owned(),
        ureq::Error::ConnectionFailed => "it cannot be connected to".to_owned(),
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "its certificate is not accepted".to_owned(),
        _ => "it does not answer as HTTP servers do".to_owned(),
    }
}

/// True if a host is in a list as `NO_PROXY` has it.
fn bypasses(list: &str, host: &str) -> bool {
    let mut names = list
        .split(',')
        .map(|name| name.trim().trim_start_matches("*.").trim_start_matches('.'));
    names.any(|name| {
        let name = name.split(':').next().unwrap_or_default();
        name == "*" || (!name.is_empty() && (host == name || host.ends_with(&format!(".{name}"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_that_of_the_nearest_upstream() {
        let url = |path: &str| Url::parse(&format!("https://h.example{path}")).unwrap();
        let logins = |list: &[(&str, Option<&str>)]| -> Vec<(Url, Option<String>)> {
            let owned = list.iter();
            owned
                .map(|(path, login)| (url(path), login.map(str::to_owned)))
                .collect()
        };
        let several = logins(&[("/a/", Some("1")), ("/a/b", Some("2")), ("/a/open", None)]);
        let root = logins(&[("/", Some("1"))]);
        let same = logins(&[("/a", None), ("/a", Some("1")), ("/b", Some("1"))]);
        for (all, path, expected) in [
            (&several, "/a/x/", Some("1")),
            (&several, "/a/b", Some("2")),
            (&several, "/a/bc/", Some("1")),
            (&several, "/a/open/x", None),
            (&several, "/files/x", None),
            (&root, "/files/x", Some("1")),
            (&same, "/a/x", Some("1")),
            (&same, "/files/x", Some("1")),
        ] {
            assert_eq!(login_of(all, &url(path)), expected, "{path}");
        }
        let other = Url::parse("https://other.example/a/x/").unwrap();
        assert_eq!(login_of(&several, &other), None);
    }

    #[test]
    fn some_hosts_are_reached_without_a_proxy() {
        for (list, host, expected) in [
            ("", "a.example", false),
            ("*", "a.example", true),
            ("b.example, .example", "a.example", true),
            ("*.example", "a.example", true),
            ("a.example:443", "a.example", true),
            ("ample", "a.example", false),
        ] {
            assert_eq!(bypasses(list, host), expected, "{list} {host}");
        }
    }
}
