//! `cargo xtask cache trace`: shows the recorded requests as numbers, or exports them as one file, with or without names.

use std::io::{BufWriter, Write};
use std::path::Path;

use hybrid_cache_cluster::trace::{self, Recorded, describe_faults};
use hybrid_cache_report::{caches, units};
use hybrid_cache_sizing::summary::Summary;
use hybrid_cache_tools::{Error, ErrorClass, Result};
use serde::Serialize;

use crate::exit::Exit;
use crate::flags::{self, TraceCommand};
use crate::results;

/// Runs the command. It reads the recorded requests from files of this machine, so it starts nothing.
pub fn run(flags: &flags::Cache, wanted: &flags::Trace) -> Result<Exit> {
    let folder = match &wanted.folder {
        Some(folder) => folder.clone(),
        None => trace::folder(
            flags.driver.into(),
            flags.local.cache_dir.as_deref(),
            &flags.cluster.choice(),
        )?,
    };
    match &wanted.command {
        TraceCommand::Show => {
            let recorded = Recorded::open(&folder)?.ok_or_else(|| nothing(&folder))?;
            show(&folder, &recorded, flags.json)
        }
        TraceCommand::Export { out, anonymise } => {
            if trace::is_empty(&folder) {
                return Err(nothing(&folder));
            }
            export(&folder, out, *anonymise)
        }
    }
}

fn nothing(folder: &Path) -> Error {
    Error::prerequisite(format!(
        "no requests are recorded in {}\nhint: run tasks without --no-trace; `--driver kube` reads what was recorded of a \
         cluster, `--folder DIR` another folder, such as a copy of `trace` from the service's data",
        folder.display()
    ))
}

/// Writes the trace to a file; `-` is standard output.
fn export(folder: &Path, out: &Path, anonymise: bool) -> Result<Exit> {
    let count = if out == Path::new("-") {
        let mut stdout = BufWriter::new(std::io::stdout().lock());
        let count = trace::export(folder, anonymise, &mut stdout)?;
        stdout.flush()?;
        count
    } else {
        trace::export_to_file(folder, out, anonymise)?
    };
    eprintln!("{} requests were exported", count.requests);
    if count.left_out > 0 {
        eprintln!(
            "warning: {} lines were left out: they are torn, or not of this version of the format",
            count.left_out
        );
    }
    Ok(Exit::Good)
}

/// The document that `--json` prints.
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

/// Prints the recorded requests as numbers.
fn show(folder: &Path, recorded: &Recorded, json: bool) -> Result<Exit> {
    let summary = Summary::from_source(recorded).map_err(|error| Error::other(ErrorClass::Failed, error))?;
    let faults = describe_faults(recorded.faults());
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
        units::bytes(recorded.bytes()),
        recorded.files(),
        folder.display()
    );
    println!("{}", caches::trace(&summary.volumes, results::width()));
    if recorded.faults().count > 0 {
        println!();
    }
    for fault in faults {
        eprintln!("warning: {fault}");
    }
    Ok(Exit::Good)
}
