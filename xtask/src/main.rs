//! The project's command line: one command for each thing that a person does with hybrid-cache.

#[macro_use]
mod terminal;

mod attack;
mod backend;
mod bench;
mod cache;
mod chaos;
mod checkout;
mod doctor;
mod down;
mod exit;
mod flags;
mod help;
mod image;
mod progress;
mod results;
mod run;
mod runtime;
mod serve;
mod size;
mod status;
mod test;
mod tools;
mod trace;
mod trials;
mod up;
mod waiting;
#[cfg(test)]
mod workflow;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use hybrid_cache_tools::Result;

use checkout::checkout;
use exit::Exit;
use flags::{Command, Flags};

fn main() -> ExitCode {
    let arguments = arguments();
    if arguments.len() < 2 {
        eprintln!("{}", help::FIRST_STEPS.trim_end());
        return terminal::exit_with_output(Exit::Usage).into();
    }
    if arguments.len() == 2 && (arguments[1] == "--version" || arguments[1] == "-V") {
        println!("{}", help::version(checkout().ok().as_ref()));
        return terminal::exit_with_output(Exit::Good).into();
    }
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => return print_usage(&error),
    };
    let exit = dispatch(&flags).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::from(&error)
    });
    terminal::exit_with_output(exit).into()
}

/// Prints help to standard output, and errors of the command line to standard error.
fn print_usage(error: &clap::Error) -> ExitCode {
    if let Err(lost) = error.print() {
        terminal::note_lost(&lost);
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Good };
    terminal::exit_with_output(exit).into()
}

/// The arguments of the command line. When cargo runs this program as `cargo-xtask`, it puts the command's name in front; the
/// README's examples are tested in this form.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "xtask") {
        arguments.remove(1);
    }
    arguments
}

fn dispatch(flags: &Flags) -> Result<Exit> {
    match &flags.command {
        Command::Bench(flags) => bench::run(flags),
        Command::Report(flags) => results::report(flags),
        Command::Compare(flags) => results::compare_runs(flags),
        Command::Run(flags) => run::run(flags),
        Command::Serve(flags) => serve::run(flags),
        Command::Cache(flags) => cache::run(flags),
        Command::Size(flags) => size::run(flags),
        Command::Attack(flags) => attack::run(flags),
        Command::Chaos(flags) => chaos::run(flags),
        Command::Tools(flags) => tools::list(flags),
        Command::Debnix(flags) => tools::maintain_debnix(flags),
        Command::Up(flags) => up::run(flags),
        Command::Down(flags) => down::run(flags),
        Command::Status(flags) => status::run(flags),
        Command::Doctor(flags) => doctor::run(flags),
        Command::Image(flags) => image::run(flags),
        Command::NodeImage(flags) => image::build_node_image(flags),
        Command::Test(flags) => test::run(flags),
        Command::Completions { shell } => {
            terminal::print_drawn(&help::completions(shell));
            Ok(Exit::Good)
        }
        Command::WatchTest(flags) => test::watch::run(flags),
    }
}
