//! Tests of the files for compose.yaml, and that compose.yaml asks for exactly these files.

use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_tools::Silent;

use super::*;
use crate::connection;

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters:
- name: kind-mine
  cluster: {certificate-authority-data: QQ==, server: https://127.0.0.1:38231}
users: [{name: kind-mine, user: {client-key-data: QQ==}}]
";

#[test]
fn the_kubeconfig_leads_to_the_node_by_its_name_on_dockers_network() {
    let written: Value = serde_json::from_slice(&inside_docker(KUBECONFIG).unwrap()).unwrap();
    let mut expected: Value = serde_yaml::from_str(KUBECONFIG).unwrap();
    expected["clusters"][0]["cluster"]["server"] = json!("https://mine-control-plane:6443");
    assert_eq!(written, expected);
    for odd in ["{}", "clusters: [{name: other}]"] {
        assert!(inside_docker(odd).is_err(), "{odd}");
    }
}

#[test]
fn files_are_written_once_and_a_token_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::at(folder.path().to_owned());
    std::fs::write(state.kubeconfig(), KUBECONFIG).unwrap();
    let files = |image: &str| {
        let config = connection::config_with(image.into(), NetworkSettings::default());
        let mut files = ComposeFiles::new(&crate::tests::checkout(), &state, &config).unwrap();
        // The test must not write the checkout's own file.
        files.wanted.retain(|(path, _)| path.starts_with(folder.path()));
        files
    };
    assert_eq!(files("base:1").plan().decision, Decision::Create);
    files("base:1").write(&Steps::new(&Silent)).unwrap();
    assert_eq!(files("base:1").plan().decision, Decision::Nothing);
    let token = fs::read(files("base:1").token).unwrap();
    let changed = files("base:2");
    assert_eq!(
        changed.plan(),
        Planned::new(STEP, Decision::Change, "driver.json for compose.yaml")
    );
    changed.write(&Steps::new(&Silent)).unwrap();
    assert_eq!(fs::read(changed.token).unwrap(), token);
    for secret in ["token", "kubeconfig", "driver.json"] {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(state.service().join(secret)).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "{secret}");
    }
}

#[test]
fn a_file_of_variables_that_a_person_wrote_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    assert!(is_ours(&file), "none is there");
    fs::write(&file, variables_of(Path::new("/x")).unwrap()).unwrap();
    assert!(is_ours(&file));
    fs::write(&file, "HYBRID_CACHE_USER=1:1\n").unwrap();
    assert!(!is_ours(&file));
}

#[test]
fn compose_names_the_image_the_port_and_the_files_that_are_written() {
    let checkout = crate::tests::checkout();
    let text = fs::read_to_string(checkout.path("compose.yaml")).unwrap();
    let compose: Value = serde_yaml::from_str(&text).unwrap();
    let backend = &compose["services"]["backend"];
    assert_eq!(
        backend["image"],
        json!(format!(
            "{}:latest",
            hybrid_cache_image::task_image::service::REPOSITORY
        ))
    );
    assert_eq!(backend["build"]["dockerfile"], "images/service/Dockerfile");
    assert!(checkout.path("images/service/Dockerfile").is_file());
    assert_eq!(backend["ports"], json!(["127.0.0.1:${HYBRID_CACHE_PORT:-8000}:8000"]));
    let variables = String::from_utf8(variables_of(Path::new("/x")).unwrap()).unwrap();
    for line in variables.lines().skip(1) {
        let name = line.split('=').next().unwrap();
        assert!(text.contains(&format!("${{{name}:?")), "{name}");
    }
    let arguments = backend["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap());
    for path in arguments.filter_map(|argument| argument.split_once("=/service/")) {
        assert!(
            ["token", "driver.json", "kubeconfig", "data"].contains(&path.1),
            "{path:?}"
        );
    }
    assert_eq!(compose["networks"]["kind"], json!({"external": true}));
    assert_eq!(
        (&backend["read_only"], &backend["cap_drop"]),
        (&json!(true), &json!(["ALL"]))
    );
}
