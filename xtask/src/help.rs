//! Prints what concerns the command line itself: the first steps, the version, and shell completions.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use hybrid_cache_tools::{Checkout, process};

use crate::flags::{Flags, ShellName};

/// Time limit for git to name the revision.
const GIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Printed if there is no command: what a new user needs, and where the rest is.
pub const FIRST_STEPS: &str = "\
Usage: cargo xtask COMMAND

  bench   measure tasks on this machine and write a report
  run     run one task on this machine
  up      make a Kubernetes cluster in Docker for tasks
  serve   serve the task API on this machine
  size    compute how large the cache volumes must be

`cargo xtask help` lists all commands, and
`cargo xtask COMMAND --help` the options of one.
docs/commands.md has examples.
";

/// Bash script that completes `cargo xtask`, in addition to cargo's own completion.
const BASH: &str = include_str!("help/cargo.bash");

/// Fish script that does the same.
const FISH: &str = include_str!("help/cargo.fish");

/// True if the arguments ask only for the version.
pub fn asks_for_version(arguments: &[OsString]) -> bool {
    arguments.len() == 2 && (arguments[1] == "--version" || arguments[1] == "-V")
}

/// The version with the revision of the checkout, if git knows it.
pub fn version(checkout: Option<&Checkout>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    // If the folder has no `.git`, git would name the revision of a checkout around it.
    let checkout = checkout.filter(|checkout| checkout.path(".git").exists());
    let described = checkout.and_then(|checkout| {
        let mut git = Command::new("git");
        git.args(["describe", "--always", "--dirty", "--tags"])
            .current_dir(checkout.root());
        process::output(&mut git, GIT_TIMEOUT).ok()
    });
    match described.as_deref().map(str::trim) {
        None | Some("") => format!("cargo xtask {version}"),
        Some(revision) => format!("cargo xtask {version} ({revision})"),
    }
}

/// A script that completes `cargo xtask` in a shell.
pub fn completions(shell: ShellName) -> String {
    // zsh's completion of cargo looks for a function of this name; for the other shells a wrapper function is added.
    let (shell, name, around) = match shell {
        ShellName::Bash => (Shell::Bash, "xtask", BASH),
        ShellName::Zsh => (Shell::Zsh, "cargo-xtask", ""),
        ShellName::Fish => (Shell::Fish, "xtask", FISH),
    };
    let mut script = Vec::new();
    generate(shell, &mut Flags::command().name(name), name, &mut script);
    String::from_utf8_lossy(&script).into_owned() + around
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The help of a command and of all its subcommands, as a terminal of this width shows it.
    fn helps(command: &clap::Command, width: usize, into: &mut Vec<(String, String)>) {
        let mut own = command.clone().term_width(width);
        for long in [true, false] {
            let help = if long {
                own.render_long_help()
            } else {
                own.render_help()
            };
            into.push((format!("{} ({width} columns)", command.get_name()), help.to_string()));
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            helps(below, width, into);
        }
    }

    #[test]
    fn help_fits_narrow_and_wide_terminals_and_loses_nothing() {
        let mut command = Flags::command();
        command.build();
        let (mut narrow, mut wide, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        helps(&command, 60, &mut narrow);
        helps(&command, 200, &mut wide);
        assert!(narrow.len() > 50, "only {} were found: this shows little", narrow.len());
        for (name, help) in narrow.iter().chain(&wide) {
            let width = if name.contains("(60 ") { 60 } else { 200 };
            let long = help.lines().filter(|line| line.chars().count() > width);
            problems.extend(long.map(|line| format!("{name}: {line}")));
        }
        for ((name, narrow), (_, wide)) in narrow.iter().zip(&wide) {
            let words = |help: &str| -> Vec<String> { help.split_whitespace().map(str::to_owned).collect() };
            if words(narrow) != words(wide) {
                problems.push(format!("{name}: it says something else than a wide terminal shows"));
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn the_first_steps_name_commands_that_exist_and_fit_a_narrow_terminal() {
        let command = Flags::command();
        let named: Vec<&str> = FIRST_STEPS
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(named, ["bench", "run", "up", "serve", "size"]);
        assert!(named.iter().all(|name| command.find_subcommand(name).is_some()));
        assert!(FIRST_STEPS.lines().all(|line| line.chars().count() <= 60));
    }

    #[test]
    fn a_folder_without_history_gives_the_version_alone() {
        let alone = format!("cargo xtask {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(version(None), alone);
        // This folder stands for exported sources inside another checkout.
        let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let folder = tempfile::tempdir_in(target).unwrap();
        std::fs::create_dir(folder.path().join("bench-scenarios")).unwrap();
        assert_eq!(version(Checkout::open(folder.path()).ok().as_ref()), alone);
    }
}
