//! The user's credentials for a registry, from the docker CLI's own configuration and its credential helpers.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use hybrid_cache_tools::{Result, failed};

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The registry's name in the configuration.
    pub server: String,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// A token instead of both.
    pub identity_token: Option<String>,
}

/// What the user has for the registry that `reference` names; a registry may need none.
///
/// # Errors
/// The configuration is broken, or a credential helper fails.
pub fn find(reference: &str) -> Result<Option<Credentials>> {
    let server = server(reference);
    let empty = Credentials {
        server: server.clone(),
        username: None,
        password: None,
        identity_token: None,
    };
    match docker_credential::get_credential(&server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(Credentials {
            username: Some(username),
            password: Some(password),
            ..empty
        })),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials {
            identity_token: Some(token),
            ..empty
        })),
        Err(CredentialRetrievalError::HelperFailure { helper, stderr, stdout }) => {
            // A helper answers this if it has nothing for the registry.
            if stdout.contains("credentials not found") || stderr.contains("credentials not found") {
                return Ok(None);
            }
            Err(failed!(
                "credential helper {helper} failed for {server}: {}\nhint: try `docker login {server}`",
                stderr.trim()
            ))
        }
        Err(CredentialRetrievalError::CredentialDecodingError | CredentialRetrievalError::CredentialMismatchError) => {
            Err(failed!(
                "the Docker configuration's entry for {server} is broken\nhint: `docker login {server}` writes it again"
            ))
        }
        Err(_) => Ok(None),
    }
}

/// The name of a reference's registry in the configuration.
fn server(reference: &str) -> String {
    let first = reference.split_once('/').map_or("", |(first, _)| first);
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let hub = ["index.docker", ".io"].concat();
    if is_host && first != "docker.io" {
        first.to_owned()
    } else {
        ["https://", &hub, "/v1/"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_first_part_only_where_it_is_a_host() {
        assert_eq!(server("registry.example:5000/team/image:1"), "registry.example:5000");
        assert_eq!(server("localhost/image"), "localhost");
        assert!(server("team/image").ends_with("/v1/"));
        assert!(server("image:1").ends_with("/v1/"));
    }
}
