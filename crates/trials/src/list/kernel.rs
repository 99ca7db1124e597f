//! What user code asks of the kernel, and of the processes and devices around it.

use hybrid_cache_model::Protection;

use crate::attack::{ANYWHERE, Attack, Need, Packages, Probe, Work};

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "kernel-interfaces",
        promise: Protection::Seccomp,
        tries: "A task makes namespaces, rings, keys, programs for the kernel, raw sockets and terminal input.",
        sites: ANYWHERE,
        needs: &[Need::X86],
        layers: &[],
        work: Work::Probe(Probe {
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
        work: Work::Probe(Probe {
            code: include_str!("../probes/compat.py"),
            packages: Packages::None,
        }),
    },
];
