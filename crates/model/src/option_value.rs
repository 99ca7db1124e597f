//! Values of options as a person writes them: shares, times and sizes.

use crate::quantity;

/// Least size of a file system for `--prove`.
const LEAST_PROOF_BYTES: u64 = 64 << 20;

/// Most tasks a second.
const MOST_PER_S: f64 = 10_000.0;

/// A number of at least 0.
fn number(text: &str) -> Result<f64, String> {
    let parsed = text.trim().parse::<f64>();
    parsed
        .ok()
        .filter(|value| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a number of at least 0"))
}

/// A share, such as `95%` or `0.95`.
fn parse_share(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%') {
        Some(percent) => Ok(number(percent)? / 100.0),
        None => number(text),
    }
}

/// A share from 0 to 1.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let share = parse_share(text)?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("give a share from 0 to 1, such as 95% or 0.95".to_owned())
    }
}

/// A share of up to 10, such as `20%`.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_headroom(text: &str) -> Result<f64, String> {
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

/// Half the width of an interval, as a share of its value.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_width(text: &str) -> Result<f64, String> {
    match parse_share(text) {
        Ok(share) if (0.001..=0.5).contains(&share) => Ok(share),
        _ => Err("give the largest half-width of an interval, from 0.1% to 50%, such as 2%".to_owned()),
    }
}

/// A size of a file system that a trace can be replayed on, in bytes.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    match quantity::bytes(text) {
        Some(bytes) if bytes >= LEAST_PROOF_BYTES => Ok(bytes),
        Some(_) => Err("no file system of less than 64Mi is replayed on".to_owned()),
        None => Err("write it as Kubernetes does: 2Gi, 512Mi or a number of bytes".to_owned()),
    }
}

/// A time with its unit, in microseconds.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_us(text: &str) -> Result<f64, String> {
    with_unit(text, &[("ms", 1e3), ("s", 1e6), ("min", 60e6)], "5s or 800ms")
}

/// A time of up to ten years with its unit, in days.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_days(text: &str) -> Result<f64, String> {
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

/// Tasks a second: more than none.
///
/// # Errors
/// It is not one; the message says how to write it.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(per_s) if (0.001..=MOST_PER_S).contains(&per_s) => Ok(per_s),
        _ => Err(format!("give tasks a second from 0.001 to {MOST_PER_S}, such as 10")),
    }
}

/// A share of `--gate`: at least 0, and a number, or the gate could never fail.
///
/// # Errors
/// It is none.
pub fn parse_gate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share.is_finite() && share >= 0.0 => Ok(share),
        _ => Err("give a share of at least 0, such as 0.1 for 10 %".to_owned()),
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
        assert_eq!(
            (parse_width("2%"), parse_width("0.1%"), parse_width("0.5")),
            (Ok(0.02), Ok(0.001), Ok(0.5))
        );
        for wrong in ["", "0", "0%", "nan", "NaN%", "inf", "-2%", "200%", "2", "x"] {
            let reported = parse_width(wrong).unwrap_err();
            assert!(reported.ends_with("such as 2%"), "{wrong}: {reported}");
        }
        for wrong in ["", "5", "5 parsecs", "-5s", "s"] {
            assert!(parse_us(wrong).is_err(), "{wrong}");
        }
        assert!(parse_days("11y").is_err() && parse_days("12").is_err() && parse_headroom("20").is_err());
    }
}
