//! Tools in a folder of their own, brought for one run from where a fresh checkout brings them.
//!
//! What a machine has before that is not brought: Python with its pip, the C library, and tools in PATH. The runner is copied, because
//! compiling it is part of installing hybrid-cache, as the image of a cluster has it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hybrid_cache_model::level::ToolsSeen;
use hybrid_cache_tools::{Checkout, ErrorContext, Machine, MachineOptions, Result, Silent};

use crate::machine::micros;

/// Where tools come from.
#[derive(Clone)]
pub struct ToolSource {
    /// The checkout with the pins.
    pub checkout: Checkout,
    /// What was chosen for tasks.
    pub options: MachineOptions,
    /// The runner that was built.
    pub runner: PathBuf,
}

/// Files of the checkout that bringing tools reads.
const PINS: [&str; 2] = ["images/tools.toml", "images/debnix"];

impl ToolSource {
    /// Brings all tools into an empty folder. Blocks for as long as the downloads take.
    ///
    /// # Errors
    /// A tool that every run needs is not available, or the folder cannot be written.
    pub fn bring(&self, folder: &Path) -> Result<(Machine, ToolsSeen)> {
        let root = folder.join("checkout");
        std::fs::create_dir_all(root.join("bench-scenarios"))?;
        for pins in PINS {
            copy(&self.checkout.path(pins), &root.join(pins))?;
        }
        let checkout = Checkout::open(&root)?;
        let began = Instant::now();
        let runner = folder.join("runner");
        copy(&self.runner, &runner)?;
        let options = MachineOptions {
            // What is remembered of these tools goes with them.
            cache_dir: Some(folder.join("root")),
            ..self.options.clone()
        };
        let machine = Machine::bring(&checkout, &options, runner, &Silent)?;
        let bring_us = micros(began.elapsed());
        let of = |origin: &str| {
            let own = machine.tools.iter().filter(|tool| tool.origin == origin);
            own.map(|tool| format!("{} {}", tool.name, tool.version)).collect()
        };
        let seen = ToolsSeen {
            bring_us,
            bytes: bytes_below(&root.join(".tools")),
            brought: of("brought"),
            found: of("found"),
        };
        Ok((machine, seen))
    }
}

/// Copies a file, or a folder with its files and their permissions.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("copying {} to {}", from.display(), to.display());
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(failed)?;
    }
    if !from.is_dir() {
        return std::fs::copy(from, to).map(drop).with_context(failed);
    }
    std::fs::create_dir_all(to).with_context(failed)?;
    for entry in std::fs::read_dir(from).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        copy(&path, &to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn bytes_below(folder: &Path) -> u64 {
    let files = super::page_cache::files_below(&[folder.to_owned()], &|_| false);
    let sizes = files.iter().filter_map(|file| file.metadata().ok());
    sizes.map(|data| data.len()).sum()
}
