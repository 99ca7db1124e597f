//! The first contact: no command, the version, completions in real shells.

use std::process::Command;

use crate::program::ended;

#[test]
fn without_a_command_it_shows_the_first_steps_and_ends_with_2() {
    let shown = ended(&[]);
    shown.with(2, &["bench", "run", "up", "serve", "size", "`cargo xtask help`"]);
    assert_eq!(shown.stdout, "");
}

#[test]
fn the_version_has_the_revision_of_the_checkout() {
    let shown = ended(&["--version"]);
    shown.with(0, &[]);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let head = Command::new("git")
        .args(["-C", root, "rev-parse", "--short", "HEAD"])
        .output();
    let Some(head) = head.ok().filter(|output| output.status.success()) else {
        assert_eq!(shown.stdout, format!("cargo xtask {}\n", env!("CARGO_PKG_VERSION")));
        return;
    };
    let head = String::from_utf8(head.stdout).unwrap();
    assert!(
        shown.stdout.contains(head.trim()) && shown.stdout.lines().count() == 1,
        "{}",
        shown.stdout
    );
    assert_eq!(ended(&["-V"]).stdout, shown.stdout);
}

/// What a shell prints for a script of the test's own, behind the completions; `None` without that shell.
fn in_shell(shell: &str, script: &str) -> Option<String> {
    let completions = ended(&["completions", shell]);
    completions.with(0, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("_cargo-xtask");
    std::fs::write(&file, completions.stdout).unwrap();
    let ran = Command::new(shell)
        .args([
            "-c",
            &script
                .replace("FILE", file.to_str().unwrap())
                .replace("FOLDER", folder.path().to_str().unwrap()),
        ])
        .env("HOME", folder.path())
        .output();
    let Ok(output) = ran else {
        println!("skipped: completions of {shell}: there is no {shell}");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_commands_options_and_values_behind_cargo_xtask() {
    let asks = |words: &str, last: usize| {
        format!(
            "_cargo() {{ COMPREPLY=(of-cargo); }}; source FILE; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _cargo_with_xtask cargo \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        )
    };
    for (words, last, expected) in [
        ("cargo xtask ben", 2, "bench"),
        ("cargo xtask bench --cached-", 3, "--cached-runs"),
        ("cargo xtask run --driver ku", 4, "kube"),
        ("cargo xtask cache tra", 3, "trace"),
        ("cargo build --rel", 2, "of-cargo"),
    ] {
        let Some(printed) = in_shell("bash", &asks(words, last)) else {
            return;
        };
        assert_eq!(printed.trim(), expected, "{words}");
    }
}

#[test]
fn fish_completes_commands_and_options_behind_cargo_xtask() {
    for (line, expected) in [
        ("cargo xtask ben", "bench"),
        ("cargo xtask bench --cached-", "--cached-runs"),
    ] {
        let Some(printed) = in_shell("fish", &format!("source FILE; complete -C '{line}'")) else {
            return;
        };
        assert!(
            printed.lines().any(|line| line.split('\t').next() == Some(expected)),
            "{line}: {printed}"
        );
    }
}

#[test]
fn zsh_finds_the_function_that_its_completion_of_cargo_calls() {
    let script = "fpath=(FOLDER $fpath); autoload -Uz compinit; compinit -u -d FOLDER/dump; whence -w _cargo-xtask; \
                  autoload +X -Uz _cargo-xtask; functions _cargo-xtask | grep -c bench";
    let Some(printed) = in_shell("zsh", script) else { return };
    assert!(
        printed.starts_with("_cargo-xtask: function\n") && !printed.ends_with("\n0\n"),
        "{printed}"
    );
}
