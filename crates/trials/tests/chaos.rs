//! A short form of the list of faults on this machine: every promise must hold, and every judge must notice damage.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Network};
use hybrid_cache_service::host::{self, HostError};
use hybrid_cache_service::{Engine, ServiceConfig};
use hybrid_cache_trials::Standing;
use hybrid_cache_trials::chaos::{Fault, FaultContext, FaultTrial, Serve, Settings, list, run, table};

use machine::Machine;

/// The settings of the part of the service: its configuration, its address, its folder and its token's file.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_CHAOS_CONFIG";
const LISTEN_VARIABLE: &str = "HYBRID_CACHE_CHAOS_LISTEN";
const DATA_VARIABLE: &str = "HYBRID_CACHE_CHAOS_DATA";
const TOKEN_VARIABLE: &str = "HYBRID_CACHE_CHAOS_TOKEN";
/// The same moves on every machine: what fails here can be tried again.
const SEED: u64 = 20_261_129;
/// How often each fault happens: `cargo xtask chaos` tries more.
const ROUNDS: u32 = 2;

/// Role: a task service that somebody kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service() {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        return;
    };
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let config: LocalConfig = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let listen: SocketAddr = std::env::var(LISTEN_VARIABLE).unwrap().parse().unwrap();
    let service = host::Host {
        listen,
        access: host::access(listen, Some(&path(TOKEN_VARIABLE))).unwrap(),
        names: Vec::new(),
        grace: Duration::from_secs(1),
    };
    let open = async {
        let driver: Arc<dyn Driver> = Arc::new(LocalDriver::open(config).unwrap());
        let engine = Engine::open(ServiceConfig::new(path(DATA_VARIABLE)), driver).await;
        Ok::<_, HostError>(engine.unwrap())
    };
    service.run(open, |line| eprintln!("{line}")).await.unwrap();
}

/// This program as a process that plays the service.
fn serve(machine: &Machine) -> Serve {
    let config = machine.config.clone();
    Arc::new(move |at| {
        let mut config = config.clone();
        config.root.clone_from(&at.caches);
        // Its tasks tell a counter on loopback that they run.
        config.network = Network::Shared;
        let file = at.data.with_extension("json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_service", "--nocapture", "--quiet"])
            .env(CONFIG_VARIABLE, file)
            .env(LISTEN_VARIABLE, at.listen.to_string())
            .env(DATA_VARIABLE, &at.data)
            .env(TOKEN_VARIABLE, &at.token_file);
        command
    })
}

fn field(machine: &Machine, rounds: u32) -> FaultContext {
    let settings = Settings {
        seed: SEED,
        rounds,
        serve: Some(serve(machine)),
    };
    FaultContext::local(machine.config.clone(), settings).unwrap()
}

fn show(trial: &FaultTrial) {
    println!(
        "{} {} {} ms\n  tried: {}\n  seen: {}\n  {}",
        trial.standing(),
        trial.id,
        trial.took_ms,
        trial.tried,
        trial.seen,
        trial.detail().unwrap_or_default()
    );
}

/// Faults that a part of the tests' names picks: all of them by default.
fn faults() -> Vec<&'static Fault> {
    let only = std::env::var("HYBRID_CACHE_CHAOS_ONLY").unwrap_or_default();
    list::all()
        .into_iter()
        .filter(|fault| fault.id.contains(&only))
        .collect()
}

/// What the kernel lists of this process's mounts and loop devices below a folder.
fn left_behind(root: &std::path::Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices.filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok());
    let root = root.to_str().unwrap();
    let lines: Vec<String> = mounts.lines().map(str::to_owned).chain(files).collect();
    lines.into_iter().filter(|line| line.contains(root)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_despite_each_fault() {
    let Some(machine) = machine::open("every_promise_holds_despite_each_fault") else {
        return;
    };
    let field = field(&machine, ROUNDS);
    let trials = run(&faults(), &field, show).await;
    drop(field);
    let mut problems = left_behind(&machine.config.root);
    for row in table(&trials) {
        let bad = row
            .trials
            .iter()
            .filter(|trial| trial.standing() >= Standing::CouldNotTry);
        problems.extend(bad.map(|trial| {
            let what = trial.detail().unwrap_or_default();
            format!("{} ({}): {}: {what}", row.text, trial.id, trial.standing())
        }));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_judge_notices_the_damage_that_its_promise_excludes() {
    let Some(machine) = machine::open("every_judge_notices_the_damage_that_its_promise_excludes") else {
        return;
    };
    let field = field(&machine, 1).with_damage();
    let trials = run(&faults(), &field, show).await;
    drop(field);
    let blind = trials.iter().filter(|trial| {
        let standing = trial.standing();
        standing != Standing::NotHeld && standing != Standing::NotApplicable
    });
    let blind: Vec<_> = blind
        .map(|trial| (&trial.id, trial.standing(), trial.detail()))
        .collect();
    assert!(blind.is_empty(), "not noticed: {blind:?}");
}
