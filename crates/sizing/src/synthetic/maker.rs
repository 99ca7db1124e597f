//! The source of the programs of a synthetic trace.

use crate::number::Random;
use crate::{Volume, Weight};

/// A program's environment on one volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Template {
    /// Key of the environment, without the tenant.
    pub key: String,
    /// Name for a person.
    pub label: String,
    /// Usage outside the parts.
    pub own: Weight,
    /// Parts of the environment.
    pub parts: Vec<(String, Weight)>,
}

/// A source of programs.
pub(crate) trait Maker {
    /// A new program: a number for each volume that it uses, from which its environment is resolved.
    fn program(&self, random: &mut Random) -> [Option<u64>; 2];
    /// The environment of such a number on a given day.
    fn resolve(&self, volume: Volume, asked: u64, day: f64) -> Template;
}
