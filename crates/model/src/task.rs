//! A task as the API accepts it, and the same task checked and in normal form.

use serde::{Deserialize, Serialize};

use crate::python_version::PythonVersion;
use crate::requirement::{self, PythonOptions, Requirement};
use crate::system::{self, SystemPackage};
use crate::task_error::{Faults, TaskError, TaskErrors};

/// Largest accepted `pythonCode`, in bytes.
pub const MAX_CODE_BYTES: usize = 1 << 20;
/// Most Python requirements of one task; hashes do not count.
pub const MAX_REQUIREMENTS: usize = 4096;
/// Most system packages of one task.
pub const MAX_SYSTEM_PACKAGES: usize = 256;

/// What a user submits: the body of `POST /api/v1/tasks/submit` and a scenario's `request:`.
///
/// None of it is trusted until [`TaskSpec::check`] has turned it into a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// The program, as text.
    pub python_code: String,
    /// Python packages, separated by commas: `numpy,pandas>=2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dependencies: String,
    /// The text of a requirements file, one requirement a line. Combines with `dependencies`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requirements_file: String,
    /// The text of a constraints file: which versions a package may have if it is installed. Installs nothing by itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub constraints: String,
    /// The Python to run on: `3.12`, `3.12.1`, or bounds such as `>=3.10,<3.13`. Empty: the default one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub python_version: String,
    /// System tools, separated by commas: `gcc,make`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system_dependencies: String,
    /// False makes the run bypass both caches and leave nothing behind.
    #[serde(default = "use_cache_by_default")]
    pub use_cache: bool,
}

fn use_cache_by_default() -> bool {
    true
}

/// Whether a run uses the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// Read them, and fill them on a miss.
    Use,
    /// Neither read nor fill them.
    Bypass,
}

/// A checked task: every field in normal form, nothing in it that a tool could take for an option, a path or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The program.
    pub code: String,
    /// Python requirements of both fields, normalised, sorted, without repeats.
    pub requirements: Vec<Requirement>,
    /// Versions that packages must have if they are installed, normalised, sorted, without repeats; empty without
    /// requirements.
    pub constraints: Vec<Requirement>,
    /// Hashes and options of the requirements and constraints.
    pub options: PythonOptions,
    /// The Python versions that will do; `None`: the default interpreter.
    pub python: Option<PythonVersion>,
    /// System packages, aliases resolved, sorted, without repeats.
    pub system: Vec<SystemPackage>,
    /// Whether to use the caches.
    pub cache: CachePolicy,
}

impl TaskSpec {
    /// A task of code alone, with caches in use.
    pub fn new(python_code: impl Into<String>) -> TaskSpec {
        TaskSpec {
            python_code: python_code.into(),
            dependencies: String::new(),
            requirements_file: String::new(),
            constraints: String::new(),
            python_version: String::new(),
            system_dependencies: String::new(),
            use_cache: true,
        }
    }

    /// Checks every field and puts it into normal form.
    ///
    /// # Errors
    /// Everything in it that is not acceptable, with its line if the field has lines.
    pub fn check(&self) -> Result<Task, TaskErrors> {
        let mut faults = Faults::default();
        faults.keep(check_code(&self.python_code).map_err(TaskErrors::from));
        let PythonPackages {
            requirements,
            constraints,
            options,
        } = self.check_python(&mut faults);
        let python = PythonVersion::read(&self.python_version).map_err(TaskErrors::from);
        let python = faults.keep(python);
        let mut system = faults.keep(system::parse_list("/systemDependencies", &self.system_dependencies));
        system.sort();
        system.dedup();
        let counted = limit(
            "/systemDependencies",
            system.len(),
            MAX_SYSTEM_PACKAGES,
            "system packages",
        );
        faults.keep(counted.map_err(TaskErrors::from));
        let cache = if self.use_cache {
            CachePolicy::Use
        } else {
            CachePolicy::Bypass
        };
        faults.result(Task {
            code: self.python_code.clone(),
            requirements,
            constraints,
            options,
            python,
            system,
            cache,
        })
    }

    /// The Python packages of all fields.
    fn check_python(&self, faults: &mut Faults) -> PythonPackages {
        let mut requirements = faults.keep(requirement::parse_list("/dependencies", &self.dependencies));
        let file = faults.keep(requirement::parse_file("/requirementsFile", &self.requirements_file));
        requirements.extend(file.requirements);
        let limits = faults.keep(requirement::parse_file("/constraints", &self.constraints));
        let (mut constraints, mut options) = (limits.requirements, file.options);
        for (pointer, list, what) in [
            ("/requirementsFile", &mut requirements, "requirements"),
            ("/constraints", &mut constraints, "constraints"),
        ] {
            list.sort();
            list.dedup();
            let counted = limit(pointer, list.len(), MAX_REQUIREMENTS, what);
            faults.keep(counted.map_err(TaskErrors::from));
        }
        if requirements.is_empty() {
            // Nothing is installed, so nothing is constrained.
            constraints.clear();
        } else {
            options.extend(limits.options);
        }
        PythonPackages {
            options: options.complete(&requirements),
            requirements,
            constraints,
        }
    }
}

