//! What standby pods give, on a real cluster: latency beside Jobs, bursts, and a thousand tasks while pods are killed.
//!
//! `cargo bench --package hybrid-cache-driver --bench standby -- PART [NUMBER]`, with `HYBRID_CACHE_KUBE_CONTEXT` and
//! `HYBRID_CACHE_KUBE_CONFIG` as for the tests of the cluster. Parts: `arrivals` (tasks one after the other, one every two seconds, by
//! default 300 of each kind), `burst` (20 at once on 24 pods), `crowd` (100 at once on eight pods, and as Jobs), `kills` (by default
//! 1,000 tasks while pods are deleted at random), `refill` (single claims of an idle pool). Nothing is trimmed.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions};
use hybrid_cache_model::{Phase, TaskSpec, Tenant};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

const NUMPY: &str = "import numpy; print(numpy.arange(4).sum())";
const PATIENCE: Duration = Duration::from_secs(600);

/// A cluster, and the configuration of drivers on it.
struct Place {
    client: Client,
    config: KubeConfig,
}

/// One task that ended well.
struct Sample {
    took: Duration,
    was_standby: bool,
    claim_us: u64,
}

impl Place {
    async fn find() -> Option<Place> {
        let context = std::env::var("HYBRID_CACHE_KUBE_CONTEXT").ok()?;
        let file = std::env::var_os("HYBRID_CACHE_KUBE_CONFIG")?;
        let options = KubeConfigOptions {
            context: Some(context),
            ..KubeConfigOptions::default()
        };
        let client = Client::try_from(Config::from_kubeconfig(&options).await.unwrap()).unwrap();
        let config = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        Some(Place { client, config })
    }

    async fn driver(&self, standby: Option<u32>) -> Arc<KubeDriver> {
        let mut config = self.config.clone();
        config.standby = standby.map(|count| count.to_string().parse().unwrap());
        Arc::new(KubeDriver::open(self.client.clone(), config).await.unwrap())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.config.namespace)
    }

    /// The address of this machine that pods can reach.
    async fn own_address(&self) -> IpAddr {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
        let addresses = node.status.and_then(|status| status.addresses).unwrap();
        let node = addresses.iter().find(|one| one.type_ == "InternalIP").unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((node.address.as_str(), 9)).unwrap();
        socket.local_addr().unwrap().ip()
    }
}

fn numpy() -> TaskSpec {
    TaskSpec {
        dependencies: "numpy".to_owned(),
        ..TaskSpec::new(NUMPY)
    }
}

async fn fill(driver: &KubeDriver) {
    let filled = driver
        .fill_standby(&Epoch::Standing, &Tenant::default(), PATIENCE)
        .await;
    filled.unwrap();
}

async fn run(driver: &KubeDriver, spec: &TaskSpec) -> Result<Sample, String> {
    let began = Instant::now();
    let options = SubmitOptions::default();
    let ticket = driver.submit(spec, &options).await.map_err(|error| error.to_string())?;
    let outcome = driver.wait(&ticket).await.map_err(|error| error.to_string())?;
    let took = began.elapsed();
    let stdout = driver
        .logs(&ticket)
        .map_err(|error| error.to_string())?
        .collect(Stream::Stdout);
    driver.forget(&ticket);
    if !outcome.end.is_success() || !outcome.warnings.is_empty() {
        let said = String::from_utf8_lossy(&stdout).into_owned();
        return Err(format!("{:?} {:?} {said:?}", outcome.end, outcome.warnings));
    }
    let has = |phase| outcome.timeline.spans.iter().any(|span| span.phase == phase);
    Ok(Sample {
        took,
        was_standby: has(Phase::Claim) && !has(Phase::Submit),
        claim_us: outcome.timeline.phase_us(Phase::Claim),
    })
}

fn show(what: &str, samples: &[Sample]) {
    let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share).div_ceil(100).clamp(1, times.len()) - 1].as_millis();
    let standby = samples.iter().filter(|sample| sample.was_standby).count();
    let mut claims: Vec<u64> = samples.iter().map(|sample| sample.claim_us).collect();
    claims.sort_unstable();
    println!(
        "{what}: n {}, p50 {} ms, p95 {} ms, p99 {} ms, max {} ms; in standby pods {standby}; claim p50 {:.1} ms",
        times.len(),
        at(50),
        at(95),
        at(99),
        at(100),
        claims[claims.len() / 2] as f64 / 1000.0,
    );
}

