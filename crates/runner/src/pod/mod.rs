//! The runner inside a pod: `pod-run`, `pod-prepare`, `pod-maintain`, and `pod-seed` while an image is built. Requests come from files, results go to the
//! termination message.
//!
//! The image says which tools it brings, the request says what to do; both together are the request that the same
//! runner takes on standard input elsewhere. Nothing of a task's text is ever in an argument or a variable.

mod epoch;
mod handover;
mod maintenance_command;
mod seed;
mod set_aside;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;

use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{
    HANDOVER_FOLDER, IMAGE_FILE, ImageRecord, NetworkSettings, POD_PROTOCOL_VERSION, PREPARED_MARK, PodEnvironments,
    PodMaintainReport, PodRequest, PrepareReport, REQUEST_FILE, SCRATCH_FOLDER, TERMINATION_FILE, TRAILER_MARK,
};
use hybrid_cache_model::protocol::{
    Environments, PackageSource, Place, PrepareEvent, PrepareRequest, PythonTools, RunReport, RunRequest, SystemTools,
};
use hybrid_cache_model::{Failure, FailureKind, Tenant};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Recorder;
use crate::store::At;
use crate::{prepare, run};

/// Kubernetes keeps this much of a container's termination message.
const MAX_MESSAGE_BYTES: usize = 4096;
/// A request is a Secret, which Kubernetes bounds at a mebibyte; an image record is far smaller.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Runs the task of this pod and returns its report.
pub fn run(recorder: &Recorder) -> RunReport {
    let (image, request) = match read_both::<PodRequest>(|request| request.protocol) {
        Ok(both) => both,
        Err(failure) => return run::failed(failure, recorder),
    };
    match request.environments {
        PodEnvironments::Lookup => run::run(&run_request(&image, &request, Environments::Lookup), None, recorder),
        PodEnvironments::HandedOver => {
            let handed = match handover::wait(Path::new(HANDOVER_FOLDER), request.prepare_ms) {
                Ok(handed) => handed,
                Err(failure) => return run::failed(failure, recorder),
            };
            let told_us = recorder.now_us();
            let environments = handed.environments(&request.volumes.python);
            let report = match environments {
                Ok(environments) => {
                    let request = run_request(&image, &request, environments);
                    let on_leased = || handover::leased(Path::new(HANDOVER_FOLDER));
                    run::run_leased(&request, None, recorder, &on_leased)
                }
                Err(failure) => run::failed(failure, recorder),
            };
            handover::merge(report, &handed.timeline, told_us)
        }
    }
}

/// Writes a report behind the task's output as well, where somebody waits for it: a log is there sooner than the state of
/// its container. Without a token nobody could tell it from the task's own words.
///
/// # Errors
/// Standard output cannot be written.
pub fn trail(token: Option<&str>, report: &RunReport) -> std::io::Result<()> {
    let Some(token) = token else { return Ok(()) };
    let mut text = [TRAILER_MARK, token, " "].concat().into_bytes();
    serde_json::to_writer(&mut text, report)?;
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}

/// Writes one line of JSON behind a mark to this container's log.
///
/// # Errors
/// Standard output cannot be written.
fn log_line(mark: &str, told: &impl Serialize) -> std::io::Result<()> {
    let mut text = mark.as_bytes().to_vec();
    serde_json::to_writer(&mut text, told)?;
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}

