//! Puts a mirror between first runs and the network, in place of the operator's package indexes and Debian mirror.
//!
//! Only what preparations and peers fetch goes through it. Keys of requests have the identity of the operator's indexes as before, so
//! the mirror's address, which differs from run to run, is part of none.

mod places;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use hybrid_cache_cluster::{Backend, BackendKind, LocalBackend};
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_mirror::{ClientSettings, Mirror, MirrorOptions, Mode, ReplayNetwork, Served, Upstream, UpstreamKind};
use hybrid_cache_model::Scenario;
use hybrid_cache_model::mirror::{MirrorMode, MirrorRecord};
use hybrid_cache_model::protocol::PackageSource;
use hybrid_cache_tools::{
    Checkout, Error, ErrorClass, ErrorContext, Machine, Progress, Result, cache_root, pins, process,
};

use crate::options::{BenchOptions, MirrorChoice};
use crate::peer;
use places::Place;

/// The folder of recordings in the cache folder.
const FOLDER: &str = "mirror";
/// How long a run waits at its end for files that are still being recorded.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Most lines of one kind that are reported.
const MAX_LINES: usize = 20;

/// The mirror of a run.
pub struct RunningMirror {
    mirror: Mirror,
    choice: MirrorChoice,
}

/// Refuses a mirror if tasks are prepared elsewhere than on this machine.
///
/// # Errors
/// The options contradict each other.
pub fn check(options: &BenchOptions) -> Result<()> {
    if options.mirror.is_none() {
        return Ok(());
    }
    let elsewhere = match (&options.service, options.backend) {
        (Some(_), _) => "a task service does not fetch through it",
        (None, BackendKind::Kube | BackendKind::Argo) => "pods cannot reach it",
        (None, BackendKind::Local) => return Ok(()),
    };
    Err(Error::input(format!(
        "--mirror serves on this machine's loopback, and {elsewhere}\nhint: leave out --mirror, or --driver and --service-url"
    )))
}

/// Opens this machine with a mirror in place of the network that preparations use.
///
/// # Errors
/// A tool is missing, the recording cannot be used, or a scenario needs what a mirror does not have.
pub fn open(
    checkout: &Checkout,
    scenarios: &[Scenario],
    choice: &MirrorChoice,
    options: &BenchOptions,
    progress: &dyn Progress,
) -> Result<(Backend, Rc<RunningMirror>)> {
    let mut machine = Machine::provision(checkout, &options.machine, progress)?;
    can_serve(&machine.config, scenarios)?;
    let folder = match &choice.folder {
        Some(folder) => folder.clone(),
        None => cache_root(options.machine.cache_dir.as_deref())?.join(FOLDER),
    };
    let config = &mut machine.config;
    let mut places = places::of_uv(&config.python_tools.variables);
    if places::uses_uvs_default(&config.python_tools.variables) {
        places.push(places::uvs_default(default_index(config)?));
    }
    let debian = debian_mirrors(config);
    let mode = match choice.mode {
        MirrorMode::Record => Mode::Record {
            client: Box::new(client_settings(&config.python_tools.variables)),
            max_bytes: choice.max_bytes,
            digests: digests(checkout)?,
        },
        MirrorMode::Replay => Mode::Replay(ReplayNetwork {
            bits_per_s: choice.bits_per_s,
            round_trip: Duration::from_micros(choice.round_trip_us),
        }),
    };
    let what = match choice.mode {
        MirrorMode::Record => "recording what first runs fetch",
        MirrorMode::Replay => "first runs fetch from the recording",
    };
    progress.line(&format!("{what} in {}", folder.display()));
    let started = Mirror::start(MirrorOptions {
        folder,
        mode,
        upstreams: upstreams(&places, &debian).map_err(refused)?,
    });
    let mirror = started.map_err(refused)?;
    redirect(config, &places, &debian, &mirror);
    let running = RunningMirror {
        mirror,
        choice: choice.clone(),
    };
    Ok((Backend::Local(LocalBackend::of(machine)?.into()), Rc::new(running)))
}

