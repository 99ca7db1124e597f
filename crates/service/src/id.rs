//! A task's id: unguessable, and fit to be a ticket's id, a file's name and a Kubernetes name.

use std::fmt;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;

/// What every id begins with.
const PREFIX: &str = "task-";
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of a new id behind the prefix: 80 bits, too many to guess or to meet twice.
const LENGTH: usize = 16;
/// Most characters that are taken for an id, so that what is looked up stays small.
const MAX_LENGTH: usize = 40;

/// A well-formed id of a task, such as `task-abc123`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// A new id from the system's random source.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> io::Result<TaskId> {
        let mut bytes = [0_u8; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        let digits = bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)]));
        Ok(TaskId(PREFIX.chars().chain(digits).collect()))
    }

    /// Reads an id; `None` where it cannot be one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_well_formed_and_differ() {
        let [one, other] = [TaskId::random().unwrap(), TaskId::random().unwrap()];
        assert_ne!(one, other);
        assert_eq!(TaskId::parse(one.as_str()), Some(one));
    }

    #[test]
    fn what_is_no_id_is_not_looked_up() {
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
