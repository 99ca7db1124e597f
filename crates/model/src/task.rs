//! A task as the API accepts it, and the same task checked and in normal form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use pep440_rs::VersionSpecifiers;

use crate::coding;
use crate::inline_metadata;
use crate::labels;
use crate::program_input;
use crate::python_version::PythonVersion;
use crate::requirement::{self, PythonOptions, Requirement, RequirementsFile};
use crate::resources::TaskResources;
use crate::sources::SourcePolicy;
use crate::system::{self, SystemPackage};
use crate::task_error::{Faults, TaskError, TaskErrors};
use crate::variables::{self, SecretEnv};

/// Largest accepted `pythonCode`, in bytes.
pub const MAX_CODE_BYTES: usize = 1 << 20;
/// Most Python requirements of one task; hashes do not count.
pub const MAX_REQUIREMENTS: usize = 4096;
/// Most system packages of one task.
pub const MAX_SYSTEM_PACKAGES: usize = 256;

/// The fields of a task in JSON. A reader of what a newer version wrote leaves the others out.
pub const TASK_FIELDS: &[&str] = &[
    "pythonCode",
    "dependencies",
    "requirementsFile",
    "constraints",
    "pythonVersion",
    "systemDependencies",
    "useCache",
    "timeoutSeconds",
    "env",
    "secretEnv",
    "stdin",
    "args",
    "labels",
    "resources",
];

