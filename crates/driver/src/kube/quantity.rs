//! Kubernetes' quantities (`500m`, `1Gi`), as far as this driver compares them.

/// The value of a quantity in its base unit; `None` if the text is not a quantity.
pub fn value(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 14] = [
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
    ];
    let text = text.trim();
    let suffix = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix));
    let (number, factor) = match suffix {
        Some((suffix, factor)) => (text.strip_suffix(suffix)?, *factor),
        None => (text, 1.0),
    };
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

/// CPUs of a limit, rounded up, at least one: as many threads can run at one time. `None` if it is not a quantity.
pub fn whole_cpus(limit: &str) -> Option<u32> {
    let cpus = value(limit)?.ceil().max(1.0);
    // Exact: a whole number, and no node has four billion CPUs.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and u32::MAX by the line above it"
    )]
    (cpus <= f64::from(u32::MAX)).then_some(cpus as u32)
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
    fn threads_are_the_cpu_limit_rounded_up() {
        assert_eq!(whole_cpus("100m"), Some(1));
        assert_eq!(whole_cpus("1"), Some(1));
        assert_eq!(whole_cpus("1500m"), Some(2));
        assert_eq!(whole_cpus("x"), None);
    }
}
