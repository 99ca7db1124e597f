//! Checks of a scenario beyond its shape.

use super::{Claim, ExpectedOutput, Scenario};
use crate::task_error::TaskErrors;

/// What is wrong with one field of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    /// The field, as a JSON pointer from the scenario's root: `/expect/first`.
    pub(super) pointer: String,
    /// The line within the field's text, from 1, if the field has lines.
    pub(super) line: Option<usize>,
    /// What is wrong, in lower case.
    pub(super) message: String,
    /// The next step, if there is one.
    pub(super) hint: Option<String>,
}

impl FieldError {
    fn new(pointer: &str, message: impl Into<String>, hint: &str) -> FieldError {
        FieldError {
            pointer: pointer.to_owned(),
            line: None,
            message: message.into(),
            hint: Some(hint.to_owned()),
        }
    }
}

/// Checks a scenario that was read from a file of the given stem.
pub(super) fn check(scenario: &Scenario, stem: &str) -> Result<(), FieldError> {
    check_name(&scenario.name, stem)?;
    if scenario.why.trim().is_empty() {
        return Err(FieldError::new(
            "/why",
            "why is empty",
            "say in a sentence what this scenario shows that no other does",
        ));
    }
    scenario.request.check().map_err(|errors| request_error(&errors))?;
    if !scenario.request.secret_env.is_empty() {
        return Err(FieldError::new(
            "/request/secretEnv",
            "a scenario has no secrets: every report shows its request",
            "use `env`",
        ));
    }
    check_output(&scenario.expect.stdout)?;
    check_claim("first", scenario.expect.first)?;
    check_claim("cached", scenario.expect.cached)
}

/// The first fault of a request at its place, and the others in the message.
fn request_error(errors: &TaskErrors) -> FieldError {
    let first = errors.first();
    let mut message = format!("{}: {}", first.pointer.trim_start_matches('/'), first.message);
    if errors.total() > 1 {
        message = format!("{message}; {errors}");
    }
    FieldError {
        pointer: format!("/request{}", first.pointer),
        line: first.line,
        message,
        hint: first.hint.clone(),
    }
}

fn check_name(name: &str, stem: &str) -> Result<(), FieldError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.starts_with(edge) || !name.ends_with(edge) || !name.chars().all(inner) || name.len() > 50 {
        // The name becomes part of Kubernetes object names and of paths.
        let hint = "use lower case letters, digits and hyphens between them, 50 at most";
        return Err(FieldError::new(
            "/name",
            format!("{name:?} is not a scenario's name"),
            hint,
        ));
    }
    if name != stem {
        let message = format!("the name {name:?} differs from the file's, {stem:?}");
        return Err(FieldError::new(
            "/name",
            message,
            "give both the same name, so that a report's row leads to its file",
        ));
    }
    Ok(())
}

fn check_output(stdout: &ExpectedOutput) -> Result<(), FieldError> {
    let hint = "a run whose output is not checked proves nothing: say what it prints";
    match stdout {
        ExpectedOutput::Equals(text) if text.trim().is_empty() => Err(FieldError::new(
            "/expect/stdout/equals",
            "the expected output is empty",
            hint,
        )),
        ExpectedOutput::Contains(pieces) if pieces.is_empty() => Err(FieldError::new(
            "/expect/stdout/contains",
            "no expected piece of output",
            hint,
        )),
        ExpectedOutput::Contains(pieces) => match pieces.iter().position(|piece| piece.trim().is_empty()) {
            Some(at) => Err(FieldError::new(
                &format!("/expect/stdout/contains/{at}"),
                "an expected piece is empty",
                hint,
            )),
            None => Ok(()),
        },
        ExpectedOutput::Equals(_) => Ok(()),
    }
}

fn check_claim(which: &str, claim: Option<Claim>) -> Result<(), FieldError> {
    let Some(Claim { min_s, max_s }) = claim else {
        return Ok(());
    };
    if min_s > 0.0 && max_s > min_s && max_s.is_finite() {
        return Ok(());
    }
    let message = format!("the claim {min_s} to {max_s} seconds is not a range");
    Err(FieldError::new(
        &format!("/expect/{which}"),
        message,
        "min_s is above 0 and below max_s",
    ))
}