fn refused(error: hybrid_cache_mirror::MirrorError) -> Error {
    use hybrid_cache_mirror::MirrorError;
    let hint = match &error {
        MirrorError::Empty { .. } => "`--mirror record` makes one; --mirror-dir names its folder",
        MirrorError::Damaged { .. } => "`--mirror record` fetches what is damaged again",
        MirrorError::NotARecording { .. } => "name another folder with --mirror-dir",
        MirrorError::Folder { .. } => "name a folder of yours with --mirror-dir",
        MirrorError::Address { .. } => "change it in this machine's settings for the time of the recording",
        MirrorError::Start(_) => return Error::other(ErrorClass::Failed, error),
    };
    Error::prerequisite(format!("{error}\nhint: {hint}"))
}

/// Refuses scenarios that fetch what does not go through a mirror.
fn can_serve(config: &LocalConfig, scenarios: &[Scenario]) -> Result<()> {
    let source = config.system.as_ref().map(|system| &system.tools.source);
    let has_nixpkgs = matches!(source, Some(PackageSource::Nixpkgs { .. }));
    let faults: Vec<String> = scenarios
        .iter()
        .flat_map(|scenario| faults(scenario, has_nixpkgs))
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::input(faults.join("\n")))
}

/// What of a scenario does not go through a mirror.
fn faults(scenario: &Scenario, has_nixpkgs: bool) -> Vec<String> {
    let name = &scenario.name;
    let mut faults = Vec::new();
    if scenario.asks_system() && has_nixpkgs {
        faults.push(format!(
            "scenario {name}: system packages of nixpkgs do not go through a mirror\nhint: use `--package-source debnix`"
        ));
    }
    // What is wrong with a task is reported with all of its faults later.
    let Ok(task) = peer::checked(scenario) else {
        return faults;
    };
    if task.requirements.iter().any(|one| one.reference().is_some()) {
        faults.push(format!(
            "scenario {name}: it names a package by its address, which does not go through a mirror\nhint: leave it out with --scenario"
        ));
    }
    if !task.options.indexes.is_empty() {
        faults.push(format!(
            "scenario {name}: its requirements name an index, and a mirror stands in place of all indexes\nhint: take the option out of \
             its requirements, or leave the scenario out with --scenario"
        ));
    }
    faults
}

/// uv's own default index, as its help says. A replay needs the address as well, to know what was recorded from it.
fn default_index(config: &LocalConfig) -> Result<String> {
    let mut ask = Command::new(&config.python_tools.uv);
    ask.args(["pip", "install", "--help"]).env_clear();
    let help = process::output(&mut ask, Duration::from_secs(20)).context("asking uv for its default index")?;
    let said = help
        .split("--default-index")
        .nth(1)
        .and_then(|help| help.split_once("default: <"));
    let address = said.and_then(|(_, rest)| rest.split_once('>'));
    let address = address.filter(|(address, _)| address.starts_with("https://"));
    let (address, _) = address.ok_or_else(|| {
        Error::prerequisite("uv does not say which index it uses by default\nhint: name one in UV_DEFAULT_INDEX")
    })?;
    Ok(address.to_owned())
}

fn debian_mirrors(config: &LocalConfig) -> Vec<String> {
    match config.system.as_ref().map(|system| &system.tools.source) {
        Some(PackageSource::Debnix { mirrors, .. }) => mirrors.clone(),
        _ => Vec::new(),
    }
}

fn debian_label(at: usize) -> String {
    format!("debian-{at}")
}

/// The sha256 of every Debian package that debnix may fetch, by its path below a mirror.
fn digests(checkout: &Checkout) -> Result<BTreeMap<String, String>> {
    let (_, pins) = pins::read(checkout.root()).map_err(|error| Error::failed(error.to_string()))?;
    let debs = pins.arch.into_values().flat_map(|arch| arch.debs.into_values());
    Ok(debs.map(|deb| (deb.path, deb.sha256)).collect())
}

fn upstreams(
    places: &[Place],
    debian: &[String],
) -> std::result::Result<Vec<Upstream>, hybrid_cache_mirror::MirrorError> {
    let indexes = places.iter().map(|place| {
        let login = place.login.as_ref();
        let login = login.map(|(user, password)| (user.as_str(), password.as_str()));
        Upstream::new(&place.label, UpstreamKind::Pages, &place.address, login)
    });
    let debian = debian.iter().enumerate();
    let debian = debian.map(|(at, address)| Upstream::new(&debian_label(at), UpstreamKind::Files, address, None));
    indexes.chain(debian).collect()
}

