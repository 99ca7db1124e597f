//! The operator's settings in pods: an index with a login, of which a task sees nothing; and what is refused.

use hybrid_cache_driver::Driver;
use hybrid_cache_model::sources::{NamedIndex, login_variable};
use hybrid_cache_model::{FailureKind, TaskSpec};

use super::bench::{self, options, run, spec};

const PASSWORD: &str = "correct-horse-battery";
/// Looks into everything that a program of the pod can read of variables, and of requests.
const SPY: &str = "
import os, glob
seen = [repr(dict(os.environ))]
for file in [*glob.glob('/proc/*/environ'), *glob.glob('/proc/*/cmdline'), *glob.glob('/task/*'), *glob.glob('/handover/*')]:
    try:
        seen.append(open(file, errors='replace').read())
    except OSError:
        pass
import six
print('correct-horse' in repr(seen), six.__name__)
";

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_an_index_reaches_no_task_of_a_pod() {
    const TEST: &str = "the_password_of_an_index_reaches_no_task_of_a_pod";
    let Some(bench) = bench::cluster(TEST).await else {
        return;
    };
    let default = |(name, value): &(String, String)| (name == "UV_DEFAULT_INDEX").then(|| value.clone());
    let Some(url) = bench.config.network.python_variables.iter().find_map(default) else {
        println!("skipped: {TEST}: the cluster's index has no address of its own");
        return;
    };
    // The same index under a name of the operator's, which needs no login and takes any.
    let bench = bench.with(|config| {
        let network = &mut config.network;
        network.sources.indexes.push(NamedIndex {
            name: "ours".to_owned(),
            url,
        });
        let joined = network.sources.index_variable(None).unwrap();
        let variables = &mut network.python_variables;
        variables.push(("UV_INDEX".to_owned(), joined));
        variables.push((login_variable("ours", "USERNAME"), "robot".to_owned()));
        variables.push((login_variable("ours", "PASSWORD"), PASSWORD.to_owned()));
    });
    let driver = bench.driver().await;
    for _ in 0..2 {
        let ran = run(&driver, &spec(SPY, "six", ""), &options()).await;
        ran.printed("False six\n");
        assert!(!format!("{ran:?}").contains(PASSWORD));
    }
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
        let told = driver.submit(spec, &options()).await.unwrap_err().to_string();
        assert!(told.contains("line 1") && told.contains(setting), "{told}");
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
