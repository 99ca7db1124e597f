//! Levels with this machine's driver: each is produced and seen as such, and what is at another level is noticed.

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_cluster::LocalBackend;
use hybrid_cache_driver::local::{LocalConfig, Network};
use hybrid_cache_model::level::Level;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{Acceptance, judge_level};
use hybrid_cache_model::{CacheStatus, Phase, Scenario, Tenant};
use hybrid_cache_tools::{Checkout, Machine, MachineOptions, ToolChoice};

use super::target::LevelsTarget;
use super::{ToolSource, page_cache, task_files};
use crate::machine;
use crate::target::{BenchTarget, LevelRun};

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";

fn scenario(request: &str) -> Scenario {
    let text = format!("name: small\nwhy: a test\nrequest:\n{request}\nexpect:\n  stdout:\n    equals: works\n");
    Scenario::from_yaml("small.yaml", &text).unwrap()
}

fn python_scenario() -> Scenario {
    scenario("  pythonCode: import six; print('works')\n  dependencies: six")
}

/// A target on caches of its own below the checkout's `target`, which is on a disk. `None`, with a message, if there are no tools.
async fn target(test: &str) -> Option<(LevelsTarget, tempfile::TempDir)> {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return None;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let folder = tempfile::tempdir_in(root.join("target")).unwrap();
    let kind = machine::file_system(folder.path());
    if kind == "tmpfs" {
        println!(
            "skipped: {test}: {} is on {kind}, whose pages are not dropped",
            folder.path().display()
        );
        return None;
    }
    let config: LocalConfig = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let config = LocalConfig {
        root: folder.path().join("caches"),
        ..config
    };
    let options = MachineOptions {
        cache_dir: Some(config.root.clone()),
        choice: ToolChoice::default(),
        network: Network::Isolated,
        private_index: false,
        no_builds: false,
        settings: None,
        trace_bytes: 0,
        limits: Limits::default(),
    };
    let source = ToolSource {
        checkout: Checkout::open(&root).unwrap(),
        options,
        runner: config.runner.clone(),
    };
    let machine = Machine {
        config,
        limits: Limits::default(),
        provider: String::new(),
        tools: Vec::new(),
        notes: Vec::new(),
        lacking: Vec::new(),
    };
    let driver = machine.driver().unwrap();
    let local = LocalBackend { machine, driver };
    let opened = LevelsTarget::open(local, Limits::default(), source, Tenant::default()).await;
    Some((opened.unwrap(), folder))
}

fn judged(scenario: &Scenario, level: Level, taken: &LevelRun) -> Acceptance {
    match &taken.run.disturbed {
        Some(reason) => Acceptance::Failed { reason: reason.clone() },
        None => judge_level(scenario, level, &taken.run.outcome, &taken.run.stdout, &taken.seen),
    }
}

/// Epochs on the disk.
fn epochs(target: &LevelsTarget) -> Vec<PathBuf> {
    let found = fs::read_dir(target.config.root.join("epochs"))
        .into_iter()
        .flatten()
        .flatten();
    found.map(|entry| entry.path()).collect()
}

/// Takes a run. One whose pages another process has mapped meanwhile, such as a Python of another test, is taken again.
async fn taken(target: &mut LevelsTarget, scenario: &Scenario, level: Level) -> LevelRun {
    let mut tries = 0;
    loop {
        tries += 1;
        let taken = target.level(0, scenario, level).await.unwrap();
        let kept = epochs(target);
        assert!(kept.len() <= 2, "programs and one filled epoch at most: {kept:?}");
        // The kernel counts what all tests of this process read.
        let reads_beside = level == Level::Warm && !taken.seen.contradictions(level).is_empty();
        if tries == 20 || !(reads_beside || is_mapped_elsewhere(level, &taken)) {
            return taken;
        }
    }
}

/// Whether a run counts. Only pages that other processes have mapped may be a reason why it does not.
fn is_accepted(scenario: &Scenario, level: Level, taken: &LevelRun) -> bool {
    let accepted = judged(scenario, level, taken) == Acceptance::Accepted;
    assert!(
        accepted || is_mapped_elsewhere(level, taken),
        "{level:?}: {:?}",
        taken.seen
    );
    accepted
}

/// True if only other processes keep a page cache from being cold.
fn is_mapped_elsewhere(level: Level, taken: &LevelRun) -> bool {
    let environment = taken.seen.pages.first().map_or(0, |pages| pages.resident);
    level == Level::Environment && environment == 0 && !taken.seen.contradictions(level).is_empty()
}

#[tokio::test]
async fn every_level_is_produced_and_seen_as_such_in_any_order() {
    let Some((mut target, _folder)) = target("every_level_is_produced_and_seen_as_such_in_any_order").await else {
        return;
    };
    let scenario = python_scenario();
    // The first one has no filled epoch to begin with.
    let order = [
        Level::Downloads,
        Level::Warm,
        Level::Tools,
        Level::Environment,
        Level::Downloads,
        Level::Warm,
    ];
    for level in order {
        let one = taken(&mut target, &scenario, level).await;
        let accepted = is_accepted(&scenario, level, &one);
        let is_hit = one.run.outcome.cache.python == CacheStatus::Hit;
        assert_eq!(is_hit, level >= Level::Environment);
        if level == Level::Environment {
            let environment = &one.seen.pages[0];
            assert!(
                environment.files > 3 && environment.resident_before > Some(0),
                "{:?}",
                one.seen
            );
            assert!(!accepted || one.seen.major_faults > Some(0), "{:?}", one.seen);
        }
    }
    let root = target.config.root.clone();
    Box::new(target).close().await.unwrap();
    assert!(!root.join("epochs").exists());
}

