//! Durable submits through the engine against raw inserts of the same rows with the same durability.
//!
//! `cargo bench -p hybrid-cache-service --bench store`. Both sides write the same rows into the same schema on the same
//! file system, in turns within one run, so that a disk that is slow for a while is slow for both. Raw inserts are one
//! connection and one commit a row: what a program does that keeps each task before it answers.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_driver::{Driver, DriverError, Epoch, LogReader, SubmitOptions, Ticket};
use hybrid_cache_model::{Failure, FailureKind, Outcome, Phase, TaskSpec};
use hybrid_cache_service::store::sqlite::{Connection, OpenMode, Value};
use hybrid_cache_service::{Engine, ServiceConfig, new_task_id};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const TURNS: usize = 32;
const CLIENTS: usize = 16;
/// Rows of one turn of one side.
const ROWS: usize = 480;
/// Reads of one turn.
const READS: usize = 4000;
const KEPT: usize = 10_000;

/// Nothing is ever run here.
struct Nowhere;

fn nothing() -> DriverError {
    DriverError::Failed(Failure::new(FailureKind::Internal, "nothing runs here"))
}

#[async_trait]
impl Driver for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }
    async fn submit(&self, _: &TaskSpec, _: &SubmitOptions) -> Result<Ticket, DriverError> {
        Err(nothing())
    }
    async fn wait(&self, _: &Ticket) -> Result<Outcome, DriverError> {
        Err(nothing())
    }
    async fn settle(&self, _: &Ticket) -> Result<Outcome, DriverError> {
        Err(nothing())
    }
    async fn cancel(&self, _: &Ticket) -> Result<(), DriverError> {
        Err(nothing())
    }
    fn preparing(&self, _: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        Err(nothing())
    }
    fn logs(&self, _: &Ticket) -> Result<LogReader, DriverError> {
        Err(nothing())
    }
    fn forget(&self, _: &Ticket) {}
    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(nothing())
    }
    async fn discard_epoch(&self, _: &Epoch) -> Result<(), DriverError> {
        Err(nothing())
    }
}

fn spec() -> TaskSpec {
    TaskSpec {
        dependencies: "numpy,pandas>=2".to_owned(),
        ..TaskSpec::new("import numpy\nprint(numpy.arange(10).sum())\n".repeat(10))
    }
}

struct Side {
    runtime: Runtime,
    engine: Engine,
    raw: Connection,
    folder: tempfile::TempDir,
}

impl Side {
    /// An engine, and a database of the same schema beside it, both with so many rows.
    fn open(kept: usize) -> Side {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = |name: &str| ServiceConfig {
            open_tasks: u64::MAX,
            ..ServiceConfig::new(folder.path().join(name))
        };
        let engine = runtime
            .block_on(Engine::open(config("engine"), Arc::new(Nowhere)))
            .unwrap();
        let empty = runtime
            .block_on(Engine::open(config("raw"), Arc::new(Nowhere)))
            .unwrap();
        runtime.block_on(empty.shutdown(Duration::ZERO));
        let raw = raw(&folder.path().join("raw/tasks.sqlite3"));
        let mut side = Side {
            runtime,
            engine,
            raw,
            folder,
        };
        if kept > 0 {
            side.submits(500, kept);
            side.raw.batch("BEGIN").unwrap();
            side.inserts(kept);
            side.raw.batch("COMMIT").unwrap();
        }
        side
    }

    /// Submits from so many clients at once; how long each took.
    fn submits(&mut self, clients: usize, rows: usize) -> (Duration, Vec<Duration>) {
        let engine = &self.engine;
        let client = |_| {
            let engine = engine.clone();
            self.runtime.spawn(async move {
                let mut took = Vec::new();
                for _ in 0..rows / clients {
                    let begun = Instant::now();
                    engine.submit(&spec(), None).await.unwrap();
                    took.push(begun.elapsed());
                }
                took
            })
        };
        let begun = Instant::now();
        let clients: Vec<_> = (0..clients).map(client).collect();
        let took = clients.into_iter().map(|client| self.runtime.block_on(client).unwrap());
        let took: Vec<_> = took.flatten().collect();
        (begun.elapsed(), took)
    }

    /// Reads one task again and again from so many clients at once.
    fn gets(&self, clients: usize, reads: usize) -> Duration {
        let id = self.runtime.block_on(self.engine.submit(&spec(), None)).unwrap().id;
        let client = |_| {
            let (engine, id) = (self.engine.clone(), id.clone());
            self.runtime.spawn(async move {
                for _ in 0..reads / clients {
                    engine.get(&id).await.unwrap();
                }
            })
        };
        let begun = Instant::now();
        let clients: Vec<_> = (0..clients).map(client).collect();
        for client in clients {
            self.runtime.block_on(client).unwrap();
        }
        begun.elapsed()
    }

