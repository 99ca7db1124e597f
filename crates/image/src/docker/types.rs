//! What is asked of an engine, and what it answers.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineInfo {
    /// Where it listens.
    pub host: String,
    /// Its own version, `20.10.24`.
    pub version: String,
    /// The API version that is spoken with it.
    pub api_version: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `overlay2`.
    pub storage_driver: String,
    /// Runtime of containers that name none: `runc`.
    pub default_runtime: String,
    /// The engine's machine, which may be a virtual one.
    pub operating_system: String,
    /// Processors it may use.
    pub cpus: u64,
    /// Bytes of memory it may use.
    pub memory_bytes: u64,
    /// `name=seccomp,profile=default`, `name=rootless`…
    pub security_options: Vec<String>,
}

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredImage {
    /// `sha256:…`.
    pub id: String,
    /// Bytes on the engine's disk, shared layers included.
    pub size_bytes: u64,
    /// Its references.
    pub tags: Vec<String>,
    /// References by digest, if it was pulled or pushed.
    pub digests: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without the leading slash.
    pub name: String,
    /// `running`, `exited`…
    pub state: String,
    /// The image it was made from, as it was named then.
    pub image: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// What to build.
#[derive(Debug)]
pub struct Build<'a> {
    /// The reference that the image gets.
    pub reference: &'a str,
    /// Stage to stop at.
    pub target: Option<&'a str>,
    /// Build arguments.
    pub arguments: &'a [(&'a str, &'a str)],
    /// What the engine remembers of earlier builds.
    pub cache: BuildCache,
}

/// Whether a build may use steps of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildCache {
    /// It may.
    Use,
    /// Every step is done again.
    Bypass,
}

/// A command that runs in a container of its own, which becomes an image.
#[derive(Debug)]
pub struct OneShotContainer<'a> {
    /// The image to start from; its entry point takes the command.
    pub image: &'a str,
    /// The command.
    pub command: &'a [&'a str],
    /// An archive that is unpacked at `/` before it starts.
    pub files: Vec<u8>,
    /// Folders whose content is not to be in the image.
    pub volumes: &'a [&'a str],
    /// Longest that it may take.
    pub deadline: Duration,
}

/// What a command in a container did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i64,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Hears what the engine says while it works, a line at a time.
pub type Listener<'a> = &'a mut (dyn FnMut(&str) + Send);

/// `repository:tag`, the tag may be missing and the registry may have a port.
pub fn split(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("image"), ("image", "latest"));
        assert_eq!(split("host:5000/image"), ("host:5000/image", "latest"));
        assert_eq!(split("host:5000/image:1"), ("host:5000/image", "1"));
    }
}
