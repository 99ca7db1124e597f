//! Recognises a program that failed because of what a virtual environment of pip holds and a task's does not: pip itself, and
//! setuptools, which old packages import without a word in their metadata.

/// How Python, shells and `subprocess` end a message about a missing pip.
const PIP: [&str; 9] = [
    "No module named pip",
    "No module named 'pip'",
    " pip: not found",
    " pip3: not found",
    " pip: command not found",
    " pip3: command not found",
    "No such file or directory: 'pip'",
    "No such file or directory: 'pip3'",
    "'-m', 'pip', 'install'",
];

/// How Python ends a message about a missing module that setuptools brings.
const SETUPTOOLS: [&str; 3] = [
    "No module named 'pkg_resources'",
    "No module named 'setuptools'",
    "No module named 'distutils'",
];

/// A warning that names the remedy, if the end of a failed program's standard error says that pip or setuptools is missing.
pub fn warning(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let is_named = |sign: &&str| {
        let mut behind = text
            .match_indices(*sign)
            .map(|(at, _)| text[at + sign.len()..].chars().next());
        // `pipeline` is another module.
        behind.any(|next| !next.is_some_and(|next| next.is_alphanumeric() || "_.-".contains(next)))
    };
    let remedy = if PIP.iter().any(is_named) {
        "the program tried to use pip, which a task does not have: name the packages in `dependencies` or \
         `requirementsFile` instead, and they are installed before the program starts"
    } else if SETUPTOOLS.iter().any(is_named) {
        "a package needs setuptools and does not say so: add `setuptools<81` to `dependencies`"
    } else {
        return None;
    };
    Some(remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_pip_or_setuptools_is_recognised_and_other_names_are_not() {
        for text in [
            "ModuleNotFoundError: No module named 'pkg_resources'\n",
            "ModuleNotFoundError: No module named 'distutils'",
            "/v/bin/python: No module named pip\n",
            "ModuleNotFoundError: No module named 'pip'",
            "/bin/sh: 1: pip: not found\n\nTraceback",
            "FileNotFoundError: [Errno 2] No such file or directory: 'pip3'\n",
        ] {
            assert!(warning(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "No module named pipeline",
            "No module named 'pipes'",
            "No module named 'distutils.msvccompiler'",
            "No module named pkg_resources_x",
            "pip",
            "\u{fffd}",
            "",
        ] {
            assert!(warning(text.as_bytes()).is_none(), "{text}");
        }
    }
}
