//! What HTTP costs under load from a second process: reading a task against a hello-world handler, submits under sixteen
//! clients, and both again with ten thousand tasks stored. `cargo bench -p hybrid-cache-service --bench http`.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hybrid_cache_service::http::{Access, App, HttpConfig, Server};
use hybrid_cache_service::{Engine, ServiceConfig};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[path = "../tests/service/scripted.rs"]
#[expect(dead_code, reason = "what only the engine's own tests ask")]
mod scripted;

/// Clients at one time.
const CLIENTS: usize = 16;
/// Time for one measurement.
const SPELL: Duration = Duration::from_millis(1500);
/// Rounds, each measuring everything once, so that what the machine does meanwhile falls on all alike.
const ROUNDS: usize = 5;
/// Tasks stored for the second half.
const STORED: usize = 10_000;

type Client = SendRequest<Full<bytes::Bytes>>;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--client") {
        Some(at) => runtime.block_on(client(&arguments[at + 1..])),
        None => runtime.block_on(measure()),
    }
}

/// The second process: asks for one thing as fast as it can, and prints each answer's microseconds.
async fn client(arguments: &[String]) {
    let [address, what, path] = arguments else {
        panic!("--client ADDRESS WHAT PATH")
    };
    let address: SocketAddr = address.parse().unwrap();
    let until = Instant::now() + SPELL;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (what, path) = (what.clone(), path.clone());
        clients.spawn(async move {
            let mut client = connect(address).await;
            let mut taken = Vec::new();
            while Instant::now() < until {
                let clock = Instant::now();
                let body = if what == "submit" {
                    "{\"pythonCode\": \"print(1)\", \"dependencies\": \"numpy,pandas\"}"
                } else {
                    ""
                };
                let method = if what == "submit" { "POST" } else { "GET" };
                assert_eq!(ask(&mut client, method, &path, body).await.0, 200);
                taken.push(clock.elapsed().as_micros());
            }
            taken
        });
    }
    while let Some(taken) = clients.join_next().await {
        for us in taken.unwrap() {
            println!("{us}");
        }
    }
}

async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &mut Client, method: &str, path: &str, body: &'static str) -> (u16, bytes::Bytes) {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request
        .header("content-type", "application/json")
        .body(Full::from(body))
        .unwrap();
    client.ready().await.unwrap();
    let response = client.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

/// One spell from the second process.
#[derive(Clone, Copy, Debug)]
struct Spell {
    per_second: f64,
    median_us: f64,
    p99_us: f64,
}

async fn spell(address: SocketAddr, what: &str, path: &str) -> Spell {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--client", &address.to_string(), what, path])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child)
        .await
        .unwrap()
        .unwrap();
    let mut taken: Vec<f64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(taken.len() > 100, "{what} {path}: {} answers", taken.len());
    taken.sort_by(f64::total_cmp);
    let at = |share: usize| taken[(taken.len() - 1) * share / 100];
    Spell {
        per_second: taken.len() as f64 / SPELL.as_secs_f64(),
        median_us: at(50),
        p99_us: at(99),
    }
}

#[derive(Default)]
struct Seen {
    hello: Vec<Spell>,
    read: Vec<Spell>,
    busy: Vec<Spell>,
    submit: Vec<Spell>,
}

impl Seen {
    async fn round(&mut self, place: &Place) {
        self.hello.push(spell(place.address, "hello", "/healthz").await);
        self.read.push(spell(place.address, "read", &place.task).await);
        let writing = tokio::spawn(write_steadily(place.engine.clone()));
        self.busy.push(spell(place.address, "read", &place.task).await);
        writing.abort();
        let submit = spell(place.address, "submit", "/api/v1/tasks/submit").await;
        self.submit.push(submit);
    }

