//! `cargo xtask up`

use std::sync::Arc;

use hybrid_cache_cluster::plan::Planned;
use hybrid_cache_cluster::up::{UpReport, up};
use hybrid_cache_tools::{Progress, Result};

use crate::exit::Exit;
use crate::progress::Reporter;
use crate::{checkout, flags, results, runtime};

/// Runs the command.
///
/// # Errors
/// Something is missing, blocks a step or does not become Ready; the message ends with the next step.
pub fn run(flags: &flags::Up) -> Result<Exit> {
    let checkout = checkout()?;
    let reporter = Arc::new(Reporter::new());
    let progress: Arc<dyn Progress> = reporter.clone();
    let bring = async {
        let report = up(&checkout, &flags.options(), &progress).await?;
        reporter.finish();
        Ok(show(&report))
    };
    runtime::block_on(bring, "`cargo xtask up` goes on from there")
}

fn show(report: &UpReport) -> Exit {
    if !report.is_done {
        show_plan(&report.plan);
    }
    for line in report.division.iter().chain(&report.service) {
        eprintln!("{line}");
    }
    if let Some(kubeconfig) = &report.kubeconfig {
        println!("export KUBECONFIG={}", kubeconfig.display());
    }
    if let Some(standby) = &report.standby {
        eprintln!("{}", standby.line);
    }
    match report.has_conflict() || report.lacks_standby_pods() {
        true => Exit::Prerequisite,
        false => Exit::Good,
    }
}

fn show_plan(plan: &[Planned]) {
    let mut table = results::unwrapped_table();
    table.set_header(["step", "decision", "what"]);
    for planned in plan {
        table.add_row([planned.step, planned.decision.word(), &planned.what]);
    }
    println!("{table}");
}
