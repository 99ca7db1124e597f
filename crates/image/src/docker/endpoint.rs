//! Which Docker engine the docker CLI would use: `DOCKER_HOST`, else the chosen context, else the usual socket.
//!
//! kind reaches the engine through the CLI, so both must look at the same settings in the same order.

use std::path::{Path, PathBuf};

use hybrid_cache_tools::{Error, Result, environment};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Where the engine listens unless something says otherwise.
const USUAL: &str = "unix:///var/run/docker.sock";

/// An engine's address, and what is needed to connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix:///var/run/docker.sock`, `tcp://build.example:2376`…
    pub host: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, if the engine wants TLS.
    pub certificates: Option<PathBuf>,
    /// What decided it, for messages.
    pub chosen_by: String,
}

/// The environment variables and files that decide.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// Whether `DOCKER_TLS_VERIFY` is set.
    pub tls: bool,
    /// `DOCKER_CERT_PATH`.
    pub certificates: Option<PathBuf>,
    /// The CLI's own folder: `DOCKER_CONFIG`, else `~/.docker`.
    pub folder: PathBuf,
}

impl Settings {
    /// Reads this process's environment.
    pub fn read() -> Settings {
        let text = environment::text;
        let home = || environment::raw("HOME").map(|home| Path::new(&home).join(".docker"));
        Settings {
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            tls: text("DOCKER_TLS_VERIFY").is_some(),
            certificates: text("DOCKER_CERT_PATH").map(PathBuf::from),
            folder: text("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(home)
                .unwrap_or_default(),
        }
    }

    /// The engine that these settings mean.
    ///
    /// # Errors
    /// The chosen context is not there or does not name an address; the message names it and the file.
    pub fn endpoint(&self) -> Result<Endpoint> {
        if let Some(host) = &self.host {
            let certificates = self.certificates.clone().unwrap_or_else(|| self.folder.clone());
            return Ok(Endpoint {
                host: host.clone(),
                certificates: self.tls.then_some(certificates),
                chosen_by: "DOCKER_HOST".to_owned(),
            });
        }
        let (name, said_by) = match &self.context {
            Some(name) => (name.clone(), "DOCKER_CONTEXT"),
            None => (self.current_context().unwrap_or_default(), "`docker context use`"),
        };
        if name.is_empty() || name == "default" {
            return Ok(Endpoint {
                host: USUAL.to_owned(),
                certificates: None,
                chosen_by: "the usual place".to_owned(),
            });
        }
        let of_context = self.of_context(&name, said_by);
        of_context.map_err(|problem| Error::prerequisite(format!("{problem}\nhint: see `docker context ls`")))
    }

    fn current_context(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            current_context: Option<String>,
        }
        let text = std::fs::read(self.folder.join("config.json")).ok()?;
        serde_json::from_slice::<Config>(&text).ok()?.current_context
    }

    /// The CLI keeps a context in a folder named by the sha256 of its name.
    fn of_context(&self, name: &str, said_by: &str) -> Result<Endpoint, String> {
        let id = hexadecimal(&Sha256::digest(name.as_bytes()));
        let file = self.folder.join("contexts/meta").join(&id).join("meta.json");
        let text = std::fs::read(&file)
            .map_err(|error| format!("Docker context {name} (from {said_by}): {}: {error}", file.display()))?;
        let meta: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let host = meta.pointer("/Endpoints/docker/Host").and_then(|host| host.as_str());
        let host = host.ok_or_else(|| format!("{}: names no Docker address", file.display()))?;
        let certificates = self.folder.join("contexts/tls").join(&id).join("docker");
        Ok(Endpoint {
            host: host.to_owned(),
            certificates: certificates.join("ca.pem").is_file().then_some(certificates),
            chosen_by: format!("context {name}, from {said_by}"),
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn with_context(name: &str, host: &str) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let id = hexadecimal(&Sha256::digest(name.as_bytes()));
        let meta = dir.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        let value = serde_json::json!({"Name": name, "Endpoints": {"docker": {"Host": host}}});
        fs::write(meta.join("meta.json"), value.to_string()).unwrap();
        let settings = Settings {
            folder: dir.path().to_owned(),
            ..Settings::default()
        };
        (dir, settings)
    }

    #[test]
    fn the_environment_wins_over_a_context_and_that_over_the_usual_place() {
        let (dir, mut settings) = with_context("colima", "unix:///c.sock");
        assert_eq!(settings.endpoint().unwrap().host, USUAL);
        fs::write(dir.path().join("config.json"), r#"{"currentContext":"colima"}"#).unwrap();
        let endpoint = settings.endpoint().unwrap();
        assert_eq!(endpoint.host, "unix:///c.sock");
        assert!(endpoint.chosen_by.contains("colima"));
        settings.context = Some("default".to_owned());
        assert_eq!(settings.endpoint().unwrap().host, USUAL);
        settings.host = Some("tcp://h:2376".to_owned());
        settings.tls = true;
        let endpoint = settings.endpoint().unwrap();
        assert_eq!(
            (endpoint.host.as_str(), endpoint.certificates.is_some()),
            ("tcp://h:2376", true)
        );
    }

    #[test]
    fn a_context_that_is_gone_is_named_together_with_who_chose_it() {
        let settings = Settings {
            context: Some("gone".to_owned()),
            ..Settings::default()
        };
        let message = settings.endpoint().unwrap_err().to_string();
        assert!(
            message.contains("gone") && message.contains("DOCKER_CONTEXT"),
            "{message}"
        );
    }
}
