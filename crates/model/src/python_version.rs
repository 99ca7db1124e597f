//! Which Python a task runs on: a version, or bounds on it, and the choice among the interpreters on offer.

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

use crate::task_error::{TaskError, TaskErrors};

/// Longest accepted `pythonVersion`, in bytes.
pub const MAX_PYTHON_VERSION_BYTES: usize = 128;

const POINTER: &str = "/pythonVersion";
/// What stands before and behind a version that is not on offer.
const MISSING: (&str, &str) = ("Python ", " is not on offer");

/// The Python versions that a task accepts: `3.12`, `3.12.1`, or bounds such as `>=3.10,<3.13`, as `requires-python` has
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PythonVersion {
    text: String,
    accepted: VersionSpecifiers,
}

impl PythonVersion {
    /// Reads a version or bounds; `None` for an empty text, which leaves the choice to the operator.
    ///
    /// # Errors
    /// The text is neither.
    pub fn read(text: &str) -> Result<Option<PythonVersion>, TaskError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".,<>=!~*+- ".contains(c);
        let specifiers = if text.len() > MAX_PYTHON_VERSION_BYTES || !text.chars().all(is_plain) {
            None
        } else if text.starts_with(|c: char| c.is_ascii_digit()) {
            of_version(text)
        } else {
            VersionSpecifiers::from_str(text).ok()
        };
        match specifiers {
            Some(accepted) => Ok(Some(PythonVersion {
                text: text.to_owned(),
                accepted,
            })),
            None => {
                let shown: String = text.chars().take(60).collect();
                Err(TaskError {
                    pointer: POINTER,
                    line: None,
                    message: format!("`{}` is not a Python version", shown.escape_debug()),
                    hint: Some("write a version such as `3.12`, or bounds such as `>=3.10,<3.13`".to_owned()),
                })
            }
        }
    }

    /// True if the interpreter with this full version (`3.12.1`) will do.
    pub fn accepts(&self, version: &str) -> bool {
        Version::from_str(version).is_ok_and(|version| self.accepted.contains(&version))
    }
}

/// True for a version that names one minor version: `3.12` or `3.12.1`.
pub fn is_version(text: &str) -> bool {
    text.len() <= MAX_PYTHON_VERSION_BYTES && text.contains('.') && of_version(text).is_some()
}

/// As it was written.
impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `3.12` accepts each `3.12.x`.
fn of_version(text: &str) -> Option<VersionSpecifiers> {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return None;
    }
    let end = if parts.len() == 3 { "" } else { ".*" };
    VersionSpecifiers::from_str(&format!("=={text}{end}")).ok()
}

/// The index of the interpreter that a task gets, of those on offer with these full versions: the first one, which is the
/// default, if it will do; otherwise the newest that will do. What the program itself requires decides among those that
/// the task accepts; if none of them meets it, it is left to the check before the program starts.
///
/// # Errors
/// The task accepts none; the hint names those on offer.
pub fn choose(
    wanted: Option<&PythonVersion>,
    required: &VersionSpecifiers,
    offered: &[&str],
) -> Result<usize, TaskError> {
    let accepted = |version: &str| wanted.is_none_or(|wanted| wanted.accepts(version));
    let meets = |version: &str| Version::from_str(version).is_ok_and(|version| required.contains(&version));
    if let Some(index) = best(offered, |version| accepted(version) && meets(version)) {
        return Ok(index);
    }
    let Some(wanted) = wanted else { return Ok(0) };
    best(offered, accepted).ok_or_else(|| {
        let hint = match offered {
            [only] => format!("only Python {only} is on offer here; leave the field out to use it"),
            [default, others @ ..] => format!("on offer are {default} (the default), {}", others.join(", ")),
            [] => "no interpreter is on offer".to_owned(),
        };
        TaskError {
            pointer: POINTER,
            line: None,
            message: [MISSING.0, &wanted.text, MISSING.1].concat(),
            hint: Some(hint),
        }
    })
}