#[tokio::test]
async fn tools_are_brought_into_a_folder_of_their_own_and_are_a_part_of_the_run() {
    let Some((mut target, folder)) =
        target("tools_are_brought_into_a_folder_of_their_own_and_are_a_part_of_the_run").await
    else {
        return;
    };
    let scenario = python_scenario();
    let one = taken(&mut target, &scenario, Level::Nothing).await;
    if let Acceptance::Failed { reason } = judged(&scenario, Level::Nothing, &one) {
        println!("skipped: tools cannot be brought here: {reason}");
        return;
    }
    assert_eq!(
        judged(&scenario, Level::Nothing, &one),
        Acceptance::Accepted,
        "{:?}",
        one.seen
    );
    let tools = one.seen.tools.unwrap();
    let phase_us = one.run.timeline.phase_us(Phase::BringTools);
    assert_eq!(phase_us, tools.bring_us);
    assert!(
        tools.bring_us > 1000 && one.run.moment.wall_us > tools.bring_us && tools.bytes > 1 << 20,
        "{tools:?}"
    );
    assert_eq!(one.run.timeline.total_us, one.run.moment.wall_us);
    assert_eq!(
        epochs(&target).len(),
        1,
        "tools and caches are deleted, our programs are not"
    );
    assert!(folder.path().join("caches/volumes").exists());
}

#[tokio::test]
async fn a_run_at_another_level_than_it_is_meant_to_is_noticed() {
    let Some((mut target, _folder)) = target("a_run_at_another_level_than_it_is_meant_to_is_noticed").await else {
        return;
    };
    let scenario = python_scenario();
    let reason = |level, one: &LevelRun| match judged(&scenario, level, one) {
        Acceptance::WrongTemperature { reason } => reason,
        other => panic!("{level:?}: {other:?} {:?}", one.seen),
    };
    // An environment where none should be: somebody fills the empty epoch.
    let produced = target.produce(0, &scenario, Level::Tools).await.unwrap();
    target.fill(&scenario, 0, &produced.epoch.clone()).await.unwrap();
    let reported = reason(Level::Tools, &target.measured(&scenario, produced).await.unwrap());
    assert!(reported.contains("python cache: Hit"), "{reported}");
    // The downloads are gone.
    let produced = target.produce(0, &scenario, Level::Downloads).await.unwrap();
    let volumes = target.driver.folders().volumes(&produced.epoch);
    for cache in super::contents::uv_caches(&volumes.python) {
        fs::remove_dir_all(cache).unwrap();
    }
    let reported = reason(Level::Downloads, &target.measured(&scenario, produced).await.unwrap());
    assert!(reported.contains("the run downloaded packages"), "{reported}");
    // The environment's pages come back before the run.
    let mut produced = target.produce(0, &scenario, Level::Environment).await.unwrap();
    let volumes = target.driver.folders().volumes(&produced.epoch);
    warm_up(&volumes.python);
    let again = task_files::count(&task_files::find(&target.config, &volumes, &target.shared())).unwrap();
    for (seen, again) in produced.seen.pages.iter_mut().zip(again) {
        seen.resident = again.resident;
    }
    let reported = reason(Level::Environment, &target.measured(&scenario, produced).await.unwrap());
    assert!(
        reported.contains("were still in memory, at most 5 % may be: environment"),
        "{reported}"
    );
    // A cold page cache where all should be warm.
    let mut produced = target.produce(0, &scenario, Level::Warm).await.unwrap();
    let volumes = target.driver.folders().volumes(&produced.epoch);
    let files = task_files::find(&target.config, &volumes, &target.shared());
    produced.seen.pages = task_files::cool(&files, &volumes).unwrap();
    let reported = reason(Level::Warm, &target.measured(&scenario, produced).await.unwrap());
    assert!(reported.contains("bytes from the disk"), "{reported}");
    Box::new(target).close().await.unwrap();
}

/// Reads every file below a folder.
fn warm_up(folder: &Path) {
    for file in page_cache::files_below(&[folder.to_owned()], &|_| false) {
        fs::read(file).unwrap();
    }
}

#[tokio::test]
async fn downloaded_debian_packages_stay_while_what_was_built_of_them_goes() {
    let test = "downloaded_debian_packages_stay_while_what_was_built_of_them_goes";
    let Some((mut target, _folder)) = target(test).await else {
        return;
    };
    if target.config.system.is_none() {
        println!("skipped: {test}: this machine has no Nix");
        return;
    }
    let request = "  pythonCode: import subprocess; subprocess.run(['make', '--version'], check=True, stdout=-3); print('works')\n  systemDependencies: gnumake";
    let scenario = scenario(request);
    for level in [Level::Tools, Level::Downloads, Level::Environment, Level::Warm] {
        let one = taken(&mut target, &scenario, level).await;
        is_accepted(&scenario, level, &one);
    }
    Box::new(target).close().await.unwrap();
}
