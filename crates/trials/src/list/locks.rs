//! Attacks with locks that block others, and by deleting environments that a task uses.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{CacheStatus, Protection};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use serde_json::{Value, json};

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program, with_python, with_six};
use crate::caches::Caches;
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::{ANYWHERE, LOCAL, Site};
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::Wheel;

const HOLD: &str = include_str!("../probes/hold_locks.py");
/// A task that takes longer than this waits for a lock.
const PROMPT: Duration = Duration::from_secs(8);

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "hold-every-lock",
        promise: Protection::LeaseLocks,
        tries: "A task takes every lock on every file it can open; meanwhile others run cached and cold.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[Protection::Landlock],
        method: AttackMethod::Steps(|ground| Box::pin(hold_every_lock(ground))),
    },
    Attack {
        id: "keep-eviction-away",
        promise: Protection::Landlock,
        tries: "A task takes shared locks on the leases of other environments, so that they cannot be evicted.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(keep_eviction_away(ground))),
    },
    Attack {
        id: "run-without-a-lease",
        promise: Protection::LeaseRequired,
        tries: "A task is started while an evictor holds its environment.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(run_without_a_lease(ground))),
    },
    Attack {
        id: "take-the-lease-of-a-new-environment",
        promise: Protection::LeaseRequired,
        tries: "An evictor takes an environment between its preparation and the start of the task that asked for it.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(take_a_new_lease(ground))),
    },
    Attack {
        id: "evict-in-a-loop",
        promise: Protection::LeaseRequired,
        tries: "An evictor deletes everything that is not in use, in a loop, while tasks start and import late.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(evict_in_a_loop(ground))),
    },
];

async fn caches(ground: &AttackContext) -> Result<LocalCaches, TrialError> {
    let wheels = ["six", "trialother", "trialcold"].map(|name| Wheel::module(name, "1.0", "MARK = 'genuine'\n"));
    let caches = ground.local_caches(&wheels).await?;
    for package in ["six", "trialother"] {
        let code = format!("import {package}");
        caches
            .caches
            .run_well("fills the caches", &with_python(package, &code))
            .await?;
    }
    Ok(caches)
}

/// Paths that the lock holder may try to open by name, as a task sees them: it can guess names in folders that it cannot list.
fn known(caches: &LocalCaches, kinds: &[&str]) -> Value {
    let python = &caches.volumes.python;
    let is_lock = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or_default();
        let inside = path.components().any(|part| part.as_os_str() == "locks");
        inside || name == ".lease" || name == ".lock"
    };
    let paths = volume::find(python, is_lock);
    let seen = paths.iter().filter_map(|path| path.strip_prefix(python).ok());
    let seen: Vec<String> = seen.map(|path| format!("/cache/python/{}", path.display())).collect();
    json!({"paths": seen, "kinds": kinds, "seconds": 15})
}

/// The paths in a cluster's caches: a task reports where its environment is, and this gives the place of its lease.
async fn known_in_pod(caches: &Caches, packages: &[&str]) -> Result<Value, TrialError> {
    let mut paths = vec!["/cache/python/.lock".to_owned(), "/cache/python/uv/.lock".to_owned()];
    for package in packages {
        let code = "import sys\nprint(sys.prefix)";
        let ran = caches
            .run_well("tells where its environment is", &with_python(package, code))
            .await?;
        let folder = ran.stdout.trim().trim_end_matches("/venv").to_owned();
        paths.push(format!("{folder}/.lease"));
    }
    Ok(json!({"paths": paths, "kinds": ["flock", "exclusive"], "seconds": 60}))
}

async fn hold_every_lock(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let other = ground.other();
    let (caches, known, cold) = match ground.site() {
        Site::Local => {
            let caches = caches(ground).await?;
            let known = known(&caches, &["flock", "exclusive"]);
            (
                caches.caches,
                known,
                ["trialcold".to_owned(), "six,trialcold".to_owned()],
            )
        }
        Site::Pod => {
            let caches = ground.warm().await?.clone();
            let known = known_in_pod(&caches, &["six", other]).await?;
            (caches, known, ["sniffio".to_owned(), format!("six,{other}")])
        }
    };
    let holder = caches.submit(&with_six(&program(&known, HOLD)), &json!({})).await?;
    caches.until_printed(&holder, "holds").await?;
    let found = disturbed(&caches, &["six", other], &cold).await;
    caches.driver.cancel(&holder).await?;
    caches.finish(&holder).await?;
    Ok(Verdict::held_if_none(&found?))
}

/// The tasks, cached and cold, that fail, miss or take too long.
async fn disturbed(caches: &Caches, cached: &[&str], cold: &[String]) -> Result<Vec<String>, TrialError> {
    let cached = cached.iter().map(|packages| ("cached", *packages));
    let cold = cold.iter().map(|packages| ("cold", packages.as_str()));
    for (kind, packages) in cached.chain(cold) {
        let began = Instant::now();
        let quick = json!({"prepare_ms": PROMPT.as_millis()});
        let ran = caches.run_with(&with_python(packages, "print(1)"), &quick).await?;
        let was_hit = kind == "cold" || ran.outcome.cache.python == CacheStatus::Hit;
        if !ran.outcome.end.is_success() || !was_hit || began.elapsed() > PROMPT {
            let (end, took) = (&ran.outcome.end, began.elapsed().as_secs());
            return Ok(vec![format!(
                "a {kind} task with {packages} took {took} s and ended as {end:?}"
            )]);
        }
    }
    Ok(Vec::new())
}

