//! Where the programs of a synthetic trace come from.

use crate::number::Random;
use crate::{Volume, Weight};

/// An environment as a program has it on one volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Template {
    /// Its key, without the tenant.
    pub key: String,
    /// What people call it.
    pub label: String,
    /// Usage outside of its parts.
    pub own: Weight,
    /// Its parts.
    pub parts: Vec<(String, Weight)>,
}

/// Where programs come from.
pub(crate) trait Maker {
    /// What a new program asks for: a number for each volume that it uses, by which it can be resolved.
    fn program(&self, random: &mut Random) -> [Option<u64>; 2];
    /// The environment that such a number stands for on a day.
    fn resolve(&self, volume: Volume, asked: u64, day: f64) -> Template;
}
