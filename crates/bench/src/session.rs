//! A running bench run: takes the steps of the plan, judges each sample and writes it to disk before the next.

use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::sample::{
    AbsentPeer, Acceptance, BlockRecord, Completion, FailedPeer, LevelsRecord, Peer, PeerSample, PlanPlace, Provenance,
    RunRecord, SCHEMA_VERSION, Sample, ScenarioUsage, judge,
};
use hybrid_cache_model::until::{LookRecord, UntilEnd, UntilRecord};
use hybrid_cache_model::{Scenario, Temperature};
use hybrid_cache_report::folder::{FolderError, SAMPLES_FILE};
use hybrid_cache_report::{SampleLog, until};
use hybrid_cache_tools::{Error, ErrorClass, Progress, Result};

use crate::machine::micros;
use crate::options::Until;
use crate::plan::{Block, Measure, PlannedStep, Round, Step};
use crate::progress::BenchProgress;
use crate::target::{BenchTarget, Run};

/// Most bytes of the reason why a peer failed.
const MAX_REASON_BYTES: usize = 2000;

/// A bench run.
pub struct Session {
    target: Box<dyn BenchTarget>,
    record: RunRecord,
    log: SampleLog,
    sequence: u32,
}

/// What is known before the first sample.
pub struct Origin {
    /// Where, when and with what it is measured.
    pub provenance: Provenance,
    /// The other build, in words.
    pub against: Option<String>,
    /// Peers that were asked for and cannot be measured.
    pub absent_peers: Vec<AbsentPeer>,
    /// Levels of cold are measured, and nothing else.
    pub has_levels: bool,
}

/// How a step ended.
enum Stepped {
    Done,
    Interrupted,
}

/// A reason without its middle if it is too long for a report: it begins with how the tool ended, and a tool says last what
/// went wrong.
fn shortened(reason: String) -> String {
    if reason.len() <= MAX_REASON_BYTES {
        return reason;
    }
    let head = reason.floor_char_boundary(MAX_REASON_BYTES / 4);
    let tail = reason.ceil_char_boundary(reason.len() - MAX_REASON_BYTES * 3 / 4);
    format!("{} … {}", &reason[..head], &reason[tail..])
}

/// All steps in order.
fn steps(rounds: &[Round]) -> Vec<Step> {
    let steps = rounds.iter().flat_map(|round| &round.steps);
    steps.map(|planned| planned.step).collect()
}

fn unwritten(error: FolderError) -> Error {
    Error::other(ErrorClass::Failed, error)
}

