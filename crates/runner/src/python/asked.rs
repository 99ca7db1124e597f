//! Checks that everything requested is installed: each requirement whose marker matches the interpreter, in an allowed
//! version.

use std::str::FromStr;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::requirement::MarkerEnvironment;
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement};
use pep440_rs::Version;

use super::record::{Distribution, Installed};
use super::uv::BuiltWheel;

/// True unless the marker of a requirement is known not to hold for the interpreter.
pub fn may_apply(requirement: &Requirement, interpreter: &Interpreter) -> bool {
    requirement.is_for(&environment(interpreter)) != Some(false)
}

fn environment(interpreter: &Interpreter) -> MarkerEnvironment<'_> {
    MarkerEnvironment {
        implementation_name: &interpreter.implementation,
        python_full_version: &interpreter.version,
        platform_machine: interpreter.platform.strip_prefix("linux-").unwrap_or_default(),
    }
}

/// Checks every requirement. Extras are not checked, because they only add requirements of the package itself.
///
/// # Errors
/// A package is missing, or installed in a version that was not requested.
pub fn all_there(
    requirements: &[Requirement],
    installed: &Installed,
    interpreter: &Interpreter,
) -> Result<(), Failure> {
    let environment = environment(interpreter);
    for requirement in requirements {
        let has_marker = requirement.as_str().contains(';');
        if has_marker && (!Protection::InstalledCheck.is_on() || requirement.is_for(&environment) != Some(true)) {
            continue;
        }
        let mut found = installed
            .distributions
            .iter()
            .filter(|one| one.name == requirement.name());
        let Some(distribution) = found.next() else {
            return Err(missing(format!(
                "uv says it installed {requirement}, but it is not in the environment"
            )));
        };
        if found.next().is_some() {
            return Err(missing(format!(
                "{} is in the environment more than once",
                requirement.name()
            )));
        }
        let version = Version::from_str(&distribution.version);
        let allowed = version.is_ok_and(|version| requirement.accepts(&version));
        if Protection::InstalledCheck.is_on() && !allowed {
            let message = format!("{requirement} was requested, but {} is installed", distribution.pin());
            return Err(missing(message));
        }
    }
    Ok(())
}

/// True if readers of markers take the marker of a requirement of this package differently: uv may have left it out.
fn is_unsure(name: &str, requirements: &[Requirement], interpreter: &Interpreter) -> bool {
    let mut own = requirements.iter().filter(|one| one.name() == name);
    own.any(|one| one.is_for(&environment(interpreter)).is_none())
}

/// Checks that a wheel that was built holds the package and the version that it was built for.
///
/// # Errors
/// Something else is installed.
pub fn built_as_named(
    built: &[BuiltWheel],
    requirements: &[Requirement],
    installed: &Installed,
    interpreter: &Interpreter,
) -> Result<(), Failure> {
    for wheel in built {
        let is_it = |version: &str| match (Version::from_str(version), Version::from_str(&wheel.version)) {
            (Ok(found), Ok(wanted)) => found == wanted,
            _ => false,
        };
        let mut found = installed
            .distributions
            .iter()
            .filter(|one| one.name == wheel.name)
            .peekable();
        if found.peek().is_none() && is_unsure(&wheel.name, requirements, interpreter) {
            continue;
        }
        let says = |one: &Distribution| {
            let metadata = installed.metadata(one);
            metadata.is_some_and(|(name, version)| name == wheel.name && is_it(&version))
        };
        if Protection::BuiltAsNamed.is_on() && !found.any(|one| is_it(&one.version) && says(one)) {
            let message = format!(
                "the wheel of {}=={}, which was built or fetched, holds something else",
                wheel.name, wheel.version
            );
            return Err(Failure::new(FailureKind::NoWheel, message).hint("try another version of the package"));
        }
    }
    Ok(())
}

fn missing(message: String) -> Failure {
    Failure::new(FailureKind::CacheDamaged, message).hint("nothing was published; run the task again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::record::Distribution;

    fn interpreter() -> Interpreter {
        Interpreter {
            path: String::new(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: "linux-x86_64".into(),
            libc: String::new(),
            binary_hash: String::new(),
            start: String::new(),
        }
    }

    fn check(requirement: &str, pins: &[&str]) -> Result<(), Failure> {
        let distribution = |pin: &&str| {
            let (name, version) = pin.split_once("==").unwrap();
            Distribution {
                name: name.to_owned(),
                version: version.to_owned(),
                folder: String::new(),
                entries: Vec::new(),
            }
        };
        let installed = Installed {
            venv: "/e".into(),
            site: String::new(),
            distributions: pins.iter().map(distribution).collect(),
        };
        all_there(&[requirement.parse().unwrap()], &installed, &interpreter())
    }

    #[test]
    fn a_requirement_is_checked_only_if_its_marker_matches() {
        for (requirement, pins) in [
            ("six", vec!["six==1.17.0"]),
            ("six>=1,<2", vec!["six==1.17.0"]),
            ("torch==2.0", vec!["torch==2.0+cpu"]),
            ("six ; python_version < '3.10'", vec![]),
            ("six ; sys_platform == 'win32'", vec![]),
            ("six ; platform_release >= '5'", vec![]),
            // uv takes it for false on Linux.
            ("six ; sys_platform > 'a'", vec![]),
            ("six ; python_version not in '3.11.7'", vec![]),
            ("six ; python_full_version >= '3.11.7'", vec!["six==1"]),
            (
                "requests[socks]>=2 ; platform_machine == 'x86_64'",
                vec!["requests==2.32.0"],
            ),
        ] {
            check(requirement, &pins).unwrap();
        }
        for (requirement, pins) in [
            ("six", vec![]),
            ("six", vec!["sixth==1"]),
            ("six>=2", vec!["six==1.17.0"]),
            ("six ; python_version >= '3.10'", vec![]),
            ("six<1 ; sys_platform == 'linux'", vec!["six==1.17.0"]),
            ("six", vec!["six==1", "six==2"]),
            ("six", vec!["six==one"]),
        ] {
            check(requirement, &pins).unwrap_err();
        }
    }
}