/// Runs the first one, so that the others are cached.
async fn warm(driver: &KubeDriver) {
    for _ in 0..2 {
        run(driver, &numpy()).await.unwrap();
    }
}

async fn arrivals(place: &Place, count: usize) {
    let (standby, jobs) = (place.driver(Some(2)).await, place.driver(None).await);
    warm(&standby).await;
    warm(&jobs).await;
    for (name, spec) in [("nothing", TaskSpec::new("pass")), ("numpy", numpy())] {
        fill(&standby).await;
        let mut samples = Vec::new();
        for _ in 0..count {
            let next = Instant::now() + Duration::from_secs(2);
            samples.push(run(&standby, &spec).await.unwrap());
            tokio::time::sleep_until(next.into()).await;
        }
        show(&format!("{name}, standby"), &samples);
        let mut samples = Vec::new();
        for _ in 0..count.div_ceil(10) {
            samples.push(run(&jobs, &spec).await.unwrap());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        show(&format!("{name}, job"), &samples);
    }
    println!("{:?}", standby.standby().unwrap());
    standby.end_standby().await.unwrap();
}

async fn at_once(driver: &Arc<KubeDriver>, count: usize) -> (Vec<Sample>, usize) {
    let running = (0..count).map(|_| {
        let driver = Arc::clone(driver);
        tokio::spawn(async move { run(&driver, &numpy()).await })
    });
    let (mut samples, mut lost) = (Vec::new(), 0);
    for ran in running.collect::<Vec<_>>() {
        match ran.await.unwrap() {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                println!("lost: {error}");
                lost += 1;
            }
        }
    }
    (samples, lost)
}

async fn burst(place: &Place, rounds: usize) {
    let driver = place.driver(Some(24)).await;
    warm(&driver).await;
    let (mut all, mut lost) = (Vec::new(), 0);
    for _ in 0..rounds {
        fill(&driver).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (samples, gone) = at_once(&driver, 20).await;
        show("20 at once on 24", &samples);
        all.extend(samples);
        lost += gone;
    }
    show("all", &all);
    println!("lost {lost}; {:?}", driver.standby().unwrap());
    driver.end_standby().await.unwrap();
}

/// Seconds of processor time of a node that is a container of this machine, and of its pods.
fn processor_s() -> Option<(f64, f64)> {
    let used = |file: &str| {
        if let Ok(text) = std::fs::read_to_string(file.replace("cpu.stat", "cpuacct.usage")) {
            return text.trim().parse::<f64>().ok().map(|nsec| nsec / 1e9);
        }
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        line.parse::<f64>().ok().map(|usec| usec / 1e6)
    };
    let list = std::process::Command::new("docker")
        .args(["ps", "-q", "--no-trunc"])
        .output()
        .ok()?;
    let (mut node, mut pods) = (0.0, 0.0);
    for id in String::from_utf8_lossy(&list.stdout).lines() {
        for base in [
            "/sys/fs/cgroup/docker",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup/cpuacct/docker",
        ] {
            let folder = if base.ends_with("/docker") {
                format!("{base}/{id}")
            } else {
                format!("{base}/docker-{id}.scope")
            };
            node += used(&format!("{folder}/cpu.stat")).unwrap_or(0.0);
            for slice in [
                "kubelet.slice/kubelet-kubepods.slice",
                "kubelet/kubepods",
                "kubepods.slice",
                "kubepods",
            ] {
                pods += used(&format!("{folder}/{slice}/cpu.stat")).unwrap_or(0.0);
            }
        }
    }
    (node > 0.0).then_some((node, pods))
}

async fn crowd(place: &Place, rounds: usize) {
    let (standby, jobs) = (place.driver(Some(8)).await, place.driver(None).await);
    warm(&standby).await;
    warm(&jobs).await;
    for _ in 0..rounds {
        for (name, driver) in [("standby", &standby), ("jobs", &jobs)] {
            fill(&standby).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            let (before, began) = (processor_s(), Instant::now());
            let (samples, lost) = at_once(driver, 100).await;
            let took = began.elapsed();
            let after = processor_s();
            show(&format!("100 at once, {name}"), &samples);
            let spent = before
                .zip(after)
                .map(|(before, after)| (after.0 - before.0, after.1 - before.1));
            println!("all ended after {took:?}, lost {lost}, processor seconds of the node and of its pods {spent:?}");
        }
    }
    standby.end_standby().await.unwrap();
}

