//! What is recorded of requests: real tasks on real caches, read back by the reader that `cargo xtask size` uses.

use std::path::Path;
use std::time::Duration;

use hybrid_cache_driver::local::{LocalConfig, Maintenance};
use hybrid_cache_driver::trace::{DEFAULT_MAX_BYTES, FOLDER, files_in};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::maintain::{MaintainReport, UsageReport};
use hybrid_cache_sizing::trace::{Faults, Met, Reader};
use hybrid_cache_sizing::{Catalog, Event, Volume, Weight};

use crate::bench::{Bench, is_built, machine, machine_with_nix, not_root, python};
use crate::roles::Play;

/// In the user's code and in its output, and in no trace.
const SECRET: &str = "correct-horse-battery-staple";

struct Trace {
    events: Vec<Event>,
    catalog: Catalog,
    faults: Faults,
    text: String,
}

impl Trace {
    fn read(root: &Path) -> Trace {
        let (mut reader, mut events, mut text) = (Reader::new(), Vec::new(), String::new());
        for file in files_in(&root.join(FOLDER)).unwrap() {
            text.push_str(&std::fs::read_to_string(file).unwrap());
        }
        for line in text.split_inclusive('\n') {
            let is_whole = line.ends_with('\n');
            let line = line.trim_end_matches('\n').as_bytes();
            reader
                .line(line, is_whole, &mut |event| events.push(event.clone()))
                .unwrap();
        }
        let (catalog, faults) = reader.finish().unwrap();
        Trace {
            events,
            catalog,
            faults,
            text,
        }
    }

    /// What the requests met on a volume.
    fn met(&self, volume: Volume) -> Vec<Met> {
        let requests = self.events.iter().filter_map(|event| match event {
            Event::Request(request) => request.on(volume).map(|asked| asked.met),
            Event::Resident(..) => None,
        });
        requests.collect()
    }

    fn residents(&self, volume: Volume) -> usize {
        let of = |event: &&Event| matches!(event, Event::Resident(found, _) if *found == volume);
        self.events.iter().filter(of).count()
    }
}

fn recording(mut config: LocalConfig) -> LocalConfig {
    config.trace_bytes = DEFAULT_MAX_BYTES;
    config
}

fn task(dependencies: &str) -> TaskSpec {
    python(dependencies, &format!("print('{SECRET}')"))
}

async fn flush(bench: &Bench) {
    assert_eq!(bench.driver.flush_trace().await, None);
}

async fn usage(bench: &Bench) -> UsageReport {
    let asked = bench.driver.maintain(&Epoch::Standing, Maintenance::Usage);
    match asked.await.unwrap() {
        MaintainReport::Usage(usage) => usage,
        other => panic!("measuring came to {other:?}"),
    }
}

/// What is beside environments changes while a trace is recorded: uv keeps a copy of each index page, Nix its own files.
const SLACK: Weight = Weight::new(64 << 10, 32);

/// Checks that a volume holds what the trace says, to 1 %: its environments, what is beside them, and what nothing refers to any
/// more. What preparations are making is no part of it.
async fn agrees(bench: &Bench, trace: &Trace, volume: Volume) {
    let (name, of) = (volume.name(), trace.catalog.volume(volume));
    let measured = usage(bench).await;
    let unused = match volume {
        Volume::Python => Weight::default(),
        Volume::System => measured
            .garbage_of(name)
            .map_or(Weight::default(), |found| Weight::new(found.bytes, found.inodes)),
    };
    let at_work = measured.layers.iter().find(|layer| layer.layer == "python/staging");
    let at_work = at_work.filter(|_| volume == Volume::Python);
    let at_work = at_work.map_or(Weight::default(), |layer| Weight::new(layer.bytes, layer.inodes));
    let held = Weight::new(measured.volume_bytes(name), measured.volume_inodes(name)).saturating_sub(at_work);
    let predicted = of.union() + of.rest + unused;
    let agree = |predicted: u64, held: u64, slack: u64| predicted.abs_diff(held) <= held / 100 + slack;
    assert!(
        agree(predicted.bytes, held.bytes, SLACK.bytes) && agree(predicted.inodes, held.inodes, SLACK.inodes),
        "{name}: predicted {predicted:?}, held {held:?}, rest {:?}, {:?}",
        of.rest,
        measured.layers
    );
}

