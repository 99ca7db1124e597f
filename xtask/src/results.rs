//! Reports of runs: writes, renders, compares and judges them.

use std::io::IsTerminal;
use std::path::Path;

use hybrid_cache_model::sample::{Acceptance, Completion, RunRecord};
use hybrid_cache_report::{Color, Gate, GateOutcome, compare, gate_runs};
use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result, environment};

use crate::exit::Exit;
use crate::flags;
use crate::terminal::print_drawn;

/// Largest share by which a median may be slower than the baseline before `bench --gate` fails.
pub const MAX_REGRESSION: f64 = 0.25;
/// Width of tables if standard output is not a terminal.
const PLAIN_WIDTH: u16 = 120;

/// Reads a run's record.
///
/// # Errors
/// There is no record, or it cannot be read.
pub fn load(run: &Path) -> Result<RunRecord> {
    hybrid_cache_report::load(run).map_err(|error| Error::input(error.to_string()))
}

/// Writes every file of a report, and the trace if one is wanted.
///
/// # Errors
/// The folder cannot be written.
pub fn write(out: &Path, record: &RunRecord, trace: Option<&Path>) -> Result<()> {
    let written = hybrid_cache_report::write_run(out, record);
    let written = written.and_then(|()| trace.map_or(Ok(()), |path| hybrid_cache_report::write_trace(path, record)));
    let written = written.map_err(|error| Error::other(ErrorClass::Failed, error));
    written.with_context(|| format!("writing the report to {}", out.display()))
}

/// Prints the summary.
pub fn print(record: &RunRecord) {
    print_drawn(&(hybrid_cache_report::terminal(record, width(), color()) + "\n"));
}

/// Prints the summary and chooses the exit code of the bench run.
///
/// # Errors
/// None at present; rendering cannot fail.
pub fn conclude(
    out: &Path,
    record: &RunRecord,
    baseline: Option<&RunRecord>,
    gate: Option<Gate>,
    allow_undecided: bool,
) -> Result<Exit> {
    print(record);
    if let Some(baseline) = baseline {
        print_drawn(&(compare(baseline, record).terminal(width(), color()) + "\n"));
    }
    println!("report: {}", out.join("report.html").display());
    let failed = record
        .samples
        .iter()
        .filter(|sample| matches!(sample.acceptance, Acceptance::Failed { .. }))
        .count();
    if failed > 0 {
        let all = record.samples.len();
        eprintln!("{failed} of {all} runs failed; the report names them");
    }
    // A failed run must not hide what the gate found.
    let judged = gate.as_ref().map(|gate| exit_of(gate, allow_undecided));
    Ok(match judged {
        _ if record.completion == Completion::Interrupted => Exit::Interrupted,
        Some(exit @ (Exit::Gate | Exit::CannotTell)) => exit,
        _ if failed > 0 => Exit::Task,
        _ => Exit::Good,
    })
}

/// Prints what a gate found and chooses its exit code.
fn exit_of(gate: &Gate, allow_undecided: bool) -> Exit {
    for line in gate.lines() {
        eprintln!("gate: {line}");
    }
    match gate.outcome {
        GateOutcome::Good => Exit::Good,
        GateOutcome::Regression => Exit::Gate,
        GateOutcome::CannotTell if allow_undecided => Exit::Good,
        GateOutcome::CannotTell => Exit::CannotTell,
    }
}

/// `cargo xtask report`
///
/// # Errors
/// There is no such run, or its folder cannot be written.
pub fn report(flags: &flags::Report) -> Result<Exit> {
    let record = load(&flags.run)?;
    write(&flags.run, &record, flags.trace_out.as_deref())?;
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&record)?);
    } else {
        print_drawn(&hybrid_cache_report::terminal(&record, width(), color()));
    }
    Ok(Exit::Good)
}

/// `cargo xtask compare`
///
/// # Errors
/// One of the runs cannot be read.
pub fn compare_runs(flags: &flags::Compare) -> Result<Exit> {
    let (before, after) = (load(&flags.before)?, load(&flags.after)?);
    let comparison = compare(&before, &after);
    if flags.markdown {
        println!("{}", comparison.markdown().trim_end());
    } else {
        print_drawn(&(comparison.terminal(width(), color()) + "\n"));
    }
    let Some(share) = flags.gate else { return Ok(Exit::Good) };
    Ok(exit_of(&gate_runs(&before, &after, share), flags.allow_undecided))
}

/// A table without borders that fits into [`width`].
pub fn plain_table() -> comfy_table::Table {
    let mut table = unwrapped_table();
    table
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_width(width());
    table
}

/// A table without borders whose cells are as wide as their texts.
pub fn unwrapped_table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table
}

/// Number of columns of the terminal, or a width that suits a log.
pub fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(PLAIN_WIDTH, |size| size.ws_col.max(60))
}

fn color() -> Color {
    let wanted = std::io::stdout().is_terminal() && environment::raw("NO_COLOR").is_none();
    if wanted { Color::Ansi } else { Color::Plain }
}
