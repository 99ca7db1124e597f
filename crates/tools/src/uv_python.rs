//! Further Pythons: one that the machine has, or one that uv downloads because a person asks for it.
use std::process::Command;
use std::time::Duration;

use hybrid_cache_model::{PythonVersion, python_version};

use crate::process;
use crate::progress::Progress;
use crate::python::{self, PythonInterpreter};
use crate::tool::Tools;
use crate::tool_error::ToolError;

/// Longest time for a download, which has some 30 MB.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(900);

/// The command that gets a Python which the machine lacks.
pub fn command_for(version: &str) -> String {
    format!("cargo xtask tools --python-version {version}")
}

/// Reads a version that can be asked for: `3.12` or `3.12.1`.
///
/// # Errors
/// It is none.
pub fn version(text: &str) -> Result<String, String> {
    match python_version::is_version(text) {
        true => Ok(text.to_owned()),
        false => Err("write a version such as 3.12 or 3.12.1".to_owned()),
    }
}

/// Makes sure that this machine has an interpreter of each version (`3.12` or `3.12.1`): uv downloads those that are missing into
/// its own folder, where tasks on this machine and the image find them.
///
/// # Errors
/// uv has no such version, or cannot download it; the first of them.
pub fn provide(tools: &mut Tools, versions: &[String], progress: &dyn Progress) -> Result<(), ToolError> {
    for version in versions {
        if newest(&python::installed(), version).is_none() {
            progress.step(&["downloading Python ", version].concat());
            download(tools, version)?;
            if newest(&python::installed(), version).is_none() {
                let problem = format!("uv installed Python {version}, but it does not start here");
                return Err(lacking(problem, "`uv python list` shows where it is".into()));
            }
        }
    }
    if !versions.is_empty() {
        tools.other_interpreters = python::others(&tools.interpreter);
    }
    Ok(())
}

/// The newest of `installed` (the oldest first) that a version names.
pub fn newest<'a>(installed: &'a [PythonInterpreter], version: &str) -> Option<&'a PythonInterpreter> {
    let wanted = PythonVersion::read(version).ok().flatten()?;
    installed.iter().rev().find(|one| wanted.accepts(&one.version))
}

fn download(tools: &Tools, version: &str) -> Result<(), ToolError> {
    let mut command = Command::new(&tools.uv.path);
    // What a person's uv.toml says of mirrors counts; programs named python3.N in ~/.local/bin would change PATH.
    command.args(["python", "install", "--no-bin", "--no-progress", "--color", "never"]);
    command.arg(version).envs(&tools.index.env);
    let ended = process::run(&mut command, DOWNLOAD_TIMEOUT)?;
    if ended.status.success() {
        return Ok(());
    }
    Err(refused(version, &ended.stderr))
}

/// uv's refusal with what helps.
fn refused(version: &str, said: &str) -> ToolError {
    let by_hand = "or install it in another way: pyenv's folder and PATH are looked through as well";
    let remedy = if said.contains("No download found") {
        format!("take a version that exists, {by_hand}")
    } else if said.contains("downloads are not allowed") {
        format!("allow it with UV_PYTHON_DOWNLOADS=manual, {by_hand}")
    } else {
        format!("name a proxy in HTTPS_PROXY or a mirror in UV_PYTHON_INSTALL_MIRROR, {by_hand}")
    };
    lacking(format!("uv cannot install {version}: {}", causes(said)), remedy)
}

/// The first line of uv's message, which names the object, and its two ends: what was asked for, and why it failed.
fn causes(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.map(|line| {
        ["error: ", "cause: "]
            .iter()
            .fold(line, |line, start| line.trim_start_matches(start))
    });
    let lines: Vec<&str> = lines.collect();
    let asked = lines.iter().position(|line| line.starts_with("Failed to download"));
    let chosen = [Some(0), asked, lines.len().checked_sub(1)];
    let mut chosen: Vec<usize> = chosen.into_iter().flatten().collect();
    chosen.dedup();
    let chosen: Vec<&str> = chosen
        .into_iter()
        .filter_map(|number| lines.get(number).copied())
        .collect();
    chosen.join(": ")
}

fn lacking(problem: String, remedy: String) -> ToolError {
    ToolError::Unavailable {
        tool: "that Python",
        problem,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_download_names_the_version_the_address_the_cause_and_a_way_out() {
        let offline = "error: Failed to install cpython-3.12.16-linux-x86_64-gnu\n  cause: Request failed after 3 retries in 8.3s\n  \
                       cause: Failed to download `https://files.example/cpython.tar.gz`\n  cause: client error (Connect)\n  \
                       cause: Name or service not known\n";
        let cases = [
            (
                offline,
                "Failed to install cpython-3.12.16-linux-x86_64-gnu: Failed to download `https://files.example/cpython.tar.gz`: Name or service not known",
                "UV_PYTHON_INSTALL_MIRROR",
            ),
            (
                "error: No download found for request: cpython-3.98-linux-x86_64-gnu\n",
                "No download found for request: cpython-3.98-linux-x86_64-gnu",
                "a version that exists",
            ),
            (
                "Python downloads are not allowed (`python-downloads = \"never\"`).\n",
                "Python downloads are not allowed",
                "UV_PYTHON_DOWNLOADS=manual",
            ),
            ("", "uv cannot install 3.12: ", "HTTPS_PROXY"),
        ];
        for (said, reported, remedy) in cases {
            let error = refused("3.12", said);
            assert!(error.to_string().contains(reported), "{error}");
            assert!(error.hint().contains(remedy), "{}", error.hint());
        }
    }
}
