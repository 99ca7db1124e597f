//! Computes how large the volumes must be: reads a trace, computes the sizes, and adds the results of a fleet and a replay.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hybrid_cache_cluster::trace::{Found, TraceFile, describe_faults, find};
use hybrid_cache_cluster::{BackendKind, ClusterChoice};
use hybrid_cache_report::sizing::{Resize, SizingReport, patch};
use hybrid_cache_sizing::synthetic::{self, PRESETS};
use hybrid_cache_sizing::{Source, Targets, recommend};
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Progress, Result};

use crate::fleet::{FleetOptions, compare_fleet};
use crate::proof::{ProofOptions, prove};

/// The files with the sizes of the volumes, in the checkout.
const MANIFESTS: [&str; 2] = ["manifests/pvc-cache-volumes.yaml", "manifests/pv-cache-volumes.yaml"];

/// The source of the requests.
#[derive(Clone, Debug)]
pub enum TraceOrigin {
    /// A file.
    File(PathBuf),
    /// A stream: its name, and a function that opens it.
    Stream(&'static str, fn() -> Box<dyn Read>),
    /// A synthetic trace by name, with the seed of its random numbers if it is not the default.
    Synthetic(String, Option<u64>),
    /// The recorded requests of a cluster or of this machine's caches; without a kind, those of the first that has some. If
    /// nothing is recorded, the synthetic trace `team`.
    Recorded {
        /// Which backend; `None` means a cluster, otherwise this machine.
        kind: Option<BackendKind>,
        /// The cache folder of this machine; `None` means the default.
        cache_dir: Option<PathBuf>,
        /// Which cluster to use.
        cluster: ClusterChoice,
        /// The seed of the synthetic trace.
        seed: Option<u64>,
    },
}

/// Options of the computation.
#[derive(Clone, Debug)]
pub struct SizingOptions {
    /// The requests.
    pub origin: TraceOrigin,
    /// Targets of the sizes.
    pub targets: Targets,
    /// A fleet to simulate; `None` simulates none.
    pub fleet: Option<FleetOptions>,
    /// A slice to replay; `None` replays none.
    pub proof: Option<ProofOptions>,
}

/// Computes the sizes.
///
/// # Errors
/// There is no such trace, it cannot be read, or a replay does not work.
pub async fn size(checkout: &Checkout, options: &SizingOptions, progress: &Arc<dyn Progress>) -> Result<SizingReport> {
    let (source, described) = open(&options.origin, progress.as_ref())?;
    let (name, is_synthetic, warnings) = described;
    let found = recommend(source.as_ref(), &options.targets).map_err(|error| Error::input(error.to_string()))?;
    let mut report = SizingReport::new(name, is_synthetic, warnings, found);
    if let Some(fleet) = &options.fleet {
        report.fleet = compare_fleet(fleet, source.as_ref(), &report.recommendation)?;
    }
    if let Some(proof) = &options.proof {
        report.proof = Some(prove(checkout, source.as_ref(), proof, progress).await?);
    }
    Ok(report)
}

/// The trace with its name, whether it is synthetic, and the warnings about single lines.
type Opened = (Box<dyn Source>, (String, bool, Vec<String>));

fn open(origin: &TraceOrigin, progress: &dyn Progress) -> Result<Opened> {
    let (kind, cache_dir, cluster, seed) = match origin {
        TraceOrigin::File(path) => {
            return Ok(describe(path.display().to_string(), TraceFile::open(path)?));
        }
        TraceOrigin::Stream(name, open) => {
            return Ok(describe((*name).to_owned(), TraceFile::spool(name, open())?));
        }
        TraceOrigin::Synthetic(name, seed) => return generate(name, *seed),
        TraceOrigin::Recorded {
            kind,
            cache_dir,
            cluster,
            seed,
        } => (kind, cache_dir, cluster, seed),
    };
    let Some(Found { folder, recorded }) = find(*kind, cache_dir.as_deref(), cluster)? else {
        progress.line("no --trace was given and no requests are recorded: using the synthetic trace `team`");
        return generate("team", *seed);
    };
    let place = folder.display();
    progress.line(&format!("no --trace was given: using the requests recorded in {place}"));
    let described = (
        format!("requests recorded in {place}"),
        false,
        describe_faults(recorded.faults()),
    );
    Ok((Box::new(recorded), described))
}

fn describe(name: String, trace: TraceFile) -> Opened {
    let described = (name, false, trace.warnings());
    (Box::new(trace), described)
}

fn generate(name: &str, seed: Option<u64>) -> Result<Opened> {
    let Some((_, what, profile)) = PRESETS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
        let message = format!(
            "there is no synthetic trace {name:?}\nhint: use one of {}",
            names.join(", ")
        );
        return Err(Error::input(message));
    };
    let mut profile = *profile;
    profile.seed = seed.unwrap_or(profile.seed);
    let described = (format!("synthetic trace {name} ({what})"), true, Vec::new());
    Ok((Box::new(synthetic::generate(&profile)), described))
}

/// Writes the page, the Markdown, the JSON and the patch of the checkout's manifests.
///
/// # Errors
/// A manifest cannot be read, or the folder cannot be written.
pub fn write_sizing(out: &Path, checkout: &Checkout, report: &SizingReport) -> Result<()> {
    let failed = |error| Error::other(ErrorClass::Failed, error);
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
        patches.push_str(&patch(manifest, &text, &sizes).map_err(failed)?);
    }
    fs::create_dir_all(out).with_context(|| format!("making the folder {}", out.display()))?;
    for (name, text) in [
        ("size.html", report.html()),
        ("size.md", report.markdown()),
        ("size.json", report.json()? + "\n"),
        ("size.patch", patches),
    ] {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
