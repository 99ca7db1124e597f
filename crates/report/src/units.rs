//! Formats values for people: durations to three significant digits, bytes in binary units.

use crate::stats::Interval;

const DURATION_UNITS: [(&str, f64); 3] = [("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const BYTE_UNITS: [(&str, f64); 4] = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)];

/// A duration in microseconds as `85.3 ms`: three significant digits in the largest unit that keeps it at 1 or more.
pub fn duration(us: f64) -> String {
    let (unit, scale) = duration_unit(us);
    if us == 0.0 {
        return "0".to_owned();
    }
    format!("{} {unit}", digits(us / scale))
}

/// A difference in microseconds with its sign: `+2.31 ms`, `−410 µs`.
pub fn difference(us: f64) -> String {
    let sign = match us {
        us if us < 0.0 => "−",
        us if us > 0.0 => "+",
        _ => "",
    };
    format!("{sign}{}", duration(us.abs()))
}

/// A range in microseconds as `1.81–1.99 s`: the unit once if both ends share it.
pub fn duration_range(low_us: f64, high_us: f64) -> String {
    let ((low_unit, scale), (high_unit, _)) = (duration_unit(low_us), duration_unit(high_us));
    if low_unit == high_unit {
        return format!("{}–{} {high_unit}", digits(low_us / scale), digits(high_us / scale));
    }
    format!("{} – {}", duration(low_us), duration(high_us))
}

/// An interval of durations in microseconds.
pub fn interval(interval: &Interval) -> String {
    duration_range(interval.low, interval.high)
}

/// A claimed range in seconds, as it was claimed: `10–60 s`.
pub fn seconds_range(min_s: f64, max_s: f64) -> String {
    format!("{min_s}–{max_s} s")
}

/// A quotient as `19.1×`.
pub fn ratio(value: f64) -> String {
    format!("{}×", digits(value))
}

/// The smallest effect that a run could have shown, a factor of at least 1, as `±4.2 %` or `2.10×`.
pub fn effect(factor: f64) -> String {
    match factor {
        factor if factor >= 2.0 => ratio(factor),
        factor => format!("±{}", share(factor - 1.0)),
    }
}

/// A bandwidth as `100 Mbit/s`.
pub fn bits_per_s(bits: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1000, "kbit/s")];
    let (scale, unit) = UNITS
        .into_iter()
        .find(|(scale, _)| bits >= *scale)
        .unwrap_or((1, "bit/s"));
    format!("{} {unit}", (bits as f64 / scale as f64 * 1000.0).round() / 1000.0)
}

/// A share of 1 as `12.3 %`.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent == 0.0 => "0 %".to_owned(),
        _ if percent < 0.1 => "<0.1 %".to_owned(),
        _ if percent < 99.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// A level of confidence as `95 %`, rounded down so that nothing is promised that is not kept.
pub fn level(level: f64) -> String {
    format!("{:.0} %", (level * 100.0).floor())
}

/// A number of bytes as `1.24 GiB`: three significant digits.
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    // Rounding comes first, so that 1023.9 KiB is not written as "1024 KiB".
    let unit = BYTE_UNITS
        .iter()
        .rev()
        .find(|(_, scale)| value / scale >= 0.9995)
        .unwrap_or(&BYTE_UNITS[0]);
    match unit.0 {
        "B" => format!("{bytes} B"),
        name => format!("{} {name}", digits(value / unit.1)),
    }
}

/// A count with its thousands apart: `13 012`, by a no-break space.
pub fn count(count: u64) -> String {
    let plain = count.to_string();
    let groups: Vec<&str> = plain
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| str::from_utf8(group).ok())
        .collect();
    groups.join("\u{a0}")
}

/// A scenario's name as a title: `python-only` becomes `Python only`.
pub fn title(name: &str) -> String {
    let spaced = name.replace('-', " ");
    let mut letters = spaced.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn duration_unit(us: f64) -> (&'static str, f64) {
    // 999.6 µs rounds to 1000 µs at three digits and is written as 1.00 ms instead.
    *DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, scale)| us / scale >= 0.9995)
        .unwrap_or(&DURATION_UNITS[0])
}

fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_across_units() {
        let written = [
            0.0,
            0.5,
            7.0,
            85.3,
            999.4,
            999.6,
            85_300.0,
            999_400.0,
            1_904_000.0,
            75_000_000.0,
            123e6,
        ];
        let expected = [
            "0", "0.50 µs", "7.00 µs", "85.3 µs", "999 µs", "1.00 ms", "85.3 ms", "999 ms", "1.90 s", "75.0 s", "123 s",
        ];
        assert_eq!(written.map(duration), expected);
    }

    #[test]
    fn differences_carry_their_sign() {
        assert_eq!([2310.0, -410.0, 0.0].map(difference), ["+2.31 ms", "−410 µs", "0"]);
    }

    #[test]
    fn ranges_name_a_shared_unit_once() {
        assert_eq!(duration_range(1.81e6, 1.99e6), "1.81–1.99 s");
        assert_eq!(duration_range(900e3, 1.1e6), "900 ms – 1.10 s");
        assert_eq!(seconds_range(10.0, 60.0), "10–60 s");
        assert_eq!(seconds_range(0.5, 2.0), "0.5–2 s");
    }

    #[test]
    fn bytes_shares_counts_and_titles() {
        assert_eq!(
            [0, 1023, 1024, 61_865_984, 1_331_439_862].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "59.0 MiB", "1.24 GiB"]
        );
        assert_eq!(
            [0.0, 0.0004, 0.123, 1.0].map(share),
            ["0 %", "<0.1 %", "12.3 %", "100 %"]
        );
        assert_eq!(count(1_234_567), "1\u{a0}234\u{a0}567");
        assert_eq!(count(12), "12");
        assert_eq!(title("python-only"), "Python only");
        assert_eq!(level(0.9375), "93 %");
    }
}
