//! `pod-prepare`: prepares what the task of the pod needs, and hands it over to the task's container.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use hybrid_cache_model::pod::{BUILDS_SOCKET, HANDOVER_FOLDER, PREPARED_MARK, PrepareReport, TERMINATION_FILE};
use hybrid_cache_model::protocol::{BuildOrder, PrepareEvent, PrepareRequest};
use hybrid_cache_model::{Failure, FailureKind, Timeline};

use super::build_link::BuildLink;
use super::handover;
use super::log::log_line;
use super::requests::{BUILT_FOLDER, prepare_request, read_for_task};
use super::termination::leave_message;
use crate::builder::MAX_FILE_BYTES;
use crate::clock::{Recorder, lock};
use crate::prepare::{self, Emit};
use crate::run::kernel;

/// Prepares what the task of this pod needs, hands it over, and returns the result of publishing.
pub fn prepare(recorder: &Recorder) -> PrepareReport {
    kernel::end_on_sigterm();
    let folder = Path::new(HANDOVER_FOLDER);
    let (image, request) = match read_for_task() {
        Ok(both) => both,
        Err(failure) => {
            let timeline = recorder.timeline();
            let failed = PrepareEvent::Failed { failure, timeline };
            // Ignore a failure: the task's container reads the same files and finds the same error.
            let _ = handover::hand_over(folder, &failed);
            return ended(failed, 0);
        }
    };
    let last = Mutex::new(None);
    let ready_us = Mutex::new(None);
    let emit = |event: &PrepareEvent| {
        if matches!(event, PrepareEvent::Phase { .. } | PrepareEvent::Build { .. }) {
            return;
        }
        if let PrepareEvent::Published {
            prepared: Some(prepared),
            ..
        } = event
        {
            // Ignore a failure: only traces use this line.
            let _ = log_line(PREPARED_MARK, prepared);
        }
        let mut ready_us = lock(&ready_us);
        let mut handed_over = Ok(());
        if ready_us.is_none() && matches!(event, PrepareEvent::Ready { .. } | PrepareEvent::Failed { .. }) {
            handed_over = handover::hand_over(folder, event);
            if handed_over.is_ok() && matches!(event, PrepareEvent::Ready { .. }) {
                // A pod that is deleted from now on leaves time to publish.
                kernel::reset_sigterm();
                // If this container is killed later, the message tells the driver that the task can go on. Without the
                // message the driver gives the task up, which is safe.
                let _ = leave_message(Path::new(TERMINATION_FILE), &mut PrepareReport::HandedOver);
            }
            *ready_us = Some(recorder.now_us());
        }
        *lock(&last) = Some(match handed_over {
            Ok(()) => event.clone(),
            Err(failure) => PrepareEvent::Failed {
                failure,
                timeline: recorder.timeline(),
            },
        });
    };
    let leases = handover::LeaseWatch::watch(folder);
    let until_leased = |limit| {
        if let Ok(leases) = &leases {
            leases.wait(limit);
        }
    };
    run(&prepare_request(&image, &request), recorder, &emit, &until_leased);
    let ready_us = lock(&ready_us).unwrap_or_default();
    let last = lock(&last).take().unwrap_or_else(|| PrepareEvent::Failed {
        failure: Failure::new(FailureKind::Internal, "the preparation ended without an event"),
        timeline: recorder.timeline(),
    });
    ended(last, ready_us)
}

/// Prepares, with the container that builds if the pod has one.
fn run(request: &PrepareRequest, recorder: &Recorder, emit: Emit<'_>, until_leased: &(dyn Fn(Duration) + Sync)) {
    if request.builds.is_none() {
        return prepare::run_until_leased(request, recorder, emit, until_leased, None);
    }
    match BuildLink::listen(Path::new(BUILDS_SOCKET), Path::new(BUILT_FOLDER), MAX_FILE_BYTES) {
        Ok(link) => {
            let build = |order: &BuildOrder| link.run(order);
            prepare::run_until_leased(request, recorder, emit, until_leased, Some(&build));
        }
        Err(failure) => emit(&PrepareEvent::Failed {
            failure,
            timeline: recorder.timeline(),
        }),
    }
}

fn ended(last: PrepareEvent, ready_us: u64) -> PrepareReport {
    match last {
        PrepareEvent::Published {
            timeline,
            warnings,
            notes,
            ..
        } => PrepareReport::Published {
            timeline,
            ready_us,
            warnings: [notes, warnings].concat(),
        },
        PrepareEvent::Failed { failure, timeline } => PrepareReport::Failed { failure, timeline },
        PrepareEvent::Ready { timeline, .. } => PrepareReport::Failed {
            failure: Failure::new(
                FailureKind::Internal,
                "the preparation ended without reporting whether it published",
            ),
            timeline,
        },
        PrepareEvent::Phase { .. } | PrepareEvent::Build { .. } => PrepareReport::Failed {
            failure: Failure::new(FailureKind::Internal, "the preparation ended in the middle"),
            timeline: Timeline::default(),
        },
    }
}
