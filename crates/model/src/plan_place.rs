//! Where samples stand in the plan of a bench run.

use serde::{Deserialize, Serialize};

/// Where a sample stands in the plan of a bench run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPlace {
    /// The round, from 0. Samples of one round resemble each other, so that a round counts once.
    pub round: u32,
    /// The turn, from 0, counted over all rounds. Samples of one scenario in one turn are neighbours, hence a pair.
    pub turn: u32,
}

/// Rounds that were drawn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// Seed of the order within its rounds.
    pub seed: u32,
    /// Number of its rounds. They follow those of the blocks before.
    pub rounds: u32,
}
