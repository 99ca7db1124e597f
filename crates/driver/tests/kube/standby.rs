//! Cached tasks in standby pods: who gets one, what a task leaves in it, and how it ends when something fails.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::{End, FailureKind, Phase, TaskSpec, Tenant};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::bench::{self, Bench, options, run, spec, wait, within};

/// How long a pool may take to fill on a busy machine.
const FILL_TIMEOUT: Duration = Duration::from_secs(180);

/// A tenant with a pool of its own, so that tests do not take each other's pods.
pub struct Pool {
    pub driver: KubeDriver,
    pub options: SubmitOptions,
}

impl Pool {
    /// A driver with `count` standby pods of the tenant, all ready.
    pub async fn open(bench: &Bench, tenant: &str, count: u32) -> Pool {
        let bench = bench.with(|config| config.standby = Some(count.to_string().parse().unwrap()));
        let pool = Pool {
            driver: bench.driver().await,
            options: SubmitOptions {
                tenant: tenant.parse().unwrap(),
                ..options()
            },
        };
        pool.fill().await;
        pool
    }

    pub async fn fill(&self) {
        let tenant: &Tenant = &self.options.tenant;
        let filled = self.driver.fill_standby(&Epoch::Standing, tenant, FILL_TIMEOUT).await;
        filled.unwrap();
    }

    /// Submits a task that is cached, and waits for it.
    pub async fn run(&self, spec: &TaskSpec) -> bench::Ran {
        let ticket = self.driver.submit(spec, &self.options).await.unwrap();
        let ran = wait(&self.driver, &ticket).await;
        // Otherwise its pod takes room for a while.
        self.driver.forget(&ticket);
        ran
    }

    pub async fn end(self) {
        self.driver.end_standby().await.unwrap();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The pods of a test that fails would take the room of others.
            let ending = self.driver.end_standby();
            let _ = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ending));
        }
    }
}

/// True if the task ran in a standby pod.
pub fn was_standby(ran: &bench::Ran) -> bool {
    let has = |phase| ran.outcome.timeline.spans.iter().any(|span| span.phase == phase);
    has(Phase::Claim) && !has(Phase::Submit)
}

pub fn pods(bench: &Bench) -> Api<Pod> {
    Api::namespaced(bench.client.clone(), &bench.config.namespace)
}

