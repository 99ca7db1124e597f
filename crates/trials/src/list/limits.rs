//! Attacks on resources that tasks share: space, memory, processes, files, time and output.

use std::time::{Duration, Instant};

use hybrid_cache_model::{End, Protection, TaskSpec};
use serde_json::json;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program};
use crate::error::TrialError;
use crate::probe::{Packages, Probe};
use crate::site::{ANYWHERE, LOCAL, Site};
use crate::verdict::Verdict;

const fn probe(code: &'static str) -> Probe {
    Probe {
        code,
        packages: Packages::None,
    }
}

const SCRATCH: Probe = probe(include_str!("../probes/scratch.py"));
const OOM: Probe = probe(include_str!("../probes/oom.py"));
const PROCESSES: Probe = probe(include_str!("../probes/processes.py"));
const OPEN_FILES: Probe = probe(include_str!("../probes/open_files.py"));
const MEMORY: &str = include_str!("../probes/memory.py");

const MIB: u64 = 1 << 20;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "fill-temporary-folders",
        promise: Protection::ScratchSize,
        tries: "A task writes more into /tmp, /dev/shm and its work folder than it was given.",
        sites: LOCAL,
        needs: &[],
        layers: &[Protection::MemoryLimit],
        method: AttackMethod::Steps(|ground| Box::pin(fill(ground))),
    },
    Attack {
        id: "outlive-the-service",
        promise: Protection::OomFirst,
        tries: "A task makes the kernel prefer other victims when memory runs out.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(oom(ground))),
    },
    Attack {
        id: "take-memory",
        promise: Protection::MemoryLimit,
        tries: "A task takes more memory than its limit.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(memory(ground))),
    },
    Attack {
        id: "fork-and-thread-bomb",
        promise: Protection::ProcessLimit,
        tries: "A task starts more processes and threads than its limit.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(processes(ground))),
    },
    Attack {
        id: "ignore-the-time-limit",
        promise: Protection::TimeLimit,
        tries: "A task ignores every signal and leaves processes in sessions of their own.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(resists(ground))),
    },
    Attack {
        id: "flood-output",
        promise: Protection::OutputLimit,
        tries: "A task prints a hundred times its limit.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(flood(ground))),
    },
    Attack {
        id: "open-many-files",
        promise: Protection::OpenFilesLimit,
        tries: "A task opens more files than its limit, and raises the limit.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(open_files(ground))),
    },
];

async fn fill(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let small = 16 * MIB;
    let limits =
        json!({"limits": {"scratch_bytes": small, "tmp_bytes": small, "shm_bytes": small, "work_bytes": small}});
    let known = json!({"most": small + MIB, "folders": ["/tmp", "/dev/shm", "/tmp/task/work", "/tmp/task/home"]});
    ground.probe_with(&SCRATCH, &known, &limits).await
}

async fn oom(ground: &AttackContext) -> Result<Verdict, TrialError> {
    // This is the highest value. The runner itself is at 500, so a lower value may be inherited from it.
    ground.probe_with(&OOM, &json!({"least": 1000}), &json!({})).await
}

async fn memory(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let (limit, most) = match ground.site() {
        Site::Local => (128 * MIB, 256 * MIB),
        // The pod has its own limit, which a trial does not set.
        Site::Pod => (0, 8192 * MIB),
    };
    let limits = json!({"limits": {"memory_bytes": limit}});
    let spec = TaskSpec::new(program(&json!({"most": most}), MEMORY));
    let ran = ground.warm().await?.run_with(&spec, &limits).await?;
    if let Ok(findings) = ran.findings("takes memory") {
        return Ok(Verdict::held_if_none(&findings.got));
    }
    // However the task ends, its user must learn the reason.
    let has_memory_warning = ran.outcome.warnings.iter().any(|warning| warning.contains("memory"));
    match &ran.outcome.end {
        End::Failed { failure } if failure.to_string().to_lowercase().contains("memory") => Ok(Verdict::Held),
        End::Signaled { signal: 9 } if has_memory_warning => Ok(Verdict::Held),
        // A failed allocation is also an effect of the limit.
        End::Exited { .. } if ran.stderr.contains("MemoryError") || ran.stderr.contains("Cannot allocate memory") => {
            Ok(Verdict::Held)
        }
        end => Ok(Verdict::not_held(format!(
            "it ended as {end:?}, which does not name memory"
        ))),
    }
}

async fn processes(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let most = match ground.site() {
        Site::Local => 40,
        // The kubelet has its own limit for a pod.
        Site::Pod => 4096,
    };
    let known = json!({"most": most});
    ground
        .probe_with(&PROCESSES, &known, &json!({"limits": {"processes": 32}}))
        .await
}

async fn open_files(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let known = json!({"most": 64});
    ground
        .probe_with(&OPEN_FILES, &known, &json!({"limits": {"open_files": 64}}))
        .await
}

/// Longest time that a task may take to end after its time limit.
const LATE: Duration = Duration::from_secs(12);

async fn resists(ground: &AttackContext) -> Result<Verdict, TrialError> {
    const STUBBORN: &str = "import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
while True:
    try: time.sleep(60)
    except BaseException: pass";
    let (caches, began) = (ground.warm().await?, Instant::now());
    let ticket = caches
        .submit(&TaskSpec::new(STUBBORN), &json!({"limits": {"time_ms": 1000}}))
        .await?;
    let ended = tokio::time::timeout(LATE, caches.driver.settle(&ticket)).await;
    let verdict = match ended {
        Ok(outcome) => match outcome?.end {
            End::TimedOut { .. } => Verdict::Held,
            end => Verdict::not_held(format!("it ended as {end:?} after {} s", began.elapsed().as_secs())),
        },
        Err(_) => {
            caches.driver.cancel(&ticket).await?;
            caches.finish(&ticket).await?;
            Verdict::not_held(format!("it was not ended within {} s of its second", LATE.as_secs()))
        }
    };
    caches.driver.forget(&ticket);
    Ok(verdict)
}

async fn flood(ground: &AttackContext) -> Result<Verdict, TrialError> {
    const LIMIT: usize = 64 << 10;
    let code = "import sys\nfor _ in range(64): sys.stdout.write('x' * (1 << 17))";
    let ran = ground
        .warm()
        .await?
        .run_with(&TaskSpec::new(code), &json!({"limits": {"output_bytes": LIMIT}}))
        .await?;
    Ok(if ran.stdout.len() > LIMIT {
        Verdict::not_held(format!("{} KiB of output were passed on", ran.stdout.len() >> 10))
    } else {
        Verdict::Held
    })
}
