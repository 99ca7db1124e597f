//! The operator's settings: further indexes with a login, wheels and commits by their address; and that no task, no build,
//! no message and no file of the caches holds a password.

#[path = "../shared/settings_server.rs"]
mod settings_server;

use std::net::Ipv4Addr;
use std::process::Command;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{LocalConfig, Network};
use hybrid_cache_model::sources::{NamedIndex, login_variable};
use hybrid_cache_model::{CacheStatus, FailureKind, TaskSpec};

use crate::bench::{Bench, Ran, machine, machine_with_nix, python};
use settings_server::{Plan, Server};

const PASSWORD: &str = "correct-horse-battery";
/// Prints everything that a program can read of variables, its own and those of every process that it sees.
const SPY: &str = "
import os
seen = [repr(dict(os.environ))]
for entry in os.listdir('/proc'):
    for file in ('environ', 'cmdline'):
        try:
            seen.append(open(f'/proc/{entry}/{file}').read())
        except OSError:
            pass
print(seen)
";

fn serve(config: &LocalConfig, plan: Plan) -> Server {
    Server::start(&config.interpreter.path, Ipv4Addr::LOCALHOST.into(), plan)
}

/// The machine with `default` as its index, and as `cargo xtask` adds an operator's indexes, each perhaps with a password.
fn with_indexes(mut config: LocalConfig, default: &Server, own: &[(&str, &Server, Option<&str>)]) -> LocalConfig {
    let variables = &mut config.python_tools.variables;
    variables.retain(|(name, _)| !name.starts_with("UV_") && !name.to_ascii_uppercase().ends_with("_PROXY"));
    variables.push(("UV_DEFAULT_INDEX".to_owned(), default.address("simple")));
    for (name, server, password) in own {
        config.sources.indexes.push(NamedIndex {
            name: (*name).to_owned(),
            url: server.address("simple"),
        });
        if let Some(password) = password {
            variables.push((login_variable(name, "USERNAME"), "robot".to_owned()));
            variables.push((login_variable(name, "PASSWORD"), (*password).to_owned()));
        }
    }
    let joined = config.sources.index_variable(None);
    variables.extend(joined.map(|joined| ("UV_INDEX".to_owned(), joined)));
    config
}

fn file(requirements: impl Into<String>, code: &str) -> TaskSpec {
    TaskSpec {
        requirements_file: requirements.into(),
        ..TaskSpec::new(code)
    }
}

