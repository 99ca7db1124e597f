//! Identifies the service at an address: a task service of hybrid-cache, with its version and its driver.

use hybrid_cache_model::sample::ServiceRecord;

use super::client::Client;
use super::metrics;
use super::problem::ClientError;

/// Queries a service's version and driver, which also shows that it is a task service and accepts the token.
///
/// # Errors
/// There is no answer, the token is wrong, or the answer does not come from a task service.
pub fn who(client: &Client) -> Result<ServiceRecord, ClientError> {
    let told = client.metrics().map_err(|error| match error {
        // Another kind of server, which has no such path.
        ClientError::Refused { problem, .. } if problem.status == 404 => client.foreign(problem),
        other => other,
    })?;
    let Some(version) = metrics::build(&told, "version") else {
        return Err(client.foreign("its metrics name no version"));
    };
    Ok(ServiceRecord {
        url: client.url().to_owned(),
        version,
        driver: metrics::build(&told, "driver"),
        same_machine: client.is_on_this_machine(),
    })
}
