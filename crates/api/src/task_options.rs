//! A task as a command line describes it: a file or the program's text, its packages, and what the program gets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::program_input::MAX_STDIN_BYTES;

use crate::task_file::{self, TaskFile, TaskFileError};

/// The name of standard input as a file.
const OWN_STDIN: &str = "-";

/// The options as they were given.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions<'a> {
    /// A program or a task: see [`task_file::read`]. `-` is this process' standard input.
    pub file: Option<&'a Path>,
    /// The program's text, if there is no file.
    pub python: Option<&'a str>,
    /// Python packages.
    pub dep: &'a [String],
    /// The text of a requirements file.
    pub requirements: String,
    /// The text of a constraints file.
    pub constraints: String,
    /// The Python to run on; empty: the default one.
    pub python_version: &'a str,
    /// System packages.
    pub system: &'a [String],
    /// True bypasses both caches.
    pub no_cache: bool,
    /// `NAME=VALUE`, each.
    pub env: &'a [String],
    /// Names of variables of this process.
    pub secret_env: &'a [String],
    /// A file, or `-` for this process' standard input.
    pub stdin: Option<&'a Path>,
    /// `KEY=VALUE`, each.
    pub labels: &'a [String],
    /// The program's arguments.
    pub args: &'a [String],
}

impl TaskOptions<'_> {
    /// The task, not checked yet. What the program gets replaces what a task file says of it. `variable` gives the value of
    /// one of this process' variables.
    ///
    /// # Errors
    /// A file cannot be read, an option has another form, a variable is not set, or the options contradict each other.
    pub fn task(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<TaskSpec, TaskFileError> {
        let own = Some(Path::new(OWN_STDIN));
        if self.file == own && self.stdin == own {
            return Err(option("only one of FILE and --stdin can be `-`"));
        }
        let mut spec = match self.file {
            None => self.with_packages(self.python.unwrap_or_default()),
            Some(file) => match read_file(file)? {
                TaskFile::Program(code) => self.with_packages(code),
                TaskFile::Task(_) if self.names_packages() => {
                    let name = file.display();
                    return Err(option(format!(
                        "{name}: a task file names its packages itself\n\
                         hint: leave --dep, --requirements, --constraints, --python-version, --system and --no-cache out"
                    )));
                }
                TaskFile::Task(spec) => *spec,
            },
        };
        self.add_to(&mut spec, variable)?;
        Ok(spec)
    }

    fn names_packages(&self) -> bool {
        let texts = [
            self.requirements.as_str(),
            self.constraints.as_str(),
            self.python_version,
        ];
        let lists = [self.dep, self.system];
        self.no_cache || texts.iter().any(|text| !text.is_empty()) || lists.iter().any(|list| !list.is_empty())
    }

    fn with_packages(&self, code: impl Into<String>) -> TaskSpec {
        TaskSpec {
            dependencies: self.dep.join(","),
            requirements_file: self.requirements.clone(),
            constraints: self.constraints.clone(),
            python_version: self.python_version.to_owned(),
            system_dependencies: self.system.join(","),
            use_cache: !self.no_cache,
            ..TaskSpec::new(code)
        }
    }

    fn add_to(&self, spec: &mut TaskSpec, variable: impl Fn(&str) -> Option<OsString>) -> Result<(), TaskFileError> {
        add_pairs("--env", "NAME=VALUE", self.env, &mut spec.env)?;
        add_pairs("--label", "KEY=VALUE", self.labels, &mut spec.labels)?;
        for name in self.secret_env {
            spec.secret_env.insert(name, own_value(name, &variable)?);
        }
        if let Some(file) = self.stdin {
            spec.stdin = read_stdin(file)?;
        }
        if !self.args.is_empty() {
            spec.args = self.args.to_vec();
        }
        Ok(())
    }
}

fn option(message: impl Into<String>) -> TaskFileError {
    TaskFileError::Option(message.into())
}

fn open(file: &Path) -> Result<Box<dyn Read>, TaskFileError> {
    if file == Path::new(OWN_STDIN) {
        return Ok(Box::new(std::io::stdin()));
    }
    match std::fs::File::open(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(TaskFileError::Io(file.display().to_string(), error)),
    }
}

