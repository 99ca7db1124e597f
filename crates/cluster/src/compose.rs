//! The files that compose.yaml needs to run the service beside a kind cluster: a kubeconfig for Docker's network, the driver's
//! settings, a token, a folder for the service's tasks, and a file of variables with all these paths.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hybrid_cache_driver::kube::KubeConfig;
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Result, Steps, failed, random_token};
use serde_json::{Value, json};

use crate::plan::{Decision, Planned};
use crate::state::StateFolder;
use crate::{node, service};

const STEP: &str = "compose";
/// The API server's port inside its node.
const API_PORT: u16 = 6443;
/// First line of a file of variables that `up` may overwrite.
const OURS: &str = "# Written by `cargo xtask up` for compose.yaml; without this line it is yours, and stays as it is.";

/// The files in their requested state.
pub struct ComposeFiles {
    state: StateFolder,
    wanted: Vec<(PathBuf, Vec<u8>)>,
    token: PathBuf,
    data: PathBuf,
}

impl ComposeFiles {
    /// Computes the files for the service beside a running cluster.
    ///
    /// # Errors
    /// The cluster's kubeconfig cannot be read.
    pub fn new(checkout: &Checkout, state: &StateFolder, config: &KubeConfig) -> Result<ComposeFiles> {
        let folder = state.service();
        let path = state.kubeconfig();
        let what = || format!("reading {}", path.display());
        let kubeconfig = fs::read_to_string(&path).with_context(what)?;
        let kubeconfig = inside_docker(&kubeconfig).with_context(what)?;
        let mut wanted = vec![
            (folder.join("kubeconfig"), kubeconfig),
            (folder.join("driver.json"), service::driver_json(config)?),
        ];
        let variables = checkout.path(".env");
        if is_ours(&variables) {
            wanted.push((variables, variables_of(&folder)?));
        }
        Ok(ComposeFiles {
            state: state.clone(),
            wanted,
            token: folder.join("token"),
            data: folder.join("data"),
        })
    }

    /// What has to be done.
    pub fn plan(&self) -> Planned {
        let (missing, other): (Vec<_>, Vec<_>) = self.differing().partition(|path| !path.exists());
        let names = |paths: &[&Path]| {
            let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
            names.collect::<Vec<_>>().join(", ")
        };
        match (missing.as_slice(), other.as_slice()) {
            ([], []) => Planned::new(STEP, Decision::Nothing, "compose.yaml has what it needs"),
            (missing, []) => Planned::new(STEP, Decision::Create, format!("{} for compose.yaml", names(missing))),
            (missing, other) => {
                let all = [other, missing].concat();
                Planned::new(STEP, Decision::Change, format!("{} for compose.yaml", names(&all)))
            }
        }
    }

    fn differing(&self) -> impl Iterator<Item = &Path> {
        let wanted = self.wanted.iter();
        let differs = wanted.filter(|(path, bytes)| fs::read(path).ok().as_ref() != Some(bytes));
        let once = [&self.token, &self.data].into_iter().filter(|path| !path.exists());
        differs
            .map(|(path, _)| path.as_path())
            .chain(once.map(PathBuf::as_path))
    }

    /// Writes the files that differ. An existing token stays.
    ///
    /// # Errors
    /// A folder cannot be written.
    pub fn write(&self, steps: &Steps<'_>) -> Result<()> {
        steps.begin(STEP, "writing what compose.yaml needs");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data);
        made.with_context(|| format!("making {}", self.data.display()))?;
        for (path, bytes) in &self.wanted {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                self.state.write(path, bytes)?;
            }
        }
        if !self.token.exists() {
            self.state
                .write(&self.token, format!("{}\n", random_token()?).as_bytes())?;
        }
        steps.end("`docker compose up -d backend` runs the service beside the cluster");
        Ok(())
    }
}

/// The kubeconfig that works on the cluster's own network in Docker.
fn inside_docker(kubeconfig: &str) -> Result<Vec<u8>> {
    let mut config: Value =
        serde_yaml::from_str(kubeconfig).map_err(|error| Error::other(ErrorClass::Failed, error))?;
    let cluster = config.pointer_mut("/clusters/0").context("it names no cluster")?;
    let name = cluster["name"].as_str().and_then(|name| name.strip_prefix("kind-"));
    let node = node::name(name.context("its cluster was not created by kind")?);
    cluster["cluster"]["server"] = json!(format!("https://{node}:{API_PORT}"));
    Ok(serde_json::to_vec_pretty(&config)?)
}

/// True if there is no such file, or if `up` wrote it.
fn is_ours(variables: &Path) -> bool {
    match fs::read_to_string(variables) {
        Ok(text) => text.lines().next() == Some(OURS),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn variables_of(folder: &Path) -> Result<Vec<u8>> {
    let not_utf8 = || format!("the path {} is not valid UTF-8", folder.display());
    let folder = folder.to_str().with_context(not_utf8)?;
    if folder.contains('\'') {
        return Err(failed!(
            "the path {folder} contains a quotation mark, which compose.yaml cannot use"
        ));
    }
    // The files are readable by this user only, so the container runs as the same user.
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let text = format!("{OURS}\nHYBRID_CACHE_SERVICE_FOLDER='{folder}'\nHYBRID_CACHE_USER={user}:{group}\n");
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests;
