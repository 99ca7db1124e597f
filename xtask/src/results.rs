//! Reports of runs: writes, renders, compares and judges them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use hybrid_cache_model::sample::{Completion, RunRecord};
use hybrid_cache_report::history::{HISTORY_FILE, History};
use hybrid_cache_report::{
    Color, Comparison, ComparisonFacts, Gate, GateOutcome, RunFacts, compare, comparison_digest, failed_samples,
    gate_runs, taken_samples,
};
use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result, environment};

use crate::exit::Exit;
use crate::flags;
use crate::terminal::print_drawn;

/// Largest share by which a median may be slower than the baseline before `bench --gate` fails.
pub const MAX_REGRESSION: f64 = 0.25;
/// Width of tables if standard output is not a terminal.
const PLAIN_WIDTH: u16 = 120;

/// Reads a run's record.
pub fn load(run: &Path) -> Result<RunRecord> {
    hybrid_cache_report::load(run).map_err(|error| Error::input(error.to_string()))
}

/// Writes every file of a report, and appends its digest to the file `summary`.
pub fn write(out: &Path, record: &RunRecord, gate: Option<&Gate>, summary: Option<&Path>) -> Result<()> {
    let written = hybrid_cache_report::write_all(out, record, gate, summary);
    let written = written.map_err(|error| Error::other(ErrorClass::Failed, error));
    written.with_context(|| format!("writing the report to {}", out.display()))
}

/// Fails early if a file that the command writes at its end cannot be written. The folder of `--out` need not exist yet.
pub fn check_files(flags: &flags::Bench) -> Result<()> {
    let outside = |file: &&PathBuf| flags.out.as_ref().is_none_or(|out| !file.starts_with(out));
    let mut files = flags.summary.iter().chain(&flags.trace_out).filter(outside);
    let checked = files.try_for_each(|file| hybrid_cache_report::check_writable(file));
    checked.map_err(|error| Error::input(error.to_string()))
}

/// Writes the timelines to a file, if one is named.
pub fn write_trace(record: &RunRecord, path: Option<&Path>) -> Result<()> {
    let written = path.map_or(Ok(()), |path| hybrid_cache_report::write_trace(path, record));
    written.map_err(|error| Error::other(ErrorClass::Failed, error))
}

/// Prints the tables and names the report, or prints the same as JSON.
pub fn print(out: &Path, record: &RunRecord, comparison: Option<&Comparison>, gate: Option<&Gate>, json: bool) {
    if json {
        return print_json(&RunFacts::new(out, record, comparison, gate));
    }
    print_drawn(&(hybrid_cache_report::terminal(record, width(), color()) + "\n"));
    if let Some(comparison) = comparison {
        print_drawn(&(comparison.terminal(width(), color()) + "\n"));
    }
    println!("report: {}", out.join("report.html").display());
}

fn print_json(value: &impl serde::Serialize) {
    // Nothing of ours has keys that JSON refuses.
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints the summary and chooses the exit code of the bench run.
pub fn conclude(
    out: &Path,
    record: &RunRecord,
    baseline: Option<&RunRecord>,
    gate: Option<&Gate>,
    flags: &flags::Bench,
) -> Exit {
    let comparison = baseline.map(|baseline| compare(baseline, record));
    print(out, record, comparison.as_ref(), gate, flags.json);
    let failed = failed_samples(record);
    if failed > 0 {
        eprintln!(
            "{failed} of {} runs failed; the report names them",
            taken_samples(record)
        );
    }
    // A failed run must not hide what the gate found.
    let judged = gate.map(|gate| exit_of(gate, flags.allow_undecided));
    match judged {
        _ if record.completion == Completion::Interrupted => Exit::Interrupted,
        Some(exit @ (Exit::Gate | Exit::CannotTell)) => exit,
        _ if failed > 0 => Exit::Task,
        _ => Exit::Good,
    }
}

/// Prints what a gate found and chooses its exit code.
fn exit_of(gate: &Gate, allow_undecided: bool) -> Exit {
    gate.lines().iter().for_each(|line| eprintln!("gate: {line}"));
    match gate.outcome {
        GateOutcome::Good => Exit::Good,
        GateOutcome::Regression => Exit::Gate,
        GateOutcome::CannotTell if allow_undecided => Exit::Good,
        GateOutcome::CannotTell => Exit::CannotTell,
    }
}

/// `cargo xtask report`
pub fn report(flags: &flags::Report) -> Result<Exit> {
    if let Some(dir) = &flags.history {
        return draw_history(dir, flags.json);
    }
    let run = flags.run.as_deref().unwrap_or(Path::new("."));
    let record = load(run)?;
    write(run, &record, None, None)?;
    write_trace(&record, flags.trace_out.as_deref())?;
    if flags.json {
        print_json(&record);
    } else {
        print_drawn(&hybrid_cache_report::terminal(&record, width(), color()));
    }
    Ok(Exit::Good)
}

fn draw_history(dir: &Path, json: bool) -> Result<Exit> {
    let history = History::read(dir).map_err(|error| Error::input(error.to_string()))?;
    history
        .write(dir)
        .map_err(|error| Error::other(ErrorClass::Failed, error))?;
    if json {
        print_json(&history);
    } else {
        let (lines, page) = (history.lines().join("\n"), dir.join(HISTORY_FILE));
        println!("{lines}\nhistory: {}", page.display());
    }
    Ok(Exit::Good)
}

/// `cargo xtask compare`
pub fn compare_runs(flags: &flags::Compare) -> Result<Exit> {
    let (before, after) = (load(&flags.before)?, load(&flags.after)?);
    let comparison = compare(&before, &after);
    let gate = flags.gate.map(|share| gate_runs(&before, &after, share));
    if flags.json {
        print_json(&ComparisonFacts::new(&comparison, gate.as_ref()));
    } else if flags.markdown {
        println!("{}", comparison_digest(&comparison, gate.as_ref()).trim_end());
    } else {
        print_drawn(&(comparison.terminal(width(), color()) + "\n"));
    }
    Ok(gate.map_or(Exit::Good, |gate| exit_of(&gate, flags.allow_undecided)))
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
