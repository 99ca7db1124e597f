//! Runs the `kind` program; this is the only file that starts it. kind talks to Docker through the docker CLI. This file also uses
//! the docker CLI, to start a stopped node, because kind has no command for that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hybrid_cache_image::node_image;
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Result, failed, process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// The oldest release whose node images and configuration fit manifests/kind-cluster.yaml.
const MIN_VERSION: (u32, u32, u32) = (0, 27, 0);
/// Longest time for a query.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for creating a cluster, including a pull of the node image.
const CREATE_TIMEOUT: Duration = Duration::from_secs(900);
/// Longest time for copying an image onto a node.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest time for deleting a cluster.
const DELETE_TIMEOUT: Duration = Duration::from_secs(120);

/// Receives kind's output while kind runs, one line at a time.
pub type Listener<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A `kind` program that is new enough.
#[derive(Clone, Debug)]
pub struct KindCli {
    /// Path of the program.
    pub program: PathBuf,
}

/// The result of the search for `kind` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindFound {
    /// There is no `kind`.
    Missing,
    /// The program is older than what we need.
    TooOld {
        /// Path of the program.
        program: PathBuf,
        /// Version of the program.
        version: String,
    },
    /// The program can be used.
    Usable {
        /// Path of the program.
        program: PathBuf,
        /// Version of the program.
        version: String,
    },
}

/// The inputs for creating a cluster.
#[derive(Debug)]
pub struct Create<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// kind's configuration file.
    pub config: &'a Path,
    /// Node image; `None` means kind's own default.
    pub image: Option<&'a str>,
    /// The file that the kubeconfig is written to.
    pub kubeconfig: &'a Path,
    /// The lock, passed to kind as its standard input: it stays locked while kind runs, even if this process ends.
    pub lock: &'a File,
}

/// Looks for kind on the search path, then in the output of `cargo xtask node-image`.
///
/// # Errors
/// A program exists but does not report its version.
pub async fn look(checkout: &Checkout) -> Result<KindFound> {
    let built = Some(node_image::programs(checkout).kind).filter(|program| program.is_file());
    let mut old = None;
    for program in process::find("kind").into_iter().chain(built) {
        let version = run(Command::new(&program).arg("version"), REQUEST_TIMEOUT, &mut |_| {}).await?;
        let version = version_of(&version).unwrap_or_default();
        if numbers(&version) >= MIN_VERSION {
            return Ok(KindFound::Usable { program, version });
        }
        old = old.or(Some(KindFound::TooOld { program, version }));
    }
    Ok(old.unwrap_or(KindFound::Missing))
}

/// The version in kind's output: `kind v0.33.0 go1.26.8 linux/amd64` gives 0.33.0.
fn version_of(text: &str) -> Option<String> {
    let word = text.split_whitespace().nth(1)?;
    Some(word.trim_start_matches('v').to_owned())
}

fn numbers(version: &str) -> (u32, u32, u32) {
    let mut parts = version
        .split(['.', '-', '+'])
        .map(|part| part.parse().unwrap_or_default());
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

impl KindCli {
    /// Returns a `kind` that can be used.
    ///
    /// # Errors
    /// There is none: exit code 4, and the message says what to do.
    pub async fn find(checkout: &Checkout) -> Result<KindCli> {
        const REMEDY: &str =
            "build one from source, together with a node image: `cargo xtask node-image`; or install kind";
        match look(checkout).await? {
            KindFound::Usable { program, .. } => Ok(KindCli { program }),
            KindFound::Missing => Err(Error::prerequisite(format!(
                "there is no program `kind` on this machine\nhint: {REMEDY}"
            ))),
            KindFound::TooOld { program, version } => {
                let (major, minor, _) = MIN_VERSION;
                let message = format!(
                    "{} is kind {version}, but {major}.{minor} or later is needed",
                    program.display()
                );
                Err(Error::prerequisite(format!("{message}\nhint: {REMEDY}")))
            }
        }
    }

    /// Creates a cluster. kind's own wait is not used, because kind reports a timeout only as a warning; the caller checks the
    /// node instead. A node that fails is kept, so that its journal can be read.
    ///
    /// # Errors
    /// kind's own `ERROR:` lines.
    pub async fn create(&self, what: &Create<'_>, listen: Listener<'_>) -> Result<()> {
        let lock = what.lock.try_clone().context("passing the lock on to kind")?;
        let mut command = Command::new(&self.program);
        command.args(["create", "cluster", "--retain", "--name", what.name]);
        command.arg("--config").arg(what.config);
        command.arg("--kubeconfig").arg(what.kubeconfig);
        if let Some(image) = what.image {
            command.args(["--image", image]);
        }
        command.stdin(lock);
        run(&mut command, CREATE_TIMEOUT, listen).await?;
        Ok(())
    }

    /// Deletes a cluster and leaves the user's own kubeconfig alone. Succeeds if there is no cluster of that name.
    ///
    /// # Errors
    /// kind's own error.
    pub async fn delete(&self, name: &str, kubeconfig: &Path) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["delete", "cluster", "--name", name]);
        command.arg("--kubeconfig").arg(kubeconfig);
        run(&mut command, DELETE_TIMEOUT, &mut |_| {}).await?;
        Ok(())
    }

    /// The kubeconfig for reaching a cluster from this machine.
    ///
    /// # Errors
    /// There is no such cluster, or its node is not running.
    pub async fn kubeconfig(&self, name: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["get", "kubeconfig", "--name", name]);
        run(&mut command, REQUEST_TIMEOUT, &mut |_| {}).await
    }

    /// Copies an image of the Docker engine onto the cluster's nodes.
    ///
    /// # Errors
    /// The engine does not have it, or the node has no space left.
    pub async fn load(&self, name: &str, image: &str, listen: Listener<'_>) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["load", "docker-image", "--name", name, image]);
        run(&mut command, LOAD_TIMEOUT, listen).await?;
        Ok(())
    }
}