/// The version that no interpreter on offer has, if [`choose`] said so of a plain one such as `3.12`: there is a way to get it.
pub fn missing(errors: &TaskErrors) -> Option<&str> {
    let mut errors = errors.groups().map(|group| &group.first);
    errors.find_map(|error| {
        let version = error.message.strip_prefix(MISSING.0)?.strip_suffix(MISSING.1)?;
        (error.pointer == POINTER && is_version(version)).then_some(version)
    })
}

fn best(offered: &[&str], fits: impl Fn(&str) -> bool) -> Option<usize> {
    if offered.first().is_some_and(|default| fits(default)) {
        return Some(0);
    }
    let fitting = offered.iter().enumerate().filter(|(_, one)| fits(one));
    let newest = fitting.max_by_key(|(_, one)| Version::from_str(one).ok());
    newest.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str) -> Result<String, String> {
        let offered = ["3.11.7", "3.9.18", "3.12.1", "3.13.0"];
        let wanted = PythonVersion::read(text).map_err(|error| error.to_string())?;
        let any = VersionSpecifiers::empty();
        let index = choose(wanted.as_ref(), &any, &offered).map_err(|error| error.to_string())?;
        Ok(offered[index].to_owned())
    }

    #[test]
    fn what_the_program_requires_decides_among_those_that_the_task_accepts() {
        let offered = ["3.11.7", "3.12.1", "3.13.0"];
        for (asked, required, version) in [
            ("", ">=3.10", "3.11.7"),
            ("", ">=3.12", "3.13.0"),
            (">=3.11", "<3.13,>=3.12", "3.12.1"),
            // The check before the program starts tells of these.
            ("", ">=3.14", "3.11.7"),
            ("3.12", ">=3.13", "3.12.1"),
        ] {
            let wanted = PythonVersion::read(asked).unwrap();
            let index = choose(wanted.as_ref(), &required.parse().unwrap(), &offered).unwrap();
            assert_eq!(offered[index], version, "{asked:?} {required:?}");
        }
    }

    #[test]
    fn the_default_is_chosen_if_it_will_do_and_the_newest_otherwise() {
        for (text, version) in [
            ("", "3.11.7"),
            (" \n", "3.11.7"),
            ("3", "3.11.7"),
            ("3.11", "3.11.7"),
            ("3.12", "3.12.1"),
            ("3.12.1", "3.12.1"),
            (" 3.9 ", "3.9.18"),
            (">=3.10", "3.11.7"),
            (">=3.12", "3.13.0"),
            (">=3.12,<3.13", "3.12.1"),
            ("~=3.12", "3.13.0"),
            ("~=3.12.0", "3.12.1"),
            ("!=3.11.*", "3.13.0"),
            ("==3.13.*", "3.13.0"),
        ] {
            assert_eq!(chosen(text).as_deref(), Ok(version), "{text:?}");
        }
    }

    #[test]
    fn a_version_that_is_not_offered_and_a_text_that_is_none_are_refused() {
        let reported = chosen("3.14").unwrap_err();
        assert!(
            reported.contains("/pythonVersion: Python 3.14 is not on offer"),
            "{reported}"
        );
        assert!(
            reported.contains("3.11.7 (the default), 3.9.18, 3.12.1, 3.13.0"),
            "{reported}"
        );
        assert!(chosen("3.12.2").unwrap_err().contains("not on offer"));
        let missing_in = |text: &str| {
            let wanted = PythonVersion::read(text).unwrap();
            let error = choose(wanted.as_ref(), &VersionSpecifiers::empty(), &["3.11.7"]).unwrap_err();
            missing(&error.into()).map(str::to_owned)
        };
        assert_eq!(missing_in("3.14").as_deref(), Some("3.14"));
        assert_eq!(missing_in(">=3.14"), None);
        for text in [
            "python3.12",
            "3.12.1.0",
            "3.x",
            "3..1",
            ">=",
            "/usr/bin/python3",
            "3.12\n-e",
            "3.12 rc",
            &"3".repeat(200),
        ] {
            let reported = chosen(text).unwrap_err();
            assert!(reported.contains("is not a Python version"), "{text:?}: {reported}");
        }
    }
}
