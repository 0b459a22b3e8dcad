//! Spans of time as people write them: `250ms`, `30s`, `10m`, `1h30m`, `90d`, `2w`, or plain seconds.
//!
//! A day has 24 hours here, whatever a calendar says about clocks that change. The surprise: parts must come from the
//! largest to the smallest, each once, so that `30m1h` and `5m5m` are typing errors and not sums.

use std::time::Duration;

use thiserror::Error;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// A hundred years: what is longer is a typing error.
const LONGEST_MS: u64 = 36_525 * 86_400_000;

/// A text that is no span of time.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is no span of time: write one like \"250ms\", \"30s\", \"10m\", \"1h30m\" or \"90d\"")]
pub struct DurationError(pub String);

/// Reads a span of time; digits alone are seconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fault = || DurationError(text.to_owned());
    let trimmed = text.trim();
    let total = if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        trimmed.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000))
    } else {
        parse_parts(trimmed)
    };
    total.filter(|millis| *millis <= LONGEST_MS).map(Duration::from_millis).ok_or_else(fault)
}

fn parse_parts(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[..letters];
        rest = rest[letters..].trim_start();
        // The iterator goes on where it stopped: a unit that is as large or larger is not found any more.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*millis)?)?;
    }
    Some(total)
}

/// Writes a span so that [`parse_duration`] reads the same one.
pub fn format_duration(span: Duration) -> String {
    let mut left = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, millis) in UNITS {
        if name != "w" && left >= millis {
            text.push_str(&format!("{}{name}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_spans_in_many_ways() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("30", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", " ", "s", "1", "-1s", "1x", "30m1h", "5m5m", "1.5h", "1h30", "99999999999999999999", "101w5000000d"]
        {
            assert_eq!(parse_duration(text).is_ok(), text == "1", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..LONGEST_MS) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
