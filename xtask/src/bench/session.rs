//! A bench run under way: takes the steps of the plan, judges each sample and has it on disk before the next.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::sample::{
    Acceptance, Completion, Peer, PeerSample, Provenance, RunRecord, SCHEMA_VERSION, Sample, ScenarioUsage, judge,
};
use hybrid_cache_model::{Scenario, TaskSpec, Temperature};
use hybrid_cache_report::SampleLog;
use hybrid_cache_report::folder::SAMPLES_FILE;

use super::beside::Beside;
use super::machine::{self, CpuTimes};
use super::peer;
use super::plan::{Measure, Round, Step};
use super::progress::Progress;
use crate::subject::Subject;

/// Longest a scenario's own program may run.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Longest an interrupted bench run waits for its last task to end.
pub const END_LIMIT: Duration = Duration::from_secs(20);

/// A bench run.
pub struct Session {
    subject: Subject,
    /// The local driver, where a cluster is measured and this machine can run tasks too.
    beside: Option<Beside>,
    record: RunRecord,
    log: SampleLog,
    epochs: HashMap<usize, Epoch>,
    /// What is running at the moment: an interruption must end it before its epoch is deleted.
    running: Option<Ticket>,
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
        subject: Subject,
        beside: Option<Beside>,
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
        };
        // The record without samples goes first: with it, samples.jsonl alone is enough to render a killed run.
        hybrid_cache_report::write_header(out, &record)?;
        let log = SampleLog::create(&out.join(SAMPLES_FILE))?;
        Ok(Session {
            subject,
            beside,
            record,
            log,
            epochs: HashMap::new(),
            running: None,
            sequence: 0,
        })
    }

    /// Takes every step, or as many as come before Ctrl-C.
    ///
    /// # Errors
    /// The caches or the log cannot be written. A run that fails is a sample, not an error.
    pub async fn measure(&mut self, rounds: &[Round]) -> Result<()> {
        let mut progress = Progress::new(rounds.iter().flatten().copied().collect());
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        for round in rounds {
            for step in round {
                let stepped = tokio::select! {
                    done = self.step(*step, &mut progress) => { done?; Stepped::Done }
                    _ = &mut interrupted => Stepped::Interrupted,
                };
                if matches!(stepped, Stepped::Interrupted) {
                    progress.finish();
                    eprintln!("interrupted: {} samples are kept", self.record.samples.len());
                    return self.end_running().await;
                }
            }
            self.discard_epochs().await?;
        }
        progress.finish();
        self.record.completion = Completion::Complete;
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        if let Some(ticket) = self.running.take() {
            let driver = self.subject.driver();
            driver.cancel(&ticket).await?;
            // On this machine a task that does not end ends with this process, and its epoch is swept by the next one; on a
            // cluster its Job has a deadline.
            let _ = tokio::time::timeout(END_LIMIT, driver.settle(&ticket)).await;
        }
        Ok(())
    }

    /// Cleans up and returns the record. What cannot be cleaned up is no reason to lose it.
    pub async fn finish(mut self) -> RunRecord {
        if let Err(error) = self.discard_epochs().await {
            eprintln!("warning: {error:#}");
        }
        if let Some(beside) = self.beside
            && let Err(error) = beside.end().await
        {
            eprintln!("warning: {error:#}");
        }
        self.record
    }

    async fn discard_epochs(&mut self) -> Result<()> {
        for (_, epoch) in self.epochs.drain() {
            self.subject.driver().discard_epoch(&epoch).await?;
        }
        Ok(())
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
                let sample = self.sample(step.scenario, &scenario, temperature).await?;
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

    async fn sample(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Sample> {
        let (spec, epoch) = self.prepare(at, scenario, temperature).await?;
        let driver = self.subject.driver();
        let options = SubmitOptions {
            epoch,
            limits: self.limits(),
            ..SubmitOptions::default()
        };
        let (started_at, load1, cpu_before) = (machine::now(), machine::load1(), CpuTimes::now());
        let started = Instant::now();
        let ticket = driver.submit(&spec, &options).await?;
        self.running = Some(ticket.clone());
        driver.wait(&ticket).await?;
        let wall_us = micros(started.elapsed());
        let steal = cpu_before
            .zip(CpuTimes::now())
            .and_then(|(before, after)| after.steal_since(before));
        let stdout = driver.logs(&ticket)?.collect(Stream::Stdout);
        // Publishing ends before the next sample begins, so that no run pays for another one.
        let outcome = driver.settle(&ticket).await?;
        self.running = None;
        driver.forget(&ticket);
        let acceptance = judge(scenario, temperature, &outcome, &String::from_utf8_lossy(&stdout));
        let mut timeline = outcome.timeline.clone();
        timeline.total_us = wall_us;
        Ok(Sample {
            schema: SCHEMA_VERSION,
            scenario: scenario.name.clone(),
            temperature,
            sequence: self.sequence,
            started_at,
            wall_us,
            runner_us: outcome.runner_us,
            end: outcome.end.clone(),
            cache: outcome.cache,
            timeline,
            acceptance,
            load1,
            steal,
        })
    }

    /// On both sides of a comparison alike.
    fn limits(&self) -> Limits {
        Limits {
            time_ms: u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX),
            threads: self.subject.threads(),
            ..Limits::default()
        }
    }

    /// The task and the epoch that give a run its temperature.
    async fn prepare(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<(TaskSpec, Epoch)> {
        let mut spec = scenario.request.clone();
        let epoch = match temperature {
            Temperature::Uncached => {
                spec.use_cache = false;
                Epoch::Standing
            }
            Temperature::First => {
                let epoch = self.subject.driver().fresh_epoch().await?;
                if let Some(old) = self.epochs.insert(at, epoch.clone()) {
                    self.subject.driver().discard_epoch(&old).await?;
                }
                epoch
            }
            Temperature::Cached => self.epochs.get(&at).cloned().unwrap_or(Epoch::Standing),
        };
        Ok((spec, epoch))
    }

    async fn peer_sample(&mut self, at: usize, scenario: &Scenario, peer: Peer, progress: &Progress) -> Result<()> {
        match self.measure_peer(at, scenario, peer).await {
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

    /// What one run of a peer took: as the client saw it, and, where it has a runner, inside, in microseconds.
    async fn measure_peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<(Duration, Option<u64>)> {
        let epoch = self.epochs.get(&at).unwrap_or(&Epoch::Standing);
        let wall = match (peer, &self.subject) {
            (Peer::PlainUv, Subject::Machine(on)) => {
                let name = format!("peer-{}", std::process::id());
                let folder = on.driver.root().join("epochs").join(name);
                peer::plain_uv(&on.machine, scenario, &folder).await?
            }
            (Peer::DirectExec, Subject::Machine(on)) => {
                let volumes = on.driver.folders().of(epoch);
                peer::direct_exec(&on.machine, scenario, &volumes.python).await?
            }
            (Peer::BarePod, Subject::Cluster(on)) => on.driver.bare_pod(epoch, &scenario.request).await?,
            (Peer::LocalDriver, Subject::Cluster(_)) => {
                let limits = self.limits();
                let beside = self
                    .beside
                    .as_mut()
                    .context("there is no local driver beside the cluster")?;
                let taken = beside.cached(scenario, &limits).await?;
                return Ok((taken.wall, Some(taken.runner_us)));
            }
            (Peer::PlainUv | Peer::DirectExec, Subject::Cluster(_))
            | (Peer::BarePod | Peer::LocalDriver, Subject::Machine(_)) => bail!("it is no peer here"),
        };
        Ok((wall, None))
    }

    /// Measures what the first run of a scenario has left on disk; the first one of each is enough.
    async fn measure_usage(&mut self, at: usize, scenario: &Scenario) -> Result<()> {
        let Some(epoch) = self.epochs.get(&at) else {
            return Ok(());
        };
        if self.record.usage.iter().any(|known| known.scenario == scenario.name) {
            return Ok(());
        }
        let report = self.subject.maintain(epoch, Maintenance::Usage).await?;
        if let MaintainReport::Usage(usage) = report {
            self.record.usage.push(ScenarioUsage {
                scenario: scenario.name.clone(),
                layers: usage.layers,
            });
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
