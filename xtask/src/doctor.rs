//! `cargo xtask doctor`: finds out what a cluster needs and lacks, judges it, and says how to mend it.

mod checks;
mod facts;
mod finding;
mod gather;
mod host;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table};

use crate::checkout::Checkout;
use crate::cluster::runtime;
use crate::exit::Exit;
use crate::flags;
use finding::{Finding, Verdict};

/// Runs the command: exit code 4 where a check is bad.
///
/// # Errors
/// The command line names no cluster, or the checkout is not whole.
pub fn run(flags: &flags::Doctor) -> Result<Exit> {
    let checkout = Checkout::find()?;
    let diagnose = async {
        let facts = gather::facts(&checkout, flags).await?;
        let findings = checks::judge(&facts);
        if flags.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            println!("{}", table(&findings));
            show_fixes(&findings);
        }
        let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
        Ok(if is_bad { Exit::Prerequisite } else { Exit::Good })
    };
    runtime::block_on(
        diagnose,
        "nothing was changed but, perhaps, a trial task that ends by itself",
    )
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    for finding in findings {
        table.add_row([sign(finding.verdict), finding.id, &finding.fact]);
    }
    table
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "✓",
        Verdict::Warning => "!",
        Verdict::Bad => "✗",
        Verdict::Skipped => "–",
    }
}

/// The fixes in full below the table: they are there to be copied.
fn show_fixes(findings: &[Finding]) {
    for finding in findings {
        if let Some(fix) = &finding.fix {
            println!(
                "\n{} {}: {}\n  fix: {fix}",
                sign(finding.verdict),
                finding.id,
                finding.fact
            );
        }
    }
}
