//! Amounts as people and Kubernetes write them: `10Gi`, `500m`, `10GiB`, `500MB`.
//!
//! The two notations differ: `M` is 10^6 bytes to Kubernetes and a mebibyte on our command line, so each has its own function.

/// Suffixes of Kubernetes and what they multiply by.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];
/// Longest quantity that a person writes, in bytes.
const MAX_PLAIN_BYTES: usize = 24;
/// From here on, a float no longer holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The value of a Kubernetes quantity in its base unit; `None` if the text is not a quantity.
pub fn value(text: &str) -> Option<f64> {
    let (number, factor) = split(text);
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

/// The same for a text of a person: digits, perhaps with a point, and a suffix. Exponents and signs, of which Kubernetes takes
/// some, are not quantities here.
pub fn plain_value(text: &str) -> Option<f64> {
    let (number, _) = split(text);
    let is_plain = text.len() <= MAX_PLAIN_BYTES
        && number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    value(text).filter(|_| is_plain)
}

/// True if the first quantity is larger than the second; false if one of them is not a quantity.
pub fn is_more(one: &str, other: &str) -> bool {
    matches!((value(one), value(other)), (Some(one), Some(other)) if one > other)
}

/// The smaller of two quantities; the first if one of them is not a quantity.
pub fn smaller<'a>(one: &'a str, other: &'a str) -> &'a str {
    if is_more(one, other) { other } else { one }
}

/// Bytes as a Kubernetes quantity, with the largest suffix that needs no fraction: `1Gi`, `1500Mi`.
pub fn from_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(
        || bytes.to_string(),
        |(unit, suffix)| format!("{}{suffix}", bytes / unit),
    )
}

/// The number of a quantity and what its suffix multiplies by.
fn split(text: &str) -> (&str, f64) {
    let with_suffix = |(suffix, factor): &(&str, f64)| Some((text.strip_suffix(suffix)?, *factor));
    SUFFIXES.iter().find_map(with_suffix).unwrap_or((text, 1.0))
}

/// Bytes of a Kubernetes quantity; `None` if the text is not a quantity, or not a whole number of bytes below 2^53.
pub fn bytes(text: &str) -> Option<u64> {
    let value = value(text).filter(|value| value.fract() == 0.0 && *value < EXACT)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 0 and 2^53"
    )]
    Some(value as u64)
}

/// CPUs of a limit, rounded up, at least one: as many threads can run at one time.
pub fn whole_cpus(limit: &str) -> Option<u32> {
    let cpus = value(limit)?.ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 1 and u32::MAX"
    )]
    (cpus <= f64::from(u32::MAX)).then_some(cpus as u32)
}

/// Reads a size of the command line such as `10GiB`, `500MB` or `4096`, in bytes. Case does not matter.
///
/// # Errors
/// The text is not a size, in words for the person who wrote it.
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
        _ => return Err(format!("{unit:?} is not a unit; use KiB, MiB, GiB or TiB")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} does not begin with a whole number"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is more than 2^64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_all_notations() {
        assert_eq!(value("500m"), Some(0.5));
        assert_eq!(value("1Gi"), Some(1_073_741_824.0));
        assert_eq!(value("2"), Some(2.0));
        assert_eq!(value("1e3"), Some(1000.0));
        assert_eq!(value("1.5G"), Some(1.5e9));
        assert_eq!(value("a"), None);
        assert_eq!(value("-1"), None);
        assert_eq!(value(""), None);
    }

    #[test]
    fn a_person_writes_digits_and_a_suffix() {
        for text in ["500m", "2", "0.5", "1.5Gi", "1E"] {
            assert_eq!(plain_value(text), value(text), "{text}");
        }
        for text in [
            "1e3",
            "+1",
            "-1",
            "inf",
            "NaN",
            ".5",
            "m",
            "",
            " 1",
            "1 Gi",
            &"1".repeat(25),
        ] {
            assert_eq!(plain_value(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_compared_by_what_they_are_worth() {
        assert!(is_more("1025Mi", "1Gi") && !is_more("1024Mi", "1Gi") && is_more("2", "1999m"));
        assert!(!is_more("x", "1") && !is_more("1", "x"));
        assert_eq!((smaller("2", "500m"), smaller("500m", "2")), ("500m", "500m"));
        for (bytes, text) in [
            (1 << 30, "1Gi"),
            (1500 << 20, "1500Mi"),
            (1000, "1000"),
            (3 << 40, "3Ti"),
            (0, "0"),
        ] {
            assert_eq!(from_bytes(bytes), text);
        }
    }

    #[test]
    fn bytes_are_whole() {
        for (text, expected) in [
            ("20Gi", 20 << 30),
            ("512Mi", 512 << 20),
            ("4096", 4096),
            ("1M", 1_000_000),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        for wrong in ["500m", "1.1Ki", "", "10GiB", "1E", "-1Gi", "Gi", " 1Gi"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn threads_are_the_cpu_limit_rounded_up() {
        assert_eq!(whole_cpus("100m"), Some(1));
        assert_eq!(whole_cpus("1"), Some(1));
        assert_eq!(whole_cpus("1500m"), Some(2));
        assert_eq!(whole_cpus("x"), None);
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("5 MB"), Ok(5_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("1 furlong").unwrap_err().contains("furlong"));
        for wrong in ["", "ten", "99999999TiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