/// Starts a stopped node.
///
/// # Errors
/// The docker CLI's own error.
pub async fn start_node(container: &str) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(["start", container]);
    run(&mut command, DELETE_TIMEOUT, &mut |_| {}).await?;
    Ok(())
}

/// Runs a program with a deadline and passes on each line of its standard error at once.
async fn run(command: &mut Command, deadline: Duration, listen: Listener<'_>) -> Result<String> {
    let words = words(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        Error::prerequisite(format!(
            "`{words}`: {error}\nhint: is the program installed and on PATH?"
        ))
    })?;
    let (mut stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = String::new();
    let mut said = Vec::new();
    let finished = async {
        let read_output = async {
            match &mut stdout {
                Some(stdout) => stdout.read_to_string(&mut output).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let read_talk = async {
            let mut lines = BufReader::new(stderr.context("no standard error")?).lines();
            while let Some(line) = lines.next_line().await? {
                if !line.trim().is_empty() {
                    listen(line.trim());
                }
                said.push(line);
            }
            Ok::<_, Error>(())
        };
        let (read, heard, status) = tokio::join!(read_output, read_talk, child.wait());
        read?;
        heard?;
        Ok::<_, Error>(status?)
    };
    let status = timeout(deadline, finished)
        .await
        .map_err(|_| failed!("`{words}`: not done after {} s", deadline.as_secs()))?
        .with_context(|| format!("`{words}`"))?;
    if !status.success() {
        return Err(failed!("`{words}`: {}", error_message(&said)));
    }
    Ok(output)
}

fn words(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .take(2)
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// kind's error message: its `ERROR:` lines and the lines after them, otherwise its last lines.
fn error_message(said: &[String]) -> String {
    const MAX_LINES: usize = 6;
    let from = said
        .iter()
        .position(|line| line.starts_with("ERROR: "))
        .unwrap_or(said.len().saturating_sub(MAX_LINES));
    // The whole output of a failed command follows, sometimes with hundreds of lines such as `I1122 19:23:38.293641 …`.
    let chatter = |line: &&str| {
        let mut bytes = line.bytes();
        bytes.next() == Some(b'I') && bytes.take(4).filter(u8::is_ascii_digit).count() == 4
    };
    let lines = said.iter().skip(from).map(|line| line.trim_end());
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && !chatter(line)).collect();
    let shown: Vec<_> = if lines.len() > 2 * MAX_LINES {
        let head = lines.iter().take(MAX_LINES);
        head.chain(&["…"])
            .chain(lines.iter().skip(lines.len() - MAX_LINES))
            .copied()
            .collect()
    } else {
        lines
    };
    shown.join("\n").trim_start_matches("ERROR: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_of("kind v0.33.0 go1.26.8 linux/amd64\n").unwrap(), "0.33.0");
        assert!(
            numbers("0.9.0") < MIN_VERSION && numbers("0.27.0-alpha") >= MIN_VERSION && numbers("1.0") > MIN_VERSION
        );
        assert_eq!(numbers(""), (0, 0, 0));
    }

    #[test]
    fn errors_are_told_without_the_progress_before_them() {
        let said = ["Creating cluster", " ✗ Starting", "ERROR: failed to init", "because"].map(str::to_owned);
        assert_eq!(error_message(&said), "failed to init\nbecause");
        let long: Vec<_> = (0..100).map(|number| format!("ERROR: {number}")).collect();
        assert!(error_message(&long).lines().count() <= 13);
        let noisy = [
            "ERROR: failed",
            "",
            "I1122 19:23:38.293641     271 loader.go:407] Config",
            "E1122 why",
        ];
        assert_eq!(error_message(&noisy.map(str::to_owned)), "failed\nE1122 why");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_given_up() {
        let mut command = Command::new("sleep");
        let error = run(command.arg("60"), Duration::from_millis(50), &mut |_| {})
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not done after"), "{error:#}");
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_a_prerequisite() {
        let error = run(&mut Command::new("no-such-kind"), REQUEST_TIMEOUT, &mut |_| {})
            .await
            .unwrap_err();
        assert_eq!(error.class(), hybrid_cache_tools::ErrorClass::Prerequisite);
    }
}
