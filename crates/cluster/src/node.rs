//! The node of a kind cluster, read through its container: its images, the folders of the volumes, its journal.

use std::time::Duration;

use hybrid_cache_image::docker::{Container, Engine};
use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result, failed};
use serde::Deserialize;

use crate::contents::{self, Contents};
use crate::manifests::{FOLDERS, NODE_FOLDER};
use crate::names::OWNER;

/// Label that kind puts on its nodes; its value is the cluster's name.
const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";
/// Longest time for a query.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for changing the owner of a whole cache.
const CHOWN_TIMEOUT: Duration = Duration::from_secs(300);
/// Number of journal lines to keep.
const JOURNAL_LINES: &str = "400";

/// Name of the control plane of a kind cluster, and of its container.
pub fn name(cluster: &str) -> String {
    format!("{cluster}-control-plane")
}

/// Names of all nodes of a kind cluster with so many workers, the control plane first.
pub fn names(cluster: &str, workers: u32) -> Vec<String> {
    let worker = |number: u32| match number {
        1 => format!("{cluster}-worker"),
        number => format!("{cluster}-worker{number}"),
    };
    std::iter::once(name(cluster))
        .chain((1..=workers).map(worker))
        .collect()
}

/// The containers of a kind cluster, running or not, the control plane first and then the workers by their numbers.
///
/// # Errors
/// The engine does not answer.
pub async fn containers(engine: &Engine, cluster: &str) -> Result<Vec<Container>> {
    let mut found = engine.containers(&format!("{CLUSTER_LABEL}={cluster}")).await?;
    let control_plane = name(cluster);
    // `…-worker10` comes after `…-worker2`.
    found.sort_by_key(|node| (node.name != control_plane, node.name.len(), node.name.clone()));
    Ok(found)
}

/// A folder of a volume, as the node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The volume set.
    pub set: u32,
    /// `python` or `system`.
    pub name: String,
    /// User and group that own the folder; `None` if there is no such folder.
    pub owner: Option<(u32, u32)>,
    /// Entries of the folder.
    pub entries: Vec<String>,
    /// Entries of the folder, or near its top, with another owner than the tasks' user.
    pub strange: Vec<String>,
    /// What the folder holds.
    pub contents: Contents,
}

impl Folder {
    /// Name of the volume, with its set unless that is the first.
    pub fn label(&self) -> String {
        match self.set {
            0 => self.name.clone(),
            set => format!("{} of set {set}", self.name),
        }
    }
}

/// The folders of the volumes of a set, which this node mounts; `None` if the node does not mount our folder at all.
///
/// # Errors
/// The node is not running.
pub async fn folders(engine: &Engine, container: &str, set: u32) -> Result<Option<Vec<Folder>>> {
    // Search down to `.nix-portable/nix`, which Kubernetes creates as root if a pod mounts it too early.
    let environments = format!("{NODE_FOLDER}/python/*/*");
    let (prune, print) = (["-path", &environments, "-prune"], ["-o", "-printf", "%U %G %P\\n"]);
    let find = [["find", NODE_FOLDER, "-maxdepth", "3"].as_slice(), &prune, &print].concat();
    let look = ["sh", "-c", contents::SCRIPT, "sh", NODE_FOLDER];
    let (found, looked) = tokio::try_join!(
        engine.exec(container, &find, REQUEST_TIMEOUT),
        engine.exec(container, &look, REQUEST_TIMEOUT)
    )?;
    // An entry below may vanish during the listing. If the folder itself is missing, its first line is missing.
    Ok((!found.stdout.is_empty()).then(|| folders_of(set, &found.stdout, &looked.stdout)))
}