/// Prepares what the task of this pod needs, tells its container, and returns what became of the rest.
pub fn prepare(recorder: &Recorder) -> PrepareReport {
    let folder = Path::new(HANDOVER_FOLDER);
    let (image, request) = match read_both::<PodRequest>(|request| request.protocol) {
        Ok(both) => both,
        Err(failure) => {
            let timeline = recorder.timeline();
            let failed = PrepareEvent::Failed { failure, timeline };
            // The task's container reads the same files and finds the same fault by itself.
            let _ = handover::hand_over(folder, &failed);
            return ended(failed, 0);
        }
    };
    let last = Mutex::new(None);
    let ready_us = Mutex::new(None);
    let emit = |event: &PrepareEvent| {
        if matches!(event, PrepareEvent::Phase { .. }) {
            return;
        }
        if let PrepareEvent::Published {
            prepared: Some(prepared),
            ..
        } = event
        {
            // Only a trace lacks something where it cannot be written.
            let _ = log_line(PREPARED_MARK, prepared);
        }
        let mut ready_us = lock(&ready_us);
        let mut told = Ok(());
        if ready_us.is_none() && matches!(event, PrepareEvent::Ready { .. } | PrepareEvent::Failed { .. }) {
            told = handover::hand_over(folder, event);
            if told.is_ok() && matches!(event, PrepareEvent::Ready { .. }) {
                // Were this container ended now, a driver could not know otherwise that the task goes on without it.
                // Where it cannot be left, the task is given up in that case, which is safe.
                let _ = leave_message(Path::new(TERMINATION_FILE), &mut PrepareReport::HandedOver);
            }
            *ready_us = Some(recorder.now_us());
        }
        *lock(&last) = Some(match told {
            Ok(()) => event.clone(),
            Err(failure) => PrepareEvent::Failed {
                failure,
                timeline: recorder.timeline(),
            },
        });
    };
    let leases = handover::Leases::watch(folder);
    let until_leased = |limit| {
        if let Ok(leases) = &leases {
            leases.wait(limit);
        }
    };
    prepare::run_until_leased(&prepare_request(&image, &request), recorder, &emit, &until_leased);
    let ready_us = lock(&ready_us).unwrap_or_default();
    let last = lock(&last).take().unwrap_or_else(|| PrepareEvent::Failed {
        failure: Failure::new(FailureKind::Internal, "the preparation said nothing"),
        timeline: recorder.timeline(),
    });
    ended(last, ready_us)
}

