//! Checks that everything requested is installed: each requirement whose marker matches the interpreter, in an allowed
//! version.

use std::str::FromStr;

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Protection, Requirement};
use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, Requirement as Parsed, VerbatimUrl, VersionOrUrl};

use super::record::{Distribution, Installed};
use super::uv::BuiltWheel;

/// True if the marker of a requirement holds for the interpreter.
///
/// # Errors
/// The requirement cannot be read.
pub fn applies(requirement: &Requirement, interpreter: &Interpreter) -> Result<bool, Failure> {
    let parsed = parsed(requirement)?;
    Ok(parsed.evaluate_markers(&environment(interpreter)?, &[]))
}

fn parsed(requirement: &Requirement) -> Result<Parsed<VerbatimUrl>, Failure> {
    Parsed::from_str(requirement.as_str())
        .map_err(|error| bug(&format!("{requirement} cannot be parsed a second time: {error}")))
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
    let environment = environment(interpreter)?;
    for requirement in requirements {
        let parsed = parsed(requirement)?;
        let has_marker = requirement.as_str().contains(';');
        if has_marker && (!Protection::InstalledCheck.is_on() || !parsed.evaluate_markers(&environment, &[])) {
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
        let allowed = match (&parsed.version_or_url, &version) {
            (Some(VersionOrUrl::VersionSpecifier(specifiers)), Ok(version)) => specifiers.contains(version),
            (_, version) => version.is_ok(),
        };
        if Protection::InstalledCheck.is_on() && !allowed {
            let message = format!("{requirement} was requested, but {} is installed", distribution.pin());
            return Err(missing(message));
        }
    }
    Ok(())
}

/// Checks that a wheel that was built holds the package and the version that it was built for.
///
/// # Errors
/// Something else is installed.
pub fn built_as_named(built: &[BuiltWheel], installed: &Installed) -> Result<(), Failure> {
    for wheel in built {
        let is_it = |version: &str| match (Version::from_str(version), Version::from_str(&wheel.version)) {
            (Ok(found), Ok(wanted)) => found == wanted,
            _ => false,
        };
        let mut found = installed.distributions.iter().filter(|one| one.name == wheel.name);
        let says = |one: &Distribution| {
            let metadata = installed.metadata(one);
            metadata.is_some_and(|(name, version)| name == wheel.name && is_it(&version))
        };
        if !found.any(|one| is_it(&one.version) && says(one)) {
            let message = format!(
                "the wheel of {}=={}, which was built or fetched, holds something else",
                wheel.name, wheel.version
            );
            return Err(Failure::new(FailureKind::NoWheel, message).hint("try another version of the package"));
        }
    }
    Ok(())
}

/// The interpreter for evaluating markers. It matches what `--python-platform` tells uv, which leaves the kernel's
/// release and version empty.
fn environment(interpreter: &Interpreter) -> Result<MarkerEnvironment, Failure> {
    let mut numbers = interpreter.version.split('.');
    let mut number = || numbers.next().unwrap_or_default();
    let short = format!("{}.{}", number(), number());
    let machine = interpreter.platform.strip_prefix("linux-").unwrap_or_default();
    let builder = MarkerEnvironmentBuilder {
        implementation_name: &interpreter.implementation,
        implementation_version: &interpreter.version,
        os_name: "posix",
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &interpreter.version,
        python_version: &short,
        sys_platform: "linux",
    };
    MarkerEnvironment::try_from(builder)
        .map_err(|error| bug(&format!("the interpreter has version {}: {error}", interpreter.version)))
}

fn missing(message: String) -> Failure {
    Failure::new(FailureKind::CacheDamaged, message).hint("nothing was published; run the task again")
}

fn bug(message: &str) -> Failure {
    Failure::new(FailureKind::Internal, message)
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