fn folders_of(set: u32, listing: &str, looked: &str) -> Vec<Folder> {
    let entry = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let owner = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((owner, words.next()?.to_owned()))
    };
    let entries: Vec<((u32, u32), String)> = listing.lines().filter_map(entry).collect();
    let folder = |name: &str| {
        let inner: Vec<_> = entries
            .iter()
            .filter_map(|(owner, path)| Some((owner, path.strip_prefix(name)?.strip_prefix('/')?)))
            .filter(|(_, path)| *path != "lost+found")
            .collect();
        let strange = inner.iter().filter(|(owner, _)| owner.0 != OWNER);
        Folder {
            set,
            name: name.to_owned(),
            contents: contents::parse(looked, name),
            owner: entries.iter().find(|(_, path)| path == name).map(|(owner, _)| *owner),
            strange: strange.map(|(_, path)| (*path).to_owned()).collect(),
            entries: inner
                .iter()
                .filter(|(_, path)| !path.contains('/'))
                .map(|(_, path)| (*path).to_owned())
                .collect(),
        }
    };
    FOLDERS.map(folder).to_vec()
}

/// Creates the folders of the volumes and makes the tasks' user the owner of them and their contents.
///
/// # Errors
/// The machine's file system does not allow this even to the node's root.
pub async fn own_folders(engine: &Engine, container: &str, names: &[String]) -> Result<()> {
    let owner = format!("{OWNER}:{OWNER}");
    for name in names {
        let folder = format!("{NODE_FOLDER}/{name}");
        for command in [["mkdir", "-p", &folder].as_slice(), &["chown", "-R", &owner, &folder]] {
            let done = engine.exec(container, command, CHOWN_TIMEOUT).await?;
            if done.code != 0 {
                return Err(failed!(
                    "`{}` in the node: {}\nhint: the folder is on this machine; a file system that does not keep owners \
                 cannot hold the caches: choose another with --volumes-dir",
                    command.join(" "),
                    done.stderr.trim()
                ));
            }
        }
    }
    Ok(())
}

/// Prints the ranges of pods that no rule blocks from link-local addresses.
const POD_RANGES: &str = r#"
test -r /kind/kubeadm.conf || { echo "there is no /kind/kubeadm.conf" >&2; exit 1; }
for range in $(sed -n 's/^ *podSubnet: *//p' /kind/kubeadm.conf | head -n 1 | tr , ' '); do
  case $range in *:*) continue ;; esac
  ip rule show | grep -q "from $range to 169.254.0.0/16 unreachable" || printf '%s\n' "$range"
done
"#;

/// The IPv4 ranges whose pods can reach link-local addresses through this node. IPv6 needs no rule, because a node forwards no
/// packet to such an address.
///
/// # Errors
/// The node is not running, or was not created by kind.
pub async fn open_ranges(engine: &Engine, container: &str) -> Result<Vec<String>> {
    let found = engine
        .exec(container, &["sh", "-c", POD_RANGES], REQUEST_TIMEOUT)
        .await?;
    if found.code != 0 {
        return Err(failed!(
            "cannot read the addresses of pods from node {container}: {}",
            found.stderr.trim()
        ));
    }
    Ok(found.stdout.lines().map(str::to_owned).collect())
}

/// Blocks pods from link-local addresses from a pod's first packet on. Network policies say the same, but the cluster's network
/// applies them a moment after a pod's start.
///
/// # Errors
/// The node refuses a rule.
pub async fn close_link_local(engine: &Engine, container: &str, ranges: &[String]) -> Result<()> {
    for range in ranges {
        let rule = ["from", range, "to", "169.254.0.0/16", "unreachable", "priority", "100"];
        let command = [["ip", "rule", "add"].as_slice(), &rule].concat();
        let done = engine.exec(container, &command, REQUEST_TIMEOUT).await?;
        let refusal = done.stderr.trim();
        if done.code != 0 {
            return Err(failed!("`{}` in the node: {refusal}", command.join(" ")));
        }
    }
    Ok(())
}

/// Removes everything in the folders of the volumes. The first node sees the folders of the other sets below its own.
const CLEAR: &str = r#"
for folder in "$1/python" "$1/system" "$1"/set-*/python "$1"/set-*/system; do
  [ ! -d "$folder" ] || find "$folder" -mindepth 1 -delete || exit 1
