//! Indexes that ask for a login. Code of packages gets no password, so the sandbox that builds does not ask these indexes.
//!
//! Without them, a name of such an index could come from another one there, which is what attackers of package names hope
//! for. So this is looked up here, where no code of packages runs: what such an index knows is neither resolved nor built
//! in the sandbox.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hybrid_cache_model::protocol::{Interpreter, PythonTools};
use hybrid_cache_model::sources::login_variable;
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement};

use super::proposal::Proposed;
use crate::child::Deadline;
use crate::python::uv::{Uv, selection};
use crate::store::{IoContext, files};

/// Most requirements of a task that are looked up; a task with more is resolved with all of them. A package that needs more
/// than this to be built is refused.
const MAX_ASKED: usize = 128;
/// Most answers that are kept: all packages of a task, with build requirements that they share.
const MAX_ANSWERS: usize = 4096;
/// What to do about a package that may not be built beside such an index.
const HINT: &str =
    "code of packages gets no password, so such a package is not built: put a wheel of it into the index";

/// The indexes with a login among uv's settings.
pub struct Logins<'a> {
    tools: &'a PythonTools,
    /// `(name, address)`.
    indexes: Vec<(&'a str, &'a str)>,
    /// Which names one of them knows, as far as it was asked.
    answers: RefCell<BTreeMap<String, bool>>,
}

impl<'a> Logins<'a> {
    /// Finds them by their variables.
    pub fn find(tools: &'a PythonTools) -> Logins<'a> {
        let has_login = |index: &str| tools.variables.iter().any(|(name, _)| is_login_of(index, name));
        let values = tools.variables.iter().filter(|(name, _)| name == "UV_INDEX");
        let named = values
            .flat_map(|(_, value)| value.split([' ', ',']))
            .filter_map(|one| one.split_once('='));
        Logins {
            tools,
            indexes: named
                .filter(|(name, _)| Protection::IndexLogins.is_on() && has_login(name))
                .collect(),
            answers: RefCell::default(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// The names of the indexes, for messages.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.indexes.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    }

    /// uv's settings without these indexes and their logins.
    pub fn left_out(&self) -> PythonTools {
        let is_kept = |one: &&str| {
            !self
                .indexes
                .iter()
                .any(|(name, url)| one.split_once('=') == Some((name, url)))
        };
        let mut tools = self.tools.clone();
        tools.variables.retain_mut(|(name, value)| {
            if name == "UV_INDEX" {
                *value = value.split([' ', ',']).filter(is_kept).collect::<Vec<_>>().join(" ");
            }
            let is_login = self.indexes.iter().any(|(index, _)| is_login_of(index, name));
            !(is_login || name == "UV_INDEX" && value.is_empty())
        });
        tools
    }

    /// Which of the packages one of these indexes knows.
    ///
    /// # Errors
    /// An index does not answer or denies access.
    pub fn known<'b>(
        &self,
        packages: impl Iterator<Item = &'b str>,
        work: &Work<'_>,
    ) -> Result<BTreeSet<&'b str>, Failure> {
        let packages: BTreeSet<&str> = packages.collect();
        let mut known = BTreeSet::new();
        if self.indexes.is_empty() || packages.len() > MAX_ASKED {
            return Ok(known);
        }
        for package in packages {
            if self.any_knows(package, work)? {
                known.insert(package);
            }
        }
        Ok(known)
    }

    /// True if one of these indexes knows the package. Each name is looked up once: many packages have the same build
    /// requirements.
    fn any_knows(&self, package: &str, work: &Work<'_>) -> Result<bool, Failure> {
        if let Some(known) = self.answers.borrow().get(package) {
            return Ok(*known);
        }
        let mut known = false;
        for index in &self.indexes {
            known = known || self.knows(index, package, work)?;
        }
        let mut answers = self.answers.borrow_mut();
        if answers.len() < MAX_ANSWERS {
            answers.insert(package.to_owned(), known);
        }
        Ok(known)
    }

    /// Refuses to build a package whose name one of these indexes knows.
    ///
    /// # Errors
    /// There is one, or an index does not answer or denies access.
    pub fn check(&self, proposed: &[Proposed], work: &Work<'_>) -> Result<(), Failure> {
        let known = self.known(proposed.iter().map(|one| one.name.as_str()), work)?;
        match known.first() {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "{name} has no wheel, and its name is one of an index with a login ({})",
                    self.names()
                );
                Err(Failure::new(FailureKind::NoWheel, message).hint(HINT))
            }
        }
    }

    /// Refuses to build a package of which a build requirement has a name that one of these indexes knows. `constraints` are
    /// the pinned build requirements.
    ///
    /// # Errors
    /// There is one, or an index does not answer or denies access.
    pub fn check_requirements(&self, package: &Proposed, constraints: &str, work: &Work<'_>) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let requirements = package.build_requirements();
        let read = |text: &str| text.parse::<Requirement>().ok();
        let pinned = constraints
            .lines()
            .map(|line| line.split([' ', ';']).next().unwrap_or_default());
        let all: Vec<Requirement> = requirements
            .iter()
            .map(String::as_str)
            .chain(pinned)
            .filter_map(read)
            .collect();
        // `known` looks nothing up then.
        if all.iter().map(Requirement::name).collect::<BTreeSet<_>>().len() > MAX_ASKED {
            let message = format!(
                "building {}=={} requires more than {MAX_ASKED} packages, too many to look up in an index with a login ({})",
                package.name,
                package.version,
                self.names()
            );
            return Err(Failure::new(FailureKind::NoWheel, message).hint(HINT));
        }
        let known = self.known(all.iter().map(Requirement::name), work)?;
        let Some(name) = known.first() else { return Ok(()) };
        let message = format!(
            "building {}=={} requires {name}, whose name is one of an index with a login ({})",
            package.name,
            package.version,
            self.names()
        );
        Err(Failure::new(FailureKind::NoWheel, message).hint(HINT))
    }

