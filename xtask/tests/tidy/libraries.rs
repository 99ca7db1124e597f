//! What a library crate leaves alone: terminal, process and environment; a pure one also files, clock and network.

use std::path::Path;

use crate::tree::{Tree, is_test_file, report};

/// What a library crate never does: it has no terminal, no process and no environment of its own.
const LIBRARY_NEVER: [&str; 8] = [
    "println!",
    "eprintln!",
    "print!(",
    "process::exit",
    "env::var",
    "env::args",
    "env::current_dir",
    "std::env::set_var",
];

/// The one file that reads the environment for all libraries.
const ENVIRONMENT: &str = "crates/tools/src/environment.rs";

/// The programs among the crates: the command line and the last words of such a file are its own.
const PROGRAMS: [&str; 5] = [
    "crates/launcher/src/inputs.rs",
    "crates/launcher/src/main.rs",
    "crates/launcher/src/paths.rs",
    "crates/runner/src/main.rs",
    "crates/service/src/main.rs",
];

/// What the pure crates never do beyond that.
const PURE: [&str; 2] = ["crates/model", "crates/sizing"];
const PURE_NEVER: [&str; 8] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "std::env",
    "async fn",
];

#[test]
fn the_face_prints_with_macros_that_notice_a_closed_output() {
    let tree = Tree::read();
    let of_the_face = |file: &Path| file.starts_with("xtask/src") && !is_test_file(file);
    let mut problems = Vec::new();
    for file in tree.rust().filter(|file| of_the_face(file)) {
        let code = tree.shipped(file);
        if code.contains(" print!(") || code.contains(" eprint!(") {
            problems.push(format!(
                "{}: `print!` panics at a closed output; use `terminal`",
                file.display()
            ));
        }
    }
    report(&problems);
}

#[test]
fn libraries_leave_terminal_process_and_environment_alone() {
    let tree = Tree::read();
    let mut problems = Vec::new();
    let of_a_library = |file: &Path| {
        let in_src = file.starts_with("crates") && file.components().any(|part| part.as_os_str() == "src");
        in_src && !is_test_file(file) && !PROGRAMS.iter().any(|program| file == Path::new(program))
    };
    for file in tree.rust().filter(|file| of_a_library(file)) {
        let code = tree.shipped(file);
        let is_pure = PURE.iter().any(|one| file.starts_with(one));
        let may_read = file == Path::new(ENVIRONMENT);
        let never = LIBRARY_NEVER
            .iter()
            .filter(|pattern| !(may_read && pattern.starts_with("env::")));
        let never = never.chain(PURE_NEVER.iter().filter(|_| is_pure));
        for pattern in never.filter(|pattern| code.contains(**pattern)) {
            problems.push(format!("{}: a library must not use `{pattern}`", file.display()));
        }
    }
    report(&problems);
}
