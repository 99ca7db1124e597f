//! Attacks with wheels that contain paths outside their environment, and with packages that run code during installation.

use std::path::Path;

use hybrid_cache_model::{End, FailureKind, Protection};

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, with_python};
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::LOCAL;
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::{Wheel, source};

/// Text in every file that must not appear elsewhere.
const MARK: &str = "trial-escape-mark";
/// Our own names at the root of an environment.
const OUR_NAMES: [&str; 6] = [".lease", "lock.txt", "manifest.json", "content", "pyvenv.cfg", ".ready"];

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "source-distribution-runs-code",
        promise: Protection::WheelsOnly,
        tries: "A package is offered as source, whose build backend writes into the caches.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(builds_from_source(ground))),
    },
    Attack {
        id: "wheel-brings-our-names",
        promise: Protection::OwnFiles,
        tries: "A wheel brings files named .lease, lock.txt, manifest.json and pyvenv.cfg, so that we write through uv's hard links.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(brings_our_names(ground))),
    },
    Attack {
        id: "wheel-path-traversal",
        promise: Protection::OwnFiles,
        tries: "A wheel holds `../` and absolute names, also in RECORD, as entry points and as scripts.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(traverses(ground))),
    },
    Attack {
        id: "wheel-symlinks",
        promise: Protection::OwnFiles,
        tries: "A wheel holds symbolic links out of the environment and files below them.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(links_out(ground))),
    },
    Attack {
        id: "wheel-replaces-the-interpreter",
        promise: Protection::OwnFiles,
        tries: "A wheel brings programs named python and python3, and a file in the place of the interpreter's links.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(replaces_python(ground))),
    },
];

/// The places outside the environment that contain files of the wheel: shared parts of the volume, or caches of others.
fn escaped(caches: &LocalCaches, names: &[&str]) -> Vec<String> {
    let allowed = |path: &Path| {
        let below = |name: &str| path.components().any(|part| part.as_os_str() == name);
        // uv's cache holds the wheel itself, and an environment holds its contents.
        below("uv") || below("envs") || below("staging") || below("wheels") || below("bytecode")
    };
    let found = volume::find(&caches.folder, |path| {
        let is_named = path
            .file_name()
            .is_some_and(|name| names.iter().any(|one| name == *one));
        is_named && !allowed(path)
    });
    found
        .iter()
        .map(|path| format!("{} was written", path.display()))
        .collect()
}

/// Checks that another task works, and has nothing of the attacker's in it.
async fn others_work(caches: &LocalCaches) -> Result<Vec<String>, TrialError> {
    // Links to bytecode that is being published may lead nowhere for a moment.
    let code = format!(
        "import os, sys
def holds(path):
    try: return {MARK:?} in open(path, errors='replace').read()
    except OSError: return False
for folder, _, files in os.walk(sys.prefix):
    for name in files:
        if holds(os.path.join(folder, name)): print('holds', os.path.join(folder, name))
import six
print(six.MARK)"
    );
    let ran = caches.caches.run(&with_python("six", &code)).await?;
    let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    match (&ran.outcome.end, lines.split_last()) {
        (End::Exited { code: 0 }, Some((last, found))) if last == "genuine" => Ok(found.to_vec()),
        (end, _) => Ok(vec![format!("another task with six ended as {end:?}")]),
    }
}

fn six() -> Wheel {
    Wheel::module("six", "1.16.0", "MARK = 'genuine'\n")
}

async fn brings_our_names(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let mut attacker = Wheel::module("trialattacker", "1.0", "");
    for name in OUR_NAMES {
        attacker = attacker.data_file(name, MARK).data_file(&format!("../{name}"), MARK);
    }
    attacker = attacker.data_file("bin/activate", MARK);
    let plain = OUR_NAMES
        .iter()
        .fold(Wheel::module("trialplain", "1.0", ""), |wheel, name| {
            wheel.data_file(name, MARK)
        });
    let caches = ground.local_caches(&[attacker, plain, six()]).await?;
    let mut found = Vec::new();
    for package in ["trialattacker", "trialplain", "trialplain,six", "trialplain,six"] {
        let ran = caches.caches.run(&with_python(package, "import sys")).await?;
        if matches!(ran.outcome.end, End::Exited { .. }) {
            found.push(format!(
                "an environment with {package} has the package's pyvenv.cfg for its own"
            ));
        }
    }
    // The package in uv's cache is as it was shipped.
    let kept = volume::find(&caches.volumes.python, |path| {
        let below = |name: &str| path.components().any(|part| part.as_os_str() == name);
        let is_ours = path
            .file_name()
            .is_some_and(|name| OUR_NAMES.iter().any(|one| name == *one));
        below("uv") && below("data") && is_ours && path.is_file()
    });
    let changed = kept.iter().filter(|path| !volume::holds(path, MARK));
    found.extend(changed.map(|path| format!("{} in uv's cache was overwritten", path.display())));
    found.extend(others_work(&caches).await?);
    Ok(Verdict::held_if_none(&found))
}