/// Counts how often each task ran: each tells its number to this machine.
async fn kills(place: &Place, count: usize) {
    let driver = place.driver(Some(4)).await;
    fill(&driver).await;
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = format!(
        "{}:{}",
        place.own_address().await,
        listener.local_addr().unwrap().port()
    );
    let ran: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counting = Arc::clone(&ran);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut number = String::new();
            let mut stream = stream;
            if stream.read_to_string(&mut number).is_ok() {
                *counting.lock().unwrap().entry(number).or_default() += 1;
            }
        }
    });
    let killed = Arc::new(AtomicUsize::new(0));
    let (pods, counter) = (place.pods(), Arc::clone(&killed));
    let killer = tokio::spawn(async move {
        let selector = "app.kubernetes.io/managed-by=hybrid-cache";
        loop {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let listed = pods.list(&ListParams::default().labels(selector)).await;
            let names: Vec<String> = listed
                .into_iter()
                .flat_map(|list| list.items)
                .filter_map(|pod| pod.metadata.name)
                .collect();
            let chance = usize::try_from(Instant::now().elapsed().as_nanos()).unwrap_or(0)
                + std::time::UNIX_EPOCH
                    .elapsed()
                    .map_or(0, |time| time.subsec_nanos() as usize / 1000);
            if let Some(name) = names.get(chance % names.len().max(1))
                && pods.delete(name, &DeleteParams::default()).await.is_ok()
            {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (mut samples, mut failed) = (Vec::new(), HashMap::<String, usize>::new());
    for number in 0..count {
        let code = format!(
            "import socket, time\nwith socket.create_connection(tuple('{address}'.rsplit(':', 1)), 5) as link: link.sendall(b'{number}')\ntime.sleep(0.05)"
        );
        match run(&driver, &TaskSpec::new(code)).await {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                let kind = if error.contains("Evicted") {
                    "evicted"
                } else {
                    error.as_str()
                };
                *failed.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    killer.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    show("while pods are killed", &samples);
    let ran = std::mem::take(&mut *ran.lock().unwrap());
    let twice = ran.values().filter(|times| **times > 1).count();
    println!(
        "{count} tasks, {} pods deleted, {} ended well, {twice} ran twice, {} ran; failed: {failed:?}",
        killed.load(Ordering::Relaxed),
        samples.len(),
        ran.len()
    );
    println!("{:?}", driver.standby().unwrap());
    driver.end_standby().await.unwrap();
}

async fn refill(place: &Place, count: usize) {
    let driver = place.driver(Some(4)).await;
    let mut times = Vec::new();
    for _ in 0..count {
        fill(&driver).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let before = driver.standby().unwrap().counts.refills;
        run(&driver, &TaskSpec::new("pass")).await.unwrap();
        fill(&driver).await;
        let counts = driver.standby().unwrap().counts;
        if counts.refills > before {
            times.push(counts.last_refill_ms);
        }
    }
    times.sort_unstable();
    println!(
        "refill after a single claim: n {}, p50 {} ms, max {} ms",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    driver.end_standby().await.unwrap();
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let number = words.get(1).and_then(|word| word.parse().ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let Some(place) = Place::find().await else {
            println!(
                "skipped: standby pods: no cluster: HYBRID_CACHE_KUBE_CONTEXT and HYBRID_CACHE_KUBE_CONFIG are not set"
            );
            return;
        };
        match words.first().map(String::as_str) {
            Some("arrivals") => arrivals(&place, number.unwrap_or(300)).await,
            Some("burst") => burst(&place, number.unwrap_or(5)).await,
            Some("crowd") => crowd(&place, number.unwrap_or(2)).await,
            Some("kills") => kills(&place, number.unwrap_or(1000)).await,
            Some("refill") => refill(&place, number.unwrap_or(20)).await,
            _ => println!("parts: arrivals, burst, crowd, kills, refill"),
        }
    });
}