fn read_file(file: &Path) -> Result<TaskFile, TaskFileError> {
    task_file::read(file, open(file)?)
}

fn read_stdin(file: &Path) -> Result<String, TaskFileError> {
    let mut bytes = Vec::new();
    // One byte more than fits, so that the task's check finds it too large.
    let read = open(file)?.take(MAX_STDIN_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| TaskFileError::Io(file.display().to_string(), error))?;
    String::from_utf8(bytes).map_err(|error| {
        let (name, at) = (file.display(), error.utf8_error().valid_up_to());
        option(format!(
            "--stdin {name}: not UTF-8 at byte {at}\nhint: a task's input is text"
        ))
    })
}

fn add_pairs(name: &str, form: &str, given: &[String], to: &mut BTreeMap<String, String>) -> Result<(), TaskFileError> {
    for pair in given {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| option(format!("{name} {pair:?}: {form} is expected")))?;
        to.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

fn own_value(name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<String, TaskFileError> {
    const HINT: &str = "hint: give only its name, and set it in this command's environment";
    if name.is_empty() || name.contains(['=', '\0']) {
        // It may hold a value by mistake.
        return Err(option(format!("--secret-env: a variable's name is expected\n{HINT}")));
    }
    let value =
        variable(name).ok_or_else(|| option(format!("--secret-env {name}: the variable is not set\n{HINT}")))?;
    let text = value.into_string();
    text.map_err(|_| option(format!("--secret-env {name}: the variable is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<OsString> {
        (name == "TOKEN").then(|| "hush".into())
    }

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn options_become_a_task() {
        let (dep, system) = (texts(&["six", "idna"]), texts(&["gcc"]));
        let (env, secret_env) = (texts(&["A=x=y"]), texts(&["TOKEN"]));
        let (labels, args) = (texts(&["team="]), texts(&["-v", ""]));
        let options = TaskOptions {
            python: Some("print(1)"),
            dep: &dep,
            requirements: "numpy\n".to_owned(),
            python_version: "3.12",
            system: &system,
            no_cache: true,
            env: &env,
            secret_env: &secret_env,
            // Cargo runs tests in their crate's folder.
            stdin: Some(Path::new("Cargo.toml")),
            labels: &labels,
            args: &args,
            ..TaskOptions::default()
        };
        let spec = options.task(variable).unwrap();
        assert_eq!((spec.dependencies.as_str(), spec.use_cache), ("six,idna", false));
        assert_eq!(spec.python_version, "3.12");
        assert_eq!((spec.env["A"].as_str(), spec.labels["team"].as_str()), ("x=y", ""));
        assert!(spec.stdin.contains("hybrid-cache-api"));
        assert_eq!(spec.args, args);
        let secrets: Vec<_> = spec.secret_env.iter().collect();
        assert_eq!(secrets, [("TOKEN", "hush")]);
    }

    #[test]
    fn an_option_of_another_form_is_refused_and_no_secret_repeated() {
        let refused = |options: TaskOptions<'_>| options.task(variable).unwrap_err().to_string();
        let none = TaskOptions::default;
        let words = texts(&["team"]);
        assert!(refused(TaskOptions { env: &words, ..none() }).contains("--env \"team\": NAME=VALUE"));
        assert!(
            refused(TaskOptions {
                labels: &words,
                ..none()
            })
            .contains("--label \"team\": KEY=VALUE")
        );
        let (value, unset) = (texts(&["TOKEN=hush"]), texts(&["HYBRID_CACHE_NO_SUCH"]));
        let reported = refused(TaskOptions {
            secret_env: &value,
            ..none()
        });
        assert!(
            reported.contains("give only its name") && !reported.contains("hush"),
            "{reported}"
        );
        assert!(
            refused(TaskOptions {
                secret_env: &unset,
                ..none()
            })
            .contains("is not set")
        );
        let missing = Some(Path::new("no/such/file"));
        assert!(
            refused(TaskOptions {
                stdin: missing,
                ..none()
            })
            .contains("no/such/file: ")
        );
        let own = Some(Path::new("-"));
        let both = TaskOptions {
            file: own,
            stdin: own,
            ..none()
        };
        assert!(refused(both).contains("only one of"));
    }
}