    fn print(&self, when: &str) {
        let rates = |spells: &[Spell]| spread(spells.iter().map(|spell| spell.per_second).collect(), 0);
        let ratios = |reads: &[Spell]| {
            let pairs = reads.iter().zip(&self.hello);
            spread(
                pairs.map(|(read, hello)| read.per_second / hello.per_second).collect(),
                2,
            )
        };
        let tails = self.submit.iter().map(|submit| submit.p99_us / submit.median_us);
        println!("{when}");
        println!("  hello world, per second            {}", rates(&self.hello));
        println!("  reading a task, per second         {}", rates(&self.read));
        println!("  reading beside 100 submits/s       {}", rates(&self.busy));
        println!("  submitting, per second             {}", rates(&self.submit));
        println!(
            "  reading / hello world              {}   at least 0.5",
            ratios(&self.read)
        );
        println!("  reading beside submits / hello     {}", ratios(&self.busy));
        println!(
            "  submit p99 / median                {}   at most 10",
            spread(tails.collect(), 2)
        );
    }
}

/// A hundred submits a second, as a service under way has them.
async fn write_steadily(engine: Engine) {
    let spec = hybrid_cache_model::TaskSpec::new("print(1)");
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        engine.submit(&spec, None).await.unwrap();
    }
}

/// `median (least to most)`.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (least, most) = (values[0], values[values.len() - 1]);
    format!(
        "{:.digits$} ({least:.digits$} to {most:.digits$})",
        values[values.len() / 2]
    )
}

fn rate(spells: &[Spell]) -> f64 {
    let mut values: Vec<f64> = spells.iter().map(|spell| spell.per_second).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A service on a folder of its own.
struct Place {
    address: SocketAddr,
    task: String,
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn open() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let driver = Arc::new(scripted::Scripted::with_process());
        let mut config = ServiceConfig::new(folder.path());
        config.open_tasks = 10_000_000;
        let engine = Engine::open(config, driver).await.unwrap();
        let app = App::new(engine.clone(), HttpConfig::new(Access::Local)).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address().unwrap();
        tokio::spawn(server.serve(app, std::future::pending(), Duration::ZERO));
        let task = ended_task(address).await;
        Place {
            address,
            task,
            engine,
            _folder: folder,
        }
    }
}

/// Runs one task, which is read from then on, and returns its path.
async fn ended_task(address: SocketAddr) -> String {
    let mut client = connect(address).await;
    let body = "{\"pythonCode\": \"print hello\\nerr oh\"}";
    let (_, answer) = ask(&mut client, "POST", "/api/v1/tasks/submit", body).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let path = format!("/api/v1/tasks/{}", answer["id"].as_str().unwrap());
    ask(&mut client, "POST", &format!("{path}/run"), "").await;
    for _ in 0..1000 {
        let (_, task) = ask(&mut client, "GET", &path, "").await;
        if String::from_utf8_lossy(&task).contains("\"state\":\"ended\"") {
            return path;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the task never ended");
}

async fn measure() {
    let full = Place::open().await;
    println!("storing {STORED} tasks");
    let spec = hybrid_cache_model::TaskSpec::new("print(1)");
    let mut submits = JoinSet::new();
    for _ in 0..64 {
        let (engine, spec) = (full.engine.clone(), spec.clone());
        submits.spawn(async move {
            for _ in 0..STORED / 64 + 1 {
                engine.submit(&spec, None).await.unwrap();
            }
        });
    }
    while submits.join_next().await.is_some() {}
    let (mut few, mut many) = (Seen::default(), Seen::default());
    for round in 0..=ROUNDS {
        if round == 1 {
            // The first one warmed everything up.
            (few, many) = (Seen::default(), Seen::default());
        }
        // Anew each time: what a round submits must not count as stored before. Side by side, so that what the machine
        // does meanwhile falls on both.
        let empty = Place::open().await;
        few.round(&empty).await;
        many.round(&full).await;
        empty.engine.shutdown(Duration::ZERO).await;
    }
    few.print("with no task stored before");
    many.print(&format!("with {STORED} tasks stored before, and more with each round"));
    let change = |pick: fn(&Seen) -> &Vec<Spell>| rate(pick(&few)) / rate(pick(&many));
    println!("{STORED} tasks make slower by a factor of (at most 1.2)");
    println!("  hello world  {:.2}", change(|seen| &seen.hello));
    println!("  reading      {:.2}", change(|seen| &seen.read));
    println!("  submitting   {:.2}", change(|seen| &seen.submit));
}
