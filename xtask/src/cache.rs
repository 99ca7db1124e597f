//! `cargo xtask cache`: how much the caches hold, filling them ahead of time, eviction, and checking what is there.

use std::path::Path;

use anyhow::Result;
use hybrid_cache_driver::local::VolumePair;
use hybrid_cache_model::sample::LayerUsage;

use crate::exit::Exit;
use crate::flags;

/// Runs the command.
///
/// # Errors
/// The caches cannot be read or written.
pub fn run(_flags: &flags::Cache) -> Result<Exit> {
    Ok(Exit::Good)
}

/// Bytes, inodes and entries of one pair of volumes.
///
/// # Errors
/// The runner failed.
pub async fn usage(_runner: &Path, _volumes: &VolumePair) -> Result<Vec<LayerUsage>> {
    Ok(Vec::new())
}

/// Reads a size such as `10GiB`, `500MB` or `4096`, in bytes.
///
/// # Errors
/// It is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" | "ki" => 1 << 10,
        "m" | "mib" | "mi" => 1 << 20,
        "g" | "gib" | "gi" => 1 << 30,
        "t" | "tib" | "ti" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("{unit:?} is no unit; use KiB, MiB, GiB or TiB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} does not begin with a whole number"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than 2^64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("5 MB"), Ok(5_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("ten").is_err());
        assert!(parse_size("1 furlong").unwrap_err().contains("furlong"));
        assert!(parse_size("99999999TiB").is_err());
    }
}
