//! Requirements that name where a package comes from: `name @ https://…/x.whl`, and `name @ git+https://…@COMMIT`.
//!
//! uv would contact whatever stands there, also with credentials, by a branch, or over a connection that anybody on the way
//! can change. So only two forms are read, both taken apart and written again, and neither says that the operator allows
//! the place: `crate::sources` does.

use super::address::Address;
use super::refusal::{Refusal, quote};

/// Digits of a full commit.
const COMMIT_DIGITS: usize = 40;

/// Where a requirement's package comes from, if not from the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One wheel.
    Wheel {
        /// Its address, without credentials, query and fragment.
        url: String,
        /// The host with its port.
        host: String,
        /// The version in the wheel's name.
        version: String,
    },
    /// A commit of a repository, which has to be built.
    Git {
        /// The repository, `https://host/path`.
        repository: String,
        /// The full commit.
        commit: String,
        /// The folder of the package in it; empty for the topmost.
        subdirectory: String,
    },
}

/// A requirement with a reference, before its name and its marker are read.
pub(super) struct Referring<'a> {
    /// Name and extras.
    pub subject: &'a str,
    /// The reference.
    pub reference: Reference,
    /// A hash that the address itself gives, `sha256:…`.
    pub hash: Option<String>,
    /// The marker, without its semicolon.
    pub marker: Option<&'a str>,
}

/// Takes a line apart that refers to a wheel or a commit; `None` if it does not.
///
/// # Errors
/// The reference is not one that a task may have with any settings of an operator.
pub(super) fn split(text: &str) -> Option<Result<Referring<'_>, Refusal>> {
    let (head, marker) = match text.split_once(';') {
        Some((head, marker)) => (head.trim_matches([' ', '\t']), Some(marker.trim_matches([' ', '\t']))),
        None => (text, None),
    };
    let is_subject = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '[' | ']' | ',' | ' ' | '\t');
        !text.is_empty() && text.chars().all(inner)
    };
    let (subject, url) = match head.split_once('@') {
        Some((subject, url)) if is_subject(subject) => {
            (Some(subject.trim_matches([' ', '\t'])), url.trim_matches([' ', '\t']))
        }
        _ => (None, head),
    };
    let lower = url.to_ascii_lowercase();
    let read = if lower.starts_with("git+http://") || lower.starts_with("git+https://") {
        read_git(url)
    } else if lower.starts_with("http://") || lower.starts_with("https://") {
        read_wheel(url)
    } else {
        return None;
    };
    Some(read.and_then(|(reference, hash, own)| {
        Ok(Referring {
            subject: match subject.or(own) {
                Some(subject) => subject,
                None => return Err(no_name(url)),
            },
            reference,
            hash,
            marker,
        })
    }))
}

fn no_name(url: &str) -> Refusal {
    let hint = "write the package's name in front: `name @ git+https://…@COMMIT`";
    Refusal::new(format!("no package name with {}", quote(url)), hint)
}

/// A reference, its hash, and the name that the address itself gives.
type Read<'a> = (Reference, Option<String>, Option<&'a str>);

fn read_address(url: &str, what: &str) -> Result<Address, Refusal> {
    let address = Address::read(url).map_err(|why| {
        let message = format!("{} {why}", quote(url));
        Refusal::new(message, format!("write the whole address of {what}, `https://…`"))
    })?;
    let refuse = |why: &str, hint: &str| Err(Refusal::new(format!("{why} in the address of {what}"), hint));
    if address.has_login {
        return refuse(
            "a user name or a password",
            "a task's text is stored and shown; take the credentials out, and ask the operator for an index with a login",
        );
    }
    if address.has_query {
        return refuse(
            "a query (`?…`)",
            "a secret may stand there, and a task's text is shown; take it out",
        );
    }
    if !address.is_protected() {
        return refuse(
            "`http`",
            "write `https`: anybody on the way can change what `http` brings",
        );
    }
    if !address.is_simple() {
        return refuse("a strange host or path", "write `https://host/path` without `..`");
    }
    Ok(address)
}