/// The pod that carries a task.
pub async fn pod_of(bench: &Bench, ticket: &Ticket) -> String {
    let params = ListParams::default().labels(&format!("hybrid-cache.dev/task={}", ticket.id));
    let found = pods(bench).list(&params).await.unwrap().items;
    found[0].metadata.name.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_task_takes_a_standby_pod_and_its_streams_stay_apart() {
    let Some(bench) = bench::cluster("a_cached_task_takes_a_standby_pod").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-streams", 1).await;
    let task = spec(
        "import numpy, sys; print(numpy.arange(4).sum()); print('also', file=sys.stderr)",
        "numpy",
        "",
    );
    let first = pool.run(&task).await;
    assert!(
        !was_standby(&first),
        "a first run prepares: {:?}",
        first.outcome.timeline
    );
    pool.fill().await;
    let ticket = pool.driver.submit(&task, &pool.options).await.unwrap();
    let ran = wait(&pool.driver, &ticket).await;
    ran.printed("6\n");
    assert!(was_standby(&ran), "{:?}", ran.outcome.timeline);
    assert!(
        ran.outcome.cache.all_hit() && ran.outcome.warnings.is_empty(),
        "{:?}",
        ran.outcome
    );
    let stderr = pool.driver.logs(&ticket).unwrap().collect(Stream::Stderr);
    assert_eq!(stderr, b"also\n");
    let counts = pool.driver.standby().unwrap().counts;
    assert_eq!((counts.used, counts.not_begun), (1, 0), "{counts:?}");
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_asks_for_resources_gets_a_pod_of_its_own_with_them() {
    let Some(bench) = bench::cluster("a_task_that_asks_for_resources").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-resources", 1).await;
    let mut task = TaskSpec::new("import time; print('up', flush=True); time.sleep(3)");
    let ran = pool.run(&task).await;
    assert!(was_standby(&ran), "{:?}", ran.outcome.timeline);
    pool.fill().await;
    task.resources.memory = Some("300Mi".to_owned());
    let ticket = pool.driver.submit(&task, &pool.options).await.unwrap();
    let mut log = pool.driver.logs(&ticket).unwrap();
    within(log.next()).await.expect("output");
    let pod = pods(&bench).get(&pod_of(&bench, &ticket).await).await.unwrap();
    let limit = serde_json::to_value(&pod.spec.unwrap().containers[0].resources).unwrap();
    assert_eq!(limit.pointer("/limits/memory"), Some(&json!("300Mi")), "{limit}");
    let ran = wait(&pool.driver, &ticket).await;
    ran.printed("up\n");
    assert!(!was_standby(&ran), "{:?}", ran.outcome.timeline);
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_task_reaches_the_next_and_each_has_a_pod_of_its_own() {
    let Some(bench) = bench::cluster("nothing_of_one_task_reaches_the_next").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-apart", 1).await;
    let code = "import os, socket
left = [folder for folder in ('/tmp', '/dev/shm', '/scratch', os.path.expanduser('~')) if os.path.exists(folder + '/left')]
processes = sum(name.isdigit() for name in os.listdir('/proc'))
print(socket.gethostname(), left, os.environ.get('LEFT'), processes)
for folder in ('/tmp', '/dev/shm', os.path.expanduser('~')):
    try: open(folder + '/left', 'w').write('left')
    except OSError as error: print(error)
os.environ['LEFT'] = 'left'
if os.fork() == 0:
    os.setsid()
    import time; time.sleep(60)
";
    let mut hosts = HashSet::new();
    for _ in 0..4 {
        pool.fill().await;
        let ran = pool.run(&TaskSpec::new(code)).await;
        assert!(ran.outcome.end.is_success() && was_standby(&ran), "{:?}", ran.outcome);
        let (host, rest) = ran.stdout.split_once(' ').unwrap();
        assert!(rest.starts_with("[] None 2\n"), "{}", ran.stdout);
        assert!(hosts.insert(host.to_owned()), "{host} ran two tasks");
    }
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_pod_a_task_runs_as_a_job_and_its_timeline_says_so() {
    let Some(bench) = bench::cluster("without_a_free_pod").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-full", 1).await;
    let slow = TaskSpec::new("import time; time.sleep(8); print('slow')");
    let one = pool.driver.submit(&slow, &pool.options).await.unwrap();
    let two = pool.driver.submit(&slow, &pool.options).await.unwrap();
    let (one, two) = (wait(&pool.driver, &one).await, wait(&pool.driver, &two).await);
    one.printed("slow\n");
    two.printed("slow\n");
    assert!(was_standby(&one) && !was_standby(&two));
    let phases: Vec<Phase> = two.outcome.timeline.spans.iter().map(|span| span.phase).collect();
    assert_eq!(phases[..2], [Phase::Claim, Phase::Submit], "{phases:?}");
    assert_eq!(pool.driver.standby().unwrap().counts.none_free, 1);
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_drivers_that_claim_at_once_run_each_task_once() {
    let Some(bench) = bench::cluster("several_drivers_that_claim_at_once").await else {
        return;
    };
    let first = Pool::open(&bench, "standby-race", 4).await;
    let (second, third) = tokio::join!(
        Pool::open(&bench, "standby-race", 4),
        Pool::open(&bench, "standby-race", 4)
    );
    let drivers = [first, second, third];
    let mut waiting = Vec::new();
    for number in 0..12 {
        let pool = &drivers[number % 3];
        let spec = TaskSpec::new(format!("import socket; print({number}, socket.gethostname())"));
        waiting.push(async move { (number, pool.run(&spec).await) });
    }
    let mut hosts = HashSet::new();
    for (number, ran) in futures_util::future::join_all(waiting).await {
        let (printed, host) = ran.stdout.trim().split_once(' ').unwrap();
        assert_eq!(printed, number.to_string(), "{:?}", ran.outcome);
        assert!(hosts.insert(host.to_owned()), "{host} ran two tasks");
    }
    let used: u64 = drivers
        .iter()
        .map(|pool| pool.driver.standby().unwrap().counts.used)
        .sum();
    let conflicts: u64 = drivers
        .iter()
        .map(|pool| pool.driver.standby().unwrap().counts.conflicts)
        .sum();
    println!("of 12 tasks {used} in standby pods, {conflicts} conflicts");
    assert!(used >= 4);
    for pool in drivers {
        pool.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_a_failing_one_and_one_over_its_time_end_as_in_a_job() {
    let Some(bench) = bench::cluster("a_cancelled_task_in_a_standby_pod").await else {
        return;
    };
    let mut pool = Pool::open(&bench, "standby-ends", 1).await;
    let code = "import time\ntry: print('up', flush=True); time.sleep(100)\nfinally: print('cleaned up')";
    let ticket = pool.driver.submit(&TaskSpec::new(code), &pool.options).await.unwrap();
    within(pool.driver.logs(&ticket).unwrap().next()).await.expect("output");
    pool.driver.cancel(&ticket).await.unwrap();
    let ran = wait(&pool.driver, &ticket).await;
    assert_eq!(
        (ran.outcome.end.clone(), ran.stdout.as_str()),
        (End::Cancelled, "up\ncleaned up\n")
    );
    assert!(was_standby(&ran));
    pool.fill().await;
    let ran = pool.run(&TaskSpec::new("print('bad'); raise SystemExit(7)")).await;
    assert_eq!(
        (ran.outcome.end.clone(), ran.stdout.as_str()),
        (End::Exited { code: 7 }, "bad\n")
    );
    assert!(was_standby(&ran));
    pool.fill().await;
    pool.options.limits.time_ms = 1500;
    let ran = pool
        .run(&TaskSpec::new("import time; print('up', flush=True); time.sleep(60)"))
        .await;
    assert!(matches!(ran.outcome.end, End::TimedOut { .. }), "{:?}", ran.outcome.end);
    assert!(was_standby(&ran) && ran.stdout == "up\n");
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_in_a_standby_pod_is_reported_as_such() {
    let Some(bench) = bench::cluster("too_much_memory_in_a_standby_pod").await else {
        return;
    };
    let bench = bench.with(|config| {
        config.task_resources.memory_request = "64Mi".to_owned();
        config.task_resources.memory_limit = "64Mi".to_owned();
    });
    let pool = Pool::open(&bench, "standby-memory", 1).await;
    let ran = pool
        .run(&TaskSpec::new("x = bytearray(500_000_000); print(len(x))"))
        .await;
    assert!(was_standby(&ran), "{:?}", ran.outcome.timeline);
    match &ran.outcome.end {
        End::Failed { failure } => assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}"),
        End::Signaled { signal: 9 } => {
            let warnings = &ran.outcome.warnings;
            assert!(
                warnings.iter().any(|warning| warning.contains("memory")),
                "{:?}",
                ran.outcome
            );
        }
        end => panic!("{end:?}"),
    }
    pool.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn much_output_arrives_whole() {
    let Some(bench) = bench::cluster("much_output_of_a_standby_pod").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-output", 1).await;
    let code = "import sys\nfor n in range(60000): print(f'line {n:06}'); print(f'error {n:06}', file=sys.stderr)";
    for _ in 0..3 {
        pool.fill().await;
        let ticket = pool.driver.submit(&TaskSpec::new(code), &pool.options).await.unwrap();
        let outcome = within(pool.driver.wait(&ticket)).await.unwrap();
        assert!(outcome.end.is_success() && outcome.warnings.is_empty(), "{outcome:?}");
        for (stream, word) in [(Stream::Stdout, "line"), (Stream::Stderr, "error")] {
            let text = String::from_utf8(pool.driver.logs(&ticket).unwrap().collect(stream)).unwrap();
            let expected: String = (0..60000).map(|n| format!("{word} {n:06}\n")).collect();
            assert!(text == expected, "{word}: {} of {} bytes", text.len(), expected.len());
        }
    }
    pool.end().await;
}

/// Begins a task in a process of its own, as far as its connections are concerned, and ends that once the task has begun.
fn begin_and_die(code: &str) -> (Ticket, KubeConfig) {
    let code = code.to_owned();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let begun = runtime.block_on(async {
            // A client belongs to the runtime that uses it.
            let bench = bench::cluster("a process of its own").await.unwrap();
            let pool = Pool::open(&bench, "standby-adopt", 1).await;
            let ticket = pool.driver.submit(&TaskSpec::new(&code), &pool.options).await.unwrap();
            within(pool.driver.logs(&ticket).unwrap().next()).await.expect("output");
            (ticket, pool.driver.config().clone())
        });
        runtime.shutdown_background();
        begun
    });
    process.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_adopts_a_task_of_a_standby_pod() {
    let Some(bench) = bench::cluster("another_process_adopts_a_standby_pod").await else {
        return;
    };
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(4)\nprint('done')";
    // While it runs, and after its container has ended and was started again.
    for pause in [0, 10] {
        let (ticket, config) = begin_and_die(code);
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let driver = KubeDriver::open(bench.client.clone(), config).await.unwrap();
        let ran = wait(&driver, &ticket).await;
        ran.printed("begun\ndone\n");
        let pod = pod_of(&bench, &ticket).await;
        driver.forget(&ticket);
        let gone = async {
            while pods(&bench).get_opt(&pod).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        within(gone).await;
        driver.end_standby().await.unwrap();
    }
}

/// For a person: what a cached task takes with a free standby pod, and what a Job takes beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_task_takes_less_time_in_a_standby_pod_than_as_a_job() {
    let Some(bench) = bench::cluster("a_cached_task_takes_less_time").await else {
        return;
    };
    let pool = Pool::open(&bench, "standby-latency", 2).await;
    let job = bench.driver().await;
    let empty = TaskSpec::new("pass");
    let numpy = spec("import numpy; print(numpy.arange(4).sum())", "numpy", "");
    let first = pool.run(&numpy).await;
    assert!(first.outcome.end.is_success(), "{:?}", first.outcome);
    run(&job, &numpy, &pool.options).await;
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let rounds: usize = std::env::var("HYBRID_CACHE_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    for (name, task) in [("nothing", &empty), ("numpy", &numpy)] {
        let (mut standby, mut jobs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            pool.fill().await;
            tokio::time::sleep(Duration::from_millis(1000)).await;
            let began = Instant::now();
            let ran = pool.run(task).await;
            standby.push(began.elapsed());
            assert!(was_standby(&ran) && ran.outcome.end.is_success(), "{:?}", ran.outcome);
            let began = Instant::now();
            let ran = run(&job, task, &pool.options).await;
            jobs.push(began.elapsed());
            assert!(ran.outcome.end.is_success(), "{:?}", ran.outcome);
        }
        let spread = |times: &[Duration]| (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        println!(
            "{name}: standby {:?} {:?}, job {:?} {:?}",
            median(standby.clone()),
            spread(&standby),
            median(jobs.clone()),
            spread(&jobs)
        );
        assert!(median(standby) < median(jobs));
    }
    println!("{:?}", pool.driver.standby().unwrap());
    pool.end().await;
}
