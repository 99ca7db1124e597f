//! A connection to a Docker engine and its images, through bollard.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bollard::models::SystemInfoCgroupVersionEnum;
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use futures_util::TryStreamExt;
use hybrid_cache_tools::{ErrorContext, Result, failed};
use tokio::time::timeout;

use super::credentials;
use super::endpoint::{Endpoint, Settings};
use super::engine_error::{self, EngineError, has_client};
use super::stream::{self, ANSWER_TIMEOUT, SILENCE_TIMEOUT, Says, Upload, answer, chain, failed, follow, overdue};
use super::types::{Build, BuildCache, EngineInfo, Listener, StoredImage, split};

/// Docker Engine 19.03.
const OLDEST_API: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 40,
};

/// A connection to an engine that has answered.
pub struct Engine {
    pub(super) docker: Docker,
    endpoint: Endpoint,
}

impl Engine {
    /// Connects to the engine that the docker CLI would use, and agrees on an API version.
    ///
    /// # Errors
    /// There is none, it is not running, this user may not use it, or it is too old: exit code 4, with the remedy.
    pub async fn connect() -> Result<Engine> {
        Engine::connect_to(&Settings::read()).await
    }

    /// The same with other settings than this process's own; see there for errors.
    pub async fn connect_to(settings: &Settings) -> Result<Engine> {
        let endpoint = settings.endpoint()?;
        let connected = Engine::look(&endpoint).await;
        connected.map_err(|trouble| trouble.at(&endpoint))
    }

    /// The same with what is wrong as a value.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn look(endpoint: &Endpoint) -> Result<Engine, EngineError> {
        let docker = open(endpoint)?;
        let docker = match timeout(ANSWER_TIMEOUT, docker.negotiate_version()).await {
            Ok(Ok(docker)) => docker,
            Ok(Err(error)) => return Err(EngineError::NoAnswer(error.to_string())),
            Err(_) => {
                return Err(EngineError::NoAnswer(format!(
                    "silent for {} s",
                    ANSWER_TIMEOUT.as_secs()
                )));
            }
        };
        if docker.client_version() < OLDEST_API {
            return Err(EngineError::TooOld(docker.client_version().to_string()));
        }
        let endpoint = endpoint.clone();
        Ok(Engine { docker, endpoint })
    }

    /// What this engine is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = answer("asking the Docker engine what it is", self.docker.info()).await?;
        let cgroup_version = match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_2) => "2",
            Some(SystemInfoCgroupVersionEnum::_1) => "1",
            _ => "unknown",
        };
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Ok(EngineInfo {
            host: self.endpoint.host.clone(),
            version: info.server_version.unwrap_or_default(),
            api_version: self.docker.client_version().to_string(),
            cgroup_version: cgroup_version.to_owned(),
            storage_driver: info.driver.unwrap_or_default(),
            default_runtime: info.default_runtime.unwrap_or_default(),
            operating_system: info.operating_system.unwrap_or_default(),
            cpus: count(info.ncpu),
            memory_bytes: count(info.mem_total),
            security_options: info.security_options.unwrap_or_default(),
        })
    }

    /// The image of that reference or id, if the engine has it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn image(&self, reference: &str) -> Result<Option<StoredImage>> {
        let found = timeout(ANSWER_TIMEOUT, self.docker.inspect_image(reference)).await;
        let image = match found.with_context(|| format!("looking for image {reference}: no answer"))? {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(|error| failed(format!("looking for image {reference}"), &error))?,
        };
        Ok(Some(StoredImage {
            id: image.id.unwrap_or_default(),
            size_bytes: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            tags: image.repo_tags.unwrap_or_default(),
            digests: image.repo_digests.unwrap_or_default(),
        }))
    }

    /// Pulls an image, with the user's credentials if there are any. `deadline` is for all of it.
    ///
    /// # Errors
    /// The registry cannot be reached, does not have it or wants other credentials.
    pub async fn pull(&self, reference: &str, deadline: Duration, listen: Listener<'_>) -> Result<()> {
        let what = format!("pulling {reference}");
        let options = query::CreateImageOptionsBuilder::default()
            .from_image(reference)
            .build();
        let credentials = credentials::find(reference)?.map(into_bollard);
        let stream = self.docker.create_image(Some(options), None, credentials);
        let pulled = follow(&what, stream, |info| {
            stream::pass_on(listen, info.status.as_deref(), info.id.as_deref())
        });
        timeout(deadline, pulled).await.map_err(|_| overdue(&what, deadline))?
    }

    /// Builds an image from a context: a tar archive with a Dockerfile in it. Returns the image's id.
    ///
    /// # Errors
    /// A step fails, with what it said last; or the engine goes away.
    pub async fn build(&self, build: &Build<'_>, context: Vec<u8>, listen: Listener<'_>) -> Result<String> {
        let what = format!("building {}", build.reference);
        let arguments: HashMap<&str, &str> = build.arguments.iter().copied().collect();
        let options = query::BuildImageOptionsBuilder::default()
            .t(build.reference)
            .target(build.target.unwrap_or_default())
            .buildargs(&arguments)
            .nocache(build.cache == BuildCache::Bypass)
            .rm(true)
            .forcerm(true)
            .build();
        let patient = self.docker.clone().with_timeout(SILENCE_TIMEOUT);
        let stream = patient.build_image(options, None, Some(bollard::body_full(context.into())));
        let mut id = None;
        let mut said = stream::LastLines::default();
        let done = follow(&what, stream, |info| {
            if let Some(built) = info.aux.and_then(|aux| aux.id) {
                id = Some(built);
            }
            let text = info.stream.or(info.status).unwrap_or_default();
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                said.keep(line);
                listen(line);
            }
        });
        done.await.with_context(|| said.in_words())?;
        let lost = || failed!("{what}: the engine went away\nhint: {}", engine_error::hint(""));
        id.ok_or_else(lost)
    }

    /// Loads an archive of `docker save`. Its images get the references it names.
    ///
    /// # Errors
    /// The archive cannot be read or is not accepted.
    pub async fn load(&self, archive: &Path, listen: Listener<'_>) -> Result<()> {
        let what = format!("loading {} into the Docker engine", archive.display());
        let options = query::ImportImageOptionsBuilder::default().quiet(true).build();
        let body = bollard::body_try_stream(Upload::open(archive)?.pieces().map_ok(Into::into));
        let patient = self.docker.clone().with_timeout(SILENCE_TIMEOUT);
        let stream = patient.import_image(options, body, None);
        follow(&what, stream, |info| {
            stream::pass_on(listen, info.stream.as_deref().or(info.status.as_deref()), None)
        })
        .await
    }

    /// Makes an image of one layer from the archive of a root file system.
    ///
    /// # Errors
    /// The archive cannot be read or is not accepted.
    pub async fn import(&self, archive: &Path, reference: &str, listen: Listener<'_>) -> Result<()> {
        let what = format!("importing {} as {reference}", archive.display());
        let (repository, tag) = split(reference);
        let options = query::CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .build();
        let body = bollard::body_try_stream(Upload::open(archive)?.pieces().map_ok(Into::into));
        let patient = self.docker.clone().with_timeout(SILENCE_TIMEOUT);
        let stream = patient.create_image(Some(options), Some(body), None);
        follow(&what, stream, |info| {
            stream::pass_on(listen, info.status.as_deref(), None)
        })
        .await
    }

    /// Writes an image into a file, as `docker save` does.
    ///
    /// # Errors
    /// The image is not there, or the file cannot be written.
    pub async fn save(&self, reference: &str, file: &Path) -> Result<()> {
        let what = format!("saving {reference} into {}", file.display());
        let mut written = std::fs::File::create(file).with_context(|| what.clone())?;
        let patient = self.docker.clone().with_timeout(SILENCE_TIMEOUT);
        let mut result = Ok(());
        let mut write = |piece: &[u8]| std::io::Write::write_all(&mut written, piece);
        follow(&what, patient.export_image(reference), |piece| {
            result = std::mem::replace(&mut result, Ok(())).and_then(|()| write(&piece));
        })
        .await?;
        result.with_context(|| what)
    }

    /// Gives an image another reference.
    ///
    /// # Errors
    /// The image is not there, or the reference is not well formed.
    pub async fn tag(&self, image: &str, reference: &str) -> Result<()> {
        let (repository, tag) = split(reference);
        let options = query::TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(tag)
            .build();
        let what = format!("tagging {image} as {reference}");
        answer(&what, self.docker.tag_image(image, Some(options))).await
    }

    /// Pushes an image, with the user's credentials for its registry.
    ///
    /// # Errors
    /// The registry cannot be reached, or refuses.
    pub async fn push(&self, reference: &str, listen: Listener<'_>) -> Result<()> {
        let what = format!("pushing {reference}");
        let (repository, tag) = split(reference);
        let options = query::PushImageOptionsBuilder::default().tag(tag).build();
        let credentials = credentials::find(reference)?.map(into_bollard);
        let stream = self.docker.push_image(repository, Some(options), credentials);
        follow(&what, stream, |info| {
            stream::pass_on(listen, info.status.as_deref(), None)
        })
        .await
    }

    /// Removes a reference, and the image with the last of them. What is not there is removed already.
    ///
    /// # Errors
    /// A container uses it.
    pub async fn remove_image(&self, reference: &str) -> Result<()> {
        let removed = timeout(
            SILENCE_TIMEOUT,
            self.docker
                .remove_image(reference, None::<query::RemoveImageOptions>, None),
        )
        .await;
        match removed.with_context(|| format!("removing {reference}: no answer"))? {
            Err(error) if !is_absent(&error) => Err(failed(format!("removing image {reference}"), &error)),
            _ => Ok(()),
        }
    }
}

