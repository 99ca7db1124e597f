//! What attacks and faults have in common: a list from which a person chooses.

use serde_json::{Value, json};

use crate::attack::Attack;
use crate::chaos::Fault;
use crate::site::Site;

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

/// A name that nothing on the list has; the message names the list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownTrial(String);

/// Those of `all` with the ids in `only`, or all if it is empty.
///
/// # Errors
/// An id is on no list.
pub fn chosen<T: Listed>(all: Vec<&'static T>, only: &[String]) -> Result<Vec<&'static T>, UnknownTrial> {
    if let Some(unknown) = only
        .iter()
        .find(|id| !all.iter().any(|trial| trial.id() == id.as_str()))
    {
        let (kind, command) = (T::KIND, T::COMMAND);
        return Err(UnknownTrial(format!(
            "no {kind} is called `{unknown}`\nhint: `cargo xtask {command} --list` lists them"
        )));
    }
    let is_wanted = |trial: &&T| only.is_empty() || only.iter().any(|id| id == trial.id());
    Ok(all.into_iter().filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_a_hint() {
        let faults = |name: &str| chosen(crate::chaos::list::all(), &[name.to_owned()]);
        assert_eq!(faults("power-cut").unwrap().len(), 1);
        let refused = faults("power-cat").err().unwrap().to_string();
        assert!(
            refused.contains("`power-cat`") && refused.contains("hint: "),
            "{refused}"
        );
    }
}
