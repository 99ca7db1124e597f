//! A task's id. It cannot be guessed, and can be used as a ticket's id, a file name and a Kubernetes name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The prefix of every id.
const PREFIX: &str = "task-";
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Most characters of an id after its prefix, which bounds what is looked up.
const MAX_LENGTH: usize = 40;

/// A well-formed id of a task, such as `task-abc123`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskId(String);

impl TaskId {
    /// A new id from 16 random bytes, of which it takes 80 bits: too many to guess or to meet twice.
    pub fn from_random(bytes: [u8; 16]) -> TaskId {
        let digits = bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)]));
        TaskId(PREFIX.chars().chain(digits).collect())
    }

    /// Reads an id; `None` if the text cannot be one.
    pub fn parse(text: &str) -> Option<TaskId> {
        let digits = text.strip_prefix(PREFIX)?;
        let good = !digits.is_empty()
            && digits.len() <= MAX_LENGTH
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        good.then(|| TaskId(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.0
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<TaskId, InvalidTaskId> {
        text.parse()
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<TaskId, InvalidTaskId> {
        TaskId::parse(text).ok_or(InvalidTaskId)
    }
}

/// A text cannot be the id of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTaskId;

impl fmt::Display for InvalidTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a task id is `{PREFIX}` and up to {MAX_LENGTH} lower-case letters and digits"
        )
    }
}

impl std::error::Error for InvalidTaskId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_random_bytes_is_well_formed_and_shows_all_of_them() {
        let [one, other] = [[7; 16], std::array::from_fn(|at| if at == 15 { 6 } else { 7 })].map(TaskId::from_random);
        assert_ne!(one, other);
        assert_eq!(TaskId::parse(one.as_str()), Some(one));
    }

    #[test]
    fn an_id_is_a_string_in_json_and_a_malformed_one_is_refused() {
        let id: TaskId = serde_json::from_str("\"task-abc123\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"task-abc123\"");
        let error = serde_json::from_str::<TaskId>("\"task-../x\"").unwrap_err();
        assert!(error.to_string().starts_with("a task id is `task-`"), "{error}");
    }

    #[test]
    fn a_malformed_id_is_refused() {
        assert!(TaskId::parse("task-abc123").is_some());
        for text in [
            "",
            "task-",
            "task",
            "abc123",
            "task-ABC",
            "task-a/b",
            "task-..",
            &format!("task-{}", "a".repeat(41)),
        ] {
            assert_eq!(TaskId::parse(text), None, "{text}");
        }
    }
}