    fn knows(&self, (name, url): &(&str, &str), package: &str, work: &Work<'_>) -> Result<bool, Failure> {
        let mut tools = self.tools.clone();
        let elsewhere = ["UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS"];
        tools.variables.retain(|(name, _)| !elsewhere.contains(&name.as_str()));
        tools
            .variables
            .push(("UV_DEFAULT_INDEX".to_owned(), format!("{name}={url}")));
        let uv = Uv {
            tools: &tools,
            cache: work.cache,
            work: work.folder,
            deadline: work.deadline,
        };
        let (list, answer) = (work.folder.join("known.txt"), work.folder.join("known.lock"));
        std::fs::write(&list, format!("{package}\n")).io_context("write", &list)?;
        files::delete(&answer)?;
        let mut command = uv.command("pip");
        command.args([
            "compile",
            "--no-deps",
            "--no-header",
            "--no-annotate",
            "--quiet",
            "--no-build",
        ]);
        command.args(["--python", &work.interpreter.path]);
        command.arg("--output-file").arg(&answer);
        command.args(selection(true, work.interpreter, &tools.variables));
        command.arg(&list);
        match uv.run(&mut command, "uv pip compile") {
            Ok(()) => Ok(true),
            Err(failure) => match failure.kind {
                FailureKind::UnknownPackage => Ok(false),
                FailureKind::NoWheel | FailureKind::Unsatisfiable => Ok(true),
                _ => Err(failure),
            },
        }
    }
}

/// True if a variable is the user name or the password of an index.
fn is_login_of(index: &str, variable: &str) -> bool {
    ["USERNAME", "PASSWORD"]
        .iter()
        .any(|part| variable == login_variable(index, part))
}

/// What uv needs to look something up.
pub struct Work<'a> {
    /// UV_CACHE_DIR.
    pub cache: &'a Path,
    /// A folder for files.
    pub folder: &'a Path,
    /// The interpreter.
    pub interpreter: &'a Interpreter,
    /// When to give up.
    pub deadline: &'a Deadline,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(variables: &[(&str, &str)]) -> PythonTools {
        PythonTools {
            uv: String::new(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn package(name: &str) -> Proposed {
        serde_json::from_value(serde_json::json!({"name": name, "version": "1", "sha256": ""})).unwrap()
    }

    #[test]
    fn an_index_with_a_login_is_left_out_with_its_login() {
        let variables = [
            (
                "UV_INDEX",
                "open=https://open.test/simple our-s=https://ours.test/simple https://third.test",
            ),
            ("UV_INDEX_OUR_S_USERNAME", "robot"),
            ("UV_INDEX_OUR_S_PASSWORD", "hush"),
            ("UV_DEFAULT_INDEX", "https://default.test"),
        ];
        let all = tools(&variables);
        let logins = Logins::find(&all);
        assert_eq!(logins.names(), "`our-s`");
        let open = ("UV_INDEX", "open=https://open.test/simple https://third.test");
        assert_eq!(logins.left_out(), tools(&[open, variables[3]]));
        let only = tools(&[
            ("UV_INDEX", "ours=https://ours.test"),
            ("UV_INDEX_OURS_PASSWORD", "hush"),
        ]);
        assert_eq!(Logins::find(&only).left_out(), tools(&[]));
        assert!(Logins::find(&tools(&[open])).is_empty());
        // So many names are not looked up, and none of them is taken for unknown.
        let constraints: String = (0..=MAX_ASKED)
            .map(|number| format!("a{number}==1 --hash=x\n"))
            .collect();
        let work = Work {
            cache: Path::new("/none"),
            folder: Path::new("/none"),
            interpreter: &Interpreter::default(),
            deadline: &Deadline::at(std::time::Instant::now()).unwrap(),
        };
        let refused = logins
            .check_requirements(&package("b"), &constraints, &work)
            .unwrap_err();
        assert!(refused.message.contains("more than 128 packages"), "{refused}");
        let none = tools(&[open]);
        Logins::find(&none)
            .check_requirements(&package("b"), &constraints, &work)
            .unwrap();
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_packages() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, calls) = (dir.path().join("uv"), dir.path().join("calls"));
        let script = format!(
            "#!/bin/sh\necho call >>{}\necho 'Because a was not found in the package registry' >&2\nexit 1\n",
            calls.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let all = PythonTools {
            uv: program.display().to_string(),
            ..tools(&[
                ("UV_INDEX", "ours=https://ours.test"),
                ("UV_INDEX_OURS_PASSWORD", "hush"),
            ])
        };
        let logins = Logins::find(&all);
        let deadline = Deadline::at(std::time::Instant::now() + std::time::Duration::from_secs(20)).unwrap();
        let work = Work {
            cache: dir.path(),
            folder: dir.path(),
            interpreter: &Interpreter::default(),
            deadline: &deadline,
        };
        let count = || std::fs::read_to_string(&calls).unwrap().lines().count();
        for name in ["one", "two", "three"] {
            let constraints = "setuptools==1 --hash=x\nwheel==1 --hash=x\n";
            logins.check_requirements(&package(name), constraints, &work).unwrap();
        }
        assert_eq!(count(), 2);
        for number in 0..MAX_ANSWERS {
            logins.answers.borrow_mut().insert(number.to_string(), false);
        }
        logins.check_requirements(&package("four"), "new==1\n", &work).unwrap();
        assert_eq!((logins.answers.borrow().len(), count()), (MAX_ANSWERS + 2, 3));
    }
}
