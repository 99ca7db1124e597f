//! Attacks with wheels whose `RECORD` is false, or that imitate other packages.

use hybrid_cache_model::{End, FailureKind, Protection};
use serde_json::json;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, with_python, with_six};
use crate::caches::Ran;
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::LOCAL;
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::Wheel;

const GENUINE: &str = "MARK = 'genuine'\n";
const FORGED: &str = "MARK = 'forged!'\n";
const PRINT: &str = "import six\nprint(six.MARK)";

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "record-claims-another-files-hash",
        promise: Protection::ContentHashes,
        tries: "A wheel ships a six.py of its own under the hash of the genuine one, so that its bytecode runs for others.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(claims_a_file(ground))),
    },
    Attack {
        id: "record-claims-another-package",
        promise: Protection::ContentHashes,
        tries: "A wheel from another index has the name, the version and the RECORD of a genuine one, and other content.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(claims_a_package(ground))),
    },
    Attack {
        id: "wheel-brings-byte-code",
        promise: Protection::ContentHashes,
        tries: "A wheel ships bytecode for the module of another package in that module's own place.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(brings_bytecode(ground))),
    },
    Attack {
        id: "decoy-site-packages",
        promise: Protection::InstalledCheck,
        tries: "A wheel lays a decoy of six below lib/, so that its environment is published as the genuine one.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(lays_decoys(ground))),
    },
    Attack {
        id: "installer-leaves-a-package-out",
        promise: Protection::InstalledCheck,
        tries: "The installer reports success and has installed nothing of a requirement that has a marker.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(leaves_out(ground))),
    },
    Attack {
        id: "installer-leaves-a-file-out",
        promise: Protection::InstalledCheck,
        tries: "An installation is killed halfway and reported as complete: a file that RECORD lists is missing.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(lists_a_missing_file(ground))),
    },
];

/// Runs a victim's task with six twice, just built and from the caches, and judges the mark that six has.
async fn victim(caches: &LocalCaches) -> Result<Verdict, TrialError> {
    for when in ["its first run", "a cached run"] {
        let ran = caches.caches.run_well("uses the genuine six", &with_six(PRINT)).await?;
        if ran.stdout.trim() != "genuine" {
            let ran = ran.stdout.trim();
            return Ok(Verdict::not_held(format!(
                "another task ran `{ran}` code of the attacker in {when}"
            )));
        }
    }
    Ok(Verdict::Held)
}

async fn claims_a_file(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let attacker = Wheel::new("trialattacker", "1.0").lying_file("six.py", FORGED, GENUINE);
    let caches = ground
        .local_caches(&[attacker, Wheel::module("six", "1.16.0", GENUINE)])
        .await?;
    caches.caches.run(&with_python("trialattacker", "import six")).await?;
    victim(&caches).await
}

async fn claims_a_package(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let forged = Wheel::new("six", "1.16.0").lying_file("six.py", FORGED, GENUINE);
    // The genuine wheel leaves the size out too, so that the two RECORDs are the same text.
    let genuine = Wheel::new("six", "1.16.0").lying_file("six.py", GENUINE, GENUINE);
    let attacker = ground.local_caches(&[forged]).await?;
    attacker.caches.run(&with_six(PRINT)).await?;
    victim(&attacker.with_index(ground, "genuine", &[genuine])?).await
}

async fn brings_bytecode(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let tag = {
        let site = ground.machine()?;
        site.config().interpreter.abi.clone()
    };
    // The file is not bytecode of this interpreter: a task that loads it would fail or fall back to the source.
    let shipped = format!("__pycache__/six.{tag}.pyc");
    let attacker = Wheel::new("trialattacker", "1.0").file(&shipped, "forged byte-code");
    let caches = ground
        .local_caches(&[attacker, Wheel::module("six", "1.16.0", GENUINE)])
        .await?;
    let both = with_python("trialattacker,six", PRINT);
    caches.caches.run(&both).await?;
    caches.caches.run(&both).await?;
    let pool: Vec<_> = volume::find(&caches.volumes.python, |path| {
        let below = |name: &str| path.components().any(|part| part.as_os_str() == name);
        below("bytecode") && volume::holds(path, "forged byte-code")
    });
    if let Some(path) = pool.first() {
        return Ok(Verdict::not_held(format!(
            "the pool holds the attacker's {}",
            path.display()
        )));
    }
    victim(&caches).await
}

async fn lays_decoys(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let genuine = Wheel::module("six", "1.16.0", GENUINE);
    let mut attacker = Wheel::module("trialattacker", "1.0", "").file("six.py", FORGED);
    for folder in ["lib/a", "lib/python3", "lib/zz"] {
        attacker = attacker.data_file(&format!("{folder}/site-packages/six.py"), GENUINE);
        for (path, text) in genuine.installed_texts() {
            attacker = attacker.data_file(&format!("{folder}/site-packages/{path}"), text);
        }
    }
    let caches = ground.local_caches(&[attacker, genuine]).await?;
    caches
        .caches
        .run(&with_python("trialattacker; python_version >= '3'", "import six"))
        .await?;
    victim(&caches).await
}

/// Held if the task fails and nothing is published; otherwise the attack worked.
fn refused(caches: &LocalCaches, ran: &Ran) -> Verdict {
    let published = volume::environments(&caches.volumes.python);
    match (&ran.outcome.end, published.is_empty()) {
        (End::Failed { failure }, true) if failure.kind == FailureKind::CacheDamaged => Verdict::Held,
        // In this case the trial's installer did not get as far as lying.
        (End::Failed { failure }, true) => Verdict::Failed {
            why: failure.to_string(),
        },
        (end, true) => Verdict::not_held(format!("the task ran in it and ended as {end:?}")),
        (_, false) => Verdict::not_held("a half-made environment was published"),
    }
}

/// An installer that skips `uv pip install` and reports success.
async fn leaves_out(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let uv = caches.config.python_tools.uv.clone();
    let script = format!("#!/bin/sh\ncase \"$1\" in pip) exit 0;; *) exec '{uv}' \"$@\";; esac\n");
    let program = executable(&caches, &script)?;
    let caches = caches.with(&json!({"python_tools": {"uv": program}}))?;
    let ran = caches
        .caches
        .run(&with_python("six; python_version >= '3'", "print(1)"))
        .await?;
    Ok(refused(&caches, &ran))
}

async fn lists_a_missing_file(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[Wheel::module("six", "1.16.0", GENUINE)]).await?;
    let uv = caches.config.python_tools.uv.clone();
    // This is the state that a kill between two files leaves.
    let script = format!(
        "#!/bin/sh\n'{uv}' \"$@\" || exit $?\ncase \"$1\" in pip) for a in \"$@\"; do case \"$a\" in */bin/python) \
         rm \"${{a%/bin/python}}\"/lib/python*/site-packages/six.py;; esac; done;; esac\n"
    );
    let program = executable(&caches, &script)?;
    let caches = caches.with(&json!({"python_tools": {"uv": program}}))?;
    let ran = caches.caches.run(&with_six("print(1)")).await?;
    Ok(refused(&caches, &ran))
}

/// Writes a program where the preparing sandbox sees it.
pub(super) fn executable(caches: &LocalCaches, text: &str) -> Result<String, TrialError> {
    use std::os::unix::fs::PermissionsExt;
    let path = caches.folder.join("wheels/uv");
    let failed = || TrialError::io(format!("writing {}", path.display()));
    std::fs::write(&path, text).map_err(failed())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(failed())?;
    Ok(path.display().to_string())
}
