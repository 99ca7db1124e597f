//! The options of a requirements file that may stand in a task: hashes, pre-releases, and those that change nothing.

use super::address::index_address;
use super::grammar::normal_name;
use super::refusal::{Refusal, quote};

/// How the Python requirements of a task are to be resolved; the default for a text without options.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonOptions {
    /// `(requirement, sha256:…)`: the files that may be installed for it; sorted, without repeats.
    pub hashes: Vec<(String, String)>,
    /// Whether nothing without a hash may be installed.
    pub require_hashes: bool,
    /// Whether pre-releases may be chosen: `--pre`.
    pub pre_releases: bool,
    /// Addresses that the text names for the index, without credentials; sorted, without repeats. They are compared with
    /// the index in use and never contacted.
    pub indexes: Vec<String>,
    /// Packages that may not be built, in normal form, or `:all:`: `--only-binary`; sorted, without repeats.
    pub wheels_only: Vec<String>,
}

impl PythonOptions {
    /// The hashes of one requirement.
    pub fn hashes_of<'a>(&'a self, requirement: &'a str) -> impl Iterator<Item = &'a str> {
        let start = self.hashes.partition_point(|(of, _)| of.as_str() < requirement);
        let own = self.hashes[start..].iter().take_while(move |(of, _)| of == requirement);
        own.map(|(_, hash)| hash.as_str())
    }

    /// True if no package may be built.
    pub fn builds_nothing(&self) -> bool {
        self.wheels_only.iter().any(|name| name == ALL)
    }

    /// True if the package with this name, in normal form, may be built.
    pub fn may_build(&self, package: &str) -> bool {
        !self.builds_nothing() && self.wheels_only.iter().all(|name| name != package)
    }

    /// Adds the hashes and options of another file.
    pub(crate) fn extend(&mut self, more: PythonOptions) {
        self.hashes.extend(more.hashes);
        self.require_hashes |= more.require_hashes;
        self.pre_releases |= more.pre_releases;
        self.indexes.extend(more.indexes);
        self.wheels_only.extend(more.wheels_only);
    }

    /// Brings lists into order, and demands hashes of everything if every requirement has one, as pip does.
    pub(crate) fn complete<T: AsRef<str>>(mut self, requirements: &[T]) -> PythonOptions {
        self.hashes.sort();
        self.hashes.dedup();
        self.indexes.sort();
        self.indexes.dedup();
        self.wheels_only.sort();
        self.wheels_only.dedup();
        let hashed = |one: &T| self.hashes_of(one.as_ref()).next().is_some();
        self.require_hashes |= !requirements.is_empty() && requirements.iter().all(hashed);
        self
    }
}

/// Every package, as a value of `--only-binary`.
const ALL: &str = ":all:";
const ONLY_WHEELS: &str = "a wheel is used if there is one; leave the option out";

/// Reads a line that begins with a hyphen.
pub(super) fn read_line(line: &str, options: &mut PythonOptions) -> Result<(), Refusal> {
    let (name, value) = split(line);
    match name {
        "--pre" if value.is_empty() => options.pre_releases = true,
        "--require-hashes" if value.is_empty() => options.require_hashes = true,
        // Only what has no wheel is built, and the newest version wins.
        "--prefer-binary" if value.is_empty() => {}
        "--only-binary" if !value.is_empty() => read_wheels_only(value, &mut options.wheels_only)?,
        "--no-binary" if value == ":none:" => {}
        "--no-binary" => return Err(Refusal::new(format!("{} asks for a build", quote(line)), ONLY_WHEELS)),
        // uv ignores these two.
        "--trusted-host" | "--use-feature" if !value.is_empty() => {}
        "-i" | "--index-url" | "--extra-index-url" if !value.is_empty() => {
            options.indexes.push(index_address(value)?);
        }
        "-f" | "--find-links" if is_address(value) => options.indexes.push(index_address(value)?),
        _ => return Err(refused(name)),
    }
    Ok(())
}

/// Adds the packages of one `--only-binary`; `:none:` takes back those before it, as in pip.
fn read_wheels_only(value: &str, packages: &mut Vec<String>) -> Result<(), Refusal> {
    for name in value.split(',') {
        match name {
            ":none:" => packages.clear(),
            ALL => packages.push(name.to_owned()),
            name => packages.push(normal_name(name, value)?),
        }
    }
    Ok(())
}

/// Not a folder.
fn is_address(value: &str) -> bool {
    value
        .split_once("://")
        .is_some_and(|(scheme, _)| ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()))
}

