//! `pod-run`: runs the task of a pod.

use std::path::Path;

use hybrid_cache_model::pod::{HANDOVER_FOLDER, PodEnvironments};
use hybrid_cache_model::protocol::{Environments, RunReport};

use super::handover;
use super::requests::{read_for_task, run_request};
use crate::clock::Recorder;
use crate::run::kernel::Signals;
use crate::run::{self, FromDriver};

/// Runs the task of this pod and returns its report.
pub fn run(recorder: &Recorder) -> RunReport {
    let (image, request) = match read_for_task() {
        Ok(both) => both,
        Err(failure) => return run::failed(failure, recorder),
    };
    match request.environments {
        PodEnvironments::Lookup => {
            let request = run_request(&image, &request, Environments::Lookup);
            run::run(&request, FromDriver::default(), recorder)
        }
        PodEnvironments::HandedOver => {
            // Without the signals, the first process of a PID namespace ignores SIGTERM.
            let signals = Signals::watch().ok();
            let handed = match handover::wait(Path::new(HANDOVER_FOLDER), request.prepare_ms, signals.as_ref()) {
                Ok(Some(handed)) => handed,
                Ok(None) => return run::cancelled(recorder),
                Err(failure) => return run::failed(failure, recorder),
            };
            let handed_over_us = recorder.now_us();
            let environments = handed.environments(&request.volumes.python);
            let report = match environments {
                Ok(environments) => {
                    let request = run_request(&image, &request, environments);
                    let on_leased = || handover::leased(Path::new(HANDOVER_FOLDER));
                    run::run_leased(&request, FromDriver::default(), recorder, &on_leased)
                }
                Err(failure) => run::failed(failure, recorder),
            };
            handover::merge(report, &handed.timeline, handed_over_us)
        }
    }
}
