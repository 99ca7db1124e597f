//! The environment of these tests: a service in its own folder, and ways to wait for its tasks.

use std::future::Future;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::TaskSpec;
use hybrid_cache_service::{Backoff, Engine, Follow, RunAnswer, ServiceConfig, StateName, TaskId, TaskView};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::scripted::Scripted;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that cannot be watched.
pub const LOOK: Duration = Duration::from_millis(5);
/// Tells a process which role it has in a test.
pub const ROLE: &str = "SERVICE_TEST_ROLE";
/// The folder of that role.
pub const FOLDER: &str = "SERVICE_TEST_FOLDER";

/// A configuration that does not keep a test waiting.
pub fn config(folder: &Path) -> ServiceConfig {
    ServiceConfig {
        backoff: Backoff {
            first: Duration::from_millis(10),
            most: Duration::from_millis(50),
        },
        busy: Duration::from_millis(300),
        ..ServiceConfig::new(folder)
    }
}

/// An engine over a scripted driver, in a folder that is deleted with it.
pub struct Bench {
    pub engine: Engine,
    pub driver: Arc<Scripted>,
    pub root: TempDir,
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::with(Scripted::independent(), |_| {}).await
    }

    pub async fn with(driver: Scripted, change: impl FnOnce(&mut ServiceConfig)) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        change(&mut config);
        let driver = Arc::new(driver);
        let engine = Engine::open(config, Arc::clone(&driver) as Arc<dyn Driver>)
            .await
            .unwrap();
        Bench { engine, driver, root }
    }

    /// The next service on the same folder and the same driver.
    pub async fn reopen(self) -> Bench {
        let Bench { engine, driver, root } = self;
        drop(engine);
        let config = config(root.path());
        let driver_again = Arc::clone(&driver) as Arc<dyn Driver>;
        let engine = until("the folder is let go of", || async {
            Engine::open(config.clone(), Arc::clone(&driver_again)).await.ok()
        })
        .await;
        Bench { engine, driver, root }
    }

    pub async fn submit(&self, code: &str) -> TaskId {
        submit(&self.engine, code).await
    }

    /// Submits and runs.
    pub async fn start(&self, code: &str) -> TaskId {
        let id = self.submit(code).await;
        let RunAnswer { state, .. } = self.engine.run(&id).await.unwrap();
        assert_eq!(state, StateName::Queued);
        id
    }

    pub async fn reaches(&self, id: &TaskId, state: StateName) -> TaskView {
        reaches(&self.engine, id, state).await
    }
}

pub async fn submit(engine: &Engine, code: &str) -> TaskId {
    engine.submit(&TaskSpec::new(code), None).await.unwrap().id
}

/// Waits until a task is in a state.
pub async fn reaches(engine: &Engine, id: &TaskId, state: StateName) -> TaskView {
    until(&format!("{id} is {state:?}"), || async {
        let view = engine.get(id).await.unwrap();
        (view.summary.state == state).then_some(view)
    })
    .await
}

/// Calls until there is a result.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up, "waited too long until {what}");
        sleep(LOOK).await;
    }
}

/// A clock that is set by hand.
pub struct Jumping(pub std::sync::atomic::AtomicI64);

impl hybrid_cache_service::Clock for Jumping {
    fn now_us(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// All output of a task from some position, as stored or until its end: `o` before each chunk of standard output, `e`
/// before each of standard error.
pub async fn read_all(engine: &Engine, id: &TaskId, from: u64, follow: Follow) -> Vec<u8> {
    let mut reader = engine.output(id, from, follow).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap().unwrap() {
        all.extend(chunk.bytes);
    }
    all
}

/// Starts this program again in another role.
pub fn play(role: &str, folder: &Path) -> Child {
    play_behind(&[], role, folder)
}

/// The same through another program.
pub fn play_behind(prefix: &[&str], role: &str, folder: &Path) -> Child {
    let own = std::env::current_exe().unwrap();
    let words = prefix.iter().map(|word| (*word).to_owned());
    let words: Vec<String> = words
        .chain([own.to_str().unwrap().to_owned()])
        .chain(["--exact", role, "--nocapture", "--quiet"].map(str::to_owned))
        .collect();
    Command::new(&words[0])
        .args(&words[1..])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The lines that a role prints, without those of the test harness.
pub fn lines(stdout: ChildStdout) -> impl Iterator<Item = String> {
    use std::io::BufRead;
    let lines = std::io::BufReader::new(stdout).lines().map_while(Result::ok);
    // The harness may begin a line of its own in front of ours.
    lines.filter_map(|line| line.split_once("# ").map(|(_, said)| said.to_owned()))
}

/// Sends a line to the test that started this process.
pub fn say(words: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("# {words}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The folder, if this process has that role.
pub fn plays(role: &str) -> Option<std::path::PathBuf> {
    let here = std::env::var(ROLE).is_ok_and(|own| own == role);
    here.then(|| std::env::var_os(FOLDER).unwrap().into())
}
