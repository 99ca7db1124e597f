//! The form's further fields: what a program gets beside its packages.
//!
//! What was typed is kept as it was, so that a refused form shows it again. Secret variables are the exception: their text is
//! never sent back.

use hybrid_cache_api::{Problem, ProblemType};
use hybrid_cache_model::TaskSpec;
use maud::{Markup, html};

use super::fields::{area, is_meant, line};

/// The form's fields in which a fault opens this part of the form.
const FIELDS: [&str; 6] = ["timeoutSeconds", "args", "stdin", "env", "secretEnv", "labels"];

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreFields {
    timeout: String,
    args: String,
    env: String,
    labels: String,
    /// The first text that is not what its field expects.
    pub mistake: Option<Problem>,
}

impl MoreFields {
    /// Reads one of the form's fields into the task; other fields are left alone.
    pub fn read(&mut self, name: &str, text: String, spec: &mut TaskSpec) {
        match name {
            "timeoutSeconds" => {
                match text.trim() {
                    "" => {}
                    digits => match digits.parse() {
                        Ok(seconds) => spec.timeout_seconds = Some(seconds),
                        Err(_) => self.note("/timeoutSeconds", None, "a whole number of seconds is expected"),
                    },
                }
                self.timeout = text;
            }
            "args" => {
                spec.args = text
                    .lines()
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect();
                self.args = text;
            }
            "stdin" => spec.stdin = text,
            "env" => {
                for (number, pair) in pairs(&text) {
                    match pair {
                        Some((name, value)) => drop(spec.env.insert(name.to_owned(), value.to_owned())),
                        None => self.note("/env", Some(number), "a line is `NAME=value`"),
                    }
                }
                self.env = text;
            }
            "secretEnv" => {
                for (number, pair) in pairs(&text) {
                    match pair {
                        Some((name, value)) => spec.secret_env.insert(name, value),
                        None => self.note("/secretEnv", Some(number), "a line is `NAME=value`"),
                    }
                }
            }
            "labels" => {
                for label in text.split([',', ' ', '\n']).filter(|label| !label.is_empty()) {
                    match label.split_once('=') {
                        Some((key, value)) => drop(spec.labels.insert(key.to_owned(), value.to_owned())),
                        None => self.note("/labels", None, "a label is `key=value`"),
                    }
                }
                self.labels = text;
            }
            _ => {}
        }
    }

    fn note(&mut self, pointer: &str, line: Option<usize>, detail: &str) {
        let problem = Problem {
            line,
            ..Problem::new(ProblemType::InvalidTask, detail).at(pointer)
        };
        self.mistake.get_or_insert(problem);
    }

    /// The fields, folded unless one of them is filled in or refused.
    pub fn show(&self, spec: &TaskSpec, refused: Option<&Problem>) -> Markup {
        let typed = [&self.timeout, &self.args, &self.env, &self.labels, &spec.stdin];
        let filled = typed.iter().any(|text| !text.is_empty()) || !spec.secret_env.is_empty();
        let is_open = filled || FIELDS.iter().any(|name| is_meant(name, refused));
        html! {
            details class="more" open[is_open] {
                summary { "Arguments, input, variables, labels" }
                (area("args", "Arguments, one per line", &self.args, "--verbose", 2, refused))
                (area("stdin", "Standard input", &spec.stdin, "", 2, refused))
                (area("env", "Environment variables, one per line", &self.env, "NAME=value", 2, refused))
                (area("secretEnv", "Secret variables, never shown again", "", "TOKEN=value", 2, refused))
                @if refused.is_some() && !spec.secret_env.is_empty() {
                    p class="aside" { "Type the secret variables again: what was sent is not shown." }
                }
                div class="pair" {
                    (line("timeoutSeconds", "Time limit in seconds", &self.timeout, "600", refused))
                    (line("labels", "Labels", &self.labels, "team=blue, run=7", refused))
                }
            }
        }
    }
}

/// The lines that hold something, each with its number and split at its first `=`.
fn pairs(text: &str) -> impl Iterator<Item = (usize, Option<(&str, &str)>)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| (index + 1, line.split_once('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> (MoreFields, TaskSpec) {
        let (mut more, mut spec) = (MoreFields::default(), TaskSpec::new("1"));
        for (name, text) in fields {
            more.read(name, (*text).to_owned(), &mut spec);
        }
        (more, spec)
    }

    #[test]
    fn typed_texts_become_the_fields_of_a_task() {
        let (more, spec) = read(&[
            ("timeoutSeconds", " 5 "),
            ("args", "-v\n\n a b\n"),
            ("stdin", "x\n"),
            ("env", "A=1\n\nB=x=y"),
            ("secretEnv", "T=hush"),
            ("labels", "team=blue, run=7"),
        ]);
        assert_eq!(more.mistake, None);
        assert_eq!((spec.timeout_seconds, spec.stdin.as_str()), (Some(5), "x\n"));
        assert_eq!(spec.args, ["-v", " a b"]);
        assert_eq!((spec.env["A"].as_str(), spec.env["B"].as_str()), ("1", "x=y"));
        assert_eq!(spec.secret_env.iter().collect::<Vec<_>>(), [("T", "hush")]);
        assert_eq!(
            (spec.labels["team"].as_str(), spec.labels["run"].as_str()),
            ("blue", "7")
        );
        let shown = more.show(&spec, None).into_string();
        assert!(
            shown.contains("B=x=y") && shown.contains("open") && !shown.contains("hush"),
            "{shown}"
        );
        assert!(
            !MoreFields::default()
                .show(&TaskSpec::new("1"), None)
                .into_string()
                .contains("open")
        );
    }

    #[test]
    fn a_text_that_is_something_else_is_named_with_its_field() {
        for (field, text, line) in [
            ("timeoutSeconds", "soon", None),
            ("env", "A=1\nhush", Some(2)),
            ("secretEnv", "hush", Some(1)),
            ("labels", "team", None),
        ] {
            let mistake = read(&[(field, text)]).0.mistake.unwrap();
            assert_eq!(
                (mistake.pointer.as_deref(), mistake.line),
                (Some(format!("/{field}").as_str()), line)
            );
            assert!(!mistake.json().contains("hush"), "{mistake}");
        }
    }
}
