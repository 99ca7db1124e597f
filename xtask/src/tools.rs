//! `cargo xtask tools [--json]`: provisions and shows what will be used and where it came from.
use std::path::Path;

use super::{Origin, Silent, Tool, ToolChoice, ToolError, Tools, for_stderr, provision};

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Table,
    /// For a program.
    Json,
}

/// Provisions every tool and prints them to stdout.
pub fn run(checkout: &Path, choice: &ToolChoice, format: Format) -> Result<(), ToolError> {
    let tools = match format {
        Format::Table => provision(checkout, choice, for_stderr().as_ref())?,
        Format::Json => provision(checkout, choice, &Silent)?,
    };
    match format {
        Format::Table => println!("{}", table(&tools)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&tools).unwrap_or_default()),
    }
    for missing in &tools.lacking {
        eprintln!("missing: {missing}");
    }
    Ok(())
}

fn table(tools: &Tools) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(["tool", "version", "origin"]);
    let mut row = |name: &str, version: &str, origin: String| {
        table.add_row([name, version, &origin]);
    };
    let python = &tools.interpreter;
    row("python", &python.version, python.path.display().to_string());
    for tool in [
        Some(&tools.uv),
        Some(&tools.bwrap),
        tools.pasta.as_ref(),
        tools.busybox.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        let Tool {
            name, version, origin, ..
        } = tool;
        row(name, version, shown(origin));
    }
    if let Some(nix) = &tools.nix {
        row("nix", &nix.version, shown(&nix.origin));
    }
    table
}

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Found { path } => path.display().to_string(),
        Origin::Brought {
            package,
            version,
            sha256,
        } => format!("brought: {package} {version}, {}", &sha256[..12]),
    }
}
