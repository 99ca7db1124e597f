//! Environment variables that a task brings along, and those of them that are never shown again.
//!
//! Almost every name is allowed, also `LD_PRELOAD` or `PYTHONPATH`: user code is confined before its interpreter starts, so
//! they change nothing but the task itself. Refused are the names that say where the runner has put things.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::requirement::Refusal;
use crate::task_error::{Faults, TaskErrors};

/// Most variables of one task, secret ones included.
pub const MAX_VARIABLES: usize = 256;
/// Most bytes of all names and values together.
pub const MAX_VARIABLES_BYTES: usize = 256 << 10;
/// Longest value in bytes. Linux takes 128 KiB for a name and its value.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// Longest name in bytes.
pub const MAX_NAME_BYTES: usize = 255;

const ENV: &str = "/env";
const SECRET_ENV: &str = "/secretEnv";
/// They name the task's folders, environment and programs. With a `PYTHONHOME` the interpreter does not find its own files.
const RESERVED: [&str; 5] = ["PATH", "HOME", "TMPDIR", "VIRTUAL_ENV", "PYTHONHOME"];
/// Names of the runner's own settings begin with this.
const OWN_PREFIX: &str = "HYBRID_CACHE_";

/// Variables whose values are not shown: not in answers, pages, logs, reports or messages.
///
/// A value is absent if it was left out: in an answer, and in what is kept of a task.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretEnv(BTreeMap<String, Option<String>>);

/// Not even the names: one that is not checked yet may hold a value by mistake.
impl fmt::Debug for SecretEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretEnv({} not shown)", self.0.len())
    }
}

impl SecretEnv {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets one.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), Some(value.into()));
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names and values, as far as the values are there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }

    /// The same names without their values.
    #[must_use]
    pub fn without_values(&self) -> SecretEnv {
        SecretEnv(self.0.keys().map(|name| (name.clone(), None)).collect())
    }
}

/// Checks the variables of both fields.
pub(crate) fn check(env: &BTreeMap<String, String>, secret: &SecretEnv) -> Result<(), TaskErrors> {
    let mut faults = Faults::default();
    for (name, value) in env {
        let faulty = check_one(name, Some(value), &Refusal::quote(name));
        faults.keep(at(ENV, faulty));
    }
    for (name, value) in &secret.0 {
        let shown = if is_name(name) {
            Refusal::quote(name)
        } else {
            "a name that is not shown here".to_owned()
        };
        faults.keep(at(SECRET_ENV, check_one(name, value.as_deref(), &shown)));
        if env.contains_key(name) {
            let refusal = Refusal::new(format!("{shown} is also in `env`"), "give it in one of the two fields");
            faults.push(refusal.at(SECRET_ENV, None));
        }
    }
    let pointer = if env.is_empty() { SECRET_ENV } else { ENV };
    faults.keep(at(pointer, check_sizes(env, secret)));
    faults.result(())
}

fn at(pointer: &'static str, result: Result<(), Refusal>) -> Result<(), TaskErrors> {
    result.map_err(|refusal| refusal.at(pointer, None).into())
}

/// `shown` is the name as a message may repeat it.
fn check_one(name: &str, value: Option<&str>, shown: &str) -> Result<(), Refusal> {
    if !is_name(name) {
        return Err(Refusal::new(
            format!("{shown} is not a variable's name"),
            "use letters, digits and `_`, no digit first, at most 255",
        ));
    }
    if RESERVED.contains(&name) || name.starts_with(OWN_PREFIX) {
        return Err(Refusal::new(
            format!("{shown} is set by the runner"),
            "use a name of your own, or change it in the program with `os.environ`",
        ));
    }
    let Some(value) = value else {
        return Err(Refusal::new(
            format!("the value of {shown} is missing"),
            "an answer leaves out what is secret: give the value again",
        ));
    };
    if value.contains('\0') {
        return Err(Refusal::new(
            format!("the value of {shown} holds a NUL character"),
            "a variable cannot hold NUL characters; encode the value",
        ));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(Refusal::new(
            format!(
                "the value of {shown} has {} bytes, at most {MAX_VALUE_BYTES} are accepted",
                value.len()
            ),
            "give it as `stdin`, or read it as data",
        ));
    }
    Ok(())
}