done
"#;

/// Removes everything in the folders of the volumes that a node sees.
///
/// # Errors
/// An entry of the folders cannot be removed.
pub async fn clear_folders(engine: &Engine, container: &str) -> Result<()> {
    let command = ["sh", "-c", CLEAR, "sh", NODE_FOLDER];
    let done = engine.exec(container, &command, CHOWN_TIMEOUT).await?;
    if done.code != 0 {
        return Err(failed!("clearing {NODE_FOLDER} in the node: {}", done.stderr.trim()));
    }
    Ok(())
}

/// An image on the node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImage {
    /// `sha256:…` of the image's configuration.
    pub id: String,
    /// References of the image.
    #[serde(default)]
    pub repo_tags: Vec<String>,
    /// References of the image by digest.
    #[serde(default)]
    pub repo_digests: Vec<String>,
}

/// The node's images.
///
/// # Errors
/// The node or its container runtime is not running.
pub async fn images(engine: &Engine, container: &str) -> Result<Vec<NodeImage>> {
    #[derive(Deserialize)]
    struct Images {
        images: Vec<NodeImage>,
    }
    let listed = engine
        .exec(container, &["crictl", "images", "--output", "json"], REQUEST_TIMEOUT)
        .await?;
    if listed.code != 0 {
        return Err(failed!("asking the node for its images: {}", listed.stderr.trim()));
    }
    let images: Images = serde_json::from_str(&listed.stdout).context("reading the node's list of images")?;
    Ok(images.images)
}

/// True if the node's images include the one that the engine has under this reference and id.
pub fn has_image(images: &[NodeImage], reference: &str, id: &str) -> bool {
    let tagged = |tag: &String| tag == reference || tag.ends_with(&format!("/{reference}"));
    // An engine with containerd's image store identifies images by their manifest, other engines by their configuration.
    let same = |image: &NodeImage| image.id == id || image.repo_digests.iter().any(|digest| digest.ends_with(id));
    images
        .iter()
        .any(|image| image.repo_tags.iter().any(tagged) && same(image))
}

/// True if the node has an image of this name.
pub fn has_name(images: &[NodeImage], reference: &str) -> bool {
    images
        .iter()
        .any(|image| image.repo_tags.iter().any(|tag| tag == reference))
}

/// True if the kubelet is configured to run on control groups of version 1.
///
/// # Errors
/// The node is not running, or has no kubelet.
pub async fn kubelet_accepts_cgroup_v1(engine: &Engine, container: &str) -> Result<bool> {
    let file = "/var/lib/kubelet/config.yaml";
    let read = engine.exec(container, &["cat", file], REQUEST_TIMEOUT).await?;
    if read.code != 0 {
        return Err(failed!("reading {file} in the node: {}", read.stderr.trim()));
    }
    let config: serde_json::Value = serde_yaml::from_str(&read.stdout)
        .map_err(|error| Error::other(ErrorClass::Failed, error))
        .with_context(|| format!("reading {file}"))?;
    Ok(config["failCgroupV1"] == false)
}

/// The last lines of the kubelet's journal on a node.
pub async fn journal(engine: &Engine, container: &str) -> Result<String> {
    let command = [
        "journalctl",
        "--no-pager",
        "--output",
        "cat",
        "-n",
        JOURNAL_LINES,
        "-u",
        "kubelet",
    ];
    Ok(engine.exec(container, &command, REQUEST_TIMEOUT).await?.stdout)
}