/// The option's name, and its value without quotes.
fn split(line: &str) -> (&str, &str) {
    let end = line.find(['=', ' ', '\t']).unwrap_or(line.len());
    let (name, value) = line.split_at(end);
    let (name, value) = match name.strip_prefix("-i") {
        Some(address) if !address.is_empty() => (&name[..2], &line[2..]),
        _ => (name, value),
    };
    let value = value.trim_matches([' ', '\t']);
    let value = value.strip_prefix('=').unwrap_or(value).trim_matches([' ', '\t']);
    let unquoted = |mark| {
        value
            .strip_prefix(mark)
            .and_then(|inner: &str| inner.strip_suffix(mark))
    };
    (name, unquoted('"').or_else(|| unquoted('\'')).unwrap_or(value))
}

/// Why an option may not stand in a task.
pub(super) fn refused(option: &str) -> Refusal {
    let name = option.split('=').next().unwrap_or(option);
    let hint = match name {
        "-r" | "--requirement" | "--requirements" => {
            "a task has one file and no folder: put the lines of that file here"
        }
        "-c" | "--constraint" | "--constraints" => {
            "a task has no folder of files: put the lines of that file into `constraints`"
        }
        "-e" | "--editable" => {
            "an own project is not there when the task runs: name a published package and its version"
        }
        "--hash" => "write a hash in requirementsFile, after its requirement: `name==1.0 --hash=sha256:…`",
        "--pre" => "write it in requirementsFile, on a line of its own",
        "-i" | "--index-url" | "--extra-index-url" => "the operator chooses the index; leave the option out",
        "-f" | "--find-links" => {
            "a folder is not there when the task runs; the operator chooses where packages come from; leave the option out"
        }
        "--no-index" => "the operator chooses where packages come from; leave the option out",
        "--no-binary" | "--only-binary" => ONLY_WHEELS,
        _ => "leave this option out",
    };
    Refusal::new(format!("{} is an option", quote(name)), hint)
}

/// Splits a requirement from its hashes: at white space before `--`, quotes or not, as uv does.
pub(super) fn split_hashes(line: &str) -> (&str, &str) {
    let starts = |&(at, _): &(usize, &str)| line[..at].ends_with([' ', '\t']);
    match line.match_indices("--").find(starts) {
        Some((at, _)) => (line[..at].trim_end_matches([' ', '\t']), &line[at..]),
        None => (line, ""),
    }
}

/// Reads `--hash=sha256:… --hash sha512:…`.
pub(super) fn read_hashes(text: &str) -> Result<Vec<String>, Refusal> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let mut hashes = Vec::new();
    while let Some(word) = words.next() {
        let hash = match word.strip_prefix("--hash") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) if rest.starts_with('=') => &rest[1..],
            // Readers disagree on what follows a hash: uv reads it as another requirement.
            _ if !word.starts_with('-') => {
                let hint = "only hashes and a comment may follow a hash; give the rest a line of its own";
                return Err(Refusal::new(format!("{} after a hash", quote(word)), hint));
            }
            _ => return Err(refused(word)),
        };
        hashes.push(normal_hash(hash)?);
    }
    Ok(hashes)
}

/// The algorithms that uv verifies, with the length of their digests in hexadecimal digits.
const ALGORITHMS: [(&str, usize); 5] = [
    ("blake2b", 128),
    ("md5", 32),
    ("sha256", 64),
    ("sha384", 96),
    ("sha512", 128),
];

pub(super) fn normal_hash(text: &str) -> Result<String, Refusal> {
    let (algorithm, digest) = text.split_once(':').unwrap_or((text, ""));
    let Some((name, digits)) = ALGORITHMS.iter().find(|(name, _)| *name == algorithm) else {
        let hint = "write `--hash=sha256:` and the digest; md5, sha384, sha512 and blake2b are verified as well";
        return Err(Refusal::new(format!("{} is not a hash", quote(text)), hint));
    };
    if digest.len() != *digits || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("{} is not a digest of {name}", quote(text));
        return Err(Refusal::new(message, format!("{name} has {digits} hexadecimal digits")));
    }
    Ok(format!("{name}:{}", digest.to_ascii_lowercase()))
}

/// Refuses a hash that uv would not look at: one of a requirement that is not pinned to one version.
pub(super) fn check_pinned(requirement: &str, versions: &str) -> Result<(), Refusal> {
    let is_pin = versions.starts_with("==") && !versions.contains(',') && !versions.ends_with('*');
    if is_pin {
        return Ok(());
    }
    let message = format!("a hash of {}, which allows several versions", quote(requirement));
    Err(Refusal::new(
        message,
        "pin the version with `==`, or leave the hash out",
    ))
}