async fn keep_eviction_away(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = caches(ground).await?;
    let known = known(&caches, &["flock shared", "shared"]);
    let holder = caches
        .caches
        .submit(&with_six(&program(&known, HOLD)), &json!({}))
        .await?;
    caches.caches.until_printed(&holder, "holds").await?;
    let report = caches.evict().await?;
    caches.driver.cancel(&holder).await?;
    caches.caches.finish(&holder).await?;
    Ok(if report.kept_in_use <= 1 {
        Verdict::Held
    } else {
        Verdict::not_held(format!(
            "{} environments could not be evicted, one was in use",
            report.kept_in_use
        ))
    })
}

async fn run_without_a_lease(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[Wheel::module("six", "1.0", "")]).await?;
    let spec = with_six("import six\nprint(six.__file__)");
    caches.caches.run_well("fills the caches", &spec).await?;
    let environment = volume::only_environment(&caches.volumes.python)?;
    let leases = volume::named(&environment, ".lease");
    let [lease] = &leases[..] else {
        return Err(TrialError::Other(format!("{} has no lease", environment.display())));
    };
    // The process that prepared the environment may need a moment to end.
    let deadline = Instant::now() + PROMPT;
    let file = loop {
        match take(lease) {
            Some(file) => break file,
            None if Instant::now() > deadline => {
                return Err(TrialError::Other("the lease of an idle environment is held".to_owned()));
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let quick = json!({"prepare_ms": 3000});
    let ran = caches.caches.run_with(&spec, &quick).await?;
    drop(file);
    Ok(match ran.outcome.cache.python {
        CacheStatus::Hit if ran.outcome.end.is_success() => {
            Verdict::not_held("a task ran from an environment that was being evicted")
        }
        _ => Verdict::Held,
    })
}

/// Takes a lock like an evictor, whichever kind of lock the lease uses; `None` if it is held.
fn take(lease: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).open(lease).ok()?;
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive));
    taken.is_ok().then_some(file)
}

async fn take_a_new_lease(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[Wheel::module("six", "1.0", "")]).await?;
    // This task comes late: its environment was published long before it starts, also on a busy machine.
    let tenants = caches.volumes.python.join("tenants");
    let there = |folder: &str| format!("ls -d {}/*/{folder}/*/ >/dev/null 2>&1", tenants.display());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--report-back*)\n\
         n=0; while [ $n -lt 50 ] && {} && ! {}; do sleep 0.1; n=$((n + 1)); done; sleep 0.5;;\n\
         esac\nexec \"$@\"\n",
        there("staging"),
        there("envs")
    );
    let mut bubblewrap = vec![super::record::executable(&caches, &script)?];
    bubblewrap.extend(caches.config.bubblewrap.iter().cloned());
    let caches = caches.with(&json!({"bubblewrap": bubblewrap}))?;
    let (started, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (python, has_started, is_over) = (caches.volumes.python.clone(), Arc::clone(&started), Arc::clone(&ended));
    let evictor = tokio::task::spawn_blocking(move || {
        let mut taken: Vec<File> = Vec::new();
        while !has_started.load(Ordering::Relaxed) && !is_over.load(Ordering::Relaxed) && taken.is_empty() {
            // An evictor leaves a staging folder alone while the process that created it is alive.
            let found = volume::named(&python, ".lease")
                .iter()
                .filter(|lease| !lease.components().any(|part| part.as_os_str() == "staging"))
                .filter_map(|lease| take(lease))
                .collect::<Vec<_>>();
            // A lock that was free only because the task had ended shows nothing.
            taken.extend(found.into_iter().filter(|_| !has_started.load(Ordering::Relaxed)));
            std::thread::sleep(Duration::from_millis(1));
        }
        // Hold the locks until the task has ended.
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        taken.len()
    });
    let code = "import time\nprint('runs', flush=True)\ntime.sleep(1)\nimport six";
    let run = async {
        let ticket = caches
            .caches
            .submit(&with_six(code), &json!({"prepare_ms": 8000}))
            .await?;
        let ran = caches.caches.until_printed(&ticket, "runs").await.is_ok();
        started.store(true, Ordering::Relaxed);
        caches.caches.finish(&ticket).await?;
        Ok::<_, TrialError>(ran)
    };
    let ran = run.await;
    ended.store(true, Ordering::Relaxed);
    let taken = evictor.await.map_err(|error| TrialError::Other(error.to_string()))?;
    Ok(if taken > 0 && ran? {
        Verdict::not_held("a task started in an environment that an evictor held")
    } else {
        Verdict::Held
    })
}

async fn evict_in_a_loop(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let package = Wheel::new("triallate", "1.0")
        .file("triallate/__init__.py", "")
        .file("triallate/late.py", "MARK = 'genuine'\n");
    let caches = ground.local_caches(&[package]).await?;
    let code = "import time, triallate\ntime.sleep(0.1)\nimport triallate.late\nprint(triallate.late.MARK)";
    let spec = with_python("triallate", code);
    let evictor = async {
        loop {
            caches.evict().await?;
        }
    };
    let tasks = async {
        let mut found = Vec::new();
        for _ in 0..12 {
            let ran = caches.caches.run(&spec).await?;
            if ran.stdout.trim() != "genuine" {
                found.push(format!("a task ended as {:?}: {}", ran.outcome.end, ran.stderr.trim()));
            }
        }
        Ok::<_, TrialError>(found)
    };
    tokio::select! {
        stopped = evictor => stopped,
        found = tasks => Ok(Verdict::held_if_none(&found?)),
    }
}
