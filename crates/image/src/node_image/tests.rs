//! The pins of the checkout, held together: with the Go modules, with what kubeadm asks for, and with the manifests.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::build::FILES;
use super::identity::{self, Files};
use super::pins::Pins;
use crate::tests::checkout;

fn folder() -> PathBuf {
    checkout().path(FILES)
}

pub(super) fn pins() -> Pins {
    Pins::read(&folder()).unwrap()
}

fn files() -> Files {
    identity::read_files(&folder()).unwrap()
}

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn each_component_has_a_module_file_of_its_version_and_its_digests() {
    let (pins, files) = (pins(), files());
    for component in &pins.component {
        let module_file = text(&files, &format!("{}/go.mod", component.name));
        let Some(module) = &component.module else { continue };
        let required = format!("{module} {}", component.version);
        assert!(module_file.contains(&required), "{}: no `{required}`", component.name);
        let digests = text(&files, &format!("{}/go.sum", component.name));
        assert!(
            digests.contains(&format!("{required} h1:")),
            "{}: no digest",
            component.name
        );
        for package in component.programs.values() {
            assert!(package.starts_with(module.as_str()), "{package} is no part of {module}");
            assert!(
                module_file.contains(package.as_str()),
                "{}: no tool {package}",
                component.name
            );
        }
        // A text that names another version than the one that is compiled would be a lie.
        for (variable, text) in &component.define {
            let is_version = variable.ends_with("ersion") || variable.ends_with("VERSION");
            assert!(!is_version || *text == component.version, "{variable} is {text}");
        }
    }
}

#[test]
fn staging_modules_are_of_the_same_release_as_kubernetes() {
    let module_file = text(&files(), "kubernetes/go.mod");
    let staging = pins().kubernetes().unwrap().replacen("v1.", "v0.", 1);
    let replaced: Vec<&str> = module_file.lines().filter(|line| line.contains(" => ")).collect();
    assert!(replaced.len() > 30, "{}", replaced.len());
    for line in replaced {
        assert!(line.ends_with(&staging), "{line}");
    }
}

#[test]
fn images_have_the_names_that_kubeadm_asks_for() {
    let pins = pins();
    let kubernetes = pins.kubernetes().unwrap();
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
    ] {
        assert_eq!(
            pins.image(name).unwrap().reference,
            format!("registry.k8s.io/{name}:{kubernetes}")
        );
    }
    for name in ["coredns", "etcd", "pause", "local-path-provisioner"] {
        let version = &pins.component(name).unwrap().version;
        let reference = &pins.image(name).unwrap().reference;
        let tag = reference.rsplit(':').next().unwrap();
        // etcd's images have no `v`, and a build number behind.
        assert!(
            tag.contains(version.trim_start_matches('v')),
            "{reference} holds {version}"
        );
    }
}

#[test]
fn everything_that_is_named_exists() {
    let (pins, files) = (pins(), files());
    let compiled = |program: &String| pins.component_of(program).is_ok();
    assert!(pins.node.values().flatten().all(compiled));
    for image in &pins.image {
        assert!(image.program.iter().all(compiled), "{}", image.reference);
        assert!(
            image.root.iter().all(|root| pins.root.contains_key(root)),
            "{}",
            image.reference
        );
        assert_eq!(image.program.is_some(), !image.place.is_empty(), "{}", image.reference);
    }
    for root in pins.root.values() {
        assert!(root.hook.iter().all(|hook| files.contains_key(hook)));
    }
    let held: BTreeSet<&str> = pins.image.iter().map(|image| image.reference.as_str()).collect();
    let manifest = text(&files, "files/kind/manifests/default-storage.yaml");
    for line in manifest.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
        assert!(held.contains(line), "the storage manifest asks for {line}");
    }
}

#[test]
fn programs_that_our_units_start_are_on_the_node() {
    let (pins, files) = (pins(), files());
    let units: Vec<&String> = files
        .keys()
        .filter(|name| name.starts_with("files/etc/systemd/system/") && name.ends_with(".service"))
        .collect();
    assert!(!units.is_empty());
    for unit in units {
        let unit = text(&files, unit);
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/")).unwrap();
        let (folder, program) = start.split_whitespace().next().unwrap().rsplit_once('/').unwrap();
        assert!(
            pins.node[folder].iter().any(|held| held == program),
            "no {folder}/{program}"
        );
    }
}

#[test]
fn a_changed_pin_or_file_is_another_image_and_the_same_ones_are_not() {
    let (pins, files) = (pins(), files());
    let image = identity::image(&files, "amd64");
    assert_eq!(identity::image(&files.clone(), "amd64"), image);
    assert_ne!(identity::image(&files, "arm64"), image);
    let mut changed = files.clone();
    changed.get_mut("etcd/go.sum").unwrap().push(b'\n');
    assert_ne!(identity::image(&changed, "amd64"), image);

    let of =
        |name: &str, files: &Files| identity::component(&pins, pins.component(name).unwrap(), files, "amd64").unwrap();
    assert_ne!(of("etcd", &changed), of("etcd", &files));
    assert_eq!(of("kind", &changed), of("kind", &files));
}

#[test]
fn a_link_is_part_of_its_component_and_none_is_no_part_of_the_others() {
    let (mut pins, files) = (pins(), files());
    let of = |pins: &Pins| identity::component(pins, pins.component("argo").unwrap(), &files, "amd64").unwrap();
    let before = of(&pins);
    let argo = pins
        .component
        .iter_mut()
        .find(|component| component.name == "argo")
        .unwrap();
    argo.links.values_mut().for_each(|to| to.push('x'));
    assert_ne!(of(&pins), before);
    let etcd = serde_json::to_string(pins.component("etcd").unwrap()).unwrap();
    assert!(!etcd.contains("links"), "all would be compiled anew: {etcd}");
}

#[test]
fn argos_images_are_of_its_version_and_their_programs_are_found_by_name() {
    let pins = pins();
    let version = &pins.component("argo").unwrap().version;
    for name in ["workflow-controller", "argoexec"] {
        let image = pins.image(name).unwrap();
        assert_eq!(image.reference, format!("node.local/argo/{name}:{version}"));
        assert_eq!(image.program.as_deref(), Some(name));
        let (folder, file) = image.place.rsplit_once('/').unwrap();
        assert_eq!(file, name);
        let mut searched = super::archive::SEARCH_PATH.trim_start_matches("PATH=").split(':');
        assert!(searched.any(|path| path == format!("/{folder}")), "{}", image.place);
    }
    let manifest = std::fs::read_to_string(checkout().path("manifests/argo-controller.yaml")).unwrap();
    let words = manifest.split(|c: char| c.is_whitespace() || c == '=');
    let wanted: BTreeSet<&str> = words.filter(|word| word.starts_with("node.local/")).collect();
    let held = ["argoexec", "workflow-controller"].map(|name| pins.image(name).unwrap().reference.as_str());
    assert_eq!(wanted, held.into(), "what manifests/argo-controller.yaml asks for");
}

#[test]
fn a_page_of_documentation_does_not_change_the_image() {
    let mut files = files();
    let before = identity::image(&files, "amd64");
    files.insert("README.md".to_owned(), b"changed".to_vec());
    assert_eq!(identity::image(&files, "amd64"), before);
}
