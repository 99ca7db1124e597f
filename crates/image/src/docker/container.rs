//! Containers of an engine: found, looked into, run once.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters as query;
use futures_util::StreamExt;
use hybrid_cache_tools::{ErrorContext, Result, failed};
use tokio::time::timeout;

use super::engine::Engine;
use super::stream::{answer, failed, follow, overdue};
use super::types::split;
use super::types::{Container, Executed, OneShotContainer};

impl Engine {
    /// Containers with a label (`name` or `name=value`), those that do not run included.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self, label: &str) -> Result<Vec<Container>> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = query::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let what = format!("listing containers with label {label}");
        let listed = answer(&what, self.docker.list_containers(Some(options))).await?;
        let first = |names: Vec<String>| Some(names.first()?.trim_start_matches('/').to_owned());
        let of = |container: bollard::models::ContainerSummary| Container {
            id: container.id.unwrap_or_default(),
            name: container.names.and_then(first).unwrap_or_default(),
            state: container.state.map(|state| state.to_string()).unwrap_or_default(),
            image: container.image.unwrap_or_default(),
            labels: container.labels.unwrap_or_default(),
        };
        Ok(listed.into_iter().map(of).collect())
    }

    /// Runs a command in a running container and waits for its end.
    ///
    /// # Errors
    /// The container is not there or does not run, or the command takes longer than `deadline`. A command that fails is
    /// no error: its code says so.
    pub async fn exec(&self, container: &str, command: &[&str], deadline: Duration) -> Result<Executed> {
        use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
        let what = format!("running {} in container {container}", command.join(" "));
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let id = answer(&what, self.docker.create_exec(container, options)).await?.id;
        let started = answer(&what, self.docker.start_exec(&id, None::<StartExecOptions>)).await?;
        let mut said = CommandOutput::default();
        if let StartExecResults::Attached { output, .. } = started {
            let read = follow(&what, output, |piece| said.take(piece));
            timeout(deadline, read).await.map_err(|_| overdue(&what, deadline))??;
        }
        let code = answer(&what, self.docker.inspect_exec(&id)).await?.exit_code;
        Ok(said.with_code(code.with_context(|| format!("{what}: the engine does not say how it ended"))?))
    }

    /// Pauses or resumes every process of a running container. Nothing happens if it is in that state already.
    ///
    /// # Errors
    /// The container is not there or does not run.
    pub async fn pause(&self, container: &str, wanted: bool) -> Result<()> {
        let what = format!("pausing container {container}");
        let state = answer(&what, self.docker.inspect_container(container, None))
            .await?
            .state;
        if state.and_then(|state| state.paused).unwrap_or(false) == wanted {
            return Ok(());
        }
        match wanted {
            true => answer(&what, self.docker.pause_container(container)).await,
            false => answer(&what, self.docker.unpause_container(container)).await,
        }
    }

    /// Restarts a container.
    ///
    /// # Errors
    /// The container is not there, or does not start.
    pub async fn restart(&self, container: &str) -> Result<()> {
        let options = query::RestartContainerOptionsBuilder::default().t(5).build();
        let restarted = self.docker.restart_container(container, Some(options));
        answer(&format!("restarting container {container}"), restarted).await
    }

    /// A file or folder of an image as a tar archive, without starting anything.
    ///
    /// # Errors
    /// The image or the path is not there.
    pub async fn copy_out(&self, image: &str, path: &str) -> Result<Vec<u8>> {
        let what = format!("reading {path} of image {image}");
        // An image without a command cannot be made into a container, though this one never starts.
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["true".to_owned()]),
            ..ContainerCreateBody::default()
        };
        let container = answer(&what, self.docker.create_container(None, body)).await?.id;
        let options = query::DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut bytes = Vec::new();
        let read = follow(
            &what,
            self.docker.download_from_container(&container, Some(options)),
            |piece| {
                bytes.extend_from_slice(&piece);
            },
        )
        .await;
        let gone = query::RemoveContainerOptionsBuilder::default().force(true).build();
        answer(&what, self.docker.remove_container(&container, Some(gone))).await?;
        read.map(|()| bytes)
    }

    /// Runs a command in a container of its own and makes an image of what it wrote outside its volumes, if `judge` accepts
    /// what it did. The container and its volumes are gone afterwards.
    ///
    /// # Errors
    /// The engine refuses, the command takes longer than it may, or `judge` says so.
    pub async fn run_into(
        &self,
        once: &OneShotContainer<'_>,
        reference: &str,
        judge: impl FnOnce(&Executed) -> Result<()>,
    ) -> Result<()> {
        let what = format!("running {} in image {}", once.command.join(" "), once.image);
        let volume = |path: &&str| Mount {
            target: Some((*path).to_owned()),
            typ: Some(MountType::VOLUME),
            ..Mount::default()
        };
        let body = ContainerCreateBody {
            image: Some(once.image.to_owned()),
            cmd: Some(once.command.iter().map(|&word| word.to_owned()).collect()),
            host_config: Some(HostConfig {
                mounts: Some(once.volumes.iter().map(volume).collect()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let container = answer(&what, self.docker.create_container(None, body)).await?.id;
        let done = match timeout(once.deadline, self.run_created(&what, &container, once)).await {
            Err(_) => Err(overdue(&what, once.deadline)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(executed)) => match judge(&executed) {
                Ok(()) => self.commit(&container, reference).await,
                refused => refused,
            },
        };
        let gone = query::RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let removed = answer(&what, self.docker.remove_container(&container, Some(gone))).await;
        done.and(removed)
    }

    async fn run_created(&self, what: &str, container: &str, once: &OneShotContainer<'_>) -> Result<Executed> {
        let place = query::UploadToContainerOptionsBuilder::default().path("/").build();
        let files = bollard::body_full(once.files.clone().into());
        answer(what, self.docker.upload_to_container(container, Some(place), files)).await?;
        answer(what, self.docker.start_container(container, None)).await?;
        let patient = self.docker.clone().with_timeout(once.deadline);
        let logs = query::LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .build();
        let mut said = CommandOutput::default();
        let mut stream = std::pin::pin!(patient.logs(container, Some(logs)));
        while let Some(piece) = stream.next().await {
            said.take(piece.map_err(|error| failed(what, &error))?);
        }
        let mut ended = std::pin::pin!(patient.wait_container(container, None));
        // A code other than 0 comes as an error.
        let code = match ended.next().await {
            Some(Ok(end)) => end.status_code,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(failed(what, &error)),
            None => return Err(failed!("{what}: the engine does not say how it ended")),
        };
        Ok(said.with_code(code))
    }

    async fn commit(&self, container: &str, reference: &str) -> Result<()> {
        let (repository, tag) = split(reference);
        let options = query::CommitContainerOptionsBuilder::default()
            .container(container)
            .repo(repository)
            .tag(tag)
            // What this container did is none of what the image does.
            .changes("CMD []")
            .build();
        let what = format!("making {reference} of container {container}");
        let patient = self.docker.clone().with_timeout(super::stream::SILENCE_TIMEOUT);
        let committed = patient.commit_container(options, ContainerConfig::default()).await;
        committed
            .map_err(|error| super::stream::failed(what, &error))
            .map(|_| ())
    }
}

/// What a command prints, by stream.
#[derive(Default)]
struct CommandOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl CommandOutput {
    fn take(&mut self, piece: LogOutput) {
        match piece {
            LogOutput::StdErr { message } => self.stderr.extend_from_slice(&message),
            other => self.stdout.extend_from_slice(&other.into_bytes()),
        }
    }

    fn with_code(self, code: i64) -> Executed {
        Executed {
            code,
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr).into_owned(),
        }
    }
}
