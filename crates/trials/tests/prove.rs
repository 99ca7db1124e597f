//! A short proof on this machine: what is predicted for a size is what a file system of that size shows.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hybrid_cache_sizing::proof::{Ended, FullStep, Proof, Quantity};
use hybrid_cache_sizing::trace::{Environment, Recorded, Request, Use};
use hybrid_cache_sizing::{Event, Targets, Volume, Weight};
use hybrid_cache_trials::prove::{self, Bounds, Control, Plan, ProofSite};

use machine::Machine;

/// Where this machine can make file systems and has the tools; a word about it elsewhere.
fn machine(test: &str) -> Option<Machine> {
    if let Some(why) = prove::cannot() {
        println!("skipped: {test}: {why}");
        return None;
    }
    machine::open(test)
}

/// Ten environments of 8 MiB and a part that all of them have; two of three requests are for one of the last three.
fn trace(volume: Volume) -> Recorded {
    let mut recorded = Recorded::default();
    let catalog = recorded.catalog.volume_mut(volume);
    let shared = catalog.part("shared", Weight::new(8 << 20, 30));
    for number in 0..10 {
        let own = catalog.part(&format!("own {number}"), Weight::new(8 << 20, 40));
        catalog.environment(Environment {
            key: number.to_string(),
            parts: vec![shared, own],
            ..Environment::default()
        });
    }
    let request = |number: u64| {
        let on = Use {
            environment: u32::try_from((number / 4 + number % 3 * (number % 2)) % 10).unwrap(),
            ..Use::default()
        };
        let mut uses = [None, None];
        uses[volume.index()] = Some(on);
        // Far apart, so that each use is noted.
        let at_us = number * 600_000_000;
        Event::Request(Request {
            at_us,
            uses,
            wait_us: None,
            held_us: 0,
        })
    };
    recorded.events = (0..48).map(request).collect();
    recorded
}

fn plan(around: &[f64]) -> Plan {
    Plan {
        volumes: vec![Volume::Python],
        bounds: Bounds {
            environments: 40,
            requests: 100,
            bytes: 128 << 20,
        },
        most_bytes: 384 << 20,
        claim_bytes: None,
        targets: Targets {
            hit: 0.5,
            headroom: 0.0,
            ..Targets::default()
        },
        around: around.to_vec(),
        claim_share: 1.0,
        limit: Duration::from_secs(300),
    }
}

/// `stop_at`: Ctrl-C when so many requests were replayed on the first size.
async fn run(machine: &Machine, plan: &Plan, stop_at: Option<usize>) -> Proof {
    let trace = trace(plan.volumes[0]);
    let stop = AtomicBool::new(false);
    let control = Control {
        stop: &stop,
        tell: &|progress| {
            let is_now = progress.what.starts_with("size") && Some(progress.done) == stop_at;
            stop.fetch_or(is_now, Ordering::Relaxed);
            assert!(progress.done <= progress.of);
        },
    };
    let proof = prove::prove(&trace, ProofSite::Machine(&machine.config), plan, &control)
        .await
        .unwrap();
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
    let mut plan = plan(&[1.0, 0.6]);
    // Two sizes above the smallest file system that is replayed on.
    plan.targets.hit = 0.75;
    let proof = run(&machine, &plan, None).await;
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
    let proof = run(&machine, &system, None).await;
    assert_eq!(broken(&proof), []);
    assert!(proof.judged() > 0 && proof.volumes[0].full.iter().all(FullStep::holds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_prediction_is_noticed_and_an_interrupted_replay_is_reported() {
    let Some(machine) = machine("a_wrong_prediction_is_noticed_and_an_interrupted_replay_is_reported") else {
        return;
    };
    // The runner gets half of the claim, so it keeps less than is predicted.
    let wrong = Plan {
        claim_share: 0.5,
        ..plan(&[1.0])
    };
    let proof = run(&machine, &wrong, None).await;
    assert!(!proof.holds());
    let noticed: Vec<Quantity> = broken(&proof).into_iter().map(|(_, quantity)| quantity).collect();
    assert!(
        noticed.contains(&Quantity::Bytes) && noticed.contains(&Quantity::Inodes),
        "{noticed:?}"
    );
    let begun = run(&machine, &plan(&[1.0]), Some(3)).await;
    assert_eq!(begun.ended, Some(Ended::Interrupted));
    let size = &begun.volumes[0].sizes[0];
    assert_eq!(size.requests, 3, "{size:?}");
    assert_eq!(mounts(&machine), [""; 0]);
}
