//! Interpreters that are prepared for tasks with certain packages: part of an operator's settings, and of the driver's configuration.

use serde::{Deserialize, Serialize};

use crate::requirement::Refusal;
use crate::task::TaskSpec;
use crate::task_error::TaskErrors;

/// Most entries.
pub const MAX_ENTRIES: usize = 8;
/// Most pods of one entry.
pub const MAX_PODS: u32 = 100;
/// Most modules of one entry.
pub const MAX_IMPORTS: usize = 32;
/// Longest name of a module, in bytes.
const MAX_MODULE_BYTES: usize = 200;

/// Standby pods that have an interpreter ready, with modules imported, for tasks with exactly these packages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PreparedInterpreter {
    /// The Python packages of such tasks, as in [`TaskSpec`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dependencies: String,
    /// Their system packages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system_dependencies: String,
    /// Modules that are imported before a task comes, in this order.
    pub imports: Vec<String>,
    /// How many pods wait.
    pub pods: u32,
}

impl PreparedInterpreter {
    /// A task with these packages, whose program does nothing.
    pub fn task(&self) -> TaskSpec {
        TaskSpec {
            dependencies: self.dependencies.clone(),
            system_dependencies: self.system_dependencies.clone(),
            ..TaskSpec::new("pass")
        }
    }

    /// Checks the packages.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check_packages(&self) -> Result<(), TaskErrors> {
        self.task().check().map(drop)
    }
}

/// Checks the name of a module, such as `numpy.linalg`.
///
/// # Errors
/// It is none.
pub fn check_module(name: &str) -> Result<(), Refusal> {
    let is_part = |part: &str| {
        let mut rest = part.chars();
        let begins = rest.next().is_some_and(|first| first.is_alphabetic() || first == '_');
        begins && rest.all(|c| c.is_alphanumeric() || c == '_')
    };
    if name.len() <= MAX_MODULE_BYTES && name.split('.').all(is_part) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("{} is not the name of a module", Refusal::quote(name)),
        "write the name as behind `import`, such as `numpy` or `numpy.linalg`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_a_dotted_name_and_nothing_that_python_could_run() {
        for name in ["numpy", "numpy.linalg", "_a1.b_2", "naïve"] {
            check_module(name).unwrap();
        }
        for name in [
            "",
            ".",
            "a..b",
            "a.",
            "1a",
            "a-b",
            "a b",
            "a;b",
            "a\nb",
            "os as a",
            "\"",
            &"a".repeat(300),
        ] {
            check_module(name).unwrap_err();
        }
    }

    #[test]
    fn packages_are_checked_as_those_of_a_task() {
        let entry = |dependencies: &str| PreparedInterpreter {
            dependencies: dependencies.to_owned(),
            system_dependencies: String::new(),
            imports: vec!["numpy".to_owned()],
            pods: 1,
        };
        entry("numpy,pandas>=2").check_packages().unwrap();
        assert!(entry("--index-url x").check_packages().is_err());
        let written = serde_json::to_value(entry("numpy")).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"dependencies": "numpy", "imports": ["numpy"], "pods": 1})
        );
    }
}
