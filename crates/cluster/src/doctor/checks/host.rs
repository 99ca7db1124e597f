//! Checks of this machine, its Docker engine and its tools.

use hybrid_cache_driver::local::Landlock;
use hybrid_cache_image::docker::EngineError;

use super::size::size;
use crate::doctor::facts::{Docker, Fact, Facts, KindProgram};
use crate::doctor::finding::Finding;
use crate::kind_cli::KindFound;

/// Free space, in bytes, below which nothing larger than an interpreter can be installed.
const LOW_BYTES: u64 = 2 << 30;
/// Free space, in bytes, for several scenarios with a toolchain each.
const TIGHT_BYTES: u64 = 10 << 30;
/// Inodes for an environment of a thousand files and a compiler of a few thousand.
const LOW_INODES: u64 = 50_000;
/// The value that kind's own documentation asks for.
const MIN_INOTIFY_INSTANCES: u64 = 512;

pub(super) fn docker_installed(facts: &Facts) -> Finding {
    const ID: &str = "docker.installed";
    match &facts.docker {
        Docker::Unusable(error @ EngineError::NotInstalled) => of_engine_error(ID, error),
        _ => Finding::good(ID, "there is a Docker engine"),
    }
}

pub(super) fn docker_running(facts: &Facts) -> Finding {
    const ID: &str = "docker.running";
    match &facts.docker {
        Docker::Unusable(EngineError::NotInstalled) => Finding::skipped(ID, "see docker.installed"),
        Docker::Unusable(EngineError::TooOld(_)) => Finding::good(ID, "Docker answers"),
        Docker::Unusable(error) => of_engine_error(ID, error),
        Docker::Running { version, .. } => Finding::good(ID, format!("Docker {version} answers")),
    }
}

pub(super) fn docker_api(facts: &Facts) -> Finding {
    const ID: &str = "docker.api";
    match &facts.docker {
        Docker::Unusable(error @ EngineError::TooOld(_)) => of_engine_error(ID, error),
        Docker::Unusable(_) => Finding::skipped(ID, "see docker.running"),
        Docker::Running { api, .. } => Finding::good(ID, format!("API {api}")),
    }
}

fn of_engine_error(id: &'static str, error: &EngineError) -> Finding {
    let (fact, fix) = error.words();
    Finding::bad(id, fact, fix)
}

pub(super) fn capability(facts: &Facts) -> Finding {
    const ID: &str = "host.capability";
    match (&facts.docker, facts.host.sys_resource) {
        (_, true) => Finding::good(ID, "privileged containers may have every capability"),
        (Docker::Running { default_runtime, .. }, false) if default_runtime != "runc" => Finding::good(
            ID,
            format!(
                "this machine lacks CAP_SYS_RESOURCE, and Docker's default runtime `{default_runtime}` may work around that"
            ),
        ),
        _ => Finding::bad(
            ID,
            "this machine lacks CAP_SYS_RESOURCE, so runc refuses privileged containers (\"unable to apply caps\")",
            "make a runtime that drops this one capability Docker's default, see \"Privileged containers are refused\" in docs/cluster.md",
        ),
    }
}

pub(super) fn cgroup(facts: &Facts) -> Finding {
    const ID: &str = "host.cgroup";
    let accepts = match &facts.cluster {
        Fact::Known(cluster) => cluster.kubelet_accepts_cgroup_v1.clone(),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    };
    match (facts.host.cgroup_version, accepts) {
        (2, _) => Finding::good(ID, "cgroup v2"),
        (_, Fact::Known(false)) => Finding::bad(
            ID,
            "cgroup v1, which a kubelet of version 1.35 or later refuses by default",
            "set `failCgroupV1: false` for the kubelet, as manifests/kind-cluster.yaml does, and create the cluster again",
        ),
        (_, _) => Finding::warning(
            ID,
            "cgroup v1, which Kubernetes will soon no longer support",
            "boot with systemd.unified_cgroup_hierarchy=1; until then manifests/kind-cluster.yaml configures the kubelet to accept it",
        ),
    }
}

pub(super) fn kind_installed(facts: &Facts) -> Finding {
    const ID: &str = "kind.installed";
    match &facts.kind {
        KindProgram::Searched(KindFound::Missing) => Finding::bad(
            ID,
            "there is no program `kind` on this machine",
            "build one, together with a node image: `cargo xtask node-image`; or install kind",
        ),
        KindProgram::Searched(KindFound::TooOld { program, .. } | KindFound::Usable { program, .. }) => {
            Finding::good(ID, program.display().to_string())
        }
        KindProgram::NotNeeded => Finding::skipped(ID, "the cluster was named with --context"),
    }
}

pub(super) fn kind_version(facts: &Facts) -> Finding {
    const ID: &str = "kind.version";
    match &facts.kind {
        KindProgram::Searched(KindFound::TooOld { version, .. }) => Finding::bad(
            ID,
            format!("kind {version} does not support all of manifests/kind-cluster.yaml"),
            "update kind, or build one: cargo xtask node-image",
        ),
        KindProgram::Searched(KindFound::Usable { version, .. }) => Finding::good(ID, format!("kind {version}")),
        _ => Finding::skipped(ID, "see kind.installed"),
    }
}