/// What a user submits: the body of `POST /api/v1/tasks/submit` and a scenario's `request:`.
///
/// None of it is trusted until [`TaskSpec::check`] has turned it into a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// The program, as text. Packages of a `# /// script` block (PEP 723) combine with `dependencies`.
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
    /// Seconds until the program gets SIGTERM, and 5 s later SIGKILL, within the operator's limit; `None` leaves it at that limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Environment variables of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Environment variables whose values are never shown again.
    #[serde(default, skip_serializing_if = "SecretEnv::is_empty")]
    pub secret_env: SecretEnv,
    /// The program's standard input; nothing if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    /// The program's arguments: `sys.argv[1:]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Pairs by which the service finds the task again; the program does not see them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// CPU, memory and disk for the program, within the operator's limits.
    #[serde(default, skip_serializing_if = "TaskResources::is_empty")]
    pub resources: TaskResources,
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
    /// Python requirements of both fields and of the program's own block, normalised, sorted, without repeats.
    pub requirements: Vec<Requirement>,
    /// Versions that packages must have if they are installed, normalised, sorted, without repeats; empty without
    /// requirements.
    pub constraints: Vec<Requirement>,
    /// Hashes and options of the requirements and constraints.
    pub options: PythonOptions,
    /// The Python versions that will do; `None`: the default interpreter.
    pub python: Option<PythonVersion>,
    /// The Python versions that the program's own block accepts. Empty means any.
    pub requires_python: VersionSpecifiers,
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
            timeout_seconds: None,
            env: BTreeMap::new(),
            secret_env: SecretEnv::default(),
            stdin: String::new(),
            args: Vec::new(),
            labels: BTreeMap::new(),
            resources: TaskResources::default(),
        }
    }

    /// True if the task names its own amount of CPU, memory or disk, so that only a sandbox or pod made for it will do.
    pub fn asks_for_resources(&self) -> bool {
        !self.resources.is_empty()
    }

    /// Checks every field and puts it into normal form. Accepts each source of packages that some operator may allow; who
    /// runs or prepares a task calls [`TaskSpec::check_for`].
    ///
    /// # Errors
    /// Everything in it that is not acceptable, with its line if the field has lines.
    pub fn check(&self) -> Result<Task, TaskErrors> {
        self.check_for(&SourcePolicy::unknown())
    }

    /// Like [`TaskSpec::check`], but refuses sources of packages that the operator does not allow.
    ///
    /// # Errors
    /// Everything in it that is not acceptable, with its line if the field has lines.
    pub fn check_for(&self, policy: &SourcePolicy<'_>) -> Result<Task, TaskErrors> {
        let mut faults = Faults::default();
        faults.keep(check_code(&self.python_code));
        let inline = faults.keep(inline_metadata::read(&self.python_code));
        let PythonPackages {
            requirements,
            constraints,
            options,
        } = self.check_python(inline.requirements, policy, &mut faults);
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
        faults.keep(counted);
        faults.keep(program_input::check(&self.args, &self.stdin, self.timeout_seconds));
        faults.keep(variables::check(&self.env, &self.secret_env));
        faults.keep(labels::check(&self.labels));
        faults.keep(self.resources.check());
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
            requires_python: inline.requires_python,
            system,
            cache,
        })
    }

    /// The Python packages of all fields and of the program's own block.
    fn check_python(
        &self,
        of_program: Vec<Requirement>,
        policy: &SourcePolicy<'_>,
        faults: &mut Faults,
    ) -> PythonPackages {
        let listed = requirement::parse_list("/dependencies", &self.dependencies, policy);
        let mut requirements = faults.keep(listed);
        requirements.extend(of_program);
        let file = requirement::parse_file("/requirementsFile", &self.requirements_file, policy);
        let file = faults.keep(file);
        requirements.extend(file.requirements);
        let limits = requirement::parse_file("/constraints", &self.constraints, policy);
        let limits = faults.keep(limits.and_then(without_references));
        let (mut constraints, mut options) = (limits.requirements, file.options);
        for (pointer, list, what) in [
            ("/requirementsFile", &mut requirements, "requirements"),
            ("/constraints", &mut constraints, "constraints"),
        ] {
            list.sort();
            list.dedup();
            let counted = limit(pointer, list.len(), MAX_REQUIREMENTS, what);
            faults.keep(counted);
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

/// The constraints, if each of them names versions.
fn without_references(limits: RequirementsFile) -> Result<RequirementsFile, TaskErrors> {
    let mut faults = Faults::default();
    for one in limits.requirements.iter().filter(|one| one.reference().is_some()) {
        faults.push(TaskError {
            pointer: "/constraints",
            line: None,
            message: format!("a URL or a repository as a constraint of {}", one.name()),
            hint: Some("write it into requirementsFile; constraints name versions".to_owned()),
        });
    }
    faults.result(limits)
}

fn check_code(code: &str) -> Result<(), TaskErrors> {
    let refuse = |message: String, hint: &str| {
        Err(TaskErrors::from(TaskError {
            pointer: "/pythonCode",
            line: None,
            message,
            hint: Some(hint.to_owned()),
        }))
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
    Ok(coding::check(code)?)
}

fn limit(pointer: &'static str, count: usize, most: usize, what: &str) -> Result<(), TaskErrors> {
    if count <= most {
        return Ok(());
    }
    let message = format!("{count} {what}, at most {most} are accepted");
    Err(TaskErrors::from(TaskError {
        pointer,
        line: None,
        message,
        hint: None,
    }))
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
    fn packages_of_the_programs_own_block_combine_with_the_fields() {
        let spec = TaskSpec {
            dependencies: "numpy".into(),
            ..TaskSpec::new("# /// script\n# dependencies = ['idna', 'NumPy']\n# ///\nimport idna")
        };
        let task = spec.check().unwrap();
        let names: Vec<&str> = task.requirements.iter().map(Requirement::name).collect();
        assert_eq!(names, ["idna", "numpy"]);
    }

    #[test]
    fn fields_that_are_not_given_are_not_written() {
        let json = serde_json::to_string(&TaskSpec::new("1")).unwrap();
        assert_eq!(json, r#"{"pythonCode":"1","useCache":true}"#);
    }

    #[test]
    fn what_a_program_gets_does_not_change_its_environment_and_all_faults_come_together() {
        let mut spec = TaskSpec {
            dependencies: "numpy".into(),
            ..TaskSpec::new("1")
        };
        let plain = spec.check().unwrap();
        spec.timeout_seconds = Some(5);
        spec.env.insert("A".into(), "1".into());
        spec.secret_env.insert("B", "hush");
        spec.stdin = "x".into();
        spec.args = vec!["-v".into()];
        spec.labels.insert("team".into(), "blue".into());
        assert!(!spec.asks_for_resources());
        spec.resources.memory = Some("2Gi".into());
        assert!(spec.asks_for_resources());
        assert_eq!(spec.check().unwrap(), plain);
        let read: TaskSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(read, spec);
        assert!(!format!("{spec:?}").contains("hush"));
        spec.timeout_seconds = Some(0);
        spec.env.insert("PATH".into(), String::new());
        spec.labels.insert("a b".into(), String::new());
        spec.resources.memory = Some("2GB".into());
        spec.dependencies = "--pre".into();
        let reported = refused(spec);
        for field in [
            "/dependencies",
            "/timeoutSeconds",
            "/env",
            "/labels",
            "/resources/memory",
        ] {
            assert!(reported.contains(field), "{reported}");
        }
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
        let reported = refused(with("a b", "six\n-c other.txt\nfoo @ https://host.test/x.whl"));
        for part in [
            "3 errors",
            "/dependencies: ",
            "/constraints line 2: `-c` is an option",
            "put the lines of that file into `constraints`",
            "/constraints line 3: ",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
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