fn read_wheel(url: &str) -> Result<Read<'_>, Refusal> {
    let address = read_address(url, "a wheel")?;
    let file = address.path.rsplit('/').next().unwrap_or_default();
    let only = "only a wheel, `name-version-….whl`, is taken from an address; name a published package and its version";
    let Some(stem) = file.strip_suffix(".whl") else {
        return Err(Refusal::new(format!("{} does not lead to a wheel", quote(url)), only));
    };
    let parts: Vec<&str> = stem.split('-').collect();
    if !(5..=6).contains(&parts.len()) {
        return Err(Refusal::new(
            format!("{} is not the name of a wheel", quote(file)),
            only,
        ));
    }
    let version = parts[1].replace("%2B", "+").replace("%2b", "+");
    let is_version = version
        .parse::<pep440_rs::Version>()
        .is_ok_and(|read| read.to_string() == version.to_ascii_lowercase());
    if !is_version || stem.replace("%2B", "").replace("%2b", "").contains('%') {
        return Err(Refusal::new(
            format!("{} is not the name of a wheel", quote(file)),
            only,
        ));
    }
    let hash = match address.fragment.split_once('=') {
        Some((algorithm, digest)) if algorithm != "egg" => Some(format!("{algorithm}:{digest}")),
        _ => None,
    };
    let reference = Reference::Wheel {
        url: address.plain(),
        host: address.host.clone(),
        version,
    };
    // The name in the text that was given, which outlives the parts.
    let name = url.rsplit_once(&format!("/{file}")).map(|(before, _)| before.len() + 1);
    let name = name.map(|start| &url[start..start + parts[0].len()]);
    Ok((reference, hash, name))
}

fn read_git(url: &str) -> Result<Read<'_>, Refusal> {
    let address = read_address(&url[4..], "a repository")?;
    let pin = "pin it to one commit with all its 40 digits: `name @ git+https://host/path@COMMIT`; a branch or a tag can be moved";
    let Some((path, commit)) = address.path.rsplit_once('@') else {
        return Err(Refusal::new("a repository without a commit", pin));
    };
    if commit.len() != COMMIT_DIGITS || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::new(format!("{} is not a full commit", quote(commit)), pin));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '~');
    if path.is_empty() || !path.chars().all(good) || path.contains("//") {
        let hint = "write `git+https://host/path@COMMIT`";
        return Err(Refusal::new(
            format!("{} is not the path of a repository", quote(path)),
            hint,
        ));
    }
    let (mut subdirectory, mut name) = ("", None);
    let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
    for part in fragment.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("egg", egg)) => name = Some(egg),
            Some(("subdirectory", folder)) => subdirectory = folder.trim_matches('/'),
            _ => {
                let hint = "only `subdirectory=FOLDER` and `egg=NAME` may stand behind the `#`";
                return Err(Refusal::new(format!("{} behind a commit", quote(part)), hint));
            }
        }
    }
    if !subdirectory.chars().all(good) || subdirectory.split('/').any(|part| matches!(part, "." | "..")) {
        let hint = "name a folder of the repository";
        return Err(Refusal::new(format!("{} is not a folder", quote(subdirectory)), hint));
    }
    let reference = Reference::Git {
        repository: format!("{}://{}/{path}", address.scheme, address.host),
        commit: commit.to_ascii_lowercase(),
        subdirectory: subdirectory.to_owned(),
    };
    Ok((reference, None, name))
}

impl Reference {
    /// The reference as uv reads it.
    pub fn address(&self) -> String {
        match self {
            Reference::Wheel { url, .. } => url.clone(),
            Reference::Git {
                repository,
                commit,
                subdirectory,
            } => {
                let folder = match subdirectory.as_str() {
                    "" => String::new(),
                    folder => format!("#subdirectory={folder}"),
                };
                format!("git+{repository}@{commit}{folder}")
            }
        }
    }

    /// Reads what [`Reference::address`] wrote.
    pub(super) fn read(address: &str) -> Option<Reference> {
        let read = match address.starts_with("git+") {
            true => read_git(address),
            false => read_wheel(address),
        };
        read.ok().map(|(reference, ..)| reference)
    }
}
