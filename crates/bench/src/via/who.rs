//! Identifies the service at an address: a task service of hybrid-cache, with its version and its driver.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use hybrid_cache_api::{Client, ClientError};
use hybrid_cache_model::sample::ServiceRecord;

use super::metrics;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Queries a service's version and driver, which also shows that it is a task service and accepts the token.
///
/// # Errors
/// The service does not answer or denies access, or something else answers.
pub fn who(client: &Client) -> Result<ServiceRecord, ClientError> {
    let foreign = |reason: String| ClientError::Foreign {
        url: client.url().to_owned(),
        reason,
    };
    let text = client.metrics().map_err(|error| match error {
        // Some other server, which has no such path.
        ClientError::Refused { problem, .. } if problem.status == 404 => foreign(problem.summary()),
        other => other,
    })?;
    let Some(version) = metrics::build(&text, "version") else {
        return Err(foreign("its metrics name no version".to_owned()));
    };
    Ok(ServiceRecord {
        url: client.url().to_owned(),
        version,
        driver: metrics::build(&text, "driver"),
        same_machine: is_on_this_machine(client),
    })
}

/// True if a connection to the service ends at an address of this machine.
fn is_on_this_machine(client: &Client) -> bool {
    let ends_here = |address: SocketAddr| {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
        Some(stream.local_addr().ok()?.ip() == stream.peer_addr().ok()?.ip())
    };
    let addresses = client.host_and_port().to_socket_addrs();
    addresses.is_ok_and(|mut addresses| addresses.find_map(ends_here).unwrap_or(false))
}