/// No part of an outcome and no file of the caches holds the password.
fn is_silent(ran: &Ran, bench: &Bench) {
    let reported = format!("{:?}{}{}", ran.outcome, ran.stdout, ran.stderr);
    assert!(!reported.contains(PASSWORD), "{reported}");
    for text in [PASSWORD.to_owned(), "cm9ib3Q6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5".to_owned()] {
        let found = Command::new("grep")
            .args(["-rlaF", &text])
            .arg(&bench.config.root)
            .output()
            .unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}

fn private() -> Plan {
    Plan {
        wheels: vec![
            ("ours", "1.0", "FROM = 'ours'", vec![]),
            ("torch", "2.2.0+cpu", "FROM = 'ours'", vec![]),
        ],
        login: format!("robot:{PASSWORD}"),
        ..Plan::default()
    }
}

fn public() -> Plan {
    Plan {
        wheels: vec![
            ("ours", "9.0", "FROM = 'public'", vec![]),
            ("torch", "2.3.0", "FROM = 'public'", vec![]),
            ("open", "1.0", "FROM = 'public'", vec![]),
        ],
        ..Plan::default()
    }
}

#[tokio::test]
async fn an_operators_index_comes_first_and_its_password_reaches_no_task() {
    let Some(config) = machine("an_operators_index_comes_first_and_its_password_reaches_no_task") else {
        return;
    };
    let (ours, open) = (serve(&config, private()), serve(&config, public()));
    let config = with_indexes(config, &open, &[("our-own", &ours, Some(PASSWORD))]);
    let bench = Bench::empty(config);
    // A package of the same name and a higher version on the other index does not win.
    let code = format!("import ours, torch, open\nprint(ours.FROM, torch.FROM)\n{SPY}").replace(", open", "");
    let first = bench.run(&file("ours\ntorch==2.2.0+cpu\nopen\n", &code)).await;
    assert!(first.good().starts_with("ours ours\n"), "{}", first.stdout);
    assert_eq!(
        first.outcome.resolved.python,
        ["open==1.0", "ours==1.0", "torch==2.2.0+cpu"]
    );
    is_silent(&first, &bench);
    // The other index is never asked for a name of the first one, and gets no password.
    let asked = open.log();
    assert!(
        asked.contains("/simple/open/") && !asked.contains("/simple/ours/") && !asked.contains("Basic"),
        "{asked}"
    );
    let again = bench.run(&file("ours\ntorch==2.2.0+cpu\nopen\n", &code)).await;
    assert_eq!(again.python(), CacheStatus::Hit);
    is_silent(&again, &bench);
    let lock = first.outcome.resolved.lock().unwrap();
    assert!(bench.run(&file(lock, &code)).await.good().starts_with("ours ours\n"));
    // The address of the index may stand in a file; another one may not.
    let named = format!("--extra-index-url {}/\nours\n", ours.address("simple"));
    assert!(
        bench
            .run(&file(named, &code.replace(", torch.FROM", "").replace(", torch", "")))
            .await
            .good()
            .starts_with("ours\n")
    );
    let reported = bench
        .refused(&file("--extra-index-url https://other.test/simple\nours\n", "1"))
        .await;
    assert!(
        reported.contains("line 1") && reported.contains("`indexes`"),
        "{reported}"
    );
    // Versions of the second index stay out of reach, and nothing advises to change that.
    let absent = bench.run(&file("torch==2.3.0\n", "1")).await;
    let reported = absent.failed(FailureKind::Unsatisfiable).to_string();
    assert!(!reported.contains("unsafe"), "{reported}");
    // Another operator's settings find another environment.
    let other = bench.with(|config| {
        config.sources.indexes.clear();
        config
            .python_tools
            .variables
            .retain(|(name, _)| !name.starts_with("UV_INDEX"));
    });
    let code = "import ours; print(ours.FROM)";
    assert_eq!(other.run(&python("ours", code)).await.good(), "public");
    assert_eq!(bench.run(&python("ours", code)).await.good(), "ours");
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_names_the_index_and_no_other_index_steps_in() {
    let Some(config) = machine("a_wrong_password_is_an_error_that_names_the_index_and_no_other_index_steps_in") else {
        return;
    };
    let (ours, open) = (serve(&config, private()), serve(&config, public()));
    for password in [Some("wrong-horse-battery"), None] {
        let bench = Bench::empty(with_indexes(config.clone(), &open, &[("ours", &ours, password)]));
        let ran = bench.run(&python("ours", "print(1)")).await;
        let reported = ran.failed(FailureKind::Tool).to_string();
        assert!(
            reported.contains("denied access") && reported.contains(&ours.address("simple")),
            "{reported}"
        );
        assert!(
            reported.contains("settings file") && !reported.contains("wrong-horse"),
            "{reported}"
        );
    }
}

#[tokio::test]
async fn a_host_that_an_index_with_a_login_names_for_its_files_gets_no_password() {
    let Some(config) = machine("a_host_that_an_index_with_a_login_names_for_its_files_gets_no_password") else {
        return;
    };
    let files = serve(
        &config,
        Plan {
            login: String::new(),
            ..private()
        },
    );
    let leads_on = files.address("").trim_end_matches('/').to_owned();
    let ours = serve(&config, Plan { leads_on, ..private() });
    let open = serve(&config, public());
    let bench = Bench::empty(with_indexes(config, &open, &[("ours", &ours, Some(PASSWORD))]));
    let ran = bench.run(&python("ours", "import ours; print(ours.FROM)")).await;
    assert_eq!(ran.good(), "ours");
    let log = files.log();
    assert!(log.contains("/files/ours-1.0") && !log.contains("Basic"), "{log}");
    is_silent(&ran, &bench);
}

fn wheels() -> Plan {
    Plan {
        wheels: vec![
            ("named", "1.5", "FROM = 'address'", vec!["open>=1".to_owned()]),
            (
                "hostile",
                "1.0",
                "",
                vec!["open @ http://127.0.0.1:9/files/open-1.0-py3-none-any.whl".to_owned()],
            ),
        ],
        ..Plan::default()
    }
}

const WHEEL: &str = "named-1.5-py3-none-any.whl";

/// A place of wheels that leads on to another one, and an index with a wheel of the same name and version.
struct Places {
    elsewhere: Server,
    host: Server,
    _index: Server,
    config: LocalConfig,
}

fn places(test: &str) -> Option<Places> {
    let config = machine(test)?;
    let mut same_version = public();
    same_version.wheels.push(("named", "1.5", "FROM = 'index'", vec![]));
    let index = serve(&config, same_version);
    let elsewhere = serve(&config, wheels());
    let leads_on = elsewhere.address("").trim_end_matches('/').to_owned();
    let host = serve(&config, Plan { leads_on, ..wheels() });
    Some(Places {
        config: with_indexes(config, &index, &[]),
        elsewhere,
        host,
        _index: index,
    })
}

impl Places {
    fn requirement(&self, name: &str, path: &str) -> String {
        format!("{name} @ {}", self.host.address(path))
    }

    fn bench(&mut self) -> Bench {
        self.config.sources.wheel_hosts.push(self.host.host());
        Bench::empty(self.config.clone())
    }
}

const PRINT: &str = "import named; print(named.FROM)";

#[tokio::test]
async fn a_wheel_by_its_address_is_fetched_cached_and_locked() {
    let Some(mut places) = places("a_wheel_by_its_address_is_fetched_cached_and_locked") else {
        return;
    };
    let requirement = places.requirement("named", &format!("files/{WHEEL}"));
    let bench = Bench::empty(places.config.clone());
    let reported = bench.refused(&file(format!("# x\n{requirement}\n"), PRINT)).await;
    assert!(
        reported.contains("line 2") && reported.contains("`wheelHosts`"),
        "{reported}"
    );
    let bench = places.bench();
    let first = bench.run(&file(&requirement, PRINT)).await;
    assert_eq!(first.good(), "address");
    assert_eq!(
        first.outcome.resolved.python,
        [requirement.clone(), "open==1.0".to_owned()]
    );
    let again = bench.run(&file(&requirement, PRINT)).await;
    assert_eq!((again.good(), again.python()), ("address", CacheStatus::Hit));
    assert_eq!(again.outcome.resolved.python, first.outcome.resolved.python);
    // The lock has the address and the hash, and gives the same again.
    let lock = first.outcome.resolved.lock().unwrap();
    assert!(
        lock.contains(&format!("{requirement} \\\n    --hash=sha256:")),
        "{lock}"
    );
    assert_eq!(bench.run(&file(&lock, PRINT)).await.good(), "address");
    let other = format!("{requirement} --hash=sha256:{}\n", "0".repeat(64));
    let reported = bench
        .run(&file(other, PRINT))
        .await
        .failed(FailureKind::Unsatisfiable)
        .to_string();
    assert!(reported.contains("none of the demanded hashes"), "{reported}");
    // By name alone it is the package of the index.
    assert_eq!(bench.run(&python("named==1.5", PRINT)).await.good(), "index");
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn a_wheels_address_leads_to_no_host_that_is_not_allowed() {
    let Some(mut places) = places("a_wheels_address_leads_to_no_host_that_is_not_allowed") else {
        return;
    };
    let bench = places.bench();
    let redirect = places.requirement("named", &format!("leads-on/{WHEEL}"));
    let reported = bench
        .run(&file(&redirect, PRINT))
        .await
        .failed(FailureKind::UnknownPackage)
        .to_string();
    let elsewhere = &places.elsewhere;
    assert!(
        reported.contains(&elsewhere.host()) && reported.contains("`wheelHosts`"),
        "{reported}"
    );
    assert_eq!(elsewhere.log(), "", "the other host is not contacted");
    let both = bench.with(|config| config.sources.wheel_hosts.push(elsewhere.host()));
    assert_eq!(both.run(&file(&redirect, PRINT)).await.good(), "address");
    // A wheel cannot name further places itself.
    let hostile = places.requirement("hostile", "files/hostile-1.0-py3-none-any.whl");
    let reported = bench
        .run(&file(hostile, "1"))
        .await
        .failed(FailureKind::Unsatisfiable)
        .to_string();
    assert!(reported.contains("names an address"), "{reported}");
    let absent = places.requirement("absent", "files/absent-1.0-py3-none-any.whl");
    let reported = bench
        .run(&file(&absent, "1"))
        .await
        .failed(FailureKind::UnknownPackage)
        .to_string();
    assert!(reported.contains("404"), "{reported}");
    // A marker that does not hold fetches nothing.
    let skipped = format!("{absent} ; sys_platform == 'win32'\nopen\n");
    bench.run(&file(skipped, "print(1)")).await.good();
}

#[tokio::test]
async fn code_of_packages_gets_no_password_and_builds_no_name_of_an_index_with_a_login() {
    let Some(mut config) = machine("code_of_packages_gets_no_password_and_builds_no_name_of_an_index_with_a_login")
    else {
        return;
    };
    config.network = Network::Shared;
    let mut own = private();
    own.sdists.push(("secret", "1.0"));
    let ours = serve(&config, own);
    let mut plan = public();
    plan.sdists = vec![("built", "1.0"), ("secret", "9.0"), ("needing", "1.0")];
    let open = serve(&config, plan);
    let bench = Bench::empty(with_indexes(config, &open, &[("ours", &ours, Some(PASSWORD))]));
    let code = "import built, ours; print(ours.FROM, 'correct-horse' in repr(built.SEEN), 'robot' in repr(built.SEEN))";
    let ran = bench.run(&python("built,ours", code)).await;
    assert_eq!(ran.good(), "ours False False");
    is_silent(&ran, &bench);
    assert!(!open.log().contains("/simple/ours/"), "{}", open.log());
    // Its name is one of the operator's index: the other one's source is not built in its place.
    let reported = bench
        .run(&python("secret", "1"))
        .await
        .failed(FailureKind::NoWheel)
        .to_string();
    assert!(reported.contains("secret"), "{reported}");
    assert!(!open.log().contains("/simple/secret/"), "{}", open.log());
    assert!(!reported.contains(PASSWORD), "{reported}");
    // Nor does another one's package of such a name take part in a build.
    let reported = bench
        .run(&python("needing", "1"))
        .await
        .failed(FailureKind::NoWheel)
        .to_string();
    assert!(reported.contains("requires ours"), "{reported}");
}

#[tokio::test]
async fn a_commit_of_an_allowed_repository_is_built_and_its_address_kept() {
    let Some(mut config) = machine_with_nix("a_commit_of_an_allowed_repository_is_built_and_its_address_kept") else {
        return;
    };
    config.network = Network::Shared;
    let plan = Plan {
        repositories: vec![("stored", "3.1")],
        ..public()
    };
    let open = serve(&config, plan);
    let mut config = with_indexes(config, &open, &[]);
    let requirement = format!("stored @ git+{}@{}", open.address("stored.git"), open.commits[0]);
    let task = |requirement: &str| TaskSpec {
        system_dependencies: "git".to_owned(),
        ..file(requirement, "import stored; print(stored.VERSION)")
    };
    let reported = Bench::empty(config.clone()).refused(&task(&requirement)).await;
    assert!(reported.contains("`gitRepositories`"), "{reported}");
    config.sources.git_repositories.push(open.address("stored.git"));
    let bench = Bench::empty(config);
    let first = bench.run(&task(&requirement)).await;
    assert_eq!(first.good(), "3.1");
    assert_eq!(first.outcome.resolved.python, std::slice::from_ref(&requirement));
    let again = bench.run(&task(&requirement)).await;
    assert_eq!((again.good(), again.python()), ("3.1", CacheStatus::Hit));
    let lock = first.outcome.resolved.lock().unwrap();
    assert_eq!(bench.run(&task(&lock)).await.good(), "3.1");
    // Together with a package of the index, the kept wheel is used again.
    let asked = open.log().matches("info/refs").count();
    assert_eq!(bench.run(&task(&format!("{requirement}\nopen\n"))).await.good(), "3.1");
    assert_eq!(open.log().matches("info/refs").count(), asked);
    let reported = bench.refused(&task("stored @ git+https://git.test/x@main")).await;
    assert!(reported.contains("full commit"), "{reported}");
    let without = bench.with(|config| config.no_builds = true);
    let reported = without
        .run(&task(&format!("{requirement} ; os_name == 'posix'")))
        .await
        .failed(FailureKind::NoWheel)
        .to_string();
    assert!(reported.contains("--no-builds"), "{reported}");
    assert!(bench.verify().await.is_clean());
    assert!(bench.driver.check(&task(&requirement)).is_ok());
}