fn check_sizes(env: &BTreeMap<String, String>, secret: &SecretEnv) -> Result<(), Refusal> {
    let count = env.len() + secret.0.len();
    if count > MAX_VARIABLES {
        let message = format!("{count} variables, at most {MAX_VARIABLES} are accepted");
        return Err(Refusal::new(message, "join some, or give them as `stdin`"));
    }
    let open: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    let hidden: usize = secret.iter().map(|(name, value)| name.len() + value.len()).sum();
    if open + hidden > MAX_VARIABLES_BYTES {
        let message = format!(
            "the variables have {} bytes, at most {MAX_VARIABLES_BYTES} are accepted",
            open + hidden
        );
        return Err(Refusal::new(message, "give the bulk as `stdin`, or read it as data"));
    }
    Ok(())
}

/// True for `[A-Za-z_][A-Za-z0-9_]*` of at most [`MAX_NAME_BYTES`].
fn is_name(name: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    let first = name.bytes().next();
    first.is_some_and(|letter| !letter.is_ascii_digit()) && name.bytes().all(inner) && name.len() <= MAX_NAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn refused(name: &str, value: &str) -> String {
        let errors = check(&env(&[(name, value)]), &SecretEnv::default()).unwrap_err();
        assert_eq!((errors.total(), errors.first().pointer), (1, "/env"), "{errors}");
        errors.to_string()
    }

    #[test]
    fn what_programs_use_is_accepted() {
        let names = [
            ("A", ""),
            ("_a9", "ü\n"),
            ("LD_PRELOAD", "x.so"),
            ("PYTHONPATH", "."),
            ("LANG", "C"),
        ];
        assert_eq!(check(&env(&names), &SecretEnv::default()), Ok(()));
    }

    #[test]
    fn a_refused_variable_is_named_with_a_remedy() {
        for name in ["", "1A", "A-B", "A=B", "ä", "A\0", &"a".repeat(256)] {
            let reported = refused(name, "");
            assert!(
                reported.contains("not a variable's name") && reported.contains("use letters"),
                "{reported}"
            );
        }
        for name in ["PATH", "HOME", "PYTHONHOME", "HYBRID_CACHE_X"] {
            let reported = refused(name, "x");
            assert!(reported.contains(name) && reported.contains("os.environ"), "{reported}");
        }
        assert!(refused("A", "x\0").contains("NUL"));
        assert!(refused("A", &"x".repeat(MAX_VALUE_BYTES + 1)).contains("65537 bytes"));
        let many: Vec<String> = (0..257).map(|number| format!("V{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
        let reported = check(&env(&many), &SecretEnv::default()).unwrap_err().to_string();
        assert!(reported.contains("257 variables"), "{reported}");
        let large = "x".repeat(MAX_VALUE_BYTES);
        let large = ["A", "B", "C", "D"].map(|name| (name, large.as_str()));
        let reported = check(&env(&large), &SecretEnv::default()).unwrap_err().to_string();
        assert!(reported.contains("262148 bytes"), "{reported}");
    }

    #[test]
    fn no_message_repeats_a_secret_and_every_fault_is_there() {
        let mut secret = SecretEnv::default();
        secret.insert("TOKEN=hunter2", "");
        secret.insert("A", "hunter2\0");
        secret.insert("B", "hunter2".repeat(20_000));
        secret.insert("PATH", "hunter2");
        secret.insert("C", "hunter2");
        let errors = check(&env(&[("C", "")]), &secret.clone()).unwrap_err();
        assert_eq!(errors.total(), 5, "{errors}");
        let reported = format!("{errors} {errors:?} {secret:?}");
        assert!(!reported.contains("hunter2"), "{reported}");
        let left_out = check(&BTreeMap::new(), &secret.without_values())
            .unwrap_err()
            .to_string();
        assert!(left_out.contains("the value of `A` is missing"), "{left_out}");
    }
}
