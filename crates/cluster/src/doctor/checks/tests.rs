//! Tests that inject each fault that a check knows into a healthy machine.

use hybrid_cache_driver::local::Landlock;
use hybrid_cache_image::docker::EngineError;

use super::judge;
use crate::doctor::facts::{
    Addresses, Claim, Cluster, Disk, Docker, Fact, Facts, Host, Image, KindProgram, Name, SmokeTest, Standby,
};
use crate::doctor::finding::{Finding, Verdict};
use crate::kind_cli::KindFound;
use crate::standby::StandbyReport;

/// A machine and a cluster with nothing wrong.
fn healthy() -> Facts {
    let claim = |name: &str| Claim {
        name: name.to_owned(),
        phase: Some("Bound".to_owned()),
        capacity_bytes: 10 << 30,
        used_bytes: Some(1 << 30),
        event: None,
        nodes: Some(Ok(vec!["node".to_owned()])),
    };
    Facts {
        host: Host {
            cgroup_version: 2,
            sys_resource: true,
            user_namespaces_refused: None,
            landlock: Landlock::FilesAndScopes,
            memory_limit_lacking: None,
            disks: vec![Disk {
                folder: "/var/lib/docker".to_owned(),
                free_bytes: 50 << 30,
                free_inodes: Some(3_000_000),
            }],
            inotify_instances: 1024,
            task_network_refused: None,
            loopback_proxy: None,
            taken_ports: Vec::new(),
        },
        docker: Docker::Running {
            version: "28.2.2".to_owned(),
            api: "1.50".to_owned(),
            default_runtime: "runc".to_owned(),
        },
        kind: KindProgram::Searched(KindFound::Usable {
            program: "/usr/bin/kind".into(),
            version: "0.33.0".to_owned(),
        }),
        image: Fact::Known(Image {
            reference: "nix-portable-base:abc".to_owned(),
            id: Some("sha256:1".to_owned()),
            nix: Some("nix-portable 012".to_owned()),
            pythons: vec!["3.11.2".to_owned(), "3.12.1".to_owned()],
        }),
        cluster: Fact::Known(Cluster {
            context: "kind-hybrid-cache".to_owned(),
            nodes: vec![("node".to_owned(), Ok(()))],
            image_on_node: Fact::Known(true),
            volumes_mounted: Fact::Known(true),
            owners: Fact::Known(vec![("/python".to_owned(), 10_001)]),
            claims: vec![claim("uv-cache-pvc"), claim("nix-store-pvc")],
            clock_ahead_s: Fact::Known(0),
            addresses: Fact::Known(Addresses::default()),
            leftovers: Vec::new(),
            standby: None,
            kubelet_accepts_cgroup_v1: Fact::Known(true),
        }),
        smoke_test: Fact::Known(SmokeTest {
            second: vec![("python".to_owned(), "hit".to_owned())],
            all_hit: true,
            failure: None,
            second_ms: 1100,
        }),
        names: Vec::new(),
    }
}

fn cluster(facts: &mut Facts) -> &mut Cluster {
    match &mut facts.cluster {
        Fact::Known(cluster) => cluster,
        Fact::Unknown(why) => panic!("{why}"),
    }
}

/// Injects one fault. The check `id` must name the fault, its text must contain `says`, it must offer a fix, and it must be the
/// only check with `verdict`.
fn check(id: &str, verdict: Verdict, says: &str, inject: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    inject(&mut facts);
    let findings = judge(&facts);
    let at_fault: Vec<&Finding> = findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Bad | Verdict::Warning))
        .collect();
    let [finding] = at_fault.as_slice() else {
        panic!("{at_fault:#?}");
    };
    assert_eq!((finding.id, finding.verdict), (id, verdict), "{finding:?}");
    assert!(finding.fact.contains(says), "{finding:?}");
    assert!(finding.fix.as_ref().is_some_and(|fix| !fix.is_empty()), "{finding:?}");
}

fn bad(id: &str, says: &str, inject: impl FnOnce(&mut Facts)) {
    check(id, Verdict::Bad, says, inject);
}

fn warning(id: &str, says: &str, inject: impl FnOnce(&mut Facts)) {
    check(id, Verdict::Warning, says, inject);
}

#[test]
fn nothing_is_wrong_with_a_healthy_cluster_and_every_id_is_there_once() {
    let findings = judge(&healthy());
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Good)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
    ids.sort_unstable();
    let before = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), before);
}

#[test]
fn docker() {
    let error = |error: EngineError| move |facts: &mut Facts| facts.docker = Docker::Unusable(error);
    bad("docker.installed", "not installed", error(EngineError::NotInstalled));
    bad("docker.running", "not running", error(EngineError::NotRunning));
    bad("docker.running", "may not access", error(EngineError::NotAllowed));
    bad(
        "docker.running",
        "silent",
        error(EngineError::NoAnswer("silent".to_owned())),
    );
    bad("docker.api", "1.38", error(EngineError::TooOld("1.38".to_owned())));
}