impl Session {
    /// Opens the run's folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn start(
        target: Box<dyn BenchTarget>,
        scenarios: Vec<Scenario>,
        origin: Origin,
        until: Option<Until>,
        out: &Path,
    ) -> Result<Session> {
        let record = RunRecord {
            schema: SCHEMA_VERSION,
            completion: Completion::Interrupted,
            provenance: origin.provenance,
            scenarios,
            usage: Vec::new(),
            samples: Vec::new(),
            peers: Vec::new(),
            failed_peers: Vec::new(),
            absent_peers: origin.absent_peers,
            against: origin.against,
            blocks: Vec::new(),
            until: until.map(|until| UntilRecord {
                width: until.width,
                minutes: until.minutes,
                ended: None,
                looks: Vec::new(),
            }),
            load: None,
            levels: origin.has_levels.then(|| Box::new(LevelsRecord::default())),
        };
        // Write the record without samples first: with it, samples.jsonl alone is enough to render a killed run.
        hybrid_cache_report::write_header(out, &record).map_err(unwritten)?;
        let log = SampleLog::create(&out.join(SAMPLES_FILE)).map_err(unwritten)?;
        Ok(Session {
            target,
            record,
            log,
            sequence: 0,
        })
    }

    /// The record so far.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Takes every step of a block of rounds, or as many as come before Ctrl-C.
    ///
    /// # Errors
    /// The caches or the log cannot be written, or a service no longer answers. A run that fails is a sample, not an error.
    pub async fn measure(&mut self, block: &Block, progress: &dyn Progress) -> Result<()> {
        self.begin(block.record);
        let mut progress = BenchProgress::new(steps(&block.rounds), progress);
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        for round in &block.rounds {
            if let Stepped::Interrupted = self.round(round, &mut progress, &mut interrupted).await? {
                return Ok(());
            }
        }
        self.complete().await
    }

    /// Takes rounds until the intervals are narrow enough, or the time is up, or Ctrl-C. `draw` draws the rounds until the next look,
    /// from the number of those before and their own.
    ///
    /// # Errors
    /// As [`Session::measure`].
    pub async fn measure_until(
        &mut self,
        wanted: Until,
        seed: u32,
        draw: impl Fn(u32, u32) -> Vec<Round>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.begin(BlockRecord { seed, rounds: 0 });
        let ends = Instant::now() + Duration::from_secs(60 * u64::from(wanted.minutes));
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut done = 0;
        let ended = 'looks: loop {
            let rounds = draw(done, until::next_look(done) - done);
            let mut shown = BenchProgress::new(steps(&rounds), progress);
            for round in &rounds {
                let left = ends.saturating_duration_since(Instant::now());
                let look = until::look(&self.record, done);
                if left.is_zero() {
                    self.note(look);
                    break 'looks UntilEnd::Capped;
                }
                shown.until(&until::shown(&look, wanted.width), left);
                done += 1;
                self.record.blocks.iter_mut().for_each(|block| block.rounds = done);
                if let Stepped::Interrupted = self.round(round, &mut shown, &mut interrupted).await? {
                    return Ok(());
                }
            }
            let look = until::look(&self.record, done);
            progress.line(&format!("after {done} rounds: {}", until::shown(&look, wanted.width)));
            let end = until::end_at(&look, wanted.width);
            self.note(look);
            if let Some(end) = end {
                break end;
            }
        };
        if let Some(record) = &mut self.record.until {
            record.ended = Some(ended);
        }
        self.complete().await
    }

    fn begin(&mut self, block: BlockRecord) {
        self.record.completion = Completion::Interrupted;
        self.record.blocks.push(block);
    }

    async fn complete(&mut self) -> Result<()> {
        self.target.end_epochs().await?;
        self.record.completion = Completion::Complete;
        Ok(())
    }

    fn note(&mut self, look: LookRecord) {
        self.record
            .until
            .iter_mut()
            .for_each(|record| record.looks.push(look.clone()));
    }

    async fn round(
        &mut self,
        round: &Round,
        progress: &mut BenchProgress<'_>,
        interrupted: &mut (impl Future<Output = std::io::Result<()>> + Unpin),
    ) -> Result<Stepped> {
        if round.is_fresh {
            self.target.end_epochs().await?;
        }
        for step in &round.steps {
            let stepped = tokio::select! {
                done = self.step(*step, progress) => done.map(|()| Stepped::Done),
                _ = &mut *interrupted => Ok(Stepped::Interrupted),
            };
            if let Stepped::Interrupted = stepped? {
                let levels = self.record.levels.as_ref().map_or(0, |levels| levels.samples.len());
                let count = self.record.samples.len() + levels;
                progress.line(&format!("interrupted: {count} samples are kept"));
                self.target.end_running().await?;
                return Ok(Stepped::Interrupted);
            }
        }
        Ok(Stepped::Done)
    }

    /// Cleans up and returns the record. A failed clean-up is reported as a warning, so that the record is not lost.
    pub async fn finish(mut self, progress: &dyn Progress) -> RunRecord {
        match self.target.close().await {
            Ok(notes) => self.record.provenance.notes.extend(notes),
            Err(error) => progress.line(&format!("warning: {error:#}")),
        }
        self.record
    }

    async fn step(&mut self, planned: PlannedStep, progress: &mut BenchProgress<'_>) -> Result<()> {
        let PlannedStep { step, place } = planned;
        let scenario = self.record.scenarios[step.scenario].clone();
        let what = match step.measure {
            Measure::Run(temperature) => format!("{} {}", scenario.name, temperature.name()),
            Measure::Peer(peer) => format!("{} {}", scenario.name, peer.name()),
            Measure::Level(level) => format!("{} {}", scenario.name, level.explanation()),
        };
        progress.begin(&what);
        let started = Instant::now();
        match step.measure {
            Measure::Run(temperature) => {
                let run = self.target.run(step.scenario, &scenario, temperature).await?;
                let sample = self.sample(&scenario, temperature, place, run);
                if let Acceptance::Failed { reason } | Acceptance::WrongTemperature { reason } = &sample.acceptance {
                    progress.line(&format!("{what}: not counted: {reason}"));
                }
                self.log.append(&sample).map_err(unwritten)?;
                self.record.samples.push(sample);
                progress.end(started.elapsed(), &what);
                if temperature == Temperature::First {
                    self.measure_usage(step.scenario, &scenario).await?;
                }
            }
            Measure::Peer(peer) => {
                self.peer_sample((step.scenario, place), &scenario, peer, progress)
                    .await?;
                progress.end(started.elapsed(), &what);
            }
            Measure::Level(level) => {
                self.level_sample((step.scenario, place), &scenario, level, progress)
                    .await?;
                progress.end(started.elapsed(), &what);
            }
        }
        self.sequence += 1;
        Ok(())
    }

    fn sample(&self, scenario: &Scenario, temperature: Temperature, place: PlanPlace, run: Run) -> Sample {
        let acceptance = match run.disturbed {
            Some(reason) => Acceptance::Failed { reason },
            None => judge(scenario, temperature, &run.outcome, &run.stdout),
        };
        Sample {
            schema: SCHEMA_VERSION,
            scenario: scenario.name.clone(),
            temperature,
            sequence: self.sequence,
            place: Some(place),
            started_at: run.moment.started_at,
            wall_us: run.moment.wall_us,
            runner_us: run.outcome.runner_us,
            end: run.outcome.end,
            cache: run.outcome.cache,
            timeline: run.timeline,
            acceptance,
            load1: run.moment.load1,
            steal: run.moment.steal,
            noise: Some(run.moment.noise),
        }
    }

    async fn peer_sample(
        &mut self,
        (at, place): (usize, PlanPlace),
        scenario: &Scenario,
        peer: Peer,
        progress: &BenchProgress<'_>,
    ) -> Result<()> {
        match self.target.peer(at, scenario, peer).await {
            Ok(run) => {
                let sample = PeerSample {
                    scenario: scenario.name.clone(),
                    peer,
                    sequence: self.sequence,
                    place: Some(place),
                    wall_us: micros(run.wall),
                    runner_us: run.runner_us,
                    state_us: run.state.map(micros),
                };
                self.log.append_peer(&sample).map_err(unwritten)?;
                self.record.peers.push(sample);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                progress.line(&format!("{} {}: not counted: {reason}", scenario.name, peer.name()));
                let failed = FailedPeer {
                    scenario: scenario.name.clone(),
                    peer,
                    sequence: self.sequence,
                    place: Some(place),
                    reason: shortened(reason),
                };
                self.log.append_failed_peer(&failed).map_err(unwritten)?;
                self.record.failed_peers.push(failed);
            }
        }
        Ok(())
    }

    /// Measures what the first run of a scenario left on disk; one measurement for each scenario is enough.
    async fn measure_usage(&mut self, at: usize, scenario: &Scenario) -> Result<()> {
        if self.record.usage.iter().any(|known| known.scenario == scenario.name) {
            return Ok(());
        }
        if let Some(layers) = self.target.usage(at).await? {
            self.record.usage.push(ScenarioUsage {
                scenario: scenario.name.clone(),
                layers,
            });
        }
        Ok(())
    }
}

mod level_sample;
#[cfg(test)]
mod tests;
