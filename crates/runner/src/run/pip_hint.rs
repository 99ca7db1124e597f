//! Recognises a program that failed because it tried to install packages by pip, which a task does not have.

/// How Python, shells and `subprocess` end a message about a missing pip.
const SIGNS: [&str; 9] = [
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

/// A warning that names the remedy, if the end of a failed program's standard error says that pip is missing.
pub fn warning(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let is_named = |sign: &&str| {
        let mut behind = text
            .match_indices(*sign)
            .map(|(at, _)| text[at + sign.len()..].chars().next());
        // `pipeline` is another module.
        behind.any(|next| !next.is_some_and(|next| next.is_alphanumeric() || "_.-".contains(next)))
    };
    SIGNS.iter().any(is_named).then(|| {
        "the program tried to use pip, which a task does not have: name the packages in `dependencies` or \
         `requirementsFile` instead, and they are installed before the program starts"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_pip_is_recognised_and_other_names_are_not() {
        for text in [
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
            "pip",
            "\u{fffd}",
            "",
        ] {
            assert!(warning(text.as_bytes()).is_none(), "{text}");
        }
    }
}
