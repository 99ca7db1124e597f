//! Whether a requirement is for an interpreter: its marker, evaluated as uv does for a known platform.
//!
//! Readers of markers disagree on three kinds of comparison, so that those are unknown here: an order of texts (uv 0.13.9
//! takes `sys_platform > "a"` for false on Linux, pep508_rs 0.9 for true), `python_version`, which has two parts, with a
//! version of more parts, and a version that is more than a release, such as `3.11rc1`.

use std::str::FromStr;

use pep440_rs::Version;

use super::marker::{Comparison, Marker, Operator, VERSION_VARIABLES};
use super::specifier::specifier;

/// What markers are evaluated for: an interpreter on Linux. The names are those of PEP 508.
#[derive(Clone, Copy, Debug)]
pub struct MarkerEnvironment<'a> {
    /// `cpython`.
    pub implementation_name: &'a str,
    /// `3.11.7`.
    pub python_full_version: &'a str,
    /// `x86_64`.
    pub platform_machine: &'a str,
}

/// Whether the marker holds for a task without extras; `None` if that is unknown. The kernel's release
/// and version are empty, as `--python-platform` tells uv.
pub(super) fn holds(marker: &Marker, environment: &MarkerEnvironment<'_>) -> Option<bool> {
    match marker {
        Marker::Comparison(one) => compare(one, environment),
        Marker::All(parts) => unless(parts.iter().map(|part| holds(part, environment)), false),
        Marker::Any(parts) => unless(parts.iter().map(|part| holds(part, environment)), true),
    }
}

/// `decisive` if one of them is, otherwise its opposite; `None` if an unknown one could be.
fn unless(mut parts: impl Iterator<Item = Option<bool>> + Clone, decisive: bool) -> Option<bool> {
    if parts.clone().any(|part| part == Some(decisive)) {
        return Some(decisive);
    }
    parts.all(|part| part.is_some()).then_some(!decisive)
}

fn compare(one: &Comparison, environment: &MarkerEnvironment<'_>) -> Option<bool> {
    let value = value(one.variable, environment);
    if VERSION_VARIABLES.contains(&one.variable) {
        let mut versions = one.text.split(' ');
        let is_short = one.variable == "python_version";
        let is_plain = |version: &str| {
            version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b".*".contains(&byte))
        };
        let unclear = versions.any(|version| !is_plain(version) || is_short && version.matches('.').count() > 1);
        let version = Version::from_str(value).ok().filter(|_| !unclear)?;
        return Some(compare_versions(one, &version));
    }
    let text = one.text.as_str();
    match one.operator {
        Operator::Equal => Some(value == text),
        Operator::Unequal => Some(value != text),
        Operator::In | Operator::NotIn => {
            let (part, whole) = if one.text_first { (text, value) } else { (value, text) };
            Some(whole.contains(part) == (one.operator == Operator::In))
        }
        _ => None,
    }
}

fn compare_versions(one: &Comparison, version: &Version) -> bool {
    if one.operator.is_membership() {
        let mut versions = one.text.split(' ').filter_map(|one| Version::from_str(one).ok());
        return versions.any(|one| one == *version) == (one.operator == Operator::In);
    }
    specifier(&format!("{}{}", one.operator.sign(), one.text)).is_ok_and(|one| one.contains(version))
}

fn value<'a>(variable: &str, environment: &MarkerEnvironment<'a>) -> &'a str {
    let full = environment.python_full_version;
    match variable {
        "implementation_name" => environment.implementation_name,
        "implementation_version" | "python_full_version" => full,
        "os_name" => "posix",
        "platform_machine" => environment.platform_machine,
        "platform_python_implementation" => "CPython",
        "platform_system" => "Linux",
        "python_version" => {
            let minor = full.match_indices('.').nth(1).map_or(full.len(), |(at, _)| at);
            &full[..minor]
        }
        "sys_platform" => "linux",
        _ => "",
    }
}
