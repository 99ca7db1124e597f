//! `cargo xtask size --prove`: replays a slice of the trace on real volumes.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_bench::{ProofOptions, ProofPlace};
use hybrid_cache_sizing::proof::{Ended, Proof};
use hybrid_cache_sizing::{Source, Targets};
use hybrid_cache_tools::{Checkout, Error, Progress, Result};

use crate::exit::Exit;
use crate::flags::{self, DriverName};
use crate::progress::Reporter;
use crate::runtime;

/// Where the command line wants the replay.
fn place(flags: &flags::Size) -> ProofPlace {
    if flags.cluster.context.is_some() || matches!(flags.driver, Some(DriverName::Kube | DriverName::Argo)) {
        return ProofPlace::KindNode(flags.cluster.choice());
    }
    ProofPlace::Machine(flags::Local::default().options())
}

/// Refuses if no file system can be made.
///
/// # Errors
/// This process may not mount, or a program is missing; the message says what still works.
pub fn can_prove(flags: &flags::Size) -> Result<()> {
    if flags.driver == Some(DriverName::Argo) {
        return Err(Error::input(
            "--prove has no replay as Workflows of Argo\nhint: `--driver kube` replays in the same pods, as Jobs",
        ));
    }
    hybrid_cache_bench::can_prove(&place(flags))
}

/// Replays a slice.
///
/// # Errors
/// A tool is missing, or the replay itself does not work. A prediction that does not hold is in the result.
pub fn run(checkout: &Checkout, flags: &flags::Size, source: &dyn Source, targets: Targets) -> Result<Proof> {
    let options = ProofOptions {
        place: place(flags),
        targets,
        environments: flags.prove_environments,
        requests: flags.prove_requests,
        limit: flags
            .prove_limit
            .map(|limit_us| Duration::from_secs_f64(limit_us / 1e6)),
        most_bytes: flags.prove_bytes,
        claim_bytes: flags.prove_size,
    };
    let shown = Arc::new(Reporter::new());
    let progress: Arc<dyn Progress> = shown.clone();
    let runtime = runtime::threads(Some(2))?;
    let proof = runtime.block_on(hybrid_cache_bench::prove(checkout, source, &options, &progress));
    shown.finish();
    proof
}

/// How the command ends.
pub fn exit(proof: &Proof) -> Exit {
    if !proof.holds() {
        eprintln!("a prediction does not hold\nhint: the report has predicted and observed figures side by side");
        return Exit::Gate;
    }
    if proof.ended == Some(Ended::Interrupted) {
        return Exit::Interrupted;
    }
    if proof.judged() == 0 {
        eprintln!("nothing was replayed far enough to judge it\nhint: give more time with --prove-limit");
        return Exit::Failed;
    }
    Exit::Good
}
