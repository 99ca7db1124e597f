//! The recorder as drivers use it, on a double of the volumes.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hybrid_cache_model::contents::{Contents, EnvironmentContents, PartContents, Prepared, UsedKeys, VolumeContents};
use hybrid_cache_model::outcome::{CacheReport, Output, Resolved};
use hybrid_cache_model::{
    CacheStatus, End, Failure, FailureKind, Lane, Outcome, Phase, Task, TaskSpec, Tenant, Timeline,
};
use hybrid_cache_sizing::trace::{Met, Reader};
use hybrid_cache_sizing::{Catalog, Event, Volume};

use super::*;
use crate::Epoch;
use crate::trace::{Notes, files_in};

/// What the user's program and its output hold, and no trace may.
const SECRET: &str = "correct-horse-battery-staple";

#[derive(Default)]
struct Volumes {
    listed: Contents,
    asked: AtomicU32,
    fails: bool,
}

#[async_trait]
impl ContentsSource for Volumes {
    async fn contents(&self) -> Result<Contents, Failure> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            return Err(Failure::new(FailureKind::Sandbox, "no sandbox"));
        }
        Ok(self.listed.clone())
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }
}

fn listed(names: &[&str]) -> Contents {
    let environments = names.iter().enumerate().map(|(number, name)| EnvironmentContents {
        name: (*name).to_owned(),
        label: "numpy".to_owned(),
        used_us: 1000 + number as u64,
        own: (4096, 3),
        parts: vec![0],
    });
    Contents {
        python: Some(VolumeContents {
            rest: (8192, 5),
            parts: vec![PartContents("wheel".to_owned(), 1 << 20, 100)],
            environments: environments.collect(),
        }),
        system: None,
    }
}

fn task() -> Task {
    let spec = TaskSpec {
        dependencies: "numpy>=2".to_owned(),
        ..TaskSpec::new(format!("print('{SECRET}')"))
    };
    spec.check().unwrap()
}

fn outcome(python: CacheStatus) -> Outcome {
    let mut timeline = Timeline {
        total_us: 90_000,
        spans: Vec::new(),
    };
    timeline.push(Phase::PythonInstall, Lane::Python, 0, 30_000);
    timeline.push(Phase::UserCode, Lane::Runner, 30_000, 50_000);
    timeline.push(Phase::PythonPublish, Lane::Publish, 30_000, 70_000);
    Outcome {
        end: End::Exited { code: 0 },
        cache: CacheReport {
            python,
            system: CacheStatus::NotAsked,
        },
        timeline,
        runner_us: 0,
        stdout: Output::default(),
        stderr: Output::default(),
        resolved: Resolved::default(),
        warnings: vec![SECRET.to_owned()],
        not_kept: None,
    }
}

fn keys(environment: Option<&str>) -> UsedKeys {
    UsedKeys {
        python_request: Some("request".to_owned()),
        python: environment.map(str::to_owned),
        system: None,
    }
}

const BUILT: CacheStatus = CacheStatus::Built {
    downloaded_bytes: 1 << 20,
    reused_bytes: 0,
};

/// Notes a request of the standing caches.
fn note(recorder: &RequestRecorder, status: CacheStatus, environment: Option<&str>, prepared: Option<&str>) {
    let prepared = prepared.map(|name| Prepared {
        contents: listed(&[name]),
        expired: false,
    });
    recorder.note(Noted {
        task: &task(),
        tenant: &Tenant::default(),
        epoch: &Epoch::Standing,
        outcome: &outcome(status),
        notes: &Notes {
            keys: keys(environment),
            prepared: prepared.map(Box::new),
            is_whole: true,
            ..Notes::default()
        },
    });
}

fn recorder(folder: &std::path::Path, volumes: Volumes) -> (RequestRecorder, Arc<Volumes>) {
    let volumes = Arc::new(volumes);
    let resident: Arc<dyn ContentsSource> = volumes.clone();
    (RequestRecorder::new(TraceConfig::new(folder), 3600, resident), volumes)
}

fn read(folder: &std::path::Path) -> (Vec<Event>, Catalog, String) {
    let (mut reader, mut events, mut text) = (Reader::new(), Vec::new(), String::new());
    for file in files_in(folder).unwrap() {
        text.push_str(&std::fs::read_to_string(file).unwrap());
    }
    for line in text.lines() {
        reader
            .line(line.as_bytes(), true, &mut |event| events.push(event.clone()))
            .unwrap();
    }
    let (catalog, faults) = reader.finish().unwrap();
    assert_eq!(faults.count, 0, "{faults:?}");
    (events, catalog, text)
}

