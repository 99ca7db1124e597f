//! `cargo xtask size`: how large the volumes must be, from a trace.

mod prove;

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_bench::{FleetOptions, compare_fleet};
use hybrid_cache_cluster::trace::{self, Found, TraceFile, describe_faults};
use hybrid_cache_report::sizing::{Resize, SizingReport, patch};
use hybrid_cache_sizing::recommend::Recommendation;
use hybrid_cache_sizing::synthetic::{self, PRESETS};
use hybrid_cache_sizing::{Source, Targets, recommend};
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Result};

use crate::exit::Exit;
use crate::flags;

/// What has the sizes of the volumes, below the checkout.
const MANIFESTS: [&str; 2] = ["manifests/pvc-cache-volumes.yaml", "manifests/pv-cache-volumes.yaml"];

/// Runs the command.
///
/// # Errors
/// There is no such trace, or the report cannot be written.
pub fn run(flags: &flags::Size) -> Result<Exit> {
    if flags.prove {
        prove::can_prove(flags)?;
    } else if flags.driver.is_some() && (flags.trace.is_some() || flags.synthetic.is_some()) {
        return Err(Error::input(
            "--driver names whose recorded requests are used, and --trace or --synthetic names others\nhint: with --prove, \
             --driver also says where they are replayed",
        ));
    }
    let checkout = crate::checkout()?;
    let report = make(&checkout, flags)?;
    let out = flags.out.clone().unwrap_or_else(|| checkout.path("reports/size"));
    write(&out, &checkout, &report)?;
    if flags.json {
        println!("{}", report.json()?);
    } else if flags.markdown {
        print!("{}", report.markdown());
    } else {
        print!("{}", report.terminal());
        println!("\npage: {}", out.join("size.html").display());
        println!("patch: git apply {}", out.join("size.patch").display());
    }
    if let Some(proof) = &report.proof {
        // Whether the targets are reached is another question, which the report answers.
        return Ok(prove::exit(proof));
    }
    if report.recommendation.is_reached() {
        return Ok(Exit::Good);
    }
    eprintln!("no size reaches the targets\nhint: the report says why, and what the best is");
    Ok(Exit::Gate)
}

fn make(checkout: &Checkout, flags: &flags::Size) -> Result<SizingReport> {
    let targets = Targets {
        hit: flags.hit,
        p95_us: flags.p95,
        growth_days: flags.growth,
        headroom: flags.headroom,
        file_system: flags.file_system.into(),
    };
    let find = |source: &dyn Source| -> Result<Recommendation> {
        recommend(source, &targets).map_err(|error| Error::input(error.to_string()))
    };
    let with_proof = |mut report: SizingReport, source: &dyn Source| -> Result<SizingReport> {
        if let Some(nodes) = flags.fleet {
            let fleet = FleetOptions {
                nodes,
                claim_bytes: flags.fleet_size,
                tasks_per_hour: flags.fleet_rate,
            };
            report.fleet = compare_fleet(&fleet, source, &report.recommendation)?;
        }
        if flags.prove {
            report.proof = Some(prove::run(checkout, flags, source, targets)?);
        }
        Ok(report)
    };
    if let Some(path) = &flags.trace {
        let trace = TraceFile::open(path)?;
        let report = SizingReport::new(path.display().to_string(), false, trace.warnings(), find(&trace)?);
        return with_proof(report, &trace);
    }
    let kind = flags.driver.map(Into::into);
    if flags.synthetic.is_none()
        && let Some(Found { folder, recorded }) =
            trace::find(kind, flags.cache_dir.as_deref(), &flags.cluster.choice())?
    {
        eprintln!(
            "no --trace was given: using the requests recorded in {}",
            folder.display()
        );
        let origin = format!("requests recorded in {}", folder.display());
        let report = SizingReport::new(origin, false, describe_faults(recorded.faults()), find(&recorded)?);
        return with_proof(report, &recorded);
    }
    let name = flags.synthetic.as_deref().unwrap_or("team");
    let Some((_, what, profile)) = PRESETS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
        let message = format!(
            "there is no synthetic trace {name:?}\nhint: use one of {}",
            names.join(", ")
        );
        return Err(Error::input(message));
    };
    if flags.synthetic.is_none() {
        eprintln!("no --trace was given and no requests are recorded: using the synthetic trace `{name}`");
    }
    let mut profile = *profile;
    profile.seed = flags.seed.unwrap_or(profile.seed);
    let recorded = synthetic::generate(&profile);
    let origin = format!("synthetic trace {name} ({what})");
    let report = SizingReport::new(origin, true, Vec::new(), find(&recorded)?);
    with_proof(report, &recorded)
}

fn write(out: &Path, checkout: &Checkout, report: &SizingReport) -> Result<()> {
    let mut patches = String::new();
    let volumes = report.recommendation.volumes.iter();
    let sizes: Vec<Resize> = volumes
        .map(|advice| Resize {
            volume: advice.volume,
            gib: advice.claim.gib,
        })
        .collect();
    for manifest in MANIFESTS {
        let text = fs::read_to_string(checkout.path(manifest)).with_context(|| format!("reading {manifest}"))?;
        let patched = patch(manifest, &text, &sizes);
        patches.push_str(&patched.map_err(|error| Error::other(ErrorClass::Failed, error))?);
    }
    fs::create_dir_all(out).with_context(|| format!("making the folder {}", out.display()))?;
    for (name, text) in [
        ("size.html", report.html()),
        ("size.md", report.markdown()),
        ("size.json", report.json()? + "\n"),
        ("size.patch", patches),
    ] {
        let path: PathBuf = out.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
