//! A bench run under way: takes the steps of the plan, judges each sample and has it on disk before the next.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use hybrid_cache_model::sample::{
    Acceptance, Completion, Peer, PeerSample, Provenance, RunRecord, SCHEMA_VERSION, Sample, ScenarioUsage, judge,
};
use hybrid_cache_model::{Scenario, Temperature};
use hybrid_cache_report::SampleLog;
use hybrid_cache_report::folder::SAMPLES_FILE;

use super::machine::micros;
use super::place::{Place, Run};
use super::plan::{Measure, Round, Step};
use super::progress::Progress;

/// A bench run.
pub struct Session {
    place: Box<dyn Place>,
    record: RunRecord,
    log: SampleLog,
    sequence: u32,
}

/// What a step came to.
enum Stepped {
    Done,
    Interrupted,
}

impl Session {
    /// Opens the run's folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn start(
        place: Box<dyn Place>,
        scenarios: Vec<Scenario>,
        provenance: Provenance,
        out: &Path,
    ) -> Result<Session> {
        let record = RunRecord {
            schema: SCHEMA_VERSION,
            completion: Completion::Interrupted,
            provenance,
            scenarios,
            usage: Vec::new(),
            samples: Vec::new(),
            peers: Vec::new(),
            load: None,
        };
        // The record without samples goes first: with it, samples.jsonl alone is enough to render a killed run.
        hybrid_cache_report::write_header(out, &record)?;
        let log = SampleLog::create(&out.join(SAMPLES_FILE))?;
        Ok(Session {
            place,
            record,
            log,
            sequence: 0,
        })
    }

    /// Takes every step, or as many as come before Ctrl-C.
    ///
    /// # Errors
    /// The caches or the log cannot be written, or a service is gone. A run that fails is a sample, not an error.
    pub async fn measure(&mut self, rounds: &[Round]) -> Result<()> {
        let mut progress = Progress::new(rounds.iter().flatten().copied().collect());
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        for round in rounds {
            for step in round {
                let stepped = tokio::select! {
                    done = self.step(*step, &mut progress) => done.map(|()| Stepped::Done),
                    _ = &mut interrupted => Ok(Stepped::Interrupted),
                };
                match stepped {
                    Ok(Stepped::Done) => {}
                    Ok(Stepped::Interrupted) => {
                        progress.finish();
                        eprintln!("interrupted: {} samples are kept", self.record.samples.len());
                        return self.place.end_running().await;
                    }
                    Err(error) => {
                        progress.finish();
                        return Err(error);
                    }
                }
            }
            self.place.end_round().await?;
        }
        progress.finish();
        self.record.completion = Completion::Complete;
        Ok(())
    }

    /// Cleans up and returns the record. What cannot be cleaned up is no reason to lose it.
    pub async fn finish(mut self) -> RunRecord {
        match self.place.close().await {
            Ok(notes) => self.record.provenance.notes.extend(notes),
            Err(error) => eprintln!("warning: {error:#}"),
        }
        self.record
    }

    async fn step(&mut self, step: Step, progress: &mut Progress) -> Result<()> {
        let scenario = self.record.scenarios[step.scenario].clone();
        let what = match step.measure {
            Measure::Run(temperature) => format!("{} {}", scenario.name, temperature.name()),
            Measure::Peer(peer) => format!("{} {}", scenario.name, peer.name()),
        };
        progress.begin(&what);
        let started = Instant::now();
        match step.measure {
            Measure::Run(temperature) => {
                let run = self.place.run(step.scenario, &scenario, temperature).await?;
                let sample = self.sample(&scenario, temperature, run);
                if let Acceptance::Failed { reason } | Acceptance::WrongTemperature { reason } = &sample.acceptance {
                    progress.say(&format!("{what}: not counted: {reason}"));
                }
                self.log.append(&sample).context("writing samples.jsonl")?;
                self.record.samples.push(sample);
                progress.end(started.elapsed(), &what);
                if temperature == Temperature::First {
                    self.measure_usage(step.scenario, &scenario).await?;
                }
            }
            Measure::Peer(peer) => {
                self.peer_sample(step.scenario, &scenario, peer, progress).await?;
                progress.end(started.elapsed(), &what);
            }
        }
        self.sequence += 1;
        Ok(())
    }

    fn sample(&self, scenario: &Scenario, temperature: Temperature, run: Run) -> Sample {
        let acceptance = match run.disturbed {
            Some(reason) => Acceptance::Failed { reason },
            None => judge(scenario, temperature, &run.outcome, &run.stdout),
        };
        Sample {
            schema: SCHEMA_VERSION,
            scenario: scenario.name.clone(),
            temperature,
            sequence: self.sequence,
            started_at: run.moment.started_at,
            wall_us: run.moment.wall_us,
            runner_us: run.outcome.runner_us,
            end: run.outcome.end,
            cache: run.outcome.cache,
            timeline: run.timeline,
            acceptance,
            load1: run.moment.load1,
            steal: run.moment.steal,
        }
    }

    async fn peer_sample(&mut self, at: usize, scenario: &Scenario, peer: Peer, progress: &Progress) -> Result<()> {
        match self.place.peer(at, scenario, peer).await {
            Ok((wall, runner_us)) => {
                let sample = PeerSample {
                    scenario: scenario.name.clone(),
                    peer,
                    sequence: self.sequence,
                    wall_us: micros(wall),
                    runner_us,
                };
                self.log.append_peer(&sample).context("writing samples.jsonl")?;
                self.record.peers.push(sample);
            }
            Err(error) => progress.say(&format!("{} {}: not counted: {error:#}", scenario.name, peer.name())),
        }
        Ok(())
    }

    /// Measures what the first run of a scenario has left on disk; the first one of each is enough.
    async fn measure_usage(&mut self, at: usize, scenario: &Scenario) -> Result<()> {
        if self.record.usage.iter().any(|known| known.scenario == scenario.name) {
            return Ok(());
        }
        if let Some(layers) = self.place.usage(at).await? {
            self.record.usage.push(ScenarioUsage {
                scenario: scenario.name.clone(),
                layers,
            });
        }
        Ok(())
    }
}
