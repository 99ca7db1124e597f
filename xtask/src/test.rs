//! `cargo xtask test`: runs every test of the workspace, with the tools that the end-to-end tests need.

mod cluster;
pub mod watch;

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_cluster::write_private;
use hybrid_cache_tools::{ErrorClass, ErrorContext, Machine, Progress, Result, failed};
use xshell::{Shell, cmd};

use cluster::ClusterOfTests;

use crate::exit::Exit;
use crate::progress::Reporter;
use crate::{flags, runtime};

/// Runs the command.
pub fn run(flags: &flags::Test) -> Result<Exit> {
    let checkout = crate::checkout()?;
    let shown = Arc::new(Reporter::new());
    let reporter: Arc<dyn Progress> = shown.clone();
    let shell = Shell::new()?;
    shell.change_dir(checkout.root());
    // A test that needs a missing tool reports itself as skipped.
    match Machine::provision(&checkout, &flags::Local::default().options(None), reporter.as_ref()) {
        Ok(mut machine) => {
            // A test of the trace turns recording on itself.
            machine.config.trace_bytes = 0;
            let file = checkout.path("target/local-config.json");
            write_private(&file, &serde_json::to_vec_pretty(&machine.config)?).context("writing the tests' config")?;
            shell.set_var("HYBRID_CACHE_LOCAL_CONFIG", &file);
            shell.set_var("HYBRID_CACHE_UV", &machine.config.python_tools.uv);
            for missing in &machine.lacking {
                eprintln!("skipped: tests of system packages: {missing}");
            }
        }
        Err(error) => eprintln!("skipped: end-to-end tests: {error:#}"),
    }
    let began = Instant::now();
    let cluster = match flags.no_cluster {
        true => Err(failed!("--no-cluster leaves them out")),
        false => ClusterOfTests::make(&checkout, flags.keep_cluster, &reporter),
    };
    match &cluster {
        Ok(cluster) => cluster
            .variables
            .iter()
            .for_each(|(name, value)| shell.set_var(name, value)),
        Err(error) if error.class() == ErrorClass::Interrupted => return cluster.map(|_| Exit::Interrupted),
        Err(error) => eprintln!("skipped: tests on a cluster: {error:#}"),
    }
    shown.finish();
    told_time("making the cluster of the tests", began);
    let began = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (filter, runner) = (flags.filter.iter(), runner(flags.limit)?);
    // Show the output of passing tests: a skipped test says there that it was skipped.
    let tested = cmd!(
        shell,
        "{cargo} test --workspace --all-features --locked --config {runner} {filter...} -- --show-output"
    )
    .run();
    told_time("building and running the tests", began);
    if let Ok(cluster) = cluster {
        let began = Instant::now();
        // Ctrl-C has ended the tests; delete the cluster anyway.
        let interrupted = runtime::was_interrupted();
        cluster.take_down(&checkout, &reporter)?;
        shown.finish();
        told_time("deleting the cluster of the tests", began);
        if interrupted {
            return Ok(Exit::Interrupted);
        }
    }
    tested.context("testing")?;
    Ok(Exit::Good)
}

fn told_time(what: &str, since: Instant) {
    eprintln!("time: {what}: {:.1} s", since.elapsed().as_secs_f64());
}

/// Cargo's setting that runs each test program through [`watch`]. It is passed as an argument, so that it does not reach a cargo
/// that a test starts.
fn runner(limit: u64) -> Result<String> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let words = [program, "watch-test", "--seconds", &limit.to_string()];
    // A list of strings is the same in JSON and in TOML.
    Ok(format!("target.'cfg(all())'.runner={}", serde_json::to_string(&words)?))
}
