//! Content keys of requests, Python environments and system package sets: two runs with equal keys share an environment.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::{EnvironmentContext, IndexScope, Interpreter};
use crate::requirement::{PythonOptions, Requirement};
use crate::sources::NamedIndex;
use crate::system::SystemPackage;
use crate::task::Task;

/// Version of both volumes' layouts; part of every key and of the `FORMAT` file.
pub const LAYOUT_VERSION: u32 = 2;

/// The whole content of a `FORMAT` file of `cache` (`python`, `system`) with this layout.
pub fn format_line(cache: &str) -> String {
    format!("hybrid-cache {cache} {LAYOUT_VERSION}\n")
}

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The key as 32 hexadecimal characters, fit for a file name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

key_type! {
    /// Names what was asked for: requirement texts, interpreter, index, policy. Points to an environment.
    RequestKey
}
key_type! {
    /// Names what an environment holds: the installed content and the interpreter it was made for.
    EnvironmentKey
}
key_type! {
    /// Names a set of system packages from one package source.
    SystemKey
}

key_type! {
    /// Names a wheel that was built from a source distribution.
    BuiltWheelKey
}

/// Hashes fields with their lengths in front, so that no two different lists of fields can meet in one key.
struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    fn new(kind: &str) -> FieldHasher {
        FieldHasher(blake3::Hasher::new())
            .field("kind", kind)
            .field("layout", &LAYOUT_VERSION.to_string())
    }

    fn field(mut self, name: &str, value: &str) -> FieldHasher {
        for text in [name, value] {
            self.0.update(&(text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
        self
    }

    fn interpreter(self, interpreter: &Interpreter) -> FieldHasher {
        self.field("path", &interpreter.path)
            .field("implementation", &interpreter.implementation)
            .field("version", &interpreter.version)
            .field("abi", &interpreter.abi)
            .field("platform", &interpreter.platform)
            .field("libc", &interpreter.libc)
            .field("binary", &interpreter.binary_hash)
    }

    fn named_indexes(self, indexes: &[NamedIndex]) -> FieldHasher {
        let add = |hasher: FieldHasher, index: &NamedIndex| {
            hasher.field("named-index", &index.name).field("identity", &index.url)
        };
        indexes.iter().fold(self, add)
    }

    fn finish(self) -> String {
        let mut hex = self.0.finalize().to_hex().to_string();
        hex.truncate(32);
        hex
    }
}

/// Everything that decides which Python environment a request gets, by name.
///
/// `docs/cache-keys.md` lists what else uv reads and how it is fixed. What no request can choose yet is
/// fixed here, but has its context in the key, so that a later choice changes no layout.
#[derive(Clone, Copy, Debug)]
pub struct PythonRequest<'a> {
    /// What was asked for, sorted, as [`crate::Task`] holds it.
    pub requirements: &'a [Requirement],
    /// The interpreter, its path and its libc included.
    pub interpreter: &'a Interpreter,
    /// Identity of the package index, without credentials. It covers extra indexes and folders of wheels.
    pub index: &'a str,
    /// Which of several indexes a package is taken from: uv's `--index-strategy`.
    pub index_strategy: &'a str,
    /// The operator's own indexes, in the order in which they are asked.
    pub named_indexes: &'a [NamedIndex],
    /// `public`, or `private` for an index that only one tenant may read.
    pub index_scope: &'a str,
    /// Hashes and options: `(requirement, hash)` that the request demands of its files, pre-releases, index addresses.
    pub options: &'a PythonOptions,
    /// Versions that packages must have if they are installed.
    pub constraints: &'a [Requirement],
    /// `wheels` if packages without a wheel are built in a sandbox of their own, `no-builds` if they are refused.
    pub builds: &'a str,
    /// True if setuptools is added for packages that import `pkg_resources`.
    pub setuptools: bool,
    /// Empty: a demanded version chooses the interpreter, and each of its fields is in the key.
    pub python: &'a str,
}

/// uv's own default: a package comes from the first index that knows its name, so no other index can replace it.
pub const INDEX_STRATEGY: &str = "first-index";
/// Only wheels are installed; what has none is built into one first.
const BUILDS: &str = "wheels";
/// What has no wheel is refused.
const NO_BUILDS: &str = "no-builds";

/// What a request without options has.
static NO_OPTIONS: PythonOptions = PythonOptions {
    hashes: Vec::new(),
    require_hashes: false,
    pre_releases: false,
    indexes: Vec::new(),
    wheels_only: Vec::new(),
};

impl<'a> PythonRequest<'a> {
    /// The request of a task in `context`. Everything that finds an environment makes its key from this.
    pub fn of(task: &'a Task, context: &'a EnvironmentContext) -> PythonRequest<'a> {
        PythonRequest {
            options: &task.options,
            constraints: &task.constraints,
            ..PythonRequest::new(&task.requirements, context)
        }
    }

    /// The request for `requirements` in `context`, with everything fixed that a task cannot choose.
    pub fn new(requirements: &'a [Requirement], context: &'a EnvironmentContext) -> PythonRequest<'a> {
        PythonRequest {
            requirements,
            interpreter: &context.interpreter,
            index: &context.index,
            index_strategy: INDEX_STRATEGY,
            named_indexes: &context.sources.indexes,
            index_scope: match context.index_scope {
                IndexScope::Public => "public",
                IndexScope::Private => "private",
            },
            options: &NO_OPTIONS,
            constraints: &[],
            builds: if context.no_builds { NO_BUILDS } else { BUILDS },
            setuptools: !context.sources.no_setuptools,
            python: "",
        }
    }
}