#[tokio::test]
async fn a_cold_and_a_warm_run_are_recorded_with_all_that_they_used() {
    let test = "a_cold_and_a_warm_run_are_recorded_with_all_that_they_used";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(recording(config));
    for (dependencies, built) in [("idna,packaging", true), ("idna,packaging", false), ("idna", true)] {
        let ran = bench.run(&task(dependencies)).await;
        assert_eq!((ran.good(), is_built(ran.python())), (SECRET, built));
    }
    flush(&bench).await;
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.faults.count, 0, "{:?}", trace.faults);
    assert_eq!(trace.met(Volume::Python), [Met::Miss, Met::Hit, Met::Miss]);
    assert!(trace.met(Volume::System).is_empty() && trace.residents(Volume::Python) == 0);
    let python = trace.catalog.volume(Volume::Python);
    let [both, one] = python.environments() else {
        panic!("{:?}", python.environments())
    };
    assert_eq!((both.label.as_str(), one.label.as_str()), ("idna, packaging", "idna"));
    // Each wheel and each folder of its byte-code; those of idna are shared.
    assert!(
        both.parts.len() >= 4 && one.parts.iter().all(|part| both.parts.contains(part)),
        "{both:?} {one:?}"
    );
    agrees(&bench, &trace, Volume::Python).await;
    let requests: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Request(request) => Some((request, request.on(Volume::Python).unwrap())),
            Event::Resident(..) => None,
        })
        .collect();
    let (cold, warm) = (requests[0], requests[1]);
    assert!(cold.1.downloaded_bytes > 0 && warm.1.downloaded_bytes == 0);
    assert!(cold.1.prepare_us.unwrap() > 0 && warm.1.prepare_us.is_none());
    assert!(cold.0.wait_us.unwrap() > warm.0.wait_us.unwrap());
    for entry in std::fs::read_dir(bench.config.root.join(FOLDER)).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(SECRET), "{}: {text}", entry.path().display());
    }
}

#[tokio::test]
async fn sets_of_system_packages_are_recorded_by_their_store_paths() {
    let test = "sets_of_system_packages_are_recorded_by_their_store_paths";
    let Some(config) = machine_with_nix(test) else { return };
    let bench = Bench::empty(recording(config));
    let mut spec = task("idna");
    spec.system_dependencies = "m4".to_owned();
    for _ in 0..2 {
        assert_eq!(bench.run(&spec).await.good(), SECRET);
    }
    flush(&bench).await;
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.faults.count, 0, "{:?}", trace.faults);
    for volume in Volume::ALL {
        assert_eq!(trace.met(volume), [Met::Miss, Met::Hit], "{volume:?}");
    }
    let system = trace.catalog.volume(Volume::System);
    assert_eq!(system.environments()[0].label, "m4");
    assert!(!system.environments()[0].parts.is_empty());
    agrees(&bench, &trace, Volume::System).await;
}

#[tokio::test]
async fn a_trace_begun_in_the_middle_of_a_cache_s_life_knows_what_is_resident() {
    let test = "a_trace_begun_in_the_middle_of_a_cache_s_life_knows_what_is_resident";
    let Some(config) = machine(test) else { return };
    let silent = Bench::empty(config);
    for dependencies in ["idna", "packaging"] {
        silent.run(&task(dependencies)).await.good();
    }
    flush(&silent).await;
    assert!(!silent.config.root.join(FOLDER).exists(), "nobody asked for a trace");
    let bench = silent.with(|config| config.trace_bytes = DEFAULT_MAX_BYTES);
    bench.run(&task("idna")).await.good();
    // Made by a process that records nothing, while this one does.
    silent.run(&task("idna,packaging")).await.good();
    bench.run(&task("idna,packaging")).await.good();
    bench.run(&task("six")).await.good();
    flush(&bench).await;
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.faults.count, 0, "{:?}", trace.faults);
    let residents = trace.residents(Volume::Python);
    // The third environment was made before or after the trace had looked.
    assert!((2..=3).contains(&residents), "{residents} {}", trace.text);
    assert_eq!(trace.met(Volume::Python), [Met::Hit, Met::Hit, Met::Miss]);
    agrees(&bench, &trace, Volume::Python).await;
}

