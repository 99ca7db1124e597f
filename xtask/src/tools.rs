//! `cargo xtask tools` and `cargo xtask debnix`: list the tools of a run with their origin, and maintain the pins of Debian
//! packages.

use hybrid_cache_tools::{Origin, Progress, Result, Silent, Tool, Tools, debnix, facts, provision, uv_python};

use crate::checkout;
use crate::exit::Exit;
use crate::flags;
use crate::progress::Reporter;
use crate::results;

/// `cargo xtask tools`
pub fn list(flags: &flags::Tools) -> Result<Exit> {
    let reporter = Reporter::new();
    let progress: &dyn Progress = if flags.json { &Silent } else { &reporter };
    let checkout = checkout()?;
    // A remembered answer may be what a person wants to get rid of.
    facts::forget(&checkout);
    let mut tools = provision(checkout.root(), &flags.choice.into(), progress)?;
    uv_python::provide(&mut tools, &flags.python_version, progress)?;
    reporter.finish();
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&tools)?);
    } else {
        println!("{}", table(&tools));
    }
    for missing in &tools.lacking {
        eprintln!("missing: {missing}");
    }
    Ok(Exit::Good)
}

/// `cargo xtask debnix`
pub fn maintain_debnix(flags: &flags::Debnix) -> Result<Exit> {
    match flags.command {
        flags::DebnixCommand::Pin => debnix::pin(checkout()?.root(), &Reporter::new())?,
    }
    Ok(Exit::Good)
}

fn table(tools: &Tools) -> comfy_table::Table {
    let mut table = results::unwrapped_table();
    table.set_header(["tool", "version", "origin"]);
    let mut row = |name: &str, version: &str, origin: String| {
        table.add_row([name, version, &origin]);
    };
    for python in std::iter::once(&tools.interpreter).chain(&tools.other_interpreters) {
        row("python", &python.version, python.path.display().to_string());
    }
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
