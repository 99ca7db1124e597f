//! The variables of this process. No other file of a library crate reads them, so that this one shows what the work depends on.

use std::ffi::OsString;
use std::path::PathBuf;

/// The value of a variable as text; `None` if it is unset, empty or not UTF-8.
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable; `None` if it is unset or empty.
pub fn raw(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folders of `PATH`, in order.
pub fn search_path() -> Vec<PathBuf> {
    raw("PATH").map_or_else(Vec::new, |path| std::env::split_paths(&path).collect())
}

/// All variables, in the order of their names.
pub fn all() -> Vec<(OsString, OsString)> {
    let mut variables: Vec<_> = std::env::vars_os().collect();
    variables.sort();
    variables
}

/// The folder that this process was started in; `None` if it was deleted.
pub fn current_folder() -> Option<PathBuf> {
    std::env::current_dir().ok()
}
