//! The node's own layer: kind's files of a node, ours, the programs, and containerd's settings.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xshell::{Shell, cmd};

use super::archive::{LayerBuilder, SEARCH_PATH, Start};
use super::context::BuildContext;
use super::pins::Pins;
use super::{command, compile, identity};
use crate::docker_archive::Layer;
use hybrid_cache_tools::{ErrorContext, Result};

/// Where kind's module has the files of a node.
const KIND_FILES: &str = "images/base/files";

/// containerd's settings, which kind brings and we change.
const CONTAINERD: &str = "etc/containerd/config.toml";

/// What kind's settings of containerd start every container from.
const CONTAINER_SPEC: &str = "etc/containerd/cri-base.json";

/// Ours: the network that containerd makes once it knows the node's pod addresses.
const NETWORK: &str = "/etc/containerd/cni-template.json";

/// Where systemd finds units that kind brings.
const UNITS: &str = "/etc/systemd/system";

/// Our files for the node, below the folder of the node image's files.
const OWN_FILES: &str = "files/";

/// How a node starts. systemd needs to know that it is in a container, and ends on a signal of its own.
pub fn start() -> Start {
    Start {
        env: vec!["container=docker".to_owned(), SEARCH_PATH.to_owned()],
        entrypoint: vec!["/usr/local/bin/entrypoint".to_owned(), "/sbin/init".to_owned()],
        stop_signal: Some("SIGRTMIN+3".to_owned()),
    }
}

/// Puts the layer together; `program` finds a compiled one.
///
/// # Errors
/// A part is missing, or the layer cannot be written.
pub fn layer(context: &BuildContext<'_>, file: &Path, program: impl Fn(&str) -> Result<PathBuf>) -> Result<Layer> {
    let mut layer = LayerBuilder::new(file, context.pins.made_at_s)?;
    let kind = compile::module_folder(context, context.pins.component("kind")?)?;
    for (place, bytes) in identity::read_files(&kind.join(KIND_FILES))? {
        if place == CONTAINERD {
            let text = String::from_utf8(bytes).context("kind's settings of containerd are not text")?;
            layer.file(&place, settings(&text, &context.pins)?.as_bytes(), 0o644)?;
        } else {
            layer.file(&place, &bytes, mode(&place))?;
        }
    }
    for (name, bytes) in &context.files {
        if let Some(place) = name.strip_prefix(OWN_FILES) {
            layer.file(place, bytes, mode(place))?;
        }
    }
    for (folder, programs) in &context.pins.node {
        for name in programs {
            layer.copy(&format!("{folder}/{name}"), &program(name)?, 0o755)?;
        }
    }
    layer.file(CONTAINER_SPEC, &container_spec(&program("ctr")?)?, 0o644)?;
    layer.file("kind/version", context.pins.kubernetes()?.as_bytes(), 0o644)?;
    layer.folder("etc/kubernetes/manifests", 0o755)?;
    for unit in ["containerd", "kubelet", "undo-mount-hacks"] {
        let wanted = format!("etc/systemd/system/multi-user.target.wants/{unit}.service");
        layer.link(&wanted, &format!("{UNITS}/{unit}.service"))?;
    }
    // It registers things with the kernel, which is not the node's.
    layer.link("etc/systemd/system/systemd-binfmt.service", "/dev/null")?;
    layer.finish()
}

/// A module's files have lost their modes: what lies in a folder of programs is one.
fn mode(place: &str) -> u32 {
    match Path::new(place).parent() {
        Some(folder) if folder.ends_with("bin") => 0o755,
        _ => 0o644,
    }
}

/// kind's settings of containerd, with what our nodes need changed.
fn settings(text: &str, pins: &Pins) -> Result<String> {
    let mut settings: toml::Table = text
        .parse()
        .context("cannot understand kind's settings of containerd")?;
    let cri = settings
        .get_mut("plugins")
        .and_then(|plugins| plugins.get_mut("io.containerd.grpc.v1.cri"))
        .and_then(toml::Value::as_table_mut)
        .context("kind's settings of containerd have no table of the CRI plugin")?;
    cri.insert(
        "sandbox_image".to_owned(),
        pins.image("pause")?.reference.clone().into(),
    );
    // A node without CAP_SYS_RESOURCE may not make a process less likely to be killed; containers start all the same.
    cri.insert("restrict_oom_score_adj".to_owned(), true.into());
    let network = toml::Table::from_iter([("conf_template".to_owned(), NETWORK.into())]);
    cri.insert("cni".to_owned(), network.into());
    Ok(toml::to_string(&settings)?)
}

/// containerd's default container with kind's hook, and with the limits of the node in place of containerd's.
fn container_spec(ctr: &Path) -> Result<Vec<u8>> {
    let shell = Shell::new()?;
    let spec = command::run(
        cmd!(shell, "{ctr} oci spec"),
        "asking containerd for its default container",
    )?;
    let mut spec: Value = serde_json::from_str(&spec).context("cannot understand containerd's default container")?;
    spec["hooks"]["createContainer"] = json!([{ "path": "/kind/bin/mount-product-files.sh" }]);
    if let Some(process) = spec["process"].as_object_mut() {
        process.remove("rlimits");
    }
    Ok(serde_json::to_vec(&spec)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kind_sets_stays_and_what_our_nodes_need_is_added() {
        let pins = super::super::tests::pins();
        let kind = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'old'\nrestrict_oom_score_adj = false\n\
                    [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'overlayfs'\n";
        let settings: toml::Table = settings(kind, &pins).unwrap().parse().unwrap();
        let cri = &settings["plugins"]["io.containerd.grpc.v1.cri"];
        assert_eq!(cri["containerd"]["snapshotter"].as_str(), Some("overlayfs"));
        assert_eq!(
            cri["sandbox_image"].as_str(),
            Some(pins.image("pause").unwrap().reference.as_str())
        );
        assert_eq!(cri["restrict_oom_score_adj"].as_bool(), Some(true));
        assert_eq!(cri["cni"]["conf_template"].as_str(), Some(NETWORK));
        assert!(super::settings("version = 3\n", &pins).is_err());
    }
}
