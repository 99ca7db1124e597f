//! The faults of a settings file, and the readers of single nodes that find them.

use crate::requirement::Refusal;
use crate::settings::tree::{Node, Tree};

/// The next step if there is no better one.
pub const HINT: &str = "docs/settings.md describes every field";
/// Most entries of each list, and most fields with free names.
const MAX_ENTRIES: usize = 64;

/// One fault of a settings file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {field}: {message}{}", crate::task_error::at_hint(Some(hint)))]
pub struct SettingsFault {
    /// The line, from 1.
    pub line: u64,
    /// The field, such as `indexes[0].url`.
    pub field: String,
    /// What is wrong, in lower case.
    pub message: String,
    /// The next step.
    pub hint: String,
}

/// The line of a node, from 1.
pub fn line(node: &Node) -> u64 {
    node.referenced.line().max(1)
}

/// A piece of the file for a message, without anything behind a `://`.
pub fn quote(text: &str) -> String {
    Refusal::quote(text)
}

/// The faults so far.
#[derive(Default)]
pub struct FaultList(Vec<SettingsFault>);

impl FaultList {
    /// All of them, in their order.
    pub fn all(self) -> Vec<SettingsFault> {
        self.0
    }

    /// Adds a fault.
    pub fn add(&mut self, line: u64, field: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(SettingsFault {
            line,
            field: field.to_owned(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Adds a field that does not exist. `inside` is what its name begins with: `indexes[0].`.
    pub fn unknown(&mut self, name: &str, inside: &str, node: &Node, known: &[&str]) {
        let shown = quote(name);
        let message = format!("there is no setting {shown}");
        let hint = format!("the fields are {}; {HINT}", known.join(", "));
        self.add(
            line(node),
            &format!("{inside}{}", shown.trim_matches('`')),
            message,
            hint,
        );
    }

    /// The items of a list, each with its place in the file.
    pub fn list<'a>(&mut self, name: &str, node: &'a Node) -> Vec<(String, &'a Node)> {
        match &node.value {
            Tree::List(items) if items.len() <= MAX_ENTRIES => {
                let place = |(number, item)| (format!("{name}[{number}]"), item);
                items.iter().enumerate().map(place).collect()
            }
            Tree::List(items) => {
                let message = format!("{} entries, at most {MAX_ENTRIES} are accepted", items.len());
                self.add(line(node), name, message, HINT);
                Vec::new()
            }
            Tree::Null => Vec::new(),
            _ => {
                self.add(line(node), name, "it is not a list", "begin each entry with `- `");
                Vec::new()
            }
        }
    }

    /// The fields of a map that has these alone.
    pub fn fields<'a>(&mut self, place: &str, node: &'a Node, known: &[&str]) -> Vec<(&'a str, &'a Node)> {
        let mut fields = self.pairs(place, node);
        fields.retain(|(name, node)| {
            let is_known = known.contains(name);
            if !is_known {
                self.unknown(name, &format!("{place}."), node, known);
            }
            is_known
        });
        fields
    }

    /// The fields of a map with free names.
    pub fn pairs<'a>(&mut self, place: &str, node: &'a Node) -> Vec<(&'a str, &'a Node)> {
        match &node.value {
            Tree::Map(fields) if fields.len() <= MAX_ENTRIES => {
                fields.iter().map(|(name, node)| (name.as_str(), node)).collect()
            }
            Tree::Map(fields) => {
                let message = format!("{} fields, at most {MAX_ENTRIES} are accepted", fields.len());
                self.add(line(node), place, message, HINT);
                Vec::new()
            }
            Tree::Null => Vec::new(),
            _ => {
                self.add(line(node), place, "it holds no fields", HINT);
                Vec::new()
            }
        }
    }

    /// A text.
    pub fn text<'a>(&mut self, place: &str, node: &'a Node) -> Option<&'a str> {
        match &node.value {
            Tree::Text(text) => Some(text),
            _ => {
                self.add(line(node), place, "it is not a text", HINT);
                None
            }
        }
    }

    /// A text that YAML reads as something else unless it is in quotes, such as a number or `true`.
    pub fn quoted_text<'a>(&mut self, place: &str, node: &'a Node) -> Option<&'a str> {
        match &node.value {
            Tree::Text(text) => Some(text),
            _ => {
                self.add(
                    line(node),
                    place,
                    "it is not a text",
                    "write it in quotes, such as `\"1\"`",
                );
                None
            }
        }
    }
}
