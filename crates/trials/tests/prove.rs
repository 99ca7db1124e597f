//! A short proof on this machine: what is predicted for a size is what a file system of that size shows.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hybrid_cache_sizing::proof::{Ended, FullStep, Proof, Quantity};
use hybrid_cache_sizing::synthetic::{generate, preset};
use hybrid_cache_sizing::{Targets, Volume};
use hybrid_cache_trials::prove::{self, Bounds, Control, Plan};

use machine::Machine;

/// Where this machine can make file systems and has the tools; a word about it elsewhere.
fn machine(test: &str) -> Option<Machine> {
    if let Some(why) = prove::cannot() {
        println!("skipped: {test}: {why}");
        return None;
    }
    machine::open(test)
}

fn plan(around: &[f64]) -> Plan {
    Plan {
        volumes: vec![Volume::Python],
        bounds: Bounds {
            environments: 10,
            requests: 70,
            bytes: 96 << 20,
        },
        most_bytes: 256 << 20,
        claim_bytes: None,
        // So little that the largest environment decides, and others have to go.
        targets: Targets {
            hit: 0.1,
            headroom: 0.0,
            ..Targets::default()
        },
        around: around.to_vec(),
        told: 1.0,
        limit: Duration::from_secs(300),
    }
}

async fn run(machine: &Machine, plan: &Plan, stop_after: usize) -> Proof {
    let trace = generate(&preset("team").unwrap());
    let (stop, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let control = Control {
        stop: &stop,
        tell: &|progress| {
            let told = told.fetch_add(1, Ordering::Relaxed);
            stop.store(told >= stop_after, Ordering::Relaxed);
            assert!(progress.done <= progress.of);
        },
    };
    let proof = prove::prove(&trace, &machine.config, plan, &control).await.unwrap();
    println!("{}", serde_json::to_string_pretty(&proof).unwrap());
    proof
}

/// Mounts of this process below the machine's folder.
fn mounts(machine: &Machine) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let root = machine.config.root.to_str().unwrap();
    let lines = mounts.lines().filter(|line| line.contains(root));
    lines.map(str::to_owned).collect()
}

/// Waiting depends on what else this machine does; everything else does not.
fn broken(proof: &Proof) -> Vec<(u64, Quantity)> {
    let mut broken: Vec<(u64, Quantity)> = proof.volumes.iter().flat_map(|proved| proved.broken()).collect();
    broken.retain(|(_, quantity)| *quantity != Quantity::P95);
    broken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_predicted_is_what_a_volume_shows_and_a_full_one_is_not_damaged() {
    let Some(machine) = machine("what_is_predicted_is_what_a_volume_shows_and_a_full_one_is_not_damaged") else {
        return;
    };
    let proof = run(&machine, &plan(&[1.0, 1.4]), usize::MAX).await;
    assert_eq!((proof.judged(), proof.ended), (2, None));
    assert_eq!(broken(&proof), []);
    let [small, _] = &proof.volumes[0].sizes[..] else {
        panic!("two sizes")
    };
    assert!(
        small.observed.evictions > 0,
        "the small volume evicted nothing: {small:?}"
    );
    let full = &proof.volumes[0].full;
    assert!(full.len() == 3 && full.iter().all(FullStep::holds), "{full:?}");
    assert!(full[0].evicted > 0, "nothing had to go: {full:?}");
    assert_eq!(mounts(&machine), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_volume_keeps_what_is_predicted_as_well() {
    let Some(machine) = machine("the_system_volume_keeps_what_is_predicted_as_well") else {
        return;
    };
    let system = Plan {
        volumes: vec![Volume::System],
        ..plan(&[1.0])
    };
    let proof = run(&machine, &system, usize::MAX).await;
    assert_eq!(broken(&proof), []);
    assert!(proof.judged() > 0 && proof.volumes[0].full.iter().all(FullStep::holds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_prediction_is_noticed_and_an_interrupted_replay_is_told() {
    let Some(machine) = machine("a_wrong_prediction_is_noticed_and_an_interrupted_replay_is_told") else {
        return;
    };
    // The runner is told of half of the claim, so it keeps to less than is predicted.
    let wrong = Plan {
        told: 0.5,
        ..plan(&[1.0])
    };
    let proof = run(&machine, &wrong, usize::MAX).await;
    assert!(!proof.holds());
    let noticed: Vec<Quantity> = broken(&proof).into_iter().map(|(_, quantity)| quantity).collect();
    assert!(
        noticed.contains(&Quantity::Bytes) && noticed.contains(&Quantity::Inodes),
        "{noticed:?}"
    );
    let begun = run(&machine, &plan(&[1.0]), 100).await;
    assert_eq!(begun.ended, Some(Ended::Interrupted));
    let size = &begun.volumes[0].sizes[0];
    assert!(size.requests > 0 && size.requests < size.of, "{size:?}");
    assert_eq!(mounts(&machine), [""; 0]);
}