/// How this machine reaches the network, from uv's variables.
fn client_settings(variables: &[(String, String)]) -> ClientSettings {
    let read = |name: &str| places::value(variables, name).map(str::to_owned);
    let for_all = read("ALL_PROXY");
    ClientSettings {
        http_proxy: read("HTTP_PROXY").or_else(|| for_all.clone()),
        https_proxy: read("HTTPS_PROXY").or(for_all),
        no_proxy: read("NO_PROXY").unwrap_or_default(),
        certificates: read("SSL_CERT_FILE").map(PathBuf::from),
        insecure_hosts: places::words(variables, "UV_INSECURE_HOST")
            .map(str::to_owned)
            .collect(),
    }
}

/// Sends preparations to the mirror. The network of user code stays what it is.
fn redirect(config: &mut LocalConfig, places: &[Place], debian: &[String], mirror: &Mirror) {
    let address = |label: &str| mirror.address(label);
    config.python_tools.variables = places::redirected(&config.python_tools.variables, places, address);
    // A build runs code of packages, which gets no address of the mirror.
    config.no_builds = true;
    if let Some(system) = &mut config.system {
        system.tools.variables = places::without_proxies(&system.tools.variables);
        if let PackageSource::Debnix { mirrors, .. } = &mut system.tools.source {
            *mirrors = (0..debian.len()).map(|at| mirror.address(&debian_label(at))).collect();
        }
    }
}

impl RunningMirror {
    /// What the report says of it, now.
    pub fn record(&self) -> MirrorRecord {
        let is_replay = self.choice.mode == MirrorMode::Replay;
        let Served {
            digest,
            requests,
            bytes,
            ..
        } = self.mirror.so_far();
        MirrorRecord {
            mode: self.choice.mode,
            digest,
            bits_per_s: is_replay.then_some(self.choice.bits_per_s),
            round_trip_us: is_replay.then_some(self.choice.round_trip_us),
            requests,
            bytes,
        }
    }

    /// Waits for files that are still being recorded, unless the run ended early. Returns false if one is still on its way then.
    pub async fn settle(&self, is_complete: bool) -> bool {
        let longest = if is_complete { SETTLE_LIMIT } else { Duration::ZERO };
        self.mirror.settle(longest).await
    }

    /// What could not be recorded, for a reader of the report.
    pub fn problems(&self, has_settled: bool) -> Vec<String> {
        let mut problems = self.mirror.so_far().problems;
        problems.truncate(MAX_LINES);
        let reported = problems.into_iter();
        let mut reported: Vec<String> = reported
            .map(|problem| format!("the mirror did not record {problem}"))
            .collect();
        if !has_settled {
            reported.push(
                "files were still being fetched when the run ended, and the mirror did not record them: record once more".to_owned(),
            );
        }
        reported
    }

    /// # Errors
    /// Something was asked for that is not recorded.
    pub fn is_complete(&self) -> Result<()> {
        let missing = self.mirror.so_far().missing;
        if missing.is_empty() {
            return Ok(());
        }
        let more = match missing.len().saturating_sub(MAX_LINES) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let shown: Vec<String> = missing
            .iter()
            .take(MAX_LINES)
            .map(|path| format!("\n  {path}"))
            .collect();
        Err(Error::prerequisite(format!(
            "the recording lacks what was asked for:{}{more}\nhint: run the same command with `--mirror record`, then replay it again",
            shown.concat()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_that_names_an_index_is_refused_with_the_reason() {
        let scenario = |requirements: &str| {
            let text = format!(
                "name: tiny\nwhy: it is one\nrequest:\n  pythonCode: print(1)\n  requirementsFile: \"{requirements}\"\n\
                 expect:\n  stdout:\n    equals: \"1\"\n  cached: {{ min_s: 2, max_s: 5 }}\n"
            );
            Scenario::from_yaml("tiny.yaml", &text).unwrap()
        };
        assert!(faults(&scenario("six"), true).is_empty());
        for option in ["--index-url", "--extra-index-url", "-f"] {
            let faults = faults(&scenario(&format!("{option} https://index.example/simple\\nsix")), true);
            assert!(
                faults.len() == 1 && faults[0].contains("scenario tiny: its requirements name an index"),
                "{faults:?}"
            );
        }
    }
}