#[test]
fn kind() {
    bad("kind.installed", "no program", |facts| {
        facts.kind = KindProgram::Searched(KindFound::Missing)
    });
    bad("kind.version", "0.9.0", |facts| {
        facts.kind = KindProgram::Searched(KindFound::TooOld {
            program: "kind".into(),
            version: "0.9.0".to_owned(),
        });
    });
}

#[test]
fn the_machine() {
    bad("host.capability", "CAP_SYS_RESOURCE", |facts| {
        facts.host.sys_resource = false
    });
    warning("host.cgroup", "cgroup v1", |facts| facts.host.cgroup_version = 1);
    bad("host.cgroup", "refuses", |facts| {
        facts.host.cgroup_version = 1;
        cluster(facts).kubelet_accepts_cgroup_v1 = Fact::Known(false);
    });
    bad("host.ports", "8000", |facts| facts.host.taken_ports = vec![8000]);
    bad("host.disk", "100 MiB", |facts| {
        facts.host.disks[0].free_bytes = 100 << 20
    });
    bad("host.disk", "7 inodes", |facts| {
        facts.host.disks[0].free_inodes = Some(7)
    });
    warning("host.disk", "5120 MiB", |facts| {
        facts.host.disks[0].free_bytes = 5 << 30
    });
    warning("host.inotify", "128", |facts| facts.host.inotify_instances = 128);
    warning("host.task-network", "no /dev/net/tun", |facts| {
        facts.host.task_network_refused = Some("there is no /dev/net/tun".to_owned());
    });
    warning("host.task-network", "HTTPS_PROXY", |facts| {
        facts.host.loopback_proxy = Some("HTTPS_PROXY".to_owned());
    });
    warning("host.user-namespaces", "max_user_namespaces is 0", |facts| {
        facts.host.user_namespaces_refused = Some("user.max_user_namespaces is 0".to_owned());
    });
    warning("host.landlock", "has no Landlock: a task can read", |facts| {
        facts.host.landlock = Landlock::None;
    });
    warning("host.landlock", "older than version 6: a task's signals", |facts| {
        facts.host.landlock = Landlock::Files;
    });
    warning("host.memory-limit", "cannot limit", |facts| {
        facts.host.memory_limit_lacking = Some("no control groups are mounted".to_owned());
    });
}

#[test]
fn the_image() {
    let image = |id: Option<&str>, nix: Option<&str>| {
        Fact::Known(Image {
            reference: "nix-portable-base:abc".to_owned(),
            id: id.map(str::to_owned),
            nix: nix.map(str::to_owned),
            pythons: Vec::new(),
        })
    };
    bad("image.built", "no image nix-portable-base:abc", |facts| {
        facts.image = image(None, None)
    });
    bad("image.nix", "neither", |facts| {
        facts.image = image(Some("sha256:1"), None)
    });
    bad("image.on-node", "does not have", |facts| {
        cluster(facts).image_on_node = Fact::Known(false);
    });
}

#[test]
fn the_cluster() {
    bad("cluster.reachable", "refused", |facts| {
        facts.cluster = Fact::Unknown("connection refused".to_owned());
    });
    bad("cluster.node-ready", "network not ready", |facts| {
        cluster(facts).nodes = vec![("n".to_owned(), Err("container runtime network not ready".to_owned()))];
    });
    bad("cluster.node-ready", "no node", |facts| cluster(facts).nodes.clear());
    warning("cluster.clock", "120 s", |facts| {
        cluster(facts).clock_ahead_s = Fact::Known(120)
    });
    warning("cluster.addresses", "10.8.0.0/14", |facts| {
        let left_open = vec!["10.8.0.0/14".to_owned()];
        cluster(facts).addresses = Fact::Known(Addresses {
            left_open,
            unknown: None,
        });
    });
    warning("cluster.addresses", "does not state its pods' addresses", |facts| {
        let unknown = Some("the cluster does not state its pods' addresses: x\nhint: name them".to_owned());
        cluster(facts).addresses = Fact::Known(Addresses {
            unknown,
            ..Addresses::default()
        });
    });
    warning("cluster.leftovers", "secret/task-x", |facts| {
        cluster(facts).leftovers = vec!["secret/task-x".to_owned()];
    });
}

