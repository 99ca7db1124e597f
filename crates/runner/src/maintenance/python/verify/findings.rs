//! The findings of an examination of the Python volume.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_model::maintain::{Problem, VerifyReport};

use crate::maintenance::report::MAX_PROBLEMS;
use crate::python::PythonVolume;
use crate::store::digest::Inode;
use crate::store::folder::relative;

/// What an examination found, as a report and as a list of repairs.
#[derive(Debug, Default)]
pub struct PythonFindings {
    /// The report.
    pub report: VerifyReport,
    /// Damaged environments, each with its tenant's volume.
    pub environments: Vec<(PythonVolume, PathBuf)>,
    /// Damaged folders of the bytecode pools.
    pub bytecode: BTreeSet<PathBuf>,
    /// Damaged inodes that have names elsewhere, such as in uv's cache.
    pub inodes: BTreeSet<Inode>,
}

impl PythonFindings {
    /// Notes what is wrong with one file.
    pub fn note(&mut self, root: &Path, path: &Path, what: impl Into<String>) {
        self.report.problems.push(Problem {
            path: relative(root, path),
            what: what.into(),
        });
    }

    /// Notes what a killed process left. It is not damage and needs no action.
    pub fn leave(&mut self, root: &Path, path: &Path, what: &str) {
        self.report.left_overs.push(Problem {
            path: relative(root, path),
            what: what.to_owned(),
        });
    }

    /// Notes what is wrong with the files of one object; lists only the first ones.
    pub fn note_all(&mut self, root: &Path, object: &Path, problems: &[(PathBuf, String)]) {
        for (path, what) in problems.iter().take(MAX_PROBLEMS) {
            self.note(root, path, what.clone());
        }
        if let Some(more @ 1..) = problems.len().checked_sub(MAX_PROBLEMS) {
            self.note(root, object, format!("{more} more files are damaged"));
        }
    }
}
