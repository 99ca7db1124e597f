//! Without a network: what is cached works, what is not fails soon and says so.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use hybrid_cache_driver::local::{LocalConfig, Network};
use hybrid_cache_model::protocol::PackageSource;
use hybrid_cache_model::{CacheStatus, FailureKind};

use crate::bench::{Bench, is_built, machine, machine_with_nix, python, system};

/// A person learns within this time that there is no network.
const SOON: Duration = Duration::from_secs(15);

/// Sends every request of uv and Nix to a port on which no program listens.
pub fn cut_off(config: &mut LocalConfig) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}");
    let proxies = |variables: &mut Vec<(String, String)>| {
        variables.retain(|(name, _)| !name.to_uppercase().ends_with("_PROXY"));
        for name in [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ] {
            variables.push((name.to_owned(), address.clone()));
        }
    };
    proxies(&mut config.python_tools.variables);
    if let Some(system) = &mut config.system {
        proxies(&mut system.tools.variables);
        if let PackageSource::Debnix { mirrors, .. } = &mut system.tools.source {
            *mirrors = vec![format!("{address}/debian")];
        }
    }
}

#[tokio::test]
async fn a_first_python_run_without_network_says_so_soon() {
    let Some(mut config) = machine("a_first_python_run_without_network_says_so_soon") else {
        return;
    };
    cut_off(&mut config);
    let bench = Bench::empty(config);
    let began = Instant::now();
    let ran = bench.run(&python("idna", "print(1)")).await;
    let failure = ran.failed(FailureKind::Offline);
    assert!(failure.hint.is_some() && failure.message.contains("reach"), "{failure}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn a_first_system_run_without_network_says_so_soon() {
    let Some(mut config) = machine_with_nix("a_first_system_run_without_network_says_so_soon") else {
        return;
    };
    cut_off(&mut config);
    let bench = Bench::empty(config);
    let began = Instant::now();
    let ran = bench.run(&system("m4,gzip", "print(1)")).await;
    let failure = ran.failed(FailureKind::Offline);
    assert!(failure.hint.is_some() && failure.message.contains("reach"), "{failure}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn cached_packages_need_no_network() {
    let Some(config) = machine_with_nix("cached_packages_need_no_network") else {
        return;
    };
    let bench = Bench::shared(config);
    let mut spec = python(
        "idna",
        "import idna, subprocess; print(subprocess.run(['m4', '--version'], capture_output=True).returncode)",
    );
    spec.system_dependencies = "m4".to_owned();
    assert_eq!(bench.run(&spec).await.good(), "0");
    let cut = bench.with(cut_off);
    let none = bench.with(|config| {
        cut_off(config);
        config.network = Network::None;
    });
    for bench in [cut, none] {
        let ran = bench.run(&spec).await;
        assert_eq!(
            (ran.good(), ran.python(), ran.system()),
            ("0", CacheStatus::Hit, CacheStatus::Hit)
        );
        assert_eq!(ran.outcome.warnings, Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_a_network_user_code_reaches_nothing_not_even_this_machine() {
    let test = "without_a_network_user_code_reaches_nothing_not_even_this_machine";
    let Some(config) = machine(test) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let code = format!(
        "import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 5); print('reached')\nexcept OSError: print('alone')"
    );
    let task = hybrid_cache_model::TaskSpec::new(code);
    let bench = Bench::shared(config);
    for (network, expected) in [(Network::None, "alone"), (Network::Shared, "reached")] {
        let bench = bench.with(|config| config.network = network);
        assert_eq!(bench.run(&task).await.good(), expected);
    }
}

#[tokio::test]
async fn a_stale_environment_is_used_with_a_warning_if_there_is_no_network() {
    let test = "a_stale_environment_is_used_with_a_warning_if_there_is_no_network";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let spec = python("idna", "import idna; print('used')");
    assert!(is_built(bench.run(&spec).await.python()));
    let stale = bench.with(|config| {
        config.max_age_s = 0;
        cut_off(config);
    });
    // Resolved in this very second is no older than 0 seconds.
    let old = || {
        let at = std::fs::read_dir(bench.config.root.join("volumes/python/tenants/default/requests"))
            .unwrap()
            .flatten()
            .next()
            .unwrap();
        let made = std::fs::symlink_metadata(at.path()).unwrap().modified().unwrap();
        made.elapsed().unwrap_or_default() > Duration::from_millis(1500)
    };
    crate::roles::until("a second has passed", old).await;
    let ran = stale.run(&spec).await;
    assert_eq!((ran.good(), ran.python()), ("used", CacheStatus::Hit));
    assert!(
        ran.outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("could not be reached")),
        "{:?}",
        ran.outcome.warnings
    );
    // With a network it is resolved again.
    let anew = bench.with(|config| config.max_age_s = 0).run(&spec).await;
    assert!(anew.good() == "used" && is_built(anew.python()), "{:?}", anew.python());
}