fn met(events: &[Event]) -> Vec<Met> {
    let requests = events.iter().filter_map(|event| match event {
        Event::Request(request) => Some(request.on(Volume::Python).unwrap().met),
        Event::Resident(..) => None,
    });
    requests.collect()
}

#[tokio::test]
async fn a_trace_begun_in_the_middle_knows_what_was_there_and_not_what_its_first_request_made() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("trace");
    let volumes = Volumes {
        listed: listed(&["old", "older", "made"]),
        ..Volumes::default()
    };
    let (recorder, volumes) = recorder(&folder, volumes);
    note(&recorder, BUILT, None, Some("made"));
    note(&recorder, CacheStatus::Hit, Some("made"), None);
    note(&recorder, CacheStatus::Hit, Some("old"), None);
    assert_eq!(recorder.flush().await, None);
    let (events, catalog, text) = read(&folder);
    let resident = events
        .iter()
        .filter(|event| matches!(event, Event::Resident(..)))
        .count();
    assert_eq!((resident, met(&events)), (2, vec![Met::Miss, Met::Hit, Met::Hit]));
    let python = catalog.volume(Volume::Python);
    assert_eq!(
        (python.environments().len(), python.parts().len(), python.rest.bytes),
        (3, 1, 8192)
    );
    assert_eq!(
        (catalog.max_age_s, volumes.asked.load(Ordering::Relaxed)),
        (Some(3600), 1)
    );
    // The name of what was asked for, not what it came to; no version, no code, no output.
    assert!(
        text.contains(r#""label":"numpy""#) && !text.contains(SECRET) && !text.contains(">=2"),
        "{text}"
    );
    assert!(
        text.contains(r#""wait_us":40000"#) && text.contains(r#""python_install":30000"#),
        "{text}"
    );
    assert!(!text.contains("python_publish"), "{text}");
}

#[tokio::test]
async fn a_request_before_publishing_gets_the_environments_name_from_its_maker() {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, _) = recorder(dir.path(), Volumes::default());
    note(&recorder, CacheStatus::Hit, None, None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    note(&recorder, BUILT, None, Some("made"));
    recorder.flush().await;
    let (events, ..) = read(dir.path());
    assert_eq!(met(&events), [Met::Hit, Met::Miss]);
}

#[tokio::test]
async fn epochs_and_tasks_that_bypass_the_caches_are_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("trace");
    let (recorder, _) = recorder(&folder, Volumes::default());
    let bypassing = TaskSpec {
        dependencies: "numpy".to_owned(),
        use_cache: false,
        ..TaskSpec::new("1")
    };
    let bypassing = bypassing.check().unwrap();
    let plain = task();
    for (task, epoch, keys) in [
        (&plain, Epoch::Fresh("epoch".to_owned()), keys(Some("a"))),
        (&bypassing, Epoch::Standing, UsedKeys::default()),
        (&plain, Epoch::Standing, UsedKeys::default()),
    ] {
        recorder.note(Noted {
            task,
            tenant: &Tenant::default(),
            epoch: &epoch,
            outcome: &outcome(CacheStatus::Hit),
            notes: &Notes {
                keys: keys.clone(),
                is_whole: true,
                ..Notes::default()
            },
        });
    }
    recorder.flush().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_causes_one_warning_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("file");
    std::fs::write(&folder, "").unwrap();
    let (recorder, _) = recorder(&folder, Volumes::default());
    for _ in 0..3 {
        note(&recorder, BUILT, None, Some("made"));
    }
    let reported = recorder.flush().await.unwrap();
    assert!(
        reported.contains("are not recorded") && reported.contains("hint: "),
        "{reported}"
    );
    note(&recorder, CacheStatus::Hit, Some("made"), None);
    assert_eq!(recorder.flush().await, None);
}

#[tokio::test]
async fn a_trace_begins_even_if_the_caches_cannot_be_listed() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes {
        fails: true,
        ..Volumes::default()
    };
    let (recorder, _) = recorder(dir.path(), volumes);
    note(&recorder, BUILT, None, Some("made"));
    note(&recorder, CacheStatus::Hit, Some("unknown"), None);
    note(&recorder, CacheStatus::Hit, Some("made"), None);
    assert!(recorder.flush().await.unwrap().contains("no sandbox"));
    let (events, ..) = read(dir.path());
    assert_eq!(met(&events), [Met::Miss, Met::Hit]);
}