impl RequestKey {
    /// The key of a request.
    pub fn new(request: &PythonRequest<'_>) -> RequestKey {
        let mut hasher = FieldHasher::new("request")
            .interpreter(request.interpreter)
            .field("index", request.index)
            .field("index-strategy", request.index_strategy)
            .field("index-scope", request.index_scope)
            .field("builds", request.builds)
            .field("python", request.python);
        hasher = hasher.named_indexes(request.named_indexes);
        let options = request.options;
        for (pin, hash) in &options.hashes {
            hasher = hasher.field("hashed", pin).field("hash", hash);
        }
        // Only what is set has a field, so that a request without options keeps its key.
        for (name, set) in [
            ("require-hashes", options.require_hashes),
            ("pre-releases", options.pre_releases),
            ("no-setuptools", !request.setuptools),
        ] {
            if set {
                hasher = hasher.field(name, "true");
            }
        }
        for index in &options.indexes {
            hasher = hasher.field("asked-index", index);
        }
        for name in &options.wheels_only {
            hasher = hasher.field("wheels-only", name);
        }
        for constraint in request.constraints {
            hasher = hasher.field("constraint", constraint.as_str());
        }
        for requirement in request.requirements {
            hasher = hasher.field("requirement", requirement.as_str());
        }
        RequestKey(hasher.finish())
    }
}

/// Everything that decides which wheel a build gives, as far as it is known before; the tenant is in the path.
#[derive(Clone, Copy, Debug)]
pub struct BuiltWheelSource<'a> {
    /// The package's name in normal form.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// SHA-256 of the source distribution, hexadecimal.
    pub source: &'a str,
    /// Its build requirements as uv pins them, with hashes; empty if they cannot be pinned. What the package requires only
    /// while it is built is not among them.
    pub constraints: &'a str,
    /// Packages that the task does not let be built: they decide what is chosen of build requirements that are not pinned.
    /// Pre-releases do not, because uv chooses none of build requirements.
    pub wheels_only: &'a [String],
    /// Key of the system packages; empty without.
    pub system: &'a str,
    /// The network of the sandbox that builds.
    pub network: &'a str,
    /// Identity of the package index, without credentials.
    pub index: &'a str,
    /// The operator's own indexes, in the order in which they are asked.
    pub named_indexes: &'a [NamedIndex],
    /// The interpreter.
    pub interpreter: &'a Interpreter,
}

impl BuiltWheelKey {
    /// The key of a wheel.
    pub fn new(source: &BuiltWheelSource<'_>) -> BuiltWheelKey {
        let mut hasher = FieldHasher::new("built-wheel")
            .interpreter(source.interpreter)
            .field("name", source.name)
            .field("version", source.version)
            .field("source", source.source)
            .field("constraints", source.constraints)
            .field("system", source.system)
            .field("network", source.network)
            .field("index", source.index)
            .named_indexes(source.named_indexes);
        for name in source.wheels_only {
            hasher = hasher.field("wheels-only", name);
        }
        BuiltWheelKey(hasher.finish())
    }
}

impl EnvironmentKey {
    /// The key of an environment: its interpreter, and a listing of every file in it with the hash of its bytes.
    pub fn new(content: &[u8], interpreter: &Interpreter) -> EnvironmentKey {
        let hash = blake3::hash(content).to_hex();
        let hasher = FieldHasher::new("environment")
            .interpreter(interpreter)
            .field("content", hash.as_str());
        EnvironmentKey(hasher.finish())
    }
}

/// How the runner has Nix build: part of the key, because a sandboxed build may come out differently.
const NIX_SETTINGS: &str = "sandbox=false";

impl SystemKey {
    /// The key of a sorted set of packages in one context: its package source, its platform, and how Nix builds.
    pub fn new(packages: &[SystemPackage], context: &EnvironmentContext) -> SystemKey {
        let hasher = FieldHasher::new("system")
            .field("source", &context.system_source)
            .field("platform", &context.interpreter.platform)
            .field("settings", NIX_SETTINGS);
        let hasher = packages
            .iter()
            .fold(hasher, |hasher, one| hasher.field("package", one.as_str()));
        SystemKey(hasher.finish())
    }
}

#[cfg(test)]
mod tests;
