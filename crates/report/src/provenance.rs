//! Where a run was measured, as rows that every form of the report shows.

use hybrid_cache_model::sample::{ClusterRecord, Completion, Provenance, RunRecord, ServiceRecord};

use crate::{host_noise, mirror, units, until};

fn completion_and_count(record: &RunRecord, completion: &str) -> String {
    match &record.load {
        Some(load) => format!("{completion}, {} tasks", load.counts.due),
        None => format!("{completion}, {} samples", record.samples.len()),
    }
}

/// Every fact of the record's provenance except its tools and notes, in reading order.
pub(crate) fn facts(record: &RunRecord) -> Vec<(&'static str, String)> {
    let provenance = &record.provenance;
    let completion = match record.completion {
        Completion::Complete => "complete",
        Completion::Interrupted => "interrupted",
    };
    let dirty = if provenance.dirty {
        " (with uncommitted changes)"
    } else {
        ""
    };
    let revision = if provenance.revision.is_empty() {
        "no git"
    } else {
        &provenance.revision
    };
    let file_systems: Vec<String> = provenance
        .file_systems
        .iter()
        .map(|(folder, kind)| format!("{folder}: {kind}"))
        .collect();
    let cpus = known_cpus(provenance).map_or_else(|| "unknown".to_owned(), |cpus| cpus.to_string());
    let memory = if provenance.memory_bytes == 0 {
        "unknown".to_owned()
    } else {
        units::bytes(provenance.memory_bytes)
    };
    let loads: Vec<f64> = record.samples.iter().map(|sample| sample.load1).collect();
    let mut facts = vec![
        ("driver", provenance.driver.clone()),
        ("command", provenance.command.clone()),
        ("started", provenance.started_at.clone()),
        ("completion", completion_and_count(record, completion)),
        ("revision", format!("{revision}{dirty}")),
        ("operating system", provenance.os.clone()),
        ("kernel", format!("{} on {}", provenance.kernel, provenance.arch)),
        ("processor", provenance.cpu.clone()),
        ("processors in use", cpus),
        ("memory", memory),
        ("file systems", file_systems.join(", ")),
        ("interpreter", provenance.interpreter.clone()),
        ("package index", provenance.index.clone()),
        (
            "system packages",
            format!("{} from {}", provenance.system_provider, provenance.system_source),
        ),
        ("load average", range(&loads, |load| format!("{load:.2}"))),
        (
            "host noise",
            host_noise::line(record).unwrap_or_else(|| "not known".to_owned()),
        ),
        ("schema", record.schema.to_string()),
    ];
    facts.extend(
        provenance
            .mirror
            .iter()
            .map(|mirror| ("network of first runs", mirror::described(mirror))),
    );
    facts.extend(record.until.iter().map(|until| ("went on until", until::line(until))));
    // Behind the driver and its command, in front of the client's own machine.
    facts.splice(2..2, provenance.cluster.iter().flat_map(cluster_facts));
    facts.splice(
        2..2,
        provenance
            .service
            .iter()
            .map(|service| ("task service", described(service))),
    );
    facts
}

/// Through which service a run was measured, in a sentence without a full stop; `None` if a driver was.
pub(crate) fn through_service(record: &RunRecord) -> Option<String> {
    let service = record.provenance.service.as_ref()?;
    Some(format!(
        "measured as a client of the task service at {}",
        described(service)
    ))
}

fn described(service: &ServiceRecord) -> String {
    let driver = match &service.driver {
        Some(driver) => format!("driver {driver}"),
        None => "driver not reported".to_owned(),
    };
    let place = if service.same_machine {
        "on the client's machine by its address (or behind a tunnel that ends there)"
    } else {
        "on another machine than the client, to which processor and load average refer"
    };
    format!("{}, version {}, {driver}, {place}", service.url, service.version)
}

fn cluster_facts(cluster: &ClusterRecord) -> Vec<(&'static str, String)> {
    let ClusterRecord {
        context,
        kubernetes,
        nodes,
        kubelets,
        container_runtimes,
        node_image,
        storage_classes,
        image,
        image_id,
        standby,
    } = cluster;
    let classes: Vec<String> = storage_classes
        .iter()
        .map(|(claim, class)| format!("{claim}: {class}"))
        .collect();
    let mut facts = vec![
        ("cluster", format!("{context}, Kubernetes {kubernetes}")),
        ("nodes", format!("{nodes}, kubelet {}", kubelets.join(", "))),
        ("container runtime", container_runtimes.join(", ")),
        ("storage classes", classes.join(", ")),
        ("image", image.clone()),
    ];
    facts.extend(image_id.iter().map(|id| ("image id", id.clone())));
    facts.extend(node_image.iter().map(|image| ("node image", image.clone())));
    facts.extend(
        standby
            .iter()
            .map(|count| ("standby pods", format!("{count}, all ready before each cached run"))),
    );
    facts
}

/// One fact of the cluster, `none` for a run without one.
pub(crate) fn cluster_fact(provenance: &Provenance, fact: impl Fn(&ClusterRecord) -> String) -> String {
    provenance.cluster.as_ref().map_or("none".to_owned(), fact)
}

/// The processors in one phrase: `AMD EPYC 7B13 with 2 processors`.
pub(crate) fn processors(provenance: &Provenance) -> String {
    match known_cpus(provenance) {
        None => "unknown processors".to_owned(),
        Some(1) => format!("{} with 1 processor", provenance.cpu),
        Some(cpus) => format!("{} with {cpus} processors", provenance.cpu),
    }
}

/// Processors in use; `None` in a record whose header was lost, see `folder::load`.
fn known_cpus(provenance: &Provenance) -> Option<u32> {
    (provenance.cpus != u32::MAX).then_some(provenance.cpus)
}

/// Least to most of some readings while the samples ran.
fn range(readings: &[f64], write: impl Fn(f64) -> String) -> String {
    let least = readings.iter().copied().reduce(f64::min);
    let most = readings.iter().copied().reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) if write(least) == write(most) => write(least),
        (Some(least), Some(most)) => format!("{} to {}", write(least), write(most)),
        _ => "not known".to_owned(),
    }
}
