//! Which kinds of packages a task asks for, and so which volumes it uses.

use hybrid_cache_model::Task;

/// Which volumes a task or a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Python packages, from the Python volume.
    pub python: bool,
    /// System packages, from the system volume.
    pub system: bool,
}

impl Needs {
    /// Both volumes.
    pub const BOTH: Needs = Needs {
        python: true,
        system: true,
    };

    /// True if either volume is used.
    pub fn any(self) -> bool {
        self.python || self.system
    }
}

impl From<&Task> for Needs {
    fn from(task: &Task) -> Needs {
        Needs {
            python: !task.requirements.is_empty(),
            system: !task.system.is_empty(),
        }
    }
}
