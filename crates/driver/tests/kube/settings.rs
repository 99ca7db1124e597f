//! The operator's settings in pods: an index with a login, of which a task sees nothing; and what is refused.

#[path = "../shared/settings_server.rs"]
#[expect(dead_code, reason = "this needs an index alone")]
mod settings_server;

use hybrid_cache_driver::{Driver, Ticket};
use hybrid_cache_model::protocol::IndexScope;
use hybrid_cache_model::sources::{NamedIndex, login_variable};
use hybrid_cache_model::{CacheStatus, FailureKind, TaskSpec};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams, LogParams};

use super::bench::{self, Bench, on, options, run, spec, wait, within};
use settings_server::{Plan, Server};

const PASSWORD: &str = "correct-horse-battery";
/// Looks for the password, also as uv sends it, in everything that a program of the task's container can read: variables, also of
/// other processes, the caches, the request, logs and reports. It is written backwards, as this text is in such a file.
const SPY: &str = "
import base64, os, time
print('up', flush=True)
password = 'yrettab-esroh-tcerroc'[::-1].encode()
needles = [password, base64.b64encode(b'robot:' + password), base64.b64encode(password)]
found = [name for name, value in os.environ.items() if any(needle in value.encode() for needle in needles)]
read = 0
def look(path):
    global read
    try:
        with open(path, 'rb') as file:
            data = file.read(4 << 20)
    except OSError:
        return
    read += 1
    if any(needle in data for needle in needles):
        found.append(path)
for process in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline', 'mountinfo'):
        look(f'/proc/{process}/{name}')
for root in ('/task', '/handover', '/builds', '/scratch', '/tmp', '/cache', '/etc', '/var', '/run', '/dev/shm', '/seed', '/volumes'):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                look(path)
look('/dev/termination-log')
import ours
time.sleep(3)
print(found, read > 20, ours.FROM)
";

/// The same cluster with an index of this machine that asks for a login, under a name of the operator's.
async fn with_login(bench: &Bench) -> (Bench, Server) {
    let plan = Plan {
        wheels: vec![("ours", "1.0", "FROM = 'ours'", vec![])],
        login: format!("robot:{PASSWORD}"),
        ..Plan::default()
    };
    let server = Server::start("python3", bench.own_address().await, plan);
    let bench = bench.with(|config| {
        let network = &mut config.network;
        network.sources.indexes.push(NamedIndex {
            name: "ours".to_owned(),
            url: server.address("simple"),
        });
        let joined = network.sources.index_variable(None).unwrap();
        let variables = &mut network.python_variables;
        // A proxy cannot reach it, and every other index has another name.
        variables.retain(|(name, _)| name != "UV_INDEX" && !name.to_ascii_uppercase().ends_with("_PROXY"));
        variables.push(("UV_INDEX".to_owned(), joined));
        variables.push((login_variable("ours", "USERNAME"), "robot".to_owned()));
        variables.push((login_variable("ours", "PASSWORD"), PASSWORD.to_owned()));
        network.index_scope = IndexScope::Private;
    });
    (bench, server)
}

