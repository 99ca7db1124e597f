//! Attacks by code of a package that has no wheel, while it is built.

use hybrid_cache_model::{End, FailureKind, Protection};
use serde_json::{Value, json};

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, backend, program, with_python};
use crate::caches::{Findings, Ran};
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::LOCAL;
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::source;

/// The package that attacks.
const NAME: &str = "trialbuilt";
/// Two halves of a password, which are nowhere together in the text of an attack.
const HALVES: [&str; 2] = ["trial-password-", "of-an-index"];

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "build-writes-into-the-volumes",
        promise: Protection::BuildMounts,
        tries: "A package that is built looks at the Python volume and writes into everything that tasks share.",
        sites: LOCAL,
        needs: &[],
        // Its user may not open a volume either, and its paths are not among those that Landlock leaves it.
        layers: &[Protection::PrivateFiles, Protection::Landlock],
        method: AttackMethod::Steps(|ground| Box::pin(writes_into_volumes(ground))),
    },
    Attack {
        id: "build-leaves-another-version",
        promise: Protection::BuiltAsNamed,
        tries: "A package that is built stops the program around uv and puts a wheel of another version in the place of its own.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(leaves_another_version(ground))),
    },
    Attack {
        id: "read-the-password-of-an-index",
        promise: Protection::IndexLogins,
        tries: "A package that is built, and then a task, look for the password of an index in variables, /proc and files.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(reads_a_password(ground))),
    },
];

/// Caches whose only package has no wheel and runs this code while it is built.
async fn with_package(ground: &AttackContext, known: &Value, code: &str) -> Result<LocalCaches, TrialError> {
    ground
        .local_caches_with_files(&[source(NAME, &backend(known, code))?])
        .await
}

/// What the package reports of its build.
fn found_while_built(ran: &Ran) -> Result<Vec<String>, TrialError> {
    let lines = ran.stdout.lines();
    let mut reports = lines.filter_map(|line| serde_json::from_str::<Findings>(line).ok());
    match reports.next() {
        Some(report) if report.tried > 0 => Ok(report.got),
        _ => Err(ran.ended("reports what its package found")),
    }
}

/// A program that prints what its package found.
fn prints_report() -> String {
    format!("import json, {NAME}\nprint(json.dumps({NAME}.FOUND))\n")
}

async fn writes_into_volumes(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let code = include_str!("../probes/build_mounts.py");
    let caches = with_package(ground, &json!({"name": NAME}), code).await?;
    let ran = caches.caches.run(&with_python(NAME, &prints_report())).await?;
    let mut found = found_while_built(&ran)?;
    let written = volume::named(&caches.folder, "trial-built");
    found.extend(written.iter().map(|path| format!("it wrote {}", path.display())));
    Ok(Verdict::held_if_none(&found))
}

async fn leaves_another_version(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let code = include_str!("../probes/other_version.py");
    let caches = with_package(ground, &json!({"name": NAME}), code).await?;
    let code = format!("import importlib.metadata\nprint(importlib.metadata.version('{NAME}'))");
    let ran = caches.caches.run(&with_python(NAME, &code)).await?;
    match &ran.outcome.end {
        End::Failed { failure }
            if failure.kind == FailureKind::NoWheel && failure.message.contains("another package or version") =>
        {
            Ok(Verdict::Held)
        }
        End::Exited { code: 0 } if ran.stdout.trim() == "2.0" => Ok(Verdict::not_held(
            "a version was installed that the index does not have",
        )),
        _ => Err(ran.ended("asks for a package that lies")),
    }
}

async fn reads_a_password(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let known = json!({"name": NAME, "halves": HALVES});
    let code = include_str!("../probes/passwords.py");
    let caches = with_package(ground, &known, code).await?;
    let mut variables = caches.config.python_tools.variables.clone();
    // An index with a login, which has nothing.
    let index = format!("trialours=file://{}", caches.folder.join("wheels/nothing").display());
    for (name, value) in [
        ("UV_INDEX", index.as_str()),
        ("UV_INDEX_TRIALOURS_USERNAME", "robot"),
        ("UV_INDEX_TRIALOURS_PASSWORD", &HALVES.concat()),
    ] {
        variables.push((name.to_owned(), value.to_owned()));
    }
    let caches = caches.with(&json!({"python_tools": {"variables": variables}}))?;
    let task = format!("{}{}", prints_report(), program(&known, code));
    let ran = caches.caches.run(&with_python(NAME, &task)).await?;
    let mut found = found_while_built(&ran)?;
    found.extend(ran.findings("looks for a password")?.got);
    Ok(Verdict::held_if_none(&found))
}
