//! Formats durations, sizes and times for people.

use jiff::Timestamp;
use maud::{Markup, html};

/// `850 µs`, `104 ms`, `1.59 s`, `12 min 5 s`.
pub fn duration(us: u64) -> String {
    let value = us as f64;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", value / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..10_000_000 => format!("{:.2} s", value / 1e6),
        10_000_000..120_000_000 => format!("{:.1} s", value / 1e6),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// `512 B`, `1.5 KiB`, `12 MiB`, `3.1 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago something was, with the time itself as a tooltip.
pub fn ago(at: &str, now_us: i64) -> Markup {
    let at_us = at.parse::<Timestamp>().map_or(now_us, Timestamp::as_microsecond);
    let seconds = (now_us - at_us) / 1_000_000;
    let text = match seconds {
        // A clock that was set back can place the past in the future.
        ..0 => clock(at),
        0..5 => "just now".to_owned(),
        5..100 => format!("{seconds} s ago"),
        100..6_000 => format!("{} min ago", seconds / 60),
        6_000..129_600 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    };
    html! { time datetime=(at) title=(clock(at)) { (text) } }
}

/// `2026-11-22 18:24:10 UTC`.
pub fn clock(at: &str) -> String {
    match at.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let shown = [850, 7_483, 104_000, 1_590_000, 12_340_000, 725_000_000].map(duration);
        assert_eq!(shown, ["850 µs", "7.5 ms", "104 ms", "1.59 s", "12.3 s", "12 min 5 s"]);
        let shown = [0, 1023, 1536, 12 << 20, 3_328_599_654].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "12 MiB", "3.1 GiB"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_past_time_is_shown_roughly_and_exactly() {
        let at = "2026-11-22T18:24:10.5Z";
        let then = at.parse::<Timestamp>().unwrap().as_microsecond();
        let shown = |later_s: i64| ago(at, then + later_s * 1_000_000).into_string();
        assert!(shown(0).contains("just now") && shown(61).contains("61 s ago"));
        assert!(shown(7_200).contains("2 h ago") && shown(-60).contains(">2026-11-22 18:24:10 UTC<"));
        assert!(shown(61).contains("title=\"2026-11-22 18:24:10 UTC\""));
    }
}
