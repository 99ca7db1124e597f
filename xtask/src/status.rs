//! `cargo xtask status`: prints tables to standard output and problems to standard error.

use comfy_table::{CellAlignment, Table};
use hybrid_cache_cluster::status::{ClusterState, HitRate, Status, VolumeStatus, observe};
use hybrid_cache_tools::Result;

use crate::exit::Exit;
use crate::{checkout, flags, results, runtime};

/// Runs the command.
///
/// # Errors
/// The cluster's settings cannot be read. A missing cluster is not an error; the exit code is then 4.
pub fn run(flags: &flags::Status) -> Result<Exit> {
    let checkout = checkout()?;
    let look = async {
        let status = observe(&checkout, &flags.cluster.choice()).await?;
        match flags.json {
            true => println!("{}", serde_json::to_string_pretty(&status)?),
            false => show(&status),
        }
        Ok(match status.cluster.state {
            ClusterState::Ready => Exit::Good,
            _ => Exit::Prerequisite,
        })
    };
    runtime::block_on(look, "nothing was changed")
}

/// Prints everything.
fn show(status: &Status) {
    let mut overview = results::unwrapped_table();
    let cluster = &status.cluster;
    let mut words = vec![cluster.name.clone(), cluster.state.name().to_owned()];
    words.extend(cluster.version.clone());
    words.extend(cluster.address.clone());
    overview.add_row(["cluster", &words.join("  ")]);
    for node in &status.nodes {
        let has: Vec<_> = node
            .allocatable
            .iter()
            .map(|(name, quantity)| format!("{name} {quantity}"))
            .collect();
        let ready = if node.ready { "Ready" } else { node.condition.as_str() };
        let words = [node.name.as_str(), ready, &node.version, &node.runtime, &has.join(", ")].join("  ");
        overview.add_row(["node", &words]);
    }
    let on_node = match status.image.on_node {
        Some(true) => "on the node",
        Some(false) => "not on the node, or another one there",
        None => "",
    };
    let reference = status.image.reference.as_deref().unwrap_or("not built yet");
    overview.add_row(["image", &[reference, on_node].join("  ")]);
    if let Some(argo) = &status.argo {
        let about = argo.image.as_deref().or(argo.reason.as_deref()).unwrap_or_default();
        overview.add_row(["argo", &[argo.state, about].join("  ")]);
    }
    if let Some(service) = &status.service {
        let about = service
            .image
            .as_deref()
            .or(service.reason.as_deref())
            .unwrap_or_default();
        overview.add_row(["service", &[service.state, &service.address, about].join("  ")]);
    }
    let tasks = &status.tasks;
    let counts = [
        (tasks.queued, "queued"),
        (tasks.running, "running"),
        (tasks.succeeded, "succeeded"),
        (tasks.failed, "failed"),
    ];
    let counts = counts.map(|(count, word)| format!("{count} {word}")).join(", ");
    overview.add_row(["tasks", &counts]);
    let hits = format!(
        "python {}, system {}",
        rate(&status.hits.python),
        rate(&status.hits.system)
    );
    overview.add_row(["hits", &hits]);
    if let Some(caches) = &status.caches {
        let words = format!(
            "{} Python environments for {} requests; {} sets of system packages",
            caches.environments, caches.requests, caches.system_sets
        );
        overview.add_row(["warm", &words]);
    }
    println!("{overview}");
    if !status.volumes.is_empty() {
        println!("\n{}\n", volumes(&status.volumes));
    }
    for volume in &status.growth {
        println!("{volume}");
    }
    for note in &status.notes {
        eprintln!("note: {note}");
    }
}

fn volumes(volumes: &[VolumeStatus]) -> Table {
    let mut table = results::unwrapped_table();
    let header = "volume|claim|phase|capacity|held|inodes held|of it garbage|free|inodes free".split('|');
    table.set_header(header);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| indicatif::BinaryBytes(bytes).to_string());
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    for volume in volumes {
        table.add_row([
            volume.volume.clone(),
            volume.claim.clone(),
            volume.phase.clone(),
            size(volume.capacity_bytes),
            size(volume.used_bytes),
            count(volume.used_inodes),
            size(volume.garbage_bytes),
            size(volume.free_bytes),
            count(volume.free_inodes),
        ]);
    }
    table
}

fn rate(rate: &HitRate) -> String {
    match rate.asked {
        0 => "not asked".to_owned(),
        asked => format!("{} of {asked} ({} %)", rate.hit, rate.hit * 100 / asked),
    }
}
