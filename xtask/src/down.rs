//! `cargo xtask down`

use hybrid_cache_cluster::down;
use hybrid_cache_tools::Result;

use crate::exit::Exit;
use crate::progress::Reporter;
use crate::{checkout, flags, runtime};

/// Runs the command.
pub fn run(flags: &flags::Down) -> Result<Exit> {
    let checkout = checkout()?;
    let delete = async {
        let reporter = Reporter::new();
        down(&checkout, &flags.options(), &reporter).await?;
        reporter.finish();
        Ok(Exit::Good)
    };
    runtime::block_on(delete, "`cargo xtask down` goes on from there")
}
