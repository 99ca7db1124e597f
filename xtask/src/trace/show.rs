//! `cache trace show`.

use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table};
use hybrid_cache_sizing::summary::{Summary, VolumeSummary};
use serde::Serialize;

use super::Recorded;
use crate::exit::Exit;
use crate::{results, size};

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    folder: &'a Path,
    files: usize,
    bytes: u64,
    #[serde(flatten)]
    summary: &'a Summary,
    fault_count: u64,
    faults: Vec<String>,
}

/// Prints what was recorded in numbers.
///
/// # Errors
/// It cannot be read.
pub fn run(folder: &Path, recorded: &Recorded, json: bool) -> Result<Exit> {
    let summary = Summary::from_source(recorded)?;
    let faults = size::file::told(recorded.faults());
    if json {
        let shown = Shown {
            folder,
            files: recorded.files(),
            bytes: recorded.bytes(),
            summary: &summary,
            fault_count: recorded.faults().count,
            faults,
        };
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(Exit::Good);
    }
    let time = |us: Option<u64>| {
        let us = i64::try_from(us.unwrap_or_default()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(us / 1_000_000).map_or("-".to_owned(), |time| time.to_string())
    };
    println!(
        "{} requests from {} to {}, {} in {} files of {}\n",
        summary.requests,
        time(summary.first_us),
        time(summary.last_us),
        bytes(recorded.bytes()),
        recorded.files(),
        folder.display()
    );
    println!("{}", table(&summary.volumes));
    if recorded.faults().count > 0 {
        println!();
    }
    for fault in faults {
        eprintln!("warning: {fault}");
    }
    Ok(Exit::Good)
}

fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn table(volumes: &[VolumeSummary]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_width(results::width())
        .set_header([
            "volume",
            "requests",
            "hits",
            "misses",
            "expired",
            "environments",
            "parts",
            "they hold",
            "inodes",
            "beside them",
            "downloaded",
        ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for volume in volumes {
        let rate = volume
            .hit_rate
            .map_or(String::new(), |rate| format!(" ({:.1} %)", rate * 100.0));
        let resident = match volume.resident {
            0 => String::new(),
            resident => format!(" ({resident} at the beginning)"),
        };
        table.add_row([
            volume.volume.name().to_owned(),
            volume.requests.to_string(),
            format!("{}{rate}", volume.hits),
            volume.misses.to_string(),
            volume.expired.to_string(),
            format!("{}{resident}", volume.environments),
            volume.parts.to_string(),
            bytes(volume.holds.bytes),
            volume.holds.inodes.to_string(),
            bytes(volume.rest.bytes),
            bytes(volume.downloaded_bytes),
        ]);
    }
    table
}
