//! The face of the project: one command for each thing a person does with hybrid-cache.

#[macro_use]
mod terminal;

mod attack;
mod bench;
mod cache;
mod chaos;
mod checkout;
mod cluster;
mod debnix;
mod docker;
mod doctor;
mod exit;
mod flags;
mod image;
mod local;
mod node_image;
mod remembered;
mod results;
mod run;
mod runner;
mod serve;
mod size;
mod subject;
mod test;
mod tools;
mod trace;
mod trials;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use exit::Exit;
use flags::{Command, Flags};

fn main() -> ExitCode {
    let flags = match Flags::try_parse_from(arguments()) {
        Ok(flags) => flags,
        Err(told) => return told_usage(&told),
    };
    let exit = dispatch(&flags).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        exit::of(&error)
    });
    terminal::exit_with_output(exit).into()
}

/// Prints help to standard output, and what is wrong with the command line to standard error.
fn told_usage(told: &clap::Error) -> ExitCode {
    if let Err(error) = told.print() {
        terminal::note_lost(&error);
    }
    let exit = if told.use_stderr() { Exit::Usage } else { Exit::Good };
    terminal::exit_with_output(exit).into()
}

/// The command line. Installed as `cargo-xtask`, cargo puts the name of the command in front, and the examples of the
/// README are tested in just this form.
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
        Command::Tools(flags) => list_tools(flags),
        Command::Debnix(flags) => maintain_debnix(flags),
        Command::Up(flags) => cluster::up::run(flags),
        Command::Down(flags) => cluster::down::run(flags),
        Command::Status(flags) => cluster::status::run(flags),
        Command::Doctor(flags) => doctor::run(flags),
        Command::Image(flags) => image::run(flags),
        Command::NodeImage(flags) => node_image::run(flags),
        Command::Test(flags) => test::run(flags),
        Command::WatchTest(flags) => test::watch::run(flags),
    }
}

fn list_tools(flags: &flags::Tools) -> Result<Exit> {
    let format = if flags.json {
        tools::Format::Json
    } else {
        tools::Format::Table
    };
    let choice = local::choice(flags.provider, flags.source);
    tools::run(checkout::Checkout::find()?.root(), &choice, format).map_err(local::prerequisite)?;
    Ok(Exit::Good)
}

fn maintain_debnix(flags: &flags::Debnix) -> Result<Exit> {
    match flags.command {
        flags::DebnixCommand::Pin => debnix::pin(checkout::Checkout::find()?.root())?,
    }
    Ok(Exit::Good)
}
