//! Problems with a Docker engine, each with the next step.

use std::io::ErrorKind;

use super::endpoint::Endpoint;
use hybrid_cache_tools::{Error, environment};

/// Why an engine cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// No program `docker`, and nothing listens.
    NotInstalled,
    /// Nothing listens.
    NotRunning,
    /// Something listens, but this user may not use it.
    NotAllowed,
    /// The engine does not answer, or its answer is not understood.
    NoAnswer(String),
    /// The engine has an older API than is needed.
    TooOld(String),
    /// The engine's address is of a kind that is not supported.
    Unsupported,
}

impl EngineError {
    /// The meaning of an error of connecting to a socket.
    pub fn of_socket(kind: ErrorKind, has_client: bool) -> EngineError {
        match kind {
            ErrorKind::PermissionDenied => EngineError::NotAllowed,
            ErrorKind::NotFound if !has_client => EngineError::NotInstalled,
            _ => EngineError::NotRunning,
        }
    }

    /// The error of a missing prerequisite, with the next step.
    pub fn at(&self, endpoint: &Endpoint) -> Error {
        let Endpoint { host, chosen_by, .. } = endpoint;
        let (problem, hint) = self.words();
        Error::prerequisite(format!("{problem} ({host}, from {chosen_by})\nhint: {hint}"))
    }

    /// What is wrong, and the next step.
    pub fn words(&self) -> (String, &'static str) {
        let owned = |text: &str| text.to_owned();
        match self {
            EngineError::NotInstalled => (
                owned("Docker is not installed: nothing listens"),
                "install Docker Engine 20.10 or later, or set DOCKER_HOST to an engine elsewhere; \
                 `cargo xtask run` and `bench` need none",
            ),
            EngineError::NotRunning => (
                owned("the Docker engine is not running"),
                "start it (`sudo systemctl start docker`, or Docker Desktop), or choose another one \
                 with DOCKER_HOST or `docker context use`",
            ),
            EngineError::NotAllowed => (
                owned("this user may not access the Docker engine"),
                "add yourself to its group (`sudo usermod -aG docker \"$USER\"`, then log in again), or use rootless Docker",
            ),
            EngineError::NoAnswer(said) => (
                ["the Docker engine does not answer: ", said].concat(),
                "run `docker version`; if it hangs too, restart the engine",
            ),
            EngineError::TooOld(version) => (
                ["the Docker engine has API ", version, ", which is too old"].concat(),
                "update Docker Engine to 20.10 or later",
            ),
            EngineError::Unsupported => (
                owned("this kind of Docker address is not supported"),
                "use unix:// or tcp://; for ssh:// forward the socket first: \
                 `ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST`, then DOCKER_HOST=unix:///tmp/docker.sock",
            ),
        }
    }
}

/// Whether the docker CLI is on the search path: a machine without it has probably no engine either.
pub fn has_client() -> bool {
    let mut folders = environment::search_path().into_iter();
    folders.any(|folder| folder.join("docker").is_file())
}

/// The next step for an error message of the engine.
pub fn hint(said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    if has(&["no space left on device"]) {
        "the engine's disk is full; `docker system df` shows what uses it, `docker system prune` makes room"
    } else if has(&["x509: ", "certificate"]) {
        "the engine does not trust the registry's certificate; put the CA of it into \
         /etc/docker/certs.d/REGISTRY:PORT/ca.crt, and check the name and the dates in it"
    } else if has(&["unauthorized", "authentication required", "no basic auth", "denied: "]) {
        "log in with `docker login` for that registry, and check that you may write there"
    } else if has(&[
        "no such host",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "server misbehaving",
        "tls handshake",
        "lookup ",
        "connection reset",
        "request canceled",
    ]) {
        "the engine could not reach the registry or mirror; check its network and proxy settings"
    } else {
        "`docker info` shows whether the engine still runs; its own log has more"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_tools::ErrorClass;

    #[test]
    fn each_refusal_has_its_own_remedy_and_is_a_missing_prerequisite() {
        let endpoint = Endpoint {
            host: "unix:///d.sock".to_owned(),
            certificates: None,
            chosen_by: "DOCKER_HOST".to_owned(),
        };
        let troubles = [
            (ErrorKind::PermissionDenied, true, "usermod"),
            (ErrorKind::NotFound, true, "systemctl start"),
            (ErrorKind::NotFound, false, "install Docker"),
            (ErrorKind::ConnectionRefused, false, "systemctl start"),
        ];
        for (kind, has_client, remedy) in troubles {
            let error = EngineError::of_socket(kind, has_client).at(&endpoint);
            assert_eq!(error.class(), ErrorClass::Prerequisite);
            let text = error.to_string();
            assert!(text.contains(remedy) && text.contains("unix:///d.sock"), "{text}");
        }
    }

    #[test]
    fn what_the_engine_said_leads_to_a_next_step() {
        assert!(hint("write /x: no space left on device").contains("prune"));
        assert!(hint("denied: requested access to the resource is denied").contains("docker login"));
        // As docker-registry 2.8 behind Docker 20.10 was seen to say it.
        assert!(hint("Get \"https://r:5443/v2/\": no basic auth credentials").contains("docker login"));
        let untrusted = "Get \"https://r:5443/v2/\": x509: certificate signed by unknown authority";
        assert!(hint(untrusted).contains("certs.d"));
        assert!(hint("dial tcp: lookup registry: no such host").contains("network"));
        assert!(hint("unexpected EOF").contains("docker info"));
    }
}
