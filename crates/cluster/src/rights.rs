//! What an account may do in a namespace.

use std::fmt;

/// Something that an account may do in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Plural name of the kind.
    pub resource: &'static str,
    /// Part of the object, such as `attach`; empty for the object itself.
    pub subresource: &'static str,
}

/// What a driver must be allowed to do for standby pods, in addition to what it does for Jobs.
pub const STANDBY: [Right; 7] = [
    right("create", "", "pods", "attach"),
    right("patch", "", "pods", ""),
    right("delete", "", "pods", ""),
    right("create", "apps", "replicasets", ""),
    right("list", "apps", "replicasets", ""),
    right("patch", "apps", "replicasets", ""),
    right("delete", "apps", "replicasets", ""),
];

const fn right(verb: &'static str, group: &'static str, resource: &'static str, subresource: &'static str) -> Right {
    Right {
        verb,
        group,
        resource,
        subresource,
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.subresource {
            "" => Ok(()),
            part => write!(f, "/{part}"),
        }
    }
}