/// What the cluster holds of a task that runs: its pod's description and the containers' logs, and of its Secret what the task's
/// container gets.
async fn readable(bench: &Bench, ticket: &Ticket) -> Vec<String> {
    let namespace = &bench.config.namespace;
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), namespace);
    let chosen = ListParams::default().labels(&format!("hybrid-cache.dev/task={}", ticket.id));
    let pod = pods.list(&chosen).await.unwrap().items.remove(0);
    let name = pod.metadata.name.clone().unwrap();
    let mut texts = vec![serde_json::to_string(&pod).unwrap()];
    let spec = pod.spec.unwrap();
    for container in &spec.containers {
        let of = LogParams {
            container: Some(container.name.clone()),
            ..LogParams::default()
        };
        texts.push(pods.logs(&name, &of).await.unwrap());
    }
    let task = spec
        .containers
        .iter()
        .find(|container| container.name == "task")
        .unwrap();
    let mounts = task.volume_mounts.iter().flatten();
    let mounted: Vec<&str> = mounts.map(|mount| mount.name.as_str()).collect();
    let secrets: Api<Secret> = Api::namespaced(bench.client.clone(), namespace);
    let mut keys = 0;
    for volume in spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| mounted.contains(&volume.name.as_str()))
    {
        let Some(source) = &volume.secret else { continue };
        let data = secrets
            .get(source.secret_name.as_ref().unwrap())
            .await
            .unwrap()
            .data
            .unwrap();
        let whole = data
            .iter()
            .any(|(_, value)| String::from_utf8_lossy(&value.0).contains(PASSWORD));
        // Without this the test would look for the password in a Secret that never had it.
        assert_eq!(
            whole,
            spec.containers.len() > 1,
            "the preparing container gets the password: {:?}",
            data.keys()
        );
        for item in source.items.as_ref().expect("the task gets chosen keys of its Secret") {
            texts.push(String::from_utf8_lossy(&data[&item.key].0).into_owned());
            keys += 1;
        }
    }
    assert!(keys > 0, "the task reads its request from a Secret");
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_an_index_reaches_no_task_of_a_pod() {
    let Some(bench) = bench::cluster("the_password_of_an_index_reaches_no_task_of_a_pod").await else {
        return;
    };
    let (bench, server) = with_login(&bench).await;
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let task = spec(SPY, "ours", "");
    for run_of in ["first", "cached"] {
        let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
        let mut log = driver.logs(&ticket).unwrap();
        within(log.next()).await.expect("output");
        let mut reported = readable(&bench, &ticket).await;
        let ran = wait(&driver, &ticket).await;
        ran.printed("up\n[] True ours\n");
        let hit = ran.outcome.cache.python == CacheStatus::Hit;
        assert_eq!(hit, run_of == "cached", "{:?}", ran.outcome);
        reported.push(format!("{ran:?}"));
        reported.push(serde_json::to_string(&ran.outcome).unwrap());
        within(driver.settle(&ticket)).await.unwrap();
        let encoded = "cm9ib3Q6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5";
        for text in reported {
            assert!(!text.contains(PASSWORD) && !text.contains(encoded), "{run_of}: {text}");
        }
    }
    // It was needed.
    let log = server.log();
    assert!(
        log.contains("/simple/ours/ Basic ") && log.contains("/files/ours-1.0"),
        "{log}"
    );
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_takes_a_wheel_from_an_allowed_host_only_and_a_commit_needs_git() {
    let Some(bench) = bench::cluster("a_pod_takes_a_wheel_from_an_allowed_host_only_and_a_commit_needs_git").await
    else {
        return;
    };
    let task = |line: &str| TaskSpec {
        requirements_file: line.to_owned(),
        ..TaskSpec::new("print(1)")
    };
    let wheel = task("named @ https://files.invalid/named-1.0-py3-none-any.whl");
    let commit = task("named @ git+https://git.invalid/named@0123456789abcdef0123456789abcdef01234567");
    let driver = bench.driver().await;
    for (spec, setting) in [(&wheel, "`wheelHosts`"), (&commit, "`gitRepositories`")] {
        let reported = driver.submit(spec, &options()).await.unwrap_err().to_string();
        assert!(reported.contains("line 1") && reported.contains(setting), "{reported}");
        assert!(driver.check(spec).is_err());
    }
    let bench = bench.with(|config| {
        config.network.sources.wheel_hosts.push("files.invalid".to_owned());
        config
            .network
            .sources
            .git_repositories
            .push("https://git.invalid".to_owned());
    });
    let driver = bench.driver().await;
    let ran = run(&driver, &commit, &options()).await;
    // A pod that builds has tried it.
    ran.failed(FailureKind::NoWheel, &["add `git` to systemDependencies"]);
    // The host does not exist, so this shows that the preparing container tried it.
    let ran = run(&driver, &wheel, &options()).await;
    let failure = ran.failure();
    assert!(failure.message.contains("fetching https://files.invalid/"), "{failure}");
}
