//! Code shared by `attack` and `chaos`: choosing from a list, showing the list, and the exit code of the results.

use hybrid_cache_driver::DriverError;
use hybrid_cache_tools::{Error, ErrorClass, Result};
use hybrid_cache_trials::{Listed, Site, Standing, TrialError};
use serde_json::Value;

use crate::exit::Exit;
use crate::results;

/// The trials of `all` that the command line names, or all of them.
pub fn chosen<T: Listed>(all: Vec<&'static T>, only: &[String]) -> Result<Vec<&'static T>> {
    let chosen = hybrid_cache_trials::chosen(all, only);
    chosen.map_err(|unknown| Error::other(ErrorClass::Input, unknown))
}

/// Prints the list of what can be tried.
pub fn show_list<T: Listed>(trials: &[&T], json: bool) -> Result<()> {
    if json {
        let list: Vec<Value> = trials.iter().map(|trial| trial.to_json()).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    let mut table = results::plain_table();
    table.set_header([T::KIND, "promise", "where", "tries"]);
    for trial in trials {
        let sites: Vec<String> = trial.sites().iter().map(Site::to_string).collect();
        table.add_row([trial.id(), trial.promise(), &sites.join(", "), trial.tries()]);
    }
    println!("{table}");
    Ok(())
}

/// Converts an error of a trial to one of this program: an operation failed.
pub fn failed(error: TrialError) -> Error {
    match error {
        TrialError::Driver(DriverError::Invalid(_)) => Error::other(ErrorClass::Input, error),
        _ => Error::other(ErrorClass::Failed, error),
    }
}

/// The exit code of the worst result.
pub fn exit(worst: Option<Standing>) -> Exit {
    match worst {
        Some(Standing::NotHeld) => Exit::Gate,
        Some(Standing::CouldNotTry) => Exit::Failed,
        _ => Exit::Good,
    }
}