/// Answers what a maintenance pod is asked.
pub fn maintain() -> PodMaintainReport {
    match read_both(|request: &hybrid_cache_model::pod::PodMaintainRequest| request.protocol) {
        Ok((image, request)) => maintenance_command::answer(&image, &request),
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

/// Fills caches for an image and packs them.
pub fn make_seed() -> PodMaintainReport {
    match read_both(|request: &hybrid_cache_model::pod::SeedRequest| request.protocol) {
        Ok((image, request)) => seed::make(&image, &request),
        Err(failure) => PodMaintainReport::Failed { failure },
    }
}

/// Writes a report other than a [`RunReport`] as this container's termination message, cut to what Kubernetes keeps.
///
/// # Errors
/// The file cannot be written.
pub fn leave_message(path: &Path, report: &mut impl Shorten) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(report)?;
    while text.len() > MAX_MESSAGE_BYTES && report.shorten() {
        text = serde_json::to_vec(report)?;
    }
    File::create(path)?.write_all(&text)
}

/// A report that can say less.
pub trait Shorten: Serialize {
    /// Leaves out the least important part; false where nothing is left to leave out.
    fn shorten(&mut self) -> bool;
}

impl Shorten for PrepareReport {
    fn shorten(&mut self) -> bool {
        match self {
            PrepareReport::HandedOver => false,
            PrepareReport::Published { warnings, .. } => halve(warnings),
            PrepareReport::Failed { failure, timeline } => {
                halve_text(&mut failure.message) || halve(&mut timeline.spans)
            }
        }
    }
}

impl Shorten for PodMaintainReport {
    fn shorten(&mut self) -> bool {
        match self {
            PodMaintainReport::Maintained { report } => match report {
                MaintainReport::Usage(usage) => halve(&mut usage.largest) || halve(&mut usage.layers),
                MaintainReport::Gc(gc) => halve(&mut gc.warnings),
                MaintainReport::Verify(verify) => halve(&mut verify.left_overs) || halve(&mut verify.problems),
                // It is told in the log.
                MaintainReport::Contents(_) => false,
                MaintainReport::Failed { failure } => halve_text(&mut failure.message),
            },
            PodMaintainReport::Done | PodMaintainReport::SetAside { .. } => false,
            PodMaintainReport::Failed { failure } => halve_text(&mut failure.message),
        }
    }
}

fn halve<T>(list: &mut Vec<T>) -> bool {
    let before = list.len();
    list.truncate(before / 2);
    before > 0
}

fn halve_text(text: &mut String) -> bool {
    let before = text.chars().count();
    if before <= 100 {
        return false;
    }
    *text = text.chars().take(before / 2).chain(['…']).collect();
    true
}

fn ended(last: PrepareEvent, ready_us: u64) -> PrepareReport {
    match last {
        PrepareEvent::Published { timeline, warnings, .. } => PrepareReport::Published {
            timeline,
            ready_us,
            warnings,
        },
        PrepareEvent::Failed { failure, timeline } => PrepareReport::Failed { failure, timeline },
        PrepareEvent::Ready { timeline, .. } => PrepareReport::Failed {
            failure: Failure::new(
                FailureKind::Internal,
                "the preparation ended without a word about publishing",
            ),
            timeline,
        },
        PrepareEvent::Phase { .. } => PrepareReport::Failed {
            failure: Failure::new(FailureKind::Internal, "the preparation ended in the middle"),
            timeline: hybrid_cache_model::Timeline::default(),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind it is replaced whole, so a panic elsewhere leaves it good.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn place(image: &ImageRecord, request: &PodRequest) -> Place {
    Place {
        volumes: request.volumes.clone(),
        interpreter: image.interpreter.clone(),
        index: request.network.index.clone(),
        system_source: source_id(image),
        max_age_s: request.max_age_s,
        tenant: request.tenant.clone(),
        index_scope: request.network.index_scope,
    }
}

fn source_id(image: &ImageRecord) -> String {
    image
        .system
        .as_ref()
        .map(|system| system.source_id.clone())
        .unwrap_or_default()
}

fn run_request(image: &ImageRecord, request: &PodRequest, environments: Environments) -> RunRequest {
    RunRequest {
        task: request.task.clone(),
        place: place(image, request),
        environments,
        accept_stale: request.accept_stale,
        limits: request.limits.clone(),
        // The pod has seen to that.
        identity: None,
        scratch: SCRATCH_FOLDER.to_owned(),
        base_path: image.base_path.clone(),
        require_landlock: request.tenant != Tenant::default(),
        variables: request.variables.clone(),
    }
}

fn prepare_request(image: &ImageRecord, request: &PodRequest) -> PrepareRequest {
    PrepareRequest {
        task: request.task.clone(),
        place: place(image, request),
        keep: request.keep,
        python_tools: Some(python_tools(image, &request.network)),
        system_tools: system_tools(image, &request.network),
        deadline_ms: request.prepare_ms,
        budgets: request.budgets,
        describe: request.describe,
    }
}

fn python_tools(image: &ImageRecord, network: &NetworkSettings) -> PythonTools {
    PythonTools {
        uv: image.uv.clone(),
        variables: network.python_variables.clone(),
        allow_source_builds: false,
    }
}

/// The image's Nix with the mirrors and variables of the cluster it is used in.
fn system_tools(image: &ImageRecord, network: &NetworkSettings) -> Option<SystemTools> {
    let mut tools = image.system.as_ref()?.tools.clone();
    tools.variables.extend(network.system_variables.iter().cloned());
    if let PackageSource::Debnix { mirrors, .. } = &mut tools.source {
        mirrors.clone_from(&network.mirrors);
    }
    Some(tools)
}

/// Reads the image's record and the request.
fn read_both<T: DeserializeOwned>(protocol: impl Fn(&T) -> u32) -> Result<(ImageRecord, T), Failure> {
    let image: ImageRecord = read(Path::new(IMAGE_FILE))?;
    let request: T = read(Path::new(REQUEST_FILE))?;
    for (what, version) in [("the image", image.protocol), ("the driver", protocol(&request))] {
        if version != POD_PROTOCOL_VERSION {
            let message =
                format!("{what} speaks version {version} of the pod's protocol, this runner {POD_PROTOCOL_VERSION}");
            return Err(Failure::new(FailureKind::Internal, message)
                .hint("build the image anew: `cargo xtask image`, then `cargo xtask up`"));
        }
    }
    Ok((image, request))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let mut text = Vec::new();
    let file = File::open(path).at("open", path)?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut text).at("read", path)?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("{}: {error}", path.display()))
            .hint("image and driver must be of the same version: `cargo xtask image`, then `cargo xtask up`")
    })
}
