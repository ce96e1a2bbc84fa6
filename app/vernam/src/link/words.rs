//! Numbers as people read them.

/// Bits a second: `431 b/s`, `12.4 kb/s`, `1.20 Mb/s`.
pub(super) fn rate(bits_per_second: f64) -> String {
    match bits_per_second {
        bps if bps < 1e3 => format!("{bps:.0} b/s"),
        bps if bps < 1e6 => format!("{:.1} kb/s", bps / 1e3),
        bps => format!("{:.2} Mb/s", bps / 1e6),
    }
}

/// A count of three digits: `312`, `4.31k`, `12.4M`, `1.20G`.
pub(super) fn short(count: u64) -> String {
    let number = super::events::float(count);
    let scaled = |number: f64, unit: &str| {
        let digits = match number {
            n if n < 9.995 => 2,
            n if n < 99.95 => 1,
            _ => 0,
        };
        format!("{number:.digits$}{unit}")
    };
    match number {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 999.5e3 => scaled(n / 1e3, "k"),
        n if n < 999.5e6 => scaled(n / 1e6, "M"),
        n if n < 999.5e9 => scaled(n / 1e9, "G"),
        n => scaled(n / 1e12, "T"),
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A share that nobody may know.
pub(super) fn percent_if_known(share: Option<f64>) -> String {
    share.map_or_else(|| "\u{2014}".to_owned(), percent)
}

/// So many blocks.
pub(super) fn blocks(count: u64) -> String {
    if count == 1 { "1 block".to_owned() } else { format!("{count} blocks") }
}

/// A number at an axis: no digits that say nothing.
pub(super) fn axis(number: f64) -> String {
    format!("{}", (number * 1e6).round() / 1e6)
}

/// Virtual time: `0:07.5`, `12:30`, `3:05:00`.
pub(super) fn time(seconds: f64) -> String {
    let tenths = super::events::count((seconds * 10.0).floor());
    let (hours, minutes, rest) = (tenths / 36_000, tenths / 600 % 60, tenths % 600);
    match (hours, minutes) {
        (0, 0..=9) => format!("{minutes}:{:02}.{}", rest / 10, rest % 10),
        (0, _) => format!("{minutes}:{:02}", rest / 10),
        _ => format!("{hours}:{minutes:02}:{:02}", rest / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let counts =
            [(0, "0"), (999, "999"), (1_000, "1.00k"), (43_210, "43.2k"), (999_600, "1.00M"), (7_654_321, "7.65M")];
        for (count, text) in counts {
            assert_eq!(short(count), text);
        }
        assert_eq!([rate(430.6), rate(12_440.0), rate(1.2e6)], ["431 b/s", "12.4 kb/s", "1.20 Mb/s"]);
        assert_eq!([percent_if_known(Some(0.0196)), percent_if_known(None)], ["1.96 %", "\u{2014}"]);
        assert_eq!([blocks(0), blocks(1), blocks(2)], ["0 blocks", "1 block", "2 blocks"]);
        assert_eq!([time(7.56), time(750.0), time(11_100.0)], ["0:07.5", "12:30", "3:05:00"]);
    }
}
