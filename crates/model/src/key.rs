//! What makes two runs "the same": content keys for requests, Python environments and system package sets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::{Interpreter, Place};
use crate::requirement::Requirement;
use crate::system::SystemPackage;

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
        self.field("implementation", &interpreter.implementation)
            .field("version", &interpreter.version)
            .field("abi", &interpreter.abi)
            .field("platform", &interpreter.platform)
            .field("binary", &interpreter.binary_hash)
    }

    fn finish(self) -> String {
        let mut hex = self.0.finalize().to_hex().to_string();
        hex.truncate(32);
        hex
    }
}

impl RequestKey {
    /// The key of a list of requirements (sorted, as [`crate::Task`] holds them) at one place.
    ///
    /// Whether an operator allows source builds is no part of it: that is a setting of the whole installation, which
    /// the sandbox that only looks up does not know.
    pub fn new(requirements: &[Requirement], place: &Place) -> RequestKey {
        let hasher = FieldHasher::new("request")
            .interpreter(&place.interpreter)
            .field("index", &place.index);
        let hasher = requirements
            .iter()
            .fold(hasher, |hasher, one| hasher.field("requirement", one.as_str()));
        RequestKey(hasher.finish())
    }
}

impl EnvironmentKey {
    /// The key of an environment's content: `(name==version, digest of its RECORD)`, sorted.
    pub fn new(packages: &[(String, String)], interpreter: &Interpreter) -> EnvironmentKey {
        let hasher = FieldHasher::new("environment").interpreter(interpreter);
        let hasher = packages.iter().fold(hasher, |hasher, (pin, digest)| {
            hasher.field("package", pin).field("record", digest)
        });
        EnvironmentKey(hasher.finish())
    }
}

impl SystemKey {
    /// The key of a sorted set of packages at one place: its package source and its platform.
    pub fn new(packages: &[SystemPackage], place: &Place) -> SystemKey {
        let hasher = FieldHasher::new("system").field("source", &place.system_source);
        let hasher = hasher.field("platform", &place.interpreter.platform);
        let hasher = packages
            .iter()
            .fold(hasher, |hasher, one| hasher.field("package", one.as_str()));
        SystemKey(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Volumes;
    use crate::requirement;

    fn place() -> Place {
        Place {
            volumes: Volumes {
                python: "/cache/python".into(),
                nix: "/nix".into(),
            },
            interpreter: Interpreter {
                path: "/usr/bin/python3.11".into(),
                implementation: "cpython".into(),
                version: "3.11.7".into(),
                abi: "cpython-311".into(),
                platform: "linux-x86_64".into(),
                binary_hash: "0".repeat(64),
            },
            index: "default".into(),
            system_source: "nixpkgs:1".into(),
            max_age_s: 1,
            tenant: Default::default(),
            index_scope: Default::default(),
        }
    }

    fn key(dependencies: &str, place: &Place) -> RequestKey {
        RequestKey::new(&requirement::parse_list("/dependencies", dependencies).unwrap(), place)
    }

    #[test]
    fn a_key_is_a_file_name_and_depends_on_each_field() {
        let base = key("numpy", &place());
        assert_eq!(base.as_str().len(), 32);
        assert_eq!(base, key("NumPy", &place()));
        assert_ne!(base, key("numpy>=1", &place()));
        assert_ne!(
            base,
            key(
                "numpy",
                &Place {
                    index: "other".into(),
                    ..place()
                }
            )
        );
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        let one = FieldHasher::new("t").field("ab", "c").finish();
        let other = FieldHasher::new("t").field("a", "bc").finish();
        assert_ne!(one, other);
    }

    #[test]
    fn where_things_are_is_no_part_of_a_key() {
        let mut moved = place();
        moved.interpreter.path = "/opt/python".into();
        moved.volumes.python = "/elsewhere".into();
        assert_eq!(key("numpy", &place()), key("numpy", &moved));
        assert_eq!(SystemKey::new(&[], &place()), SystemKey::new(&[], &moved));
    }

    #[test]
    fn another_package_source_is_another_set() {
        let other = Place {
            system_source: "nixpkgs:2".into(),
            ..place()
        };
        assert_ne!(SystemKey::new(&[], &place()), SystemKey::new(&[], &other));
    }
}
