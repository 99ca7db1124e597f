//! Options of `size`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hybrid_cache_model::quantity;
use hybrid_cache_sizing::claim::FileSystem;

use super::place::{Cluster, DriverName};

/// Least size of a file system for `--prove`.
const LEAST_PROOF_BYTES: u64 = 64 << 20;

/// `size`
#[derive(Debug, Args)]
pub struct Size {
    /// Read the trace from FILE; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "seed"])]
    pub trace: Option<PathBuf>,
    /// Use what was recorded of this machine's caches (local) or of a cluster's [default: of the cluster, or else of this machine];
    /// with --prove also where it is replayed: on this machine or in the node of a kind cluster
    #[arg(long, value_enum)]
    pub driver: Option<DriverName>,
    /// Use the requests recorded in the cache folder DIR of this machine [default: hybrid-cache in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The cluster whose recorded requests are used, and in whose node --prove replays
    #[command(flatten)]
    pub cluster: Cluster,
    /// Use a generated trace: team, ci or agents [default if nothing is recorded: team]
    #[arg(long, value_name = "NAME")]
    pub synthetic: Option<String>,
    /// Begin the synthetic trace's random numbers with N, to see how much the sizes depend on chance
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Reach this share of requests that hit, such as 95% or 0.95
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = parse_percent)]
    pub hit: f64,
    /// Keep 95 % of requests waiting at most this long, such as 5s or 800ms [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = parse_us)]
    pub p95: Option<f64>,
    /// Add the growth of TIME in days, weeks, months or years, such as 12m; needs a trace of a week [default: none]
    #[arg(long, value_name = "TIME", value_parser = parse_days)]
    pub growth: Option<f64>,
    /// Keep free space of this share of the used space, such as 20%
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = parse_headroom)]
    pub headroom: f64,
    /// Set the file system of the volumes
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub file_system: FileSystemName,
    /// Replay the busiest part of the trace on real file systems of five sizes, and compare the results with the predictions;
    /// needs root, for loop devices
    #[arg(long)]
    pub prove: bool,
    /// Replay around a claim of this size instead of the one that is recommended for the replayed part
    #[arg(long, value_name = "QUANTITY", value_parser = parse_bytes, requires = "prove")]
    pub prove_size: Option<u64>,
    /// Create file systems of at most QUANTITY; the replayed packages shrink until they fit
    #[arg(long, value_name = "QUANTITY", default_value = "2Gi", value_parser = parse_bytes, requires = "prove")]
    pub prove_bytes: u64,
    /// Replay requests for at most NUM different environments [default: 40; in a cluster 12]
    #[arg(long, value_name = "NUM", requires = "prove")]
    pub prove_environments: Option<usize>,
    /// Replay at most NUM requests [default: 600; in a cluster, where each is a pod, 60]
    #[arg(long, value_name = "NUM", requires = "prove")]
    pub prove_requests: Option<usize>,
    /// End after this time, such as 10min; what was replayed by then is reported [default: 30min; in a cluster 15min]
    #[arg(long, value_name = "TIME", value_parser = parse_us, requires = "prove")]
    pub prove_limit: Option<f64>,
    /// Simulate NUM nodes with a volume each, and show the gain from sending tasks where their environment is
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub fleet: Option<u32>,
    /// Give each node of the fleet a claim of this size [default: the recommended one]
    #[arg(long, value_name = "QUANTITY", value_parser = parse_bytes, requires = "fleet")]
    pub fleet_size: Option<u64>,
    /// Give the fleet NUM tasks an hour [default: as many as the trace has requests]
    #[arg(long, value_name = "NUM", requires = "fleet")]
    pub fleet_rate: Option<u64>,
    /// Write the page, the Markdown, the JSON and the patch into DIR [default: reports/size of the checkout]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print Markdown
    #[arg(long)]
    pub markdown: bool,
}

/// The file system of the volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FileSystemName {
    /// ext4, with as many inodes as mkfs.ext4 makes
    #[default]
    Ext4,
    /// XFS
    Xfs,
}

impl From<FileSystemName> for FileSystem {
    fn from(name: FileSystemName) -> FileSystem {
        match name {
            FileSystemName::Ext4 => FileSystem::Ext4,
            FileSystemName::Xfs => FileSystem::Xfs,
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    let parsed = text.trim().parse::<f64>();
    parsed
        .ok()
        .filter(|value| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a number of at least 0"))
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%') {
        Some(percent) => Ok(number(percent)? / 100.0),
        None => number(text),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let share = parse_share(text)?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("give a share from 0 to 1, such as 95% or 0.95".to_owned())
    }
}

fn parse_headroom(text: &str) -> Result<f64, String> {
    let share = parse_share(text)?;
    if share <= 10.0 {
        Ok(share)
    } else {
        Err("give at most 1000%; for 20 % write 20% or 0.2".to_owned())
    }
}

/// A number and the unit behind it.
fn with_unit(text: &str, units: &[(&str, f64)], example: &str) -> Result<f64, String> {
    let digits = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (value, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim());
    let factor = factor.ok_or_else(|| format!("{text:?} needs a unit, such as {example}"))?;
    Ok(number(value)? * factor.1)
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    match quantity::bytes(text) {
        Some(bytes) if bytes >= LEAST_PROOF_BYTES => Ok(bytes),
        Some(_) => Err("no file system of less than 64Mi is replayed on".to_owned()),
        None => Err("write it as Kubernetes does: 2Gi, 512Mi or a number of bytes".to_owned()),
    }
}

fn parse_us(text: &str) -> Result<f64, String> {
    with_unit(text, &[("ms", 1e3), ("s", 1e6), ("min", 60e6)], "5s or 800ms")
}

fn parse_days(text: &str) -> Result<f64, String> {
    let days = with_unit(
        text,
        &[("d", 1.0), ("w", 7.0), ("m", 30.4375), ("y", 365.25)],
        "12m or 90d",
    )?;
    if days <= 3660.0 {
        Ok(days)
    } else {
        Err(format!("{text:?} is more than ten years"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times_are_read_with_their_units() {
        assert_eq!(parse_percent("95%"), Ok(0.95));
        assert_eq!(parse_percent("0.95"), Ok(0.95));
        assert_eq!(parse_headroom("20%"), Ok(0.2));
        assert_eq!(
            (parse_us("5s"), parse_us("800ms"), parse_us("2min")),
            (Ok(5e6), Ok(8e5), Ok(12e7))
        );
        assert_eq!((parse_days("90d"), parse_days("12m")), (Ok(90.0), Ok(365.25)));
        for wrong in ["", "95", "-1", "nan", "inf", "101%", "x%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "5 parsecs", "-5s", "s"] {
            assert!(parse_us(wrong).is_err(), "{wrong}");
        }
        assert!(parse_days("11y").is_err() && parse_days("12").is_err() && parse_headroom("20").is_err());
    }
}
