//! Options of `bench`.

use std::path::PathBuf;

use clap::Args;
use hybrid_cache_bench::{MirrorChoice, PeerChoice};
use hybrid_cache_cluster::StandbyChoice;
use hybrid_cache_model::Tenant;
use hybrid_cache_model::option_value::{
    parse_bandwidth, parse_rate, parse_recording_bytes, parse_round_trip, parse_width,
};

use super::place::{Cluster, DriverName, Local};

/// `bench`
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// Where tasks run
    #[arg(long, value_enum, default_value = "local", conflicts_with = "service_url")]
    pub driver: DriverName,
    /// Measure as a client of the task service at this address, such as http://localhost:8000; a driver of its kind is
    /// measured as its peer if this machine can reach one
    #[arg(long, alias = "via", value_name = "URL")]
    pub service_url: Option<String>,
    /// File that holds the service's token
    #[arg(long, value_name = "FILE", requires = "service_url")]
    pub token_file: Option<PathBuf>,
    /// Run cached tasks in N pods started ahead, or in as many between MIN and MAX as arrivals need, with Jobs as a peer; `none` for none.
    /// Pods that `up` did not record end with this command [default: as `up` recorded]
    #[arg(long, value_name = "N|MIN..MAX", conflicts_with_all = ["service_url", "levels", "against", "self_check", "mirror"])]
    pub standby: Option<StandbyChoice>,
    /// Scenario by name, file or folder (such as ./ours); may be repeated [default: all of bench-scenarios]
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Take N first runs of each scenario, each in empty caches, 12 with `--mirror replay`; a service gets only one, which counts if its
    /// caches are empty
    #[arg(long, value_name = "N", default_value_t = 3, default_value_if("mirror", "replay", "12"), conflicts_with = "service_url", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub first_runs: u32,
    /// Take N cached runs of each scenario, three per round; a verdict needs at least 6 rounds, and more if the run has more tests
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub cached_runs: u32,
    /// Runs of each scenario with `useCache: false`
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub uncached_runs: u32,
    /// Go on until every interval of cached runs is at most this wide to each side, such as 2%, instead of counting runs; at least 12 rounds
    #[arg(long, value_name = "SHARE", value_parser = parse_width,
        conflicts_with_all = ["first_runs", "cached_runs", "uncached_runs", "load"])]
    pub until: Option<f64>,
    /// Start no new round after N minutes, even if intervals are still wider than --until
    #[arg(long, value_name = "N", default_value_t = 30, requires = "until", value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub until_minutes: u32,
    /// Send N cached tasks a second through the task service at --service-url, or through one of this run's own, at fixed intervals
    /// whether or not it keeps up; 0.5 is one every two seconds
    #[arg(long, value_name = "N", value_parser = parse_rate,
        conflicts_with_all = ["first_runs", "cached_runs", "uncached_runs", "baseline", "gate", "seed"])]
    pub load: Option<f64>,
    /// Let tasks arrive for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "load", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub load_seconds: u64,
    /// Send a request that the service refuses for the time being (429, 503) again at most N times, each time when it says
    #[arg(long, value_name = "N", default_value_t = 3, requires = "load", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub load_retries: u32,
    /// Measure N runs of each scenario at each level of cold instead: tools with empty caches, packages downloaded, environment with a
    /// cold page cache, all warm; each is checked. On this machine only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000),
        conflicts_with_all = ["first_runs", "cached_runs", "uncached_runs", "until", "load", "against", "self_check", "baseline", "gate", "peers", "no_peers"])]
    pub levels: Option<u32>,
    /// With --levels: bring all tools as well in N of these runs, one more level
    #[arg(long, value_name = "N", default_value_t = 3, requires = "levels", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub runs_from_nothing: u32,
    /// Use the environments of tenant TENANT; each tenant has its own
    #[arg(long, value_name = "NAME", default_value_t)]
    pub tenant: Tenant,
    /// Peers to measure: direct exec and plain uv (on a cluster: bare pod, local driver, and for Argo a Job; with --service-url: direct
    /// driver, round trip); `all` adds what people would use instead on this machine, such as pip, uv run, pex and nix shell
    #[arg(long, default_value = "default", value_parser = PeerChoice::NAMES, conflicts_with_all = ["against", "self_check", "load"])]
    pub peers: String,
    /// The same as --peers none
    #[arg(long, conflicts_with = "peers")]
    pub no_peers: bool,
    /// Let first runs fetch through a mirror on loopback: `record` keeps what they fetch, `replay` serves it without any other host
    #[arg(long, value_name = "MODE", value_parser = MirrorChoice::NAMES, conflicts_with_all = ["load", "against", "self_check"])]
    pub mirror: Option<String>,
    /// Folder of the recording [default: mirror in the cache folder]
    #[arg(long, value_name = "DIR", requires = "mirror")]
    pub mirror_dir: Option<PathBuf>,
    /// Bandwidth of a replay, for all connections together
    #[arg(long, value_name = "RATE", default_value = "100Mbit", requires = "mirror", value_parser = parse_bandwidth)]
    pub mirror_bandwidth: u64,
    /// Round-trip time of a replay: each answer takes that long, and each new connection once more
    #[arg(long, value_name = "TIME", default_value = "20ms", requires = "mirror", value_parser = parse_round_trip)]
    pub mirror_rtt: u64,
    /// Most bytes of the recording
    #[arg(long, value_name = "SIZE", default_value = "10Gi", requires = "mirror", value_parser = parse_recording_bytes)]
    pub mirror_max_size: u64,
    /// Folder of the report [default: reports/<time>-<driver>, or -service]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write the timelines of all samples to FILE, as a trace that ui.perfetto.dev and Chrome open
    #[arg(long, value_name = "FILE", conflicts_with = "load")]
    pub trace_out: Option<PathBuf>,
    /// Measure another build of this program side by side, in caches of its own, and judge by that alone: a program, or a revision,
    /// which is built first
    #[arg(long, value_name = "PROGRAM|REVISION", conflicts_with_all = ["service_url", "driver", "baseline", "load", "self_check", "tenant"])]
    pub against: Option<String>,
    /// Measure this program against itself to check the method: any difference that it finds is a false alarm
    #[arg(long, conflicts_with_all = ["service_url", "driver", "baseline", "load", "tenant"])]
    pub self_check: bool,
    /// Compare with this earlier run
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Exit with 0 only if every claim and target is proven to hold and every group is proven at most 25 % slower than in --baseline; with
    /// 3 if a second block of rounds confirms a failure; otherwise with 6. --against and --self-check imply it, and judge only that
    /// this build takes at most 1.05 times as long
    #[arg(long)]
    pub gate: bool,
    /// Exit with 0 instead of 6 if the gate cannot tell
    #[arg(long)]
    pub allow_undecided: bool,
    /// Append a short Markdown summary to FILE, such as "$GITHUB_STEP_SUMMARY"
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Print what the tables show, and the gate's answer, as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw the order within rounds from this seed, which a report names, instead of a new one
    #[arg(long, value_name = "N")]
    pub seed: Option<u32>,
    /// See the options of `run`; with --service-url, of the direct driver
    #[command(flatten)]
    pub local: Local,
    /// Which cluster, with `--driver kube` or a service on one
    #[command(flatten)]
    pub cluster: Cluster,
}