    /// Inserts one row after the other.
    fn inserts(&mut self, rows: usize) -> (Duration, Vec<Duration>) {
        const INSERT: &str = "INSERT INTO task (id, state, created_us, spec) VALUES (?, 'saved', ?, ?)";
        let json = serde_json::to_string(&spec()).unwrap();
        let begun = Instant::now();
        let mut took = Vec::new();
        for number in 0..rows {
            let begun = Instant::now();
            let id = new_task_id().unwrap();
            let values = [
                Value::Text(id.as_str()),
                Value::Integer(i64::try_from(number).unwrap()),
                Value::Text(&json),
            ];
            self.raw.execute(INSERT, &values).unwrap();
            took.push(begun.elapsed());
        }
        (begun.elapsed(), took)
    }
}

fn raw(path: &Path) -> Connection {
    let raw = Connection::open(path, OpenMode::Write, Duration::from_secs(5)).unwrap();
    raw.batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
        .unwrap();
    raw
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a short list"
    )]
    let place = ((values.len() - 1) as f64 * at).round() as usize;
    values[place]
}

fn spread(values: &mut [f64]) -> String {
    let [least, median, most] = [0.0, 0.5, 1.0].map(|at| quantile(values, at));
    format!("median {median:>9.2}  ({least:.2} to {most:.2})")
}

struct Figures {
    many: Vec<f64>,
    one: Vec<f64>,
    raw: Vec<f64>,
    gets: Vec<f64>,
    latencies_us: Vec<f64>,
    raw_us: Vec<f64>,
}

impl Figures {
    fn new() -> Figures {
        Figures {
            many: Vec::new(),
            one: Vec::new(),
            raw: Vec::new(),
            gets: Vec::new(),
            latencies_us: Vec::new(),
            raw_us: Vec::new(),
        }
    }

    fn take(&mut self, side: &mut Side, turn: usize) {
        let rate = |rows: usize, took: Duration| rows as f64 / took.as_secs_f64();
        let few = ROWS / 4;
        let raw = |figures: &mut Figures, side: &mut Side| {
            let (took, each) = side.inserts(few);
            figures.raw.push(rate(few, took));
            figures.raw_us.extend(each.iter().map(|took| took.as_secs_f64() * 1e6));
        };
        if turn.is_multiple_of(2) {
            raw(self, side);
        }
        let (took, each) = side.submits(CLIENTS, ROWS);
        self.many.push(rate(ROWS, took));
        self.latencies_us
            .extend(each.iter().map(|took| took.as_secs_f64() * 1e6));
        let (took, _) = side.submits(1, few);
        self.one.push(rate(few, took));
        self.gets.push(rate(READS, side.gets(CLIENTS, READS)));
        if !turn.is_multiple_of(2) {
            raw(self, side);
        }
    }

    fn print(&mut self, title: &str) {
        let share = |of: &[f64], raw: &[f64]| of.iter().zip(raw).map(|(of, raw)| of / raw).collect::<Vec<_>>();
        let (mut many, mut one) = (share(&self.many, &self.raw), share(&self.one, &self.raw));
        println!("{title}");
        println!("    raw inserts a second              {}", spread(&mut self.raw));
        println!("    submits a second, {CLIENTS} clients     {}", spread(&mut self.many));
        println!("    submits a second, one client      {}", spread(&mut self.one));
        println!("    reads a second, {CLIENTS} clients       {}", spread(&mut self.gets));
        println!("    ratio, {CLIENTS} clients                {}", spread(&mut many));
        println!("    ratio, one client                 {}", spread(&mut one));
        for (what, each_us) in [
            ("submit, 16 clients", &mut self.latencies_us),
            ("raw insert", &mut self.raw_us),
        ] {
            let [median, p99] = [0.5, 0.99].map(|at| quantile(each_us, at));
            let times = p99 / median;
            println!("    {what:<18}, us            median {median:>9.0}  p99 {p99:.0}  p99/median {times:.1}");
        }
    }
}

fn main() {
    let (mut empty, mut full) = (Side::open(0), Side::open(KEPT));
    let (mut at_first, mut later) = (Figures::new(), Figures::new());
    for turn in 0..TURNS {
        // Each goes first as often as the other.
        if turn / 2 % 2 == 0 {
            at_first.take(&mut empty, turn);
            later.take(&mut full, turn);
        } else {
            later.take(&mut full, turn);
            at_first.take(&mut empty, turn);
        }
    }
    println!("empty / {KEPT} kept");
    for (what, few, many) in [
        ("submits a second", &at_first.many, &later.many),
        ("reads a second", &at_first.gets, &later.gets),
    ] {
        let mut change: Vec<f64> = few.iter().zip(many).map(|(few, many)| few / many).collect();
        println!("    {what:<30}    {}", spread(&mut change));
    }
    at_first.print("beginning with an empty store");
    later.print(&format!("beginning with {KEPT} kept tasks"));
    for side in [empty, full] {
        side.runtime.block_on(side.engine.shutdown(Duration::ZERO));
        drop(side.folder);
    }
}