fn open(endpoint: &Endpoint) -> Result<Docker, EngineError> {
    let host = endpoint.host.as_str();
    let seconds = ANSWER_TIMEOUT.as_secs();
    let opened = match (host.split_once("://"), &endpoint.certificates) {
        (Some(("unix", socket)), _) => {
            // Connect without bollard first: its errors do not distinguish a denied socket from a missing one.
            UnixStream::connect(socket).map_err(|error| EngineError::of_socket(error.kind(), has_client()))?;
            Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION)
        }
        (Some(("tcp" | "https", _)), Some(folder)) => {
            let [key, certificate, authority] = ["key.pem", "cert.pem", "ca.pem"].map(|name| folder.join(name));
            Docker::connect_with_ssl(host, &key, &certificate, &authority, seconds, API_DEFAULT_VERSION)
        }
        (Some(("tcp" | "http", _)), None) => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
        _ => return Err(EngineError::Unsupported),
    };
    opened.map_err(|error| EngineError::NoAnswer(error.to_string()))
}

fn into_bollard(found: credentials::Credentials) -> bollard::auth::DockerCredentials {
    bollard::auth::DockerCredentials {
        username: found.username,
        password: found.password,
        identitytoken: found.identity_token,
        serveraddress: Some(found.server),
        ..Default::default()
    }
}

fn is_absent(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }
    )
}

impl Says for bollard::errors::Error {
    fn said(&self) -> String {
        match self {
            Self::DockerResponseServerError { message, .. } => message.clone(),
            Self::DockerStreamError { error } => error.clone(),
            other => ["the connection to the Docker engine failed: ", &chain(other)].concat(),
        }
    }
}
