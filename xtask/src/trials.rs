//! What `attack` and `chaos` share: choosing from a list, showing it, and the exit code of what was seen.

use hybrid_cache_driver::DriverError;
use hybrid_cache_tools::{Error, ErrorClass, Result};
use hybrid_cache_trials::chaos::Fault;
use hybrid_cache_trials::{Attack, Site, Standing, TrialError};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::results;

/// Something that can be tried.
pub trait Listed {
    /// What one is called.
    const KIND: &'static str;
    /// The command that tries it.
    const COMMAND: &'static str;

    /// Its name.
    fn id(&self) -> &'static str;
    /// The name of the promise that it tests.
    fn promise(&self) -> &'static str;
    /// What it tries, in one sentence.
    fn tries(&self) -> &'static str;
    /// Where it can be tried.
    fn sites(&self) -> &'static [Site];
    /// The same for a program.
    fn to_json(&self) -> Value;
}

macro_rules! listed {
    ($type:ty, $kind:literal, $command:literal) => {
        impl Listed for $type {
            const KIND: &'static str = $kind;
            const COMMAND: &'static str = $command;

            fn id(&self) -> &'static str {
                self.id
            }
            fn promise(&self) -> &'static str {
                self.promise.name()
            }
            fn tries(&self) -> &'static str {
                self.tries
            }
            fn sites(&self) -> &'static [Site] {
                self.sites
            }
            fn to_json(&self) -> Value {
                json!({
                    "id": self.id, "promise": self.promise, "tries": self.tries,
                    "sites": self.sites, "needs": self.needs,
                })
            }
        }
    };
}

listed!(Attack, "attack", "attack");
listed!(Fault, "fault", "chaos");

/// Those of `all` that the command line names, or all.
///
/// # Errors
/// A name is none.
pub fn chosen<T: Listed>(all: Vec<&'static T>, only: &[String]) -> Result<Vec<&'static T>> {
    if let Some(unknown) = only
        .iter()
        .find(|id| !all.iter().any(|trial| trial.id() == id.as_str()))
    {
        let (kind, command) = (T::KIND, T::COMMAND);
        return Err(Error::input(format!(
            "no {kind} is called `{unknown}`\nhint: `cargo xtask {command} --list` lists them"
        )));
    }
    let is_wanted = |trial: &&T| only.is_empty() || only.iter().any(|id| id == trial.id());
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Prints what can be tried.
///
/// # Errors
/// It cannot be written as JSON.
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

/// An error of a trial, as one of this program: an operation failed.
pub fn failed(error: TrialError) -> Error {
    match error {
        TrialError::Driver(DriverError::Invalid(_)) => Error::other(ErrorClass::Input, error),
        _ => Error::other(ErrorClass::Failed, error),
    }
}

/// The exit code of the worst that was seen.
pub fn exit(worst: Option<Standing>) -> Exit {
    match worst {
        Some(Standing::NotHeld) => Exit::Gate,
        Some(Standing::CouldNotTry) => Exit::Failed,
        _ => Exit::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_a_usage_error_with_a_hint() {
        let faults = |name: &str| chosen(hybrid_cache_trials::chaos::list::all(), &[name.to_owned()]);
        assert_eq!(faults("power-cut").unwrap().len(), 1);
        let refused = faults("power-cat").unwrap_err();
        assert_eq!(crate::exit::of(&refused), Exit::Usage);
        assert!(refused.to_string().contains("`power-cat`") && refused.to_string().contains("hint: "));
    }
}