#[tokio::test]
async fn a_request_beyond_its_age_is_recorded_as_such() {
    let test = "a_request_beyond_its_age_is_recorded_as_such";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(recording(config)).with(|config| config.max_age_s = 1);
    bench.run(&task("idna")).await.good();
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.run(&task("idna")).await.good();
    flush(&bench).await;
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.met(Volume::Python), [Met::Miss, Met::Expired]);
    assert_eq!(trace.catalog.max_age_s, Some(1));
    // It came to the same packages, so it is the same environment.
    assert_eq!(trace.catalog.volume(Volume::Python).environments().len(), 1);
}

#[tokio::test]
async fn an_environment_that_was_evicted_and_is_made_again_is_the_same_one() {
    let test = "an_environment_that_was_evicted_and_is_made_again_is_the_same_one";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(recording(config));
    bench.run(&task("idna,packaging")).await.good();
    let gone = bench.gc(0).await;
    assert_eq!(gone.evicted_environments, 1, "{gone:?}");
    assert!(is_built(bench.run(&task("idna,packaging")).await.python()));
    flush(&bench).await;
    // A file that is full: the next one describes the environment as it is now, with wheels in other folders.
    let mut full = vec![b' '; 9 << 20];
    full.push(b'\n');
    std::fs::write(bench.config.root.join(FOLDER).join("trace-000002.jsonl"), full).unwrap();
    bench.run(&task("idna,packaging")).await.good();
    flush(&bench).await;
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.met(Volume::Python), [Met::Miss, Met::Miss, Met::Hit]);
    let python = trace.catalog.volume(Volume::Python);
    assert_eq!(python.environments().len(), 1, "{:?}", python.environments());
}

#[tokio::test]
async fn processes_at_the_same_time_write_one_trace() {
    let test = "processes_at_the_same_time_write_one_trace";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(recording(config));
    bench.run(&task("idna")).await.good();
    flush(&bench).await;
    let tasks = vec![task("idna"); 5];
    let playing: Vec<_> = (0..3).map(|_| Play::new(&bench.config, &tasks).spawn()).collect();
    for mut one in playing {
        let ended = tokio::task::spawn_blocking(move || one.child.wait().unwrap())
            .await
            .unwrap();
        assert!(ended.success());
    }
    let trace = Trace::read(&bench.config.root);
    assert_eq!(trace.faults.count, 0, "{:?}", trace.faults);
    let met = trace.met(Volume::Python);
    assert_eq!((met.len(), met[0]), (16, Met::Miss));
    assert!(met[1..].iter().all(|met| *met == Met::Hit));
}

#[tokio::test]
async fn a_full_disk_costs_the_trace_and_no_task() {
    let test = "a_full_disk_costs_the_trace_and_no_task";
    let Some(config) = machine(test) else { return };
    if not_root(test) {
        return;
    }
    let bench = Bench::empty(recording(config));
    let folder = bench.config.root.join(FOLDER);
    std::fs::create_dir_all(&folder).unwrap();
    let script = "mount -t tmpfs -o size=4k tmpfs \"$0\" || exit 99; head -c 4096 /dev/zero >\"$0/full\"; exec \"$@\"";
    let prefix = ["unshare", "-m", "sh", "-c", script, folder.to_str().unwrap()];
    let text = Play::new(&bench.config, &[task("idna"), task("idna")]).run(&prefix);
    let reported: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if reported.is_empty() {
        println!("skipped: {test}: this user may not mount: {text}");
        return;
    }
    for ran in &reported[..2] {
        assert_eq!(ran["stdout"], format!("{SECRET}\n"), "{text}");
        assert_eq!(ran["outcome"]["warnings"], serde_json::Value::Null, "{text}");
    }
    let warnings = reported[2]["trace_warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].as_str().unwrap();
    assert!(
        warning.contains("No space left") && warning.contains("hint: "),
        "{warning}"
    );
}