/// What a task asks of Python packages.
struct PythonPackages {
    requirements: Vec<Requirement>,
    constraints: Vec<Requirement>,
    options: PythonOptions,
}

fn check_code(code: &str) -> Result<(), TaskError> {
    let refuse = |message: String, hint: &str| {
        Err(TaskError {
            pointer: "/pythonCode",
            line: None,
            message,
            hint: Some(hint.to_owned()),
        })
    };
    if code.trim().is_empty() {
        return refuse(
            "the code is empty".to_owned(),
            "give the program's text, such as `print(1)`",
        );
    }
    if code.len() > MAX_CODE_BYTES {
        let message = format!(
            "the code has {} bytes, at most {MAX_CODE_BYTES} are accepted",
            code.len()
        );
        return refuse(message, "put the bulk into a package, or read it as data");
    }
    if let Some(at) = code.find('\0') {
        return refuse(
            format!("a NUL character at byte {at}"),
            "Python source cannot hold NUL characters",
        );
    }
    Ok(())
}

fn limit(pointer: &'static str, count: usize, most: usize, what: &str) -> Result<(), TaskError> {
    if count <= most {
        return Ok(());
    }
    let message = format!("{count} {what}, at most {most} are accepted");
    Err(TaskError {
        pointer,
        line: None,
        message,
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: TaskSpec) -> String {
        spec.check().expect_err("the task should be refused").to_string()
    }

    #[test]
    fn the_documented_body_is_read_with_its_default() {
        let body = r#"{"pythonCode": "print(1)", "dependencies": "numpy,pandas", "requirementsFile": "numpy>=1.0.0\n",
                       "systemDependencies": "gcc,make"}"#;
        let spec: TaskSpec = serde_json::from_str(body).unwrap();
        assert!(spec.use_cache);
        let task = spec.check().unwrap();
        assert_eq!(task.cache, CachePolicy::Use);
        assert_eq!(task.requirements.len(), 3);
        assert_eq!(task.system.len(), 2);
    }

    #[test]
    fn unknown_fields_are_named() {
        let error = serde_json::from_str::<TaskSpec>(r#"{"pythonCode": "1", "usecache": true}"#).unwrap_err();
        assert!(error.to_string().contains("usecache"), "{error}");
    }

    #[test]
    fn empty_code_is_refused_and_a_mebibyte_is_not() {
        assert!(refused(TaskSpec::new(" \n\t")).contains("/pythonCode: the code is empty"));
        assert!(TaskSpec::new("#".repeat(MAX_CODE_BYTES)).check().is_ok());
        assert!(refused(TaskSpec::new("#".repeat(MAX_CODE_BYTES + 1))).contains("1048577 bytes"));
        assert!(refused(TaskSpec::new("a\0b")).contains("NUL character at byte 1"));
    }

    #[test]
    fn constraints_install_nothing_and_every_fault_of_them_has_its_line() {
        let with = |dependencies: &str, constraints: &str| TaskSpec {
            dependencies: dependencies.to_owned(),
            constraints: constraints.to_owned(),
            ..TaskSpec::new("1")
        };
        let alone = with("", "six==1\n--pre").check().unwrap();
        assert_eq!(alone, TaskSpec::new("1").check().unwrap());
        let hash = format!("--hash=sha256:{}", "0".repeat(64));
        let task = with("numpy", &format!("Six==1.0 {hash}\n--pre\nabc<2 # why\nsix==1.0"))
            .check()
            .unwrap();
        let texts: Vec<_> = task.constraints.iter().map(Requirement::as_str).collect();
        assert_eq!(texts, ["abc<2", "six==1.0"]);
        assert_eq!(task.options.hashes_of("six==1.0").count(), 1);
        assert!(task.options.pre_releases && !task.options.require_hashes);
        let told = refused(with("a b", "six\n-c other.txt\nfoo @ https://host.test/x.whl"));
        for part in [
            "3 errors",
            "/dependencies: ",
            "/constraints line 2: `-c` is an option",
            "put the lines of that file into `constraints`",
            "/constraints line 3: ",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let many: String = (0..=MAX_REQUIREMENTS).map(|number| format!("a{number}\n")).collect();
        assert!(refused(with("", &many)).contains("/constraints: 4097 constraints"));
        assert_eq!(
            serde_json::to_string(&with("", "")).unwrap(),
            r#"{"pythonCode":"1","useCache":true}"#
        );
    }

    #[test]
    fn order_and_repeats_do_not_make_another_task() {
        let one = TaskSpec {
            dependencies: "pandas, numpy".into(),
            ..TaskSpec::new("1")
        }
        .check()
        .unwrap();
        let other = TaskSpec {
            dependencies: "NumPy,numpy,pandas".into(),
            ..TaskSpec::new("1")
        }
        .check()
        .unwrap();
        assert_eq!(one.requirements, other.requirements);
    }
}
