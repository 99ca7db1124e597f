//! The parts of a task: what each of those who handle it gets.

use std::collections::BTreeMap;

use crate::inline_metadata;
use crate::resources::TaskResources;
use crate::task::TaskSpec;
use crate::variables::SecretEnv;

/// The program of a request that prepares: it is checked, and never runs.
const NO_PROGRAM: &str = "pass";

impl TaskSpec {
    /// What the runner needs to run the program. A runner of an earlier version then refuses no task for a field that only
    /// concerns the driver or the service.
    #[must_use]
    pub fn for_program(&self) -> TaskSpec {
        TaskSpec {
            timeout_seconds: None,
            labels: BTreeMap::new(),
            resources: TaskResources::default(),
            ..self.clone()
        }
    }

    /// What a preparation needs: the packages, also those of the program's own block, and nothing else of the program.
    #[must_use]
    pub fn for_preparation(&self) -> TaskSpec {
        let block = inline_metadata::block(&self.python_code).unwrap_or_default();
        TaskSpec {
            python_code: format!("{block}{NO_PROGRAM}"),
            timeout_seconds: None,
            env: BTreeMap::new(),
            secret_env: SecretEnv::default(),
            stdin: String::new(),
            args: Vec::new(),
            labels: BTreeMap::new(),
            resources: TaskResources::default(),
            ..self.clone()
        }
    }

    /// What may be shown or kept: the task without the values of its secret variables.
    #[must_use]
    pub fn without_secrets(&self) -> TaskSpec {
        TaskSpec {
            secret_env: self.secret_env.without_values(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> TaskSpec {
        let mut spec = TaskSpec {
            dependencies: "six".to_owned(),
            requirements_file: "numpy\n".to_owned(),
            system_dependencies: "gcc".to_owned(),
            timeout_seconds: Some(5),
            stdin: "typed".to_owned(),
            args: vec!["--flag".to_owned()],
            ..TaskSpec::new("x = 'private'\n# /// script\n# dependencies = [\"idna\"]\n#\n# ///\nprint(x)")
        };
        spec.env.insert("OPEN".to_owned(), "open".to_owned());
        spec.secret_env.insert("TOKEN", "hush");
        spec.labels.insert("team".to_owned(), "blue".to_owned());
        spec.resources.cpu = Some("500m".to_owned());
        spec
    }

    #[test]
    fn a_preparation_gets_the_packages_alone() {
        let (whole, prepared) = (full(), full().for_preparation());
        let [whole, checked] = [whole, prepared.clone()].map(|spec| spec.check().unwrap());
        assert_eq!(
            (&checked.requirements, &checked.options, &checked.system),
            (&whole.requirements, &whole.options, &whole.system)
        );
        assert_eq!(checked.requirements.len(), 3);
        let json = serde_json::to_string(&prepared).unwrap();
        for word in [
            "private", "open", "OPEN", "hush", "TOKEN", "typed", "--flag", "team", "timeout", "500m",
        ] {
            assert!(!json.contains(word), "{word}: {json}");
        }
        assert_eq!(TaskSpec::new("print(1)").for_preparation(), TaskSpec::new("pass"));
    }

    #[test]
    fn a_program_gets_neither_labels_nor_resources_and_what_is_shown_has_no_secrets() {
        let program = full().for_program();
        assert_eq!((program.timeout_seconds, program.labels.len()), (None, 0));
        assert!(!program.asks_for_resources() && full().without_secrets().asks_for_resources());
        assert_eq!((program.secret_env, program.env), (full().secret_env, full().env));
        let json = serde_json::to_string(&full().without_secrets()).unwrap();
        assert!(
            json.contains(r#""secretEnv":{"TOKEN":null}"#) && !json.contains("hush"),
            "{json}"
        );
    }
}
