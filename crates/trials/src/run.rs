//! Runs the list: one attack after the other, each with a deadline, and deletes its caches afterwards.

use std::time::{Duration, Instant};

use hybrid_cache_model::Protection;
use serde::{Deserialize, Serialize};

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::AttackContext;
use crate::caches::within;
use crate::error::TrialError;
use crate::site::Site;
use crate::verdict::Verdict;

/// One attack that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The attack.
    pub id: String,
    /// The promise that it tests.
    pub promise: Protection,
    /// Where it ran.
    pub site: Site,
    /// Its result.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Tries those of the attacks that run at the ground's site, and reports each as soon as it ends.
pub async fn run(attacks: &[&Attack], ground: &AttackContext, mut tell: impl FnMut(&Trial)) -> Vec<Trial> {
    let mut trials = Vec::new();
    for attack in attacks.iter().filter(|attack| attack.runs_at(ground.site())) {
        let trial = try_one(attack, ground).await;
        tell(&trial);
        trials.push(trial);
    }
    trials
}

/// Tries one attack.
pub async fn try_one(attack: &Attack, ground: &AttackContext) -> Trial {
    let began = Instant::now();
    let lacking = attack.needs.iter().find_map(|need| ground.lacks(*need));
    let verdict = match lacking {
        Some(why) => Verdict::not_applicable(why),
        None => judged(attack, ground)
            .await
            .unwrap_or_else(|error| Verdict::Failed { why: error.to_string() }),
    };
    Trial {
        id: attack.id.to_owned(),
        promise: attack.promise,
        site: ground.site(),
        verdict,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn judged(attack: &Attack, ground: &AttackContext) -> Result<Verdict, TrialError> {
    let limit = 2 * ground.patience() + Duration::from_secs(30);
    let work = async {
        match &attack.method {
            AttackMethod::Probe(probe) => ground.probe(probe).await,
            AttackMethod::Steps(steps) => steps(ground).await,
        }
    };
    let verdict = within("the attack", limit, work).await;
    let cleared = ground.clear().await;
    let verdict = verdict??;
    // What an attack achieved is worth more than that it could not be tidied up.
    match cleared {
        Err(error) if verdict == Verdict::Held => Err(error),
        _ => Ok(verdict),
    }
}