pub(super) fn ports(facts: &Facts) -> Finding {
    const ID: &str = "host.ports";
    let taken: Vec<String> = facts.host.taken_ports.iter().map(u16::to_string).collect();
    if taken.is_empty() {
        return Finding::good(ID, "no port that the cluster asks for is taken");
    }
    Finding::bad(
        ID,
        format!("something else listens on port {}", taken.join(", ")),
        "end it (ss -ltnp names it), or change hostPort in manifests/kind-cluster.yaml",
    )
}

pub(super) fn disk(facts: &Facts) -> Finding {
    const ID: &str = "host.disk";
    let fix =
        "free some space: `docker system prune`, `cargo xtask cache gc --max-bytes SIZE`, `cargo xtask down --volumes`";
    let mut tight = None;
    for disk in &facts.host.disks {
        let inodes = disk.free_inodes.unwrap_or(u64::MAX);
        let fact = match disk.free_inodes {
            Some(inodes) => format!("{}: {} and {inodes} inodes left", disk.folder, size(disk.free_bytes)),
            None => format!("{}: {} left", disk.folder, size(disk.free_bytes)),
        };
        if disk.free_bytes < LOW_BYTES || inodes < LOW_INODES {
            return Finding::bad(ID, fact, fix);
        }
        if disk.free_bytes < TIGHT_BYTES {
            tight = tight.or(Some(fact));
        }
    }
    if let Some(fact) = tight {
        return Finding::warning(ID, fact, fix);
    }
    let least = facts.host.disks.iter().min_by_key(|disk| disk.free_bytes);
    Finding::good(
        ID,
        least.map_or_else(
            || "nothing to look at".to_owned(),
            |disk| format!("{}: {} left", disk.folder, size(disk.free_bytes)),
        ),
    )
}

pub(super) fn inotify(facts: &Facts) -> Finding {
    const ID: &str = "host.inotify";
    let instances = facts.host.inotify_instances;
    if instances < MIN_INOTIFY_INSTANCES {
        return Finding::warning(
            ID,
            format!("fs.inotify.max_user_instances is {instances}: nodes fail with \"too many open files\""),
            format!("sysctl fs.inotify.max_user_instances={MIN_INOTIFY_INSTANCES}"),
        );
    }
    Finding::good(ID, format!("fs.inotify.max_user_instances is {instances}"))
}

pub(super) fn user_namespaces(facts: &Facts) -> Finding {
    const ID: &str = "host.user-namespaces";
    match &facts.host.user_namespaces_refused {
        None => Finding::good(ID, "ordinary users can create user namespaces"),
        Some(why) => Finding::warning(
            ID,
            format!("ordinary users cannot create user namespaces: {why}"),
            "enable them to use the local driver or nix-portable on this machine; a cluster does not need them",
        ),
    }
}

pub(super) fn landlock(facts: &Facts) -> Finding {
    const ID: &str = "host.landlock";
    let fix =
        "use a kernel of version 6.12 or later with `landlock` among its security modules (the boot option `lsm=`)";
    match facts.host.landlock {
        Landlock::FilesAndScopes => Finding::good(ID, "Landlock keeps a task to its own environment"),
        Landlock::Files => Finding::warning(
            ID,
            "the kernel's Landlock is older than version 6: a task's signals and abstract sockets are not confined",
            fix,
        ),
        Landlock::None => Finding::warning(
            ID,
            "the kernel has no Landlock: a task can read the environments of other tasks, and `--tenant` is refused",
            fix,
        ),
    }
}

pub(super) fn memory_limit(facts: &Facts) -> Finding {
    const ID: &str = "host.memory-limit";
    match &facts.host.memory_limit_lacking {
        None => Finding::good(ID, "the local driver can limit a task's memory"),
        Some(why) => Finding::warning(
            ID,
            format!("the local driver cannot limit a task's memory: {why}"),
            "run as root, or in a delegated group: `systemd-run --user --scope -p Delegate=yes …`",
        ),
    }
}

pub(super) fn task_network(facts: &Facts) -> Finding {
    const ID: &str = "host.task-network";
    match (&facts.host.task_network_refused, &facts.host.loopback_proxy) {
        (Some(why), _) => Finding::warning(
            ID,
            format!("tasks of the local driver share this machine's network, loopback included: {why}"),
            "install the package passt, and load the kernel's module tun; `serve` needs --token-file until then",
        ),
        (None, Some(variable)) => Finding::warning(
            ID,
            format!(
                "{variable} names a proxy on this machine's loopback, which tasks of the local driver cannot reach"
            ),
            "let the proxy listen on an address of another machine, or give `--network shared`; preparing can reach it",
        ),
        (None, None) => Finding::good(ID, "tasks of the local driver get a network of their own"),
    }
}
