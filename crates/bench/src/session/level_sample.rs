//! The step of a run at a level of cold.

use hybrid_cache_model::Scenario;
use hybrid_cache_model::level::Level;
use hybrid_cache_model::sample::{Acceptance, LevelSample, PlanPlace, judge_level};
use hybrid_cache_tools::Result;

use super::{Session, unwritten};
use crate::progress::BenchProgress;
use crate::target::LevelRun;

impl Session {
    /// Takes a run at a level, judges it and writes it to disk.
    pub(super) async fn level_sample(
        &mut self,
        (at, place): (usize, PlanPlace),
        scenario: &Scenario,
        level: Level,
        progress: &BenchProgress<'_>,
    ) -> Result<()> {
        let measured = self.target.level(at, scenario, level).await?;
        let sample = self.judged_level(scenario, level, place, measured);
        if let Acceptance::Failed { reason } | Acceptance::WrongTemperature { reason } = &sample.acceptance {
            let what = level.explanation();
            progress.line(&format!("{}, {what}: not counted: {reason}", scenario.name));
        }
        self.log.append_level(&sample).map_err(unwritten)?;
        self.record.levels.get_or_insert_default().samples.push(sample);
        Ok(())
    }

    fn judged_level(&self, scenario: &Scenario, level: Level, place: PlanPlace, measured: LevelRun) -> LevelSample {
        let LevelRun { run, seen } = measured;
        let acceptance = match run.disturbed {
            Some(reason) => Acceptance::Failed { reason },
            None => judge_level(scenario, level, &run.outcome, &run.stdout, &seen),
        };
        LevelSample {
            scenario: scenario.name.clone(),
            level,
            sequence: self.sequence,
            place,
            started_at: run.moment.started_at,
            wall_us: run.moment.wall_us,
            runner_us: run.outcome.runner_us,
            end: run.outcome.end,
            cache: run.outcome.cache,
            timeline: run.timeline,
            seen,
            acceptance,
            load1: run.moment.load1,
            steal: run.moment.steal,
            noise: Some(run.moment.noise),
        }
    }
}
