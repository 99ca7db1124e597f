//! `cargo xtask status`: prints tables to standard output and problems to standard error.

use comfy_table::{CellAlignment, Table};
use hybrid_cache_cluster::status::{ClusterState, Status, VolumeStatus, observe};
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
    overview.add_rows(status.rows());
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
    let header = "volume|claim|node|phase|capacity|held|inodes held|of it garbage|free|inodes free".split('|');
    table.set_header(header);
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| indicatif::BinaryBytes(bytes).to_string());
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    for volume in volumes {
        table.add_row([
            volume.label(),
            volume.claim.clone(),
            volume.place(),
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
