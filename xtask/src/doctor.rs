//! `cargo xtask doctor`: shows what a cluster lacks and how to fix it.

use comfy_table::{ContentArrangement, Table};
use hybrid_cache_cluster::doctor::{Finding, Verdict, examine};
use hybrid_cache_tools::Result;

use crate::exit::Exit;
use crate::{checkout, flags, runtime};

/// Runs the command: exit code 4 if a check is bad.
pub fn run(flags: &flags::Doctor) -> Result<Exit> {
    let checkout = checkout()?;
    let diagnose = async {
        let findings = examine(&checkout, &flags.options()).await?;
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
        "nothing was changed but, perhaps, a task of the smoke test that ends by itself",
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

/// Prints the fixes in full below the table, so that they can be copied.
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
