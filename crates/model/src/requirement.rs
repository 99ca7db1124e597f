//! Python requirements as users may write them: names, extras, versions and markers, nothing that names a place.

use serde::{Deserialize, Serialize};

use crate::task::TaskError;

/// One requirement in normal form, such as `numpy[dev]>=2,<3 ; python_version >= "3.11"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requirement(String);

impl Requirement {
    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a comma-separated list.
///
/// # Errors
/// The first entry that is not a plain requirement.
pub fn parse_list(_pointer: &'static str, text: &str) -> Result<Vec<Requirement>, TaskError> {
    Ok(text.split(',').map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty()).map(Requirement).collect())
}

/// Reads the text of a requirements file.
///
/// # Errors
/// The first line that is not a plain requirement.
pub fn parse_file(_pointer: &'static str, text: &str) -> Result<Vec<Requirement>, TaskError> {
    Ok(text.lines().map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty()).map(Requirement).collect())
}
