//! `cargo xtask size`: computes from a trace how large the volumes must be.

use std::io::stdin;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_bench::{
    FleetOptions, ProofOptions, ProofPlace, SizingOptions, TraceOrigin, can_prove, size, write_sizing,
};
use hybrid_cache_sizing::Targets;
use hybrid_cache_sizing::proof::{Ended, Proof};
use hybrid_cache_tools::{Error, Progress, Result};

use crate::exit::Exit;
use crate::flags::{self, DriverName};
use crate::progress::Reporter;
use crate::runtime;

/// Runs the command.
pub fn run(flags: &flags::Size) -> Result<Exit> {
    refuse_contradictions(flags)?;
    let options = options(flags);
    if let Some(proof) = &options.proof {
        can_prove(&proof.place)?;
    }
    let checkout = crate::checkout()?;
    let shown = Arc::new(Reporter::new());
    let progress: Arc<dyn Progress> = shown.clone();
    let report = runtime::threads(Some(2))?.block_on(size(&checkout, &options, &progress));
    shown.finish();
    let report = report?;
    let out = flags.out.clone().unwrap_or_else(|| checkout.path("reports/size"));
    write_sizing(&out, &checkout, &report)?;
    if flags.json {
        println!("{}", report.json()?);
    } else if flags.markdown {
        crate::terminal::print_drawn(&report.markdown());
    } else {
        crate::terminal::print_drawn(&report.terminal());
        println!("\npage: {}", out.join("size.html").display());
        println!("patch: git apply {}", out.join("size.patch").display());
    }
    if let Some(proof) = &report.proof {
        // The report says whether the targets are reached; the exit code depends on the replay only.
        return Ok(exit_of(proof));
    }
    if report.recommendation.is_reached() {
        return Ok(Exit::Good);
    }
    eprintln!("no size reaches the targets\nhint: see the report for the reason and the best size");
    Ok(Exit::Gate)
}

fn refuse_contradictions(flags: &flags::Size) -> Result<()> {
    if flags.prove && flags.driver == Some(DriverName::Argo) {
        return Err(Error::input(
            "--prove cannot replay Argo Workflows\nhint: replay in the same pods as Jobs with `--driver kube`",
        ));
    }
    if !flags.prove && flags.driver.is_some() && (flags.trace.is_some() || flags.synthetic.is_some()) {
        return Err(Error::input(
            "--driver selects recorded requests, but --trace or --synthetic selects others\nhint: give only one of them, or add \
             --prove, which replays where --driver says",
        ));
    }
    Ok(())
}

fn options(flags: &flags::Size) -> SizingOptions {
    let targets = Targets {
        hit: flags.hit,
        p95_us: flags.p95,
        growth_days: flags.growth,
        headroom: flags.headroom,
        file_system: flags.file_system.into(),
    };
    let origin = match (&flags.trace, &flags.synthetic) {
        (Some(file), _) if file.as_os_str() == "-" => TraceOrigin::Stream("standard input", || Box::new(stdin())),
        (Some(file), _) => TraceOrigin::File(file.clone()),
        (None, Some(name)) => TraceOrigin::Synthetic(name.clone(), flags.seed),
        (None, None) => TraceOrigin::Recorded {
            kind: flags.driver.map(Into::into),
            cache_dir: flags.cache_dir.clone(),
            cluster: flags.cluster.choice(),
            seed: flags.seed,
        },
    };
    let is_in_cluster =
        flags.cluster.context.is_some() || matches!(flags.driver, Some(DriverName::Kube | DriverName::Argo));
    let place = match is_in_cluster {
        true => ProofPlace::KindNode(flags.cluster.choice()),
        false => ProofPlace::Machine(flags::Local::default().options(None)),
    };
    let proof = ProofOptions {
        place,
        targets,
        environments: flags.prove_environments,
        requests: flags.prove_requests,
        limit: flags
            .prove_limit
            .map(|limit_us| Duration::from_secs_f64(limit_us / 1e6)),
        most_bytes: flags.prove_bytes,
        claim_bytes: flags.prove_size,
    };
    SizingOptions {
        origin,
        targets,
        fleet: flags.fleet.map(|nodes| FleetOptions {
            nodes,
            claim_bytes: flags.fleet_size,
            tasks_per_hour: flags.fleet_rate,
        }),
        proof: flags.prove.then_some(proof),
    }
}

/// The exit code after a replay.
fn exit_of(proof: &Proof) -> Exit {
    if !proof.holds() {
        eprintln!("a prediction does not hold\nhint: compare the predicted and observed figures in the report");
        return Exit::Gate;
    }
    if proof.ended == Some(Ended::Interrupted) {
        return Exit::Interrupted;
    }
    if proof.judged() == 0 {
        eprintln!("too few requests were replayed to judge a prediction\nhint: allow more time with --prove-limit");
        return Exit::Failed;
    }
    Exit::Good
}