/// The known reason why a node does not become Ready, from the output of kind or the kubelet.
pub fn explain(said: &str) -> Option<&'static str> {
    const CAUSES: [(&str, &str); 9] = [
        (
            "cgroup v1",
            "this machine uses cgroup v1, which Kubernetes 1.35 and later accept only with `failCgroupV1: false`: restore this \
             line in manifests/kind-cluster.yaml",
        ),
        (
            "unable to apply caps",
            "Docker cannot give a container all capabilities, because this machine's bounding set lacks CAP_SYS_RESOURCE: make a \
             runtime that drops this capability the engine's default",
        ),
        (
            "port is already allocated",
            "another program or cluster listens on a port that the node needs: find it with `docker ps`, and stop it",
        ),
        (
            "address already in use",
            "another program listens on a port that the node needs: find it with `ss -ltnp`, and stop it",
        ),
        (
            "no space left on device",
            "the disk of the Docker engine is full: free space, for example with `docker system prune`",
        ),
        (
            "too many open files",
            "the kernel's limits on inotify are too low: raise fs.inotify.max_user_instances and max_user_watches",
        ),
        (
            "failed to pull image",
            "no container registry can be reached: build a node image from package sources with `cargo xtask node-image`; \
             `up` then uses it",
        ),
        (
            "could not find a log line that matches",
            "the node's systemd did not start: check that the engine's machine has free memory, and update Docker if it is old",
        ),
        (
            "node(s) already exist",
            "another program is creating a cluster of this name: wait for it to end",
        ),
    ];
    let said = said.to_lowercase();
    let cause = CAUSES.iter().find(|(pattern, _)| said.contains(pattern));
    cause.map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_tells_owner_and_content_of_each_folder() {
        let listing = "0 0 \n10001 10001 python\n10001 10001 python/FORMAT\n0 0 python/lost+found\n0 0 other\n";
        let looked = "python cache \nsystem nothing \n";
        let [python, system] = folders_of(0, listing, looked).try_into().unwrap();
        assert_eq!(
            (&python.contents, &system.contents),
            (&Contents::Cache, &Contents::Nothing)
        );
        assert_eq!(python.strange, [""; 0]);
        assert_eq!(
            (python.owner, python.entries),
            (Some((10001, 10001)), vec!["FORMAT".to_owned()])
        );
        assert_eq!((system.owner, system.entries.len()), (None, 0));
        let listing = "10001 10001 system\n10001 10001 system/.nix-portable\n0 10001 system/.nix-portable/nix\n";
        let [_, system] = folders_of(1, listing, "").try_into().unwrap();
        assert!(
            matches!(system.contents, Contents::Other(_)),
            "what nobody looked into is not ours"
        );
        assert_eq!((system.set, system.label().as_str()), (1, "system of set 1"));
        assert_eq!(system.entries, [".nix-portable"]);
        assert_eq!(system.strange, [".nix-portable/nix"]);
    }

    #[test]
    fn nodes_have_the_names_that_kind_gives_them() {
        assert_eq!(names("c", 0), ["c-control-plane"]);
        assert_eq!(names("c", 3), ["c-control-plane", "c-worker", "c-worker2", "c-worker3"]);
    }

    #[test]
    fn an_image_counts_only_with_its_tag_and_its_content() {
        let image = |id: &str, tag: &str, digest: &str| NodeImage {
            id: id.into(),
            repo_tags: vec![tag.into()],
            repo_digests: vec![digest.into()],
        };
        let images = [image("sha256:1", "registry.example/library/base:x", "import@sha256:2")];
        assert!(has_image(&images, "library/base:x", "sha256:1"));
        assert!(
            has_image(&images, "base:x", "sha256:2"),
            "an engine with containerd's ids"
        );
        assert!(
            !has_image(&images, "base:x", "sha256:3"),
            "another content of the same tag"
        );
        assert!(!has_image(&images, "ase:x", "sha256:1"));
    }

    #[test]
    fn known_causes_are_recognised_in_what_was_said() {
        assert!(
            explain("ERROR: failed to pull image \"kindest/node\"")
                .unwrap()
                .contains("cargo xtask node-image")
        );
        assert!(
            explain("kubelet is configured to not run on a host using cgroup v1")
                .unwrap()
                .contains("failCgroupV1")
        );
        assert_eq!(explain("something new"), None);
    }
}
