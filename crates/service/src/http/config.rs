//! What an operator may set about HTTP: who may ask, and how much of everything there may be.

use std::net::SocketAddr;
use std::time::Duration;

use super::tokens::Tokens;

/// The configuration of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Who may ask. An address that others can reach needs a token.
    pub access: Access,
    /// Names that the Host header may carry beside localhost; any where empty and a token is required.
    pub hosts: Vec<String>,
    /// Largest accepted body, in bytes.
    pub body_bytes: usize,
    /// Bytes that bodies and answers of more than 64 KiB may hold in memory, all together. Further ones wait.
    pub large_bytes: usize,
    /// How long a request's head may take, and how long a connection may rest between two requests.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a handler may take.
    pub request_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Connections at one time; further ones wait to be accepted.
    pub connections: usize,
    /// Clients that follow output at one time.
    pub followers: usize,
    /// How long one client may follow; it then asks again where it left off.
    pub follow_timeout: Duration,
    /// Time between two signs of life to a follower.
    pub keep_alive: Duration,
}

impl HttpConfig {
    /// The defaults, for these clients.
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

/// Who may ask.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody on this machine, as one tenant. Nothing here tells a task from a person: it relies on tasks being unable to reach
    /// this machine's loopback, which whoever starts the service has to make sure of (`cargo xtask serve` does).
    Local,
    /// Who knows a token, as its tenant.
    Tokens(Tokens),
}

impl Access {
    /// Chooses for an address.
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

/// Why nobody may be let in like this.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// An address that others can reach, and no token.
    #[error(
        "{address} can be reached by others, and there is no token\nhint: give --token-file, or listen on 127.0.0.1"
    )]
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
