//! What is measured beside hybrid-cache.

use serde::{Deserialize, Serialize};

use crate::timeline::Temperature;

/// Something else that does the same work, or the least that could be done, measured in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// `uv venv`, `uv pip install` and the program, on an empty uv cache: the measure of a first run.
    PlainUv,
    /// The prepared environment's interpreter, started directly and without a sandbox: the measure of a cached run.
    DirectExec,
    /// A pod of the same image, mounts and restrictions that does nothing, made and watched as a task's: the measure of
    /// what a client sees of a cached run on a cluster.
    BarePod,
    /// The same scenario, cached, through the local driver on this machine: the measure of what goes on inside a pod.
    LocalDriver,
    /// The same scenario, cached, as a Job: for comparison with a Workflow of Argo, or with a standby pod.
    Job,
    /// The same scenario, cached, through a driver of the same kind without the task service: the measure of what a
    /// client of the service sees of a cached run.
    DirectDriver,
    /// The smallest request that the task service answers, on a connection that is there: the least any call takes.
    RoundTrip,
    /// The same scenario, in empty caches of its own, run by another build of this program.
    OtherFirst,
    /// The same scenario, cached, run by another build of this program.
    OtherCached,
    /// `python -m venv`, `pip install` and the program, with a warm cache of pip.
    PipVenv,
    /// `uv venv`, `uv pip install` and the program, with a warm cache of uv.
    UvVenv,
    /// `uv run --with`, with a warm cache of uv.
    UvRunWith,
    /// `uv run --script` of a program that names its packages (PEP 723), with a warm cache of uv.
    UvRunScript,
    /// A file made by `pex --venv --sh-boot`, which has unpacked its environment before.
    PexVenv,
    /// `nix shell` with a store that holds the packages.
    NixShell,
}

impl Peer {
    /// All peers.
    pub const ALL: [Peer; 15] = [
        Peer::PlainUv,
        Peer::DirectExec,
        Peer::BarePod,
        Peer::LocalDriver,
        Peer::Job,
        Peer::DirectDriver,
        Peer::RoundTrip,
        Peer::OtherFirst,
        Peer::OtherCached,
        Peer::PipVenv,
        Peer::UvVenv,
        Peer::UvRunWith,
        Peer::UvRunScript,
        Peer::PexVenv,
        Peer::NixShell,
    ];

    /// What people would use instead of a cached run, the lightest first.
    pub const ALTERNATIVES: [Peer; 6] = [
        Peer::PexVenv,
        Peer::NixShell,
        Peer::UvRunScript,
        Peer::UvRunWith,
        Peer::UvVenv,
        Peer::PipVenv,
    ];

    /// The temperature whose runs it is the measure of.
    pub fn temperature(self) -> Temperature {
        match self {
            Peer::PlainUv | Peer::OtherFirst => Temperature::First,
            _ => Temperature::Cached,
        }
    }

    /// True if it tells a change of the machine from a change of ours: it does the same work, and nothing of ours.
    pub fn is_yardstick(self) -> bool {
        matches!(self, Peer::PlainUv | Peer::DirectExec | Peer::BarePod)
    }

    /// The name where there is no room for a sentence about the peer.
    pub fn short_name(self) -> &'static str {
        match self {
            Peer::PlainUv => "plain uv",
            Peer::UvVenv => "uv venv + install",
            Peer::PipVenv => "venv + pip",
            _ => self.name(),
        }
    }

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Peer::PlainUv => "uv venv + uv pip install + run",
            Peer::DirectExec => "direct exec",
            Peer::BarePod => "bare pod",
            Peer::LocalDriver => "local driver",
            Peer::Job => "as a Job",
            Peer::DirectDriver => "direct driver",
            Peer::RoundTrip => "GET /healthz",
            Peer::OtherFirst => "other build, first",
            Peer::OtherCached => "other build, cached",
            Peer::PipVenv => "venv + pip install + run, warm",
            Peer::UvVenv => "uv venv + uv pip install + run, warm",
            Peer::UvRunWith => "uv run --with",
            Peer::UvRunScript => "uv run --script",
            Peer::PexVenv => "pex --venv --sh-boot",
            Peer::NixShell => "nix shell",
        }
    }
}
