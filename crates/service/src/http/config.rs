//! What an operator may set about HTTP: access, and bounds on everything.

use std::net::SocketAddr;
use std::time::Duration;

use super::tokens::Tokens;

/// The configuration of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Who has access. An address that others can reach needs a token.
    pub access: Access,
    /// Names that the Host header may have in addition to localhost. If it is empty and a token is required, any name
    /// is accepted.
    pub hosts: Vec<String>,
    /// Largest accepted body, in bytes.
    pub body_bytes: usize,
    /// Bytes of memory for bodies and responses of more than 64 KiB, all together. More of them wait.
    pub large_bytes: usize,
    /// Time limit for the head of a request, and for an idle connection.
    pub header_timeout: Duration,
    /// Time limit for a body.
    pub body_timeout: Duration,
    /// Time limit for a handler.
    pub request_timeout: Duration,
    /// How long a client may leave a response unread.
    pub write_timeout: Duration,
    /// Most connections; more of them wait to be accepted.
    pub connections: usize,
    /// Most clients that follow output at the same time.
    pub followers: usize,
    /// How long one client may follow output; it then continues with another request.
    pub follow_timeout: Duration,
    /// Time between two comments that keep a follower's connection alive.
    pub keep_alive: Duration,
}

impl HttpConfig {
    /// The defaults, with this access.
    pub fn new(access: Access) -> HttpConfig {
        HttpConfig {
            access,
            hosts: Vec::new(),
            body_bytes: 8 << 20,
            large_bytes: 32 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 768,
            followers: 512,
            follow_timeout: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Who has access.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everyone on this machine, as one tenant. The service cannot tell a task from a person here, so whoever starts it
    /// must keep tasks from this machine's loopback interface, as `cargo xtask serve` does.
    Local,
    /// Whoever has a token, as its tenant.
    Tokens(Tokens),
}

impl Access {
    /// Chooses the access for an address.
    ///
    /// # Errors
    /// Others can reach the address and there is no token.
    pub fn to(address: SocketAddr, tokens: Option<Tokens>) -> Result<Access, AccessError> {
        match tokens {
            Some(tokens) => Ok(Access::Tokens(tokens)),
            None if address.ip().is_loopback() => Ok(Access::Local),
            None => Err(AccessError::TokenMissing { address }),
        }
    }
}

/// Why this access is refused.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Others can reach the address, and there is no token.
    #[error("others can reach {address}, and there is no token\nhint: give --token-file, or listen on 127.0.0.1")]
    TokenMissing {
        /// The address.
        address: SocketAddr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_needs_no_token() {
        let to = |text: &str| Access::to(text.parse().unwrap(), None);
        assert!(to("127.0.0.1:0").is_ok() && to("[::1]:80").is_ok());
        for open in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
            assert!(to(open).unwrap_err().to_string().contains("--token-file"), "{open}");
        }
        let tokens = Tokens::read(&"a".repeat(32)).unwrap();
        assert!(matches!(
            Access::to("0.0.0.0:80".parse().unwrap(), Some(tokens)),
            Ok(Access::Tokens(_))
        ));
    }
}