async fn traverses(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let name = "trial-traversal";
    let up = |levels: usize| format!("{}{name}", "../".repeat(levels));
    let mut wheels = vec![six()];
    let paths = [
        up(1),
        up(3),
        up(5),
        up(8),
        format!("/cache/python/{name}"),
        format!("/tmp/{name}"),
    ];
    for (number, path) in paths.iter().enumerate() {
        wheels.push(Wheel::module(&format!("trialfile{number}"), "1.0", "").file(path, MARK));
        wheels.push(Wheel::module(&format!("trialdata{number}"), "1.0", "").data_file(path, MARK));
        wheels.push(Wheel::module(&format!("trialscript{number}"), "1.0", "").script(path, MARK));
        let entry = format!("[console_scripts]\n{path} = trialentry:main\n");
        let dist_info = format!("trialentry{number}-1.0.dist-info/entry_points.txt");
        wheels.push(Wheel::module(&format!("trialentry{number}"), "1.0", "").file(&dist_info, entry));
        let line = format!("{path},,");
        wheels.push(Wheel::module(&format!("trialrecord{number}"), "1.0", "").record_line(&line));
    }
    let caches = ground.local_caches(&wheels).await?;
    // Each package may be refused or install harmlessly; both results are good.
    for kind in ["trialfile", "trialdata", "trialscript", "trialentry", "trialrecord"] {
        for number in [0, 2, 4] {
            caches
                .caches
                .run(&with_python(&format!("{kind}{number}"), "print(1)"))
                .await?;
        }
    }
    let mut found = escaped(&caches, &[name]);
    found.extend(others_work(&caches).await?);
    Ok(Verdict::held_if_none(&found))
}

async fn links_out(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let name = "trial-link";
    let attacker = Wheel::module("trialattacker", "1.0", "")
        .link("trialout", "/cache/python")
        .file(&format!("trialout/{name}"), MARK)
        .link("six.py", "/etc/passwd");
    let target = Wheel::module("triallink", "1.0", "").link("trialsecret", "/proc/self/environ");
    let caches = ground.local_caches(&[attacker, target, six()]).await?;
    for package in ["trialattacker", "triallink"] {
        caches.caches.run(&with_python(package, "print(1)")).await?;
    }
    let mut found = escaped(&caches, &[name]);
    found.extend(others_work(&caches).await?);
    Ok(Verdict::held_if_none(&found))
}

async fn replaces_python(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let program = format!("#!/bin/sh\n# {MARK}\nfor f in /cache/python /nix; do : > $f/trial-ran; done\n");
    let mut attacker = Wheel::module("trialattacker", "1.0", "");
    for name in ["python", "python3", "python3.11", "uv"] {
        attacker = attacker.script(name, &program);
    }
    let hook = "import os\nfor folder in ('/cache/python', '/nix'):\n    \
                try: open(folder + '/trial-ran', 'w')\n    except OSError: pass\n";
    attacker = attacker
        .file("sitecustomize.py", hook)
        .file("usercustomize.py", hook)
        .file("trial.pth", "import sitecustomize\n");
    let caches = ground.local_caches(&[attacker, six()]).await?;
    for _ in 0..2 {
        caches.caches.run(&with_python("trialattacker", "print(1)")).await?;
    }
    let mut found = Vec::new();
    let base = Path::new(&caches.config.interpreter.path);
    if volume::holds(base, MARK) {
        found.push(format!("{} was overwritten", base.display()));
    }
    let ran = volume::named(&caches.folder, "trial-ran");
    found.extend(
        ran.iter()
            .map(|path| format!("code of the package ran while it was prepared: {}", path.display())),
    );
    found.extend(others_work(&caches).await?);
    Ok(Verdict::held_if_none(&found))
}

async fn builds_from_source(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let hook = "import os\nfor folder in ('/cache/python', '/cache/python/uv', '/nix', os.getcwd()):\n    \
                try: open(folder + '/trial-ran', 'w')\n    except OSError: pass\n";
    let source = source("trialsource", hook)?;
    let caches = ground.local_caches_with_files(&[source]).await?;
    let tried = caches.caches.run(&with_python("trialsource", "print(1)")).await?;
    let ran = volume::named(&caches.folder, "trial-ran");
    let found: Vec<String> = ran
        .iter()
        .map(|path| format!("its code wrote {}", path.display()))
        .collect();
    // A build that was tried and failed is not a refusal.
    if let End::Failed { failure } = &tried.outcome.end
        && found.is_empty()
        && !matches!(
            failure.kind,
            FailureKind::NoWheel | FailureKind::Unsatisfiable | FailureKind::UnknownPackage
        )
    {
        return Err(failure.clone().into());
    }
    Ok(Verdict::held_if_none(&found))
}