#[test]
fn the_volumes() {
    bad("volume.mounted", "no mount", |facts| {
        cluster(facts).volumes_mounted = Fact::Known(false)
    });
    bad("volume.owner", "user 0", |facts| {
        cluster(facts).owners = Fact::Known(vec![("/python".to_owned(), 0)]);
    });
    bad("pvc.found", "nix-store-pvc", |facts| {
        cluster(facts).claims[1].phase = None;
        cluster(facts).claims[1].capacity_bytes = 0;
    });
    bad("pvc.bound", "no persistent volumes available", |facts| {
        cluster(facts).claims[0].phase = Some("Pending".to_owned());
        cluster(facts).claims[0].event = Some("no persistent volumes available".to_owned());
    });
    bad("pvc.bound", "Lost", |facts| {
        cluster(facts).claims[0].phase = Some("Lost".to_owned())
    });
    bad("pvc.node", "nix-store-pvc: its volume is on worker2", |facts| {
        cluster(facts).claims[1].nodes = Some(Err("its volume is on worker2, which is not Ready".to_owned()));
    });
    bad("pvc.size", "512 MiB", |facts| {
        cluster(facts).claims[0].capacity_bytes = 512 << 20
    });
    warning("pvc.size", "95 percent", |facts| {
        cluster(facts).claims[0].used_bytes = Some((10 << 30) / 100 * 95 + (1 << 20));
    });
}

#[test]
fn the_cache() {
    bad("cache.works", "python: built", |facts| {
        facts.smoke_test = Fact::Known(SmokeTest {
            second: vec![("python".to_owned(), "built".to_owned())],
            all_hit: false,
            failure: None,
            second_ms: 9000,
        });
    });
    bad("cache.works", "OOM", |facts| {
        facts.smoke_test = Fact::Known(SmokeTest {
            second: Vec::new(),
            all_hit: false,
            failure: Some("OOM".to_owned()),
            second_ms: 0,
        });
    });
    bad("system.name", "no package gnumak", |facts| {
        facts.names = vec![Name {
            asked: "gnumak".to_owned(),
            attributes: None,
            suggestion: Some("gnumake".to_owned()),
            source: "debnix".to_owned(),
        }];
    });
}

#[test]
fn what_cannot_be_looked_at_names_no_fault_of_its_own() {
    let mut facts = healthy();
    facts.docker = Docker::Unusable(EngineError::NotInstalled);
    facts.cluster = Fact::Unknown("no kubeconfig".to_owned());
    facts.image = Fact::Unknown("see docker.installed".to_owned());
    facts.smoke_test = Fact::Unknown("see cluster.reachable".to_owned());
    let findings = judge(&facts);
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .map(|finding| finding.id)
        .collect();
    assert_eq!(bad, ["docker.installed", "cluster.reachable"]);
}

#[test]
fn the_page_lists_every_check() {
    let page = include_str!("../../../../../docs/troubleshooting.md");
    let findings = judge(&healthy());
    let absent = findings.iter().filter(|finding| !page.contains(finding.id));
    let absent: Vec<_> = absent.map(|finding| finding.id).collect();
    assert!(
        absent.is_empty() && findings.len() > 20,
        "docs/troubleshooting.md lacks {absent:?}"
    );
}

/// A cluster for which `up` recorded four standby pods.
fn with_standby(ready: u64, trouble: Option<&str>, missing: &[&str]) -> Vec<(String, Verdict, String)> {
    let mut facts = healthy();
    cluster(&mut facts).standby = Some(Fact::Known(Standby {
        report: StandbyReport {
            ready,
            trouble: trouble.map(str::to_owned),
            ..StandbyReport::default()
        },
        least: 4,
        missing_rights: missing.iter().map(|right| (*right).to_owned()).collect(),
    }));
    let findings = judge(&facts).into_iter();
    let of_standby = findings.filter(|finding| finding.id.starts_with("standby."));
    of_standby
        .map(|finding| (finding.id.to_owned(), finding.verdict, finding.fact))
        .collect()
}

#[test]
fn standby_pods_are_checked_only_if_up_recorded_some() {
    assert!(
        judge(&healthy())
            .iter()
            .all(|finding| !finding.id.starts_with("standby."))
    );
    let [rights, ready] = &with_standby(4, None, &[])[..] else {
        panic!("two checks")
    };
    assert_eq!((rights.0.as_str(), rights.1), ("standby.rights", Verdict::Good));
    assert_eq!((ready.0.as_str(), ready.1), ("standby.ready", Verdict::Good));
}

#[test]
fn a_cluster_without_attach_rights_and_a_quota_are_named() {
    let [rights, _] = &with_standby(4, None, &["create pods/attach", "create replicasets"])[..] else {
        panic!("two checks")
    };
    assert_eq!(rights.1, Verdict::Bad);
    assert!(
        rights.2.contains("may not create pods/attach, create replicasets"),
        "{}",
        rights.2
    );
    let [_, ready] = &with_standby(
        1,
        Some("the cluster refuses standby pods: exceeded quota: used: pods=9"),
        &[],
    )[..] else {
        panic!("two checks")
    };
    assert_eq!(ready.1, Verdict::Warning);
    assert!(
        ready.2.contains("1 of 4") && ready.2.contains("used: pods=9"),
        "{}",
        ready.2
    );
    let [_, ready] = &with_standby(0, None, &[])[..] else {
        panic!("two checks")
    };
    assert_eq!(
        (ready.1, ready.2.as_str()),
        (Verdict::Warning, "0 of 4 standby pods are ready")
    );
}
