//! Tests of load on a double of the service, whose tasks behave as a test says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hybrid_cache_api::ProblemType;
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::load::{LoadCounts, LoadRecord, MemorySource};
use hybrid_cache_report::{DurationHistogram, LoadSummary};
use hybrid_cache_tools::Silent;

use super::board::Stop;
use super::drive::{LoadLimits, LoadPlan, drive};
use super::verdict::{LoadVerdict, judge};
use crate::via::tests::{Answer, TestServer, fine, refusal, serve, task_json};

const TIMES: &str = r#""queuedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00.002Z", "endedAt": "2026-01-01T00:00:00.010Z""#;

/// How a task behaves after it was queued.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Succeeds,
    Exits(i32),
    /// The task never ends.
    Runs,
    /// The task is acknowledged and then forgotten.
    Vanishes,
}

/// A service that ends its tasks at once, each with the fate of its number.
struct Double {
    fate: fn(u64) -> Fate,
    /// Number of each saved task, and whether it was queued.
    tasks: Mutex<Vec<(u64, bool)>>,
    submits: AtomicU64,
    /// Extra tasks that the service creates without a request.
    surplus: u64,
}

impl Double {
    fn answer(&self, request: &str) -> Option<Answer> {
        let mut tasks = self.tasks.lock().unwrap();
        if request == "POST /api/v1/tasks/submit" {
            let number = self.submits.fetch_add(1, Ordering::SeqCst);
            tasks.push((number, false));
            return Some(fine(&format!(r#"{{"id": "task-{number}", "message": ""}}"#)));
        }
        if request == "GET /metrics" {
            let kept = tasks.len() as u64 + if tasks.is_empty() { 0 } else { self.surplus };
            let submits = self.submits.load(Ordering::SeqCst);
            return Some(fine(&format!(
                "hybrid_cache_tasks{{state=\"ended\"}} {kept}\nhybrid_cache_tasks_expired_total 0\n\
                 hybrid_cache_tasks_ended_total 0\nhybrid_cache_submit_seconds_count {submits}\nhybrid_cache_queue_depth 3\n\
                 hybrid_cache_tasks_under_way 2\nhybrid_cache_resident_bytes 5000000\n\
                 hybrid_cache_kept_bytes{{kind=\"output\"}} 40\nhybrid_cache_kept_bytes{{kind=\"database\"}} 2\n"
            )));
        }
        if request.starts_with("GET /api/v1/tasks?") {
            let all = !request.contains("state=");
            let listed = tasks.iter().rev().filter_map(|task| self.view(*task, all));
            let items = listed.collect::<Vec<_>>().join(",");
            return Some(fine(&format!(r#"{{"items": [{items}]}}"#)));
        }
        let number = request.split("/task-").nth(1)?.split('/').next()?.parse::<u64>().ok()?;
        if request.ends_with("/run") {
            let task = tasks.iter_mut().find(|(known, _)| *known == number)?;
            task.1 = true;
        } else if request.starts_with("DELETE ") {
            tasks.retain(|(known, _)| *known != number);
        } else if request.starts_with("GET ") {
            let task = tasks.iter().find(|(known, _)| *known == number)?;
            let gone = || refusal(ProblemType::NotFound, "");
            return Some(self.view(*task, true).map_or_else(gone, |task| fine(&task)));
        }
        None
    }

    fn view(&self, (number, queued): (u64, bool), all: bool) -> Option<String> {
        let ended = |code: i32| {
            let fields = format!(r#""state": "ended", "end": "exited", "exitCode": {code}, {TIMES}"#);
            task_json(&format!("task-{number}"), &fields)
        };
        let open = |state: &str| {
            let fields = format!(r#""state": "{state}""#);
            all.then(|| task_json(&format!("task-{number}"), &fields))
        };
        match (queued, (self.fate)(number)) {
            (false, _) => open("saved"),
            (_, Fate::Runs) => open("running"),
            (_, Fate::Vanishes) => None,
            (_, Fate::Succeeds) => Some(ended(0)),
            (_, Fate::Exits(code)) => Some(ended(code)),
        }
    }
}

/// Starts the double; `other` may answer single requests.
fn double(fate: fn(u64) -> Fate, other: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> TestServer {
    with_surplus(fate, 0, other)
}

fn with_surplus(
    fate: fn(u64) -> Fate,
    surplus: u64,
    other: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static,
) -> TestServer {
    let double = Double {
        fate,
        tasks: Mutex::default(),
        submits: AtomicU64::new(0),
        surplus,
    };
    serve(move |request, like| other(request, like).or_else(|| double.answer(request)))
}

fn plan(server: &TestServer, per_s: f64, lasts: Duration) -> LoadPlan {
    LoadPlan {
        url: server.url.clone(),
        token_file: None,
        specs: vec![TaskSpec::new("print(1)"), TaskSpec::new("print(2)")],
        per_s,
        lasts,
        retries: 2,
        process: None,
        limits: LoadLimits {
            silence: Duration::from_secs(1),
            behind: Duration::from_secs(20),
            stuck: Duration::from_secs(2),
            drain: Duration::from_secs(30),
        },
    }
}

fn driven(server: &TestServer, per_s: f64, lasts_ms: u64) -> (LoadRecord, Option<Stop>) {
    let plan = plan(server, per_s, Duration::from_millis(lasts_ms));
    drive(&plan, &AtomicBool::new(false), &Silent).unwrap()
}

#[test]
fn every_arrival_is_sent_seen_to_its_end_and_counted_once() {
    let server = double(|_| Fate::Succeeds, |_, _| None);
    let (load, stopped) = driven(&server, 50.0, 1000);
    assert!(stopped.is_none());
    let counts = LoadCounts {
        due: 50,
        submitted: 50,
        queued: 50,
        succeeded: 50,
        ..LoadCounts::default()
    };
    assert_eq!(load.counts, counts);
    assert_eq!(
        (load.service.made, load.service.memory),
        (Some(50), MemorySource::Metrics)
    );
    assert_eq!(judge(&load), LoadVerdict::Kept);
    let latency = DurationHistogram::decode(&load.latency).unwrap();
    // The latency includes the time that the service reports.
    assert!(latency.len() == 50 && latency.at(0.0) >= 9_900, "{}", latency.at(0.0));
    assert_eq!(DurationHistogram::decode(&load.queue).unwrap().max() / 100, 20);
    assert_eq!(load.rows.iter().map(|row| row.done).sum::<u64>(), 50);
    assert!(
        load.rows
            .iter()
            .any(|row| row.waiting == Some(3) && row.disk_bytes == Some(42))
    );
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|request| request.ends_with("/submit")).count(), 50);
}

#[test]
fn tasks_that_fail_are_counted_with_the_first_reason_of_each_kind() {
    let server = double(
        |number| {
            if number.is_multiple_of(4) {
                Fate::Exits(3)
            } else {
                Fate::Succeeds
            }
        },
        |_, _| None,
    );
    let (load, _) = driven(&server, 40.0, 500);
    assert_eq!((load.counts.failed, load.counts.succeeded), (5, 15));
    assert_eq!(DurationHistogram::decode(&load.latency).unwrap().len(), 15);
    assert_eq!(load.reasons.len(), 1);
    assert!(
        load.reasons[0].starts_with("the program exited with 3"),
        "{:?}",
        load.reasons
    );
    assert_eq!(
        judge(&load),
        LoadVerdict::Failed {
            failed: 5,
            due: load.counts.due
        }
    );
}

#[test]
fn a_refused_task_is_sent_again_when_the_service_says_and_given_up_in_the_end() {
    let busy = || refusal(ProblemType::QueueFull, "Retry-After: 1\r\n");
    let server = double(
        |_| Fate::Succeeds,
        move |request, like| match request {
            "POST /api/v1/tasks/task-0/run" => Some(busy()),
            "POST /api/v1/tasks/task-1/run" if like == 1 => Some(busy()),
            _ => None,
        },
    );
    let (load, _) = driven(&server, 10.0, 500);
    let counts = LoadCounts {
        due: 5,
        submitted: 5,
        queued: 4,
        succeeded: 4,
        refused: 2,
        // Twice for the first arrival, once for the other.
        retried: 3,
        given_up: 1,
        ..LoadCounts::default()
    };
    assert_eq!(load.counts, counts);
    // A saved task that will not run is deleted, and does not count as made twice.
    assert_eq!(load.service.made, Some(5));
    assert!(
        server
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|request| request == "DELETE /api/v1/tasks/task-0")
    );
    assert_eq!(judge(&load), LoadVerdict::Kept);
    // The wait is part of the latency, because the latency counts from the scheduled time.
    assert!(DurationHistogram::decode(&load.latency).unwrap().max() > 1_000_000);
}

#[test]
fn a_stall_counts_for_every_arrival_that_it_delays() {
    let stall: Arc<Mutex<Option<Instant>>> = Arc::default();
    let server = double(
        |_| Fate::Succeeds,
        move |request, _| {
            if request.starts_with("POST ") {
                let mut began = stall.lock().unwrap();
                if began.is_none() {
                    *began = Some(Instant::now());
                    // The lock is held during the sleep, so that no request gets through.
                    thread::sleep(Duration::from_secs(1));
                }
            }
            None
        },
    );
    let (load, _) = driven(&server, 100.0, 1000);
    let latency = DurationHistogram::decode(&load.latency).unwrap();
    assert_eq!(latency.len(), 100);
    // A closed loop would have seen the stall in at most 32 requests, one for each connection.
    assert!(latency.at(0.5) > 400_000, "median {} µs", latency.at(0.5));
    assert!(latency.max() > 990_000, "{} µs", latency.max());
}

#[test]
fn a_service_that_dies_ends_the_run_and_what_was_counted_stays() {
    let server = double(
        |_| Fate::Succeeds,
        |_, _| {
            static REQUESTS: AtomicU64 = AtomicU64::new(0);
            let gone = || (502, "", "nobody behind the proxy".to_owned());
            (REQUESTS.fetch_add(1, Ordering::SeqCst) > 60).then(gone)
        },
    );
    let began = Instant::now();
    let (load, stopped) = driven(&server, 20.0, 600_000);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(matches!(stopped, Some(Stop::Dead(_))), "{stopped:?}");
    let counts = load.counts;
    assert!(
        counts.submitted > 10 && counts.succeeded > 0 && counts.unanswered > 0,
        "{counts:?}"
    );
    let settled = counts.succeeded + counts.unfinished + counts.unanswered;
    assert_eq!(settled, counts.due, "{counts:?}");
    assert!(load.arriving_us < 40_000_000 && LoadSummary::from_record(&load).achieved_per_s > 0.0);
}

#[test]
fn an_acknowledged_task_that_the_service_forgets_is_lost_and_one_that_never_ends_is_told() {
    let server = double(
        |number| match number {
            3 => Fate::Vanishes,
            7 => Fate::Runs,
            _ => Fate::Succeeds,
        },
        |_, _| None,
    );
    let (load, stopped) = driven(&server, 20.0, 500);
    assert!(stopped.is_none());
    let counts = load.counts;
    assert_eq!(
        (counts.succeeded, counts.lost, counts.unfinished),
        (8, 1, 1),
        "{counts:?}"
    );
    assert!(load.reasons[0].contains("task-3"), "{:?}", load.reasons);
    assert_eq!(judge(&load), LoadVerdict::Broken);
}

#[test]
fn a_task_that_nobody_submitted_is_found_where_nobody_else_uses_the_service() {
    let server = with_surplus(|_| Fate::Succeeds, 1, |_, _| None);
    let (mut load, _) = driven(&server, 20.0, 250);
    assert_eq!(load.service.made, Some(6));
    assert_eq!(judge(&load), LoadVerdict::Kept);
    load.service.own = true;
    assert_eq!(judge(&load), LoadVerdict::Broken);
}

#[test]
fn interrupted_it_sends_no_more_and_asks_what_is_on_its_way_to_end() {
    let server = double(|_| Fate::Runs, |_, _| None);
    let plan = plan(&server, 20.0, Duration::from_secs(600));
    let interrupted = AtomicBool::new(false);
    let began = Instant::now();
    let (load, stopped) = thread::scope(|scope| {
        let work = scope.spawn(|| drive(&plan, &interrupted, &Silent).unwrap());
        thread::sleep(Duration::from_millis(500));
        interrupted.store(true, Ordering::Relaxed);
        work.join().unwrap()
    });
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(matches!(stopped, Some(Stop::Interrupted)), "{stopped:?}");
    assert!(load.counts.unfinished > 0 && load.counts.due < 100, "{:?}", load.counts);
    let asked = server.asked.lock().unwrap();
    let cancelled = asked.iter().filter(|request| request.ends_with("/cancel")).count();
    assert_eq!(cancelled as u64, load.counts.unfinished + load.counts.unanswered);
}

#[test]
fn a_refusal_for_good_is_no_reason_to_try_again() {
    let refuse = || refusal(ProblemType::InvalidTask, "");
    let server = double(
        |_| Fate::Succeeds,
        move |request, _| (request == "POST /api/v1/tasks/submit").then(refuse),
    );
    let (load, _) = driven(&server, 20.0, 250);
    assert_eq!((load.counts.rejected, load.counts.submitted), (5, 0));
    assert!(load.reasons[0].contains("not acceptable"), "{:?}", load.reasons);
    assert_eq!(
        judge(&load),
        LoadVerdict::Failed {
            failed: 5,
            due: load.counts.due
        }
    );
}
