//! Attacks of user code on the kernel, and on the processes and devices around it.

use hybrid_cache_model::Protection;

use serde_json::json;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::AttackContext;
use crate::error::TrialError;
use crate::probe::{Packages, Probe};
use crate::site::{ANYWHERE, Need};
use crate::verdict::Verdict;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "forge-the-report",
        promise: Protection::OwnReport,
        tries: "A task writes a report of its own to every descriptor, and reaches for the runner's memory and descriptors.",
        sites: ANYWHERE,
        needs: &[Need::X86],
        layers: &[Protection::Landlock, Protection::Seccomp],
        method: AttackMethod::Steps(|ground| Box::pin(forge_report(ground))),
    },
    Attack {
        id: "kernel-interfaces",
        promise: Protection::Seccomp,
        tries: "A task makes namespaces, rings, keys, programs for the kernel, raw sockets and terminal input.",
        sites: ANYWHERE,
        needs: &[Need::X86],
        layers: &[],
        method: AttackMethod::Probe(Probe {
            code: include_str!("../probes/syscalls.py"),
            packages: Packages::None,
        }),
    },
    Attack {
        id: "kernel-interfaces-of-other-abis",
        promise: Protection::Seccomp,
        tries: "A task asks for the same by the system call numbers of i386 and x32.",
        sites: ANYWHERE,
        needs: &[Need::X86],
        layers: &[],
        method: AttackMethod::Probe(Probe {
            code: include_str!("../probes/compat.py"),
            packages: Packages::None,
        }),
    },
];

async fn forge_report(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let failed = || TrialError::io("opening a file that is inherited");
    // A file that the process starting a runner forgot to close: every child of this process inherits it.
    let leaked = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .map_err(failed())?;
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).map_err(|error| failed()(error.into()))?;
    let probe = Probe {
        code: include_str!("../probes/report.py"),
        packages: Packages::None,
    };
    let verdict = ground.probe_with(&probe, &json!({"kill": false}), &json!({})).await;
    drop(leaked);
    verdict
}
