//! The client of the service that a person named.

use std::path::Path;

use hybrid_cache_api::{Client, ClientBuilder};
use hybrid_cache_tools::Result;

use super::failure::config_error;

/// Settings of a client of the service at this address, with the token of this file. Sends nothing yet.
///
/// # Errors
/// The address or the token cannot be used.
pub fn client(url: &str, token_file: Option<&Path>) -> Result<ClientBuilder> {
    let builder = Client::builder(url);
    let builder = builder.and_then(|builder| match token_file {
        Some(file) => builder.token_file(file),
        None => Ok(builder),
    });
    builder.map_err(|error| config_error(&error))
}

#[cfg(test)]
mod tests {
    use hybrid_cache_tools::ErrorClass;

    use super::*;

    #[test]
    fn an_address_and_a_token_that_cannot_be_used_are_refused_with_their_flag() {
        let error = client("http://me:secret@host", None).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.class(), ErrorClass::Input);
        assert!(
            text.starts_with("--service-url: ") && text.contains("\nhint: ") && !text.contains("secret"),
            "{text}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret one\nsecret two").unwrap();
        let error = client("http://host", Some(&file)).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.class(), ErrorClass::Input);
        assert!(text.starts_with("--token-file: ") && !text.contains("secret"), "{text}");
    }
}
