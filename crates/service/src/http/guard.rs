//! Admits requests by the Host header, the origin of writes, and the token.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, header};
use hybrid_cache_model::{Protection, Tenant};

use super::config::{Access, HttpConfig};
use super::rejection::Answer;
use super::session::Sessions;
use hybrid_cache_api::{Problem, ProblemType};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks every request before anything else.
#[derive(Debug)]
pub struct Guard {
    access: Access,
    hosts: Vec<String>,
    sessions: Sessions,
}

impl Guard {
    /// A guard with this configuration.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(config: &HttpConfig) -> std::io::Result<Guard> {
        Ok(Guard {
            access: config.access.clone(),
            hosts: config.hosts.clone(),
            sessions: Sessions::new()?,
        })
    }

    /// The browsers that have signed in.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Who has access.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Admits a request and returns its tenant.
    ///
    /// # Errors
    /// The request is for another host, comes from another site's page, or lacks a token.
    pub fn admit(&self, request: &Request) -> Answer<Tenant> {
        let host = host(request)?;
        if Protection::SameOrigin.is_on() {
            self.check_host(&host)?;
            if !is_safe(request.method()) {
                check_origin(request.headers(), &host)?;
            }
        }
        match &self.access {
            Access::Local => Ok(Tenant::default()),
            // These paths show nothing of any tenant.
            Access::Tokens(_) if is_public(request.uri().path()) => Ok(Tenant::default()),
            Access::Tokens(tokens) => {
                let sent = bearer(request.headers());
                let tenant = sent.and_then(|sent| tokens.tenant(sent)).cloned();
                if let Some(tenant) = tenant.or_else(|| self.sessions.tenant(request.headers())) {
                    return Ok(tenant);
                }
                let detail = match sent {
                    Some(_) => "the token is not one of this service's tokens",
                    None => "there is no Authorization header with a bearer token",
                };
                let problem = Problem::new(ProblemType::Unauthorized, detail);
                Err(problem.hint("the operator's --token-file holds it").into())
            }
        }
    }

    /// Without a token, only names are accepted that no other page can use: a page may point its own server's name to
    /// 127.0.0.1, but it cannot make the browser send `localhost` as the host.
    fn check_host(&self, host: &str) -> Answer<()> {
        let name = without_port(host);
        let listed = self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
        let local = name.eq_ignore_ascii_case("localhost") || is_loopback(name);
        let open = self.hosts.is_empty() && matches!(self.access, Access::Tokens(_));
        if listed || local || open {
            return Ok(());
        }
        let problem = Problem::new(ProblemType::MisdirectedRequest, "the Host header names another machine");
        Err(problem
            .parameter("Host")
            .hint("use http://localhost and the port")
            .into())
    }
}

/// The host of the request, with its port.
fn host(request: &Request) -> Answer<String> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str().to_owned());
    }
    let mut sent = request.headers().get_all(header::HOST).iter();
    let host = sent.next().and_then(|host| host.to_str().ok());
    match (host, sent.next()) {
        (Some(host), None) if !host.is_empty() => Ok(host.to_owned()),
        _ => {
            let problem = Problem::new(ProblemType::InvalidParameter, "there must be one Host header");
            Err(problem.parameter("Host").into())
        }
    }
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Requires that a write comes from a page of this service or from a program: a browser names a request's origin, and a
/// page cannot prevent that.
fn check_origin(headers: &HeaderMap, host: &str) -> Answer<()> {
    let refuse = |detail: &str| Err(Problem::new(ProblemType::CrossSite, detail).into());
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return match site.as_bytes() {
            b"same-origin" | b"none" => Ok(()),
            _ => refuse("a page of another site sent this request"),
        };
    }
    for origin in headers.get_all(header::ORIGIN) {
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if !authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
            return refuse("a page of another origin sent this request");
        }
    }
    Ok(())
}

/// What needs no token: probes, the reference, the pages' files, and the sign-in page.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/openapi.json" | "/docs" | "/login") || path.starts_with("/assets/")
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::super::tokens::Tokens;
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn guard(access: Access) -> Guard {
        Guard::new(&HttpConfig::new(access)).unwrap()
    }

    fn asked(guard: &Guard, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), ProblemType> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard
            .admit(&request.body(Body::empty()).unwrap())
            .map(|_| ())
            .map_err(|rejection| rejection.problem().code)
    }

    #[test]
    fn without_tokens_only_names_of_this_machine_are_accepted() {
        let guard = guard(Access::Local);
        for host in [
            "localhost:8000",
            "LOCALHOST",
            "127.0.0.1:8000",
            "127.1.2.3",
            "[::1]:8000",
        ] {
            assert_eq!(asked(&guard, "GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8000",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:80",
        ] {
            assert_eq!(
                asked(&guard, "GET", "/", &[("host", host)]),
                Err(ProblemType::MisdirectedRequest),
                "{host}"
            );
        }
        assert_eq!(asked(&guard, "GET", "/", &[]), Err(ProblemType::InvalidParameter));
        let absolute = "http://evil.example/api/v1/tasks";
        assert_eq!(
            asked(&guard, "GET", absolute, &[("host", "localhost")]),
            Err(ProblemType::MisdirectedRequest)
        );
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let guard = guard(Access::Local);
        let host = ("host", "localhost:8000");
        let post = |headers: &[(&str, &str)]| asked(&guard, "POST", "/tasks", &[&[host], headers].concat());
        assert_eq!(post(&[]), Ok(()));
        assert_eq!(post(&[("origin", "http://localhost:8000")]), Ok(()));
        assert_eq!(
            post(&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8000")]),
            Ok(())
        );
        for headers in [
            [("origin", "http://localhost:9000")],
            [("origin", "null")],
            [("origin", "http://evil.example")],
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(post(&headers), Err(ProblemType::CrossSite), "{headers:?}");
        }
    }

    #[test]
    fn with_tokens_only_a_known_token_is_admitted() {
        let guard = guard(Access::Tokens(Tokens::read(TOKEN).unwrap()));
        let host = ("host", "tasks.example");
        let with = |value: &str| asked(&guard, "GET", "/api/v1/tasks", &[host, ("authorization", value)]);
        assert_eq!(with(&format!("Bearer {TOKEN}")), Ok(()));
        assert_eq!(with(&format!("bearer  {TOKEN}")), Ok(()));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic abc",
            TOKEN,
            &format!("Bearer {TOKEN}0"),
        ] {
            assert_eq!(with(wrong), Err(ProblemType::Unauthorized), "{wrong}");
        }
        assert_eq!(
            asked(&guard, "GET", "/metrics", &[host]),
            Err(ProblemType::Unauthorized)
        );
        assert_eq!(asked(&guard, "GET", "/healthz", &[host]), Ok(()));
    }
}
