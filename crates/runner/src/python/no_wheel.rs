//! Says more of a package that has no wheel, or no page on the index: which interpreter was asked, which other version or
//! interpreter has one, and what replaces it. uv is asked again for this, but only when a preparation has failed anyway.

use std::path::Path;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::requirement::replacement;
use hybrid_cache_model::{Failure, FailureKind, Task};

use super::uv::{Uv, selection};
use crate::store::{IoContext, files};

/// Most other interpreters that are asked about.
const MAX_ASKED: usize = 8;

/// What a preparation that failed had to do.
pub struct Asked<'a> {
    /// Its task.
    pub task: &'a Task,
    /// Its interpreter.
    pub interpreter: &'a Interpreter,
    /// The versions of the other interpreters on offer.
    pub other_pythons: &'a [String],
    /// A folder for files.
    pub folder: &'a Path,
}

/// `failure` with a better hint, if `said`, uv's words without builds, name a package without a wheel.
pub fn explain(failure: Failure, said: &str, uv: &Uv<'_>, asked: &Asked<'_>) -> Failure {
    if failure.kind != FailureKind::NoWheel {
        return failure;
    }
    let Some(name) = lacking(said) else { return failure };
    let mut parts = alternatives(&name, uv, asked);
    parts.extend(failure.hint.clone());
    failure.hint(parts.join("; "))
}

/// `failure` with the usual name of a package that the index does not know.
pub fn unknown(failure: Failure) -> Failure {
    if failure.kind != FailureKind::UnknownPackage {
        return failure;
    }
    let name = failure.message.split(" was not found in the ").next();
    let name = name.and_then(|before| before.rsplit([' ', '\n']).next());
    match name.and_then(instead) {
        Some(instead) => failure.hint(instead),
        None => failure,
    }
}

/// `write … instead of …: it …`
fn instead(name: &str) -> Option<String> {
    let (other, why) = replacement(name)?;
    Some(format!("write `{other}` instead of `{name}`: it {why}"))
}

/// The package that uv finds no wheel of.
fn lacking(message: &str) -> Option<String> {
    let quoted = ["Wheels are required for `", "wheels for `"]
        .into_iter()
        .find_map(|start| {
            let (_, rest) = message.split_once(start)?;
            rest.split('`').next()
        });
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    quoted.filter(is_name).map(str::to_owned)
}

/// What could be asked for instead of a package without a wheel.
fn alternatives(name: &str, uv: &Uv<'_>, asked: &Asked<'_>) -> Vec<String> {
    let version = &asked.interpreter.version;
    // uv must not contact the address that a requirement names: only its name and versions are asked for.
    let mut plain = asked.task.requirements.iter().filter(|one| one.reference().is_none());
    let wanted = plain.find(|one| one.name() == name);
    let wanted = wanted.map_or(name, |one| one.as_str());
    let mut parts = Vec::new();
    parts.extend(instead(name));
    match newest(uv, name, None, asked) {
        Ok(Some(pin)) => parts.push(format!("`{pin}` has a wheel for Python {version}")),
        Ok(None) => parts.push(format!("no version of {name} has a wheel for Python {version}")),
        Err(_) => {}
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for other in asked.other_pythons.iter().take(MAX_ASKED) {
        match newest(uv, wanted, Some(other), asked) {
            Ok(Some(_)) => with.push(other.as_str()),
            Ok(None) => without.push(other.as_str()),
            Err(_) => {}
        }
    }
    match (with.last(), without.as_slice()) {
        (Some(newest), _) => {
            let short: Vec<&str> = newest.split('.').take(2).collect();
            let all = with.join(", ");
            parts.push(format!(
                "`{wanted}` has one for Python {all}: set pythonVersion to {}",
                short.join(".")
            ));
        }
        (None, []) => {}
        (None, without) => parts.push(format!("`{wanted}` has none for Python {} either", without.join(", "))),
    }
    parts
}

/// The newest version of one requirement that has a wheel, as `name==version`; `None` if there is none. `python` is the
/// version of another interpreter on the same platform.
///
/// # Errors
/// uv failed for another reason.
fn newest(uv: &Uv<'_>, requirement: &str, python: Option<&str>, asked: &Asked<'_>) -> Result<Option<String>, Failure> {
    let (list, answer) = (asked.folder.join("asked.txt"), asked.folder.join("answer.txt"));
    std::fs::write(&list, format!("{requirement}\n")).io_context("write", &list)?;
    let mut command = uv.command("pip");
    command.args(["compile", "--no-deps", "--no-header", "--no-annotate", "--quiet"]);
    command
        .arg("--python")
        .arg(&asked.interpreter.path)
        .arg("--output-file")
        .arg(&answer);
    command.args(selection(
        asked.task.options.pre_releases,
        asked.interpreter,
        &uv.tools.variables,
    ));
    command.arg("--no-build");
    if let Some(version) = python {
        command.args(["--python-version", version]);
    }
    command.arg(&list);
    // uv would prefer the versions of an answer that is there already.
    files::delete(&answer)?;
    match uv.run(&mut command, "uv pip compile") {
        Ok(()) => {}
        Err(failure) if matches!(failure.kind, FailureKind::Unsatisfiable | FailureKind::NoWheel) => return Ok(None),
        Err(failure) => return Err(failure),
    }
    let text = std::fs::read_to_string(&answer).io_context("read", &answer)?;
    Ok(text
        .split_whitespace()
        .find(|word| word.contains("=="))
        .map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_without_a_wheel_is_read_from_uvs_words() {
        for (message, name) in [
            (
                "x\nhint: Wheels are required for `psycopg2` because building",
                Some("psycopg2"),
            ),
            ("but we only found wheels for `torch` (v1.4.0) with", Some("torch")),
            ("you require numpy<2 and numpy>=2", None),
            ("wheels for `a b`", None),
        ] {
            assert_eq!(lacking(message).as_deref(), name, "{message}");
        }
    }

    #[test]
    fn an_unknown_package_has_its_usual_name() {
        let reported = |message: &str| unknown(Failure::new(FailureKind::UnknownPackage, message)).hint;
        let message = "x: Because cv2 was not found in the package registry and you";
        assert!(
            reported(message)
                .unwrap()
                .contains("`opencv-python-headless` instead of `cv2`")
        );
        assert_eq!(reported("Because nosuch was not found in the package registry"), None);
    }
}
