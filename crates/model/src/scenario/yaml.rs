//! Reads scenario files (YAML) and reports the line and column of a mistake.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Error, Location, MessageFormatter, NonFiniteFloatPolicy, Options, Spanned, UserMessageFormatter};

use super::Scenario;
use super::check::{self, FieldError};

/// Why a scenario file was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}{}", crate::task_error::at_hint(hint.as_deref()))]
pub struct ScenarioError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// What is wrong, in lower case.
    pub message: String,
    /// The next step, if there is one.
    pub hint: Option<String>,
}

impl Scenario {
    /// Reads and checks the text of a scenario file. `file` names it in messages, and its stem must be the
    /// scenario's name.
    ///
    /// # Errors
    /// The first mistake: of YAML, of the fields' shape, or of what a field holds, each with its place.
    pub fn from_yaml(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario =
            serde_yaml::from_str_with_options(text, options()).map_err(|error| shape_error(file, &error))?;
        let stem = Path::new(file)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        check::check(&scenario, stem).map_err(|flaw| content_error(file, text, flaw))?;
        Ok(scenario)
    }
}

/// YAML 1.2 as it is written down: `yes` is a text and not a bool, a repeated key is a mistake.
fn options() -> Options {
    serde_yaml::options! { strict_booleans: true, non_finite_float_policy: NonFiniteFloatPolicy::PassThrough, with_snippet: false }
}

fn shape_error(file: &str, error: &Error) -> ScenarioError {
    let error = error.without_snippet();
    let place = error.location().unwrap_or(Location::UNKNOWN);
    let message = UserMessageFormatter.format_message(error);
    // The message quotes the file: nothing of it may move a terminal's cursor.
    let message = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    ScenarioError {
        file: file.to_owned(),
        line: place.line().max(1),
        column: place.column().max(1),
        message,
        hint: Some("bench-scenarios/README.md describes every field".to_owned()),
    }
}

fn content_error(file: &str, text: &str, flaw: FieldError) -> ScenarioError {
    let place = locate(text, &flaw.pointer);
    let (mut line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
    let mut message = flaw.message;
    if let Some(inner) = flaw.line {
        match starts_literal_block(text, line) {
            // Lines of a literal block are lines of the file.
            true => line += u64::try_from(inner.saturating_sub(1)).unwrap_or(0),
            false => message = format!("{message} (line {inner} of the text)"),
        }
    }
    ScenarioError {
        file: file.to_owned(),
        line,
        column,
        message,
        hint: flaw.hint,
    }
}

/// True if a `key: |` stands on the line before: a literal block's place is its first line of content.
fn starts_literal_block(text: &str, line: u64) -> bool {
    let before = usize::try_from(line).ok().and_then(|line| line.checked_sub(2));
    let before = before
        .and_then(|index| text.lines().nth(index))
        .unwrap_or_default()
        .trim_end();
    before.ends_with(": |") || before.ends_with(": |-") || before.ends_with(": |+")
}

/// The place of the field at a JSON pointer, or of the nearest field around it that the file has.
fn locate(text: &str, pointer: &str) -> Option<Location> {
    let mut node: Spanned<Node> = serde_yaml::from_str_with_options(text, options()).ok()?;
    for step in pointer.split('/').skip(1) {
        match node.value.0.into_iter().find(|(key, _)| key == step) {
            Some((_, inner)) => node = inner,
            None => return Some(node.referenced),
        }
    }
    Some(node.referenced)
}

/// A document's places: the children of a mapping by key, of a sequence by index; scalars have none.
///
/// Read in a second pass, only when a message needs a place, so that [`Scenario`] itself stays plain data.
struct Node(Vec<(String, Spanned<Node>)>);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scenario's field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut children = Vec::new();
        while let Some(key) = map.next_key()? {
            children.push((key, map.next_value()?));
        }
        Ok(Node(children))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut children = Vec::new();
        while let Some(child) = sequence.next_element()? {
            children.push((children.len().to_string(), child));
        }
        Ok(Node(children))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }
}
