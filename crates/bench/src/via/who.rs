//! Who answers at an address: a task service of hybrid-cache, with its version and its driver.

use hybrid_cache_model::sample::ServiceRecord;

use super::client::Client;
use super::metrics;
use super::problem::ClientError;

/// Asks a service for its version and driver, which also shows that it is one and accepts the token.
///
/// # Errors
/// Nobody answers, the token is wrong, or something else than a task service answers.
pub fn who(client: &Client) -> Result<ServiceRecord, ClientError> {
    let told = client.metrics().map_err(|error| match error {
        // Some other server, which has no such path.
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
