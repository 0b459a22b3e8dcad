//! Times, durations, names: how they are read from people and written for them.
//!
//! Lenient in what is read (a duration is `30m`, `1h30m` or seconds), strict in what is written. Nothing here knows
//! a clock.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::task::Timestamp;

/// A time on the wire: RFC 3339 in UTC with milliseconds, `2026-01-31T08:15:30.250Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WireTime(pub Timestamp);

impl From<Timestamp> for WireTime {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl std::fmt::Display for WireTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Times beyond what a calendar holds are shown as its end: nothing that we store comes near it.
        let time = jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(if self.0.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        write!(f, "{time:.3}")
    }
}

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).map(Self).ok_or_else(|| de::Error::custom(format!("{text:?} is no RFC 3339 time")))
    }
}

/// Reads an RFC 3339 time with an offset (`Z` or `+08:00`); fractions below a millisecond are cut off.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.trim().parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_millisecond()))
}

/// How a duration may be written, for messages.
pub const DURATION_FORMS: &str = "seconds, or a number with a unit each: 90s, 30m, 2h, 1h30m, 1d, 1w";

/// Reads a duration in whole seconds: `1800`, `30m`, `1h30m`, `7d`, `2w`. `None` for anything else, overflow included.
pub fn parse_duration_s(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let seconds = match &rest[digits..digits + unit_len] {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?)?;
        rest = rest[digits + unit_len..].trim_start();
    }
    Some(total)
}

/// A text that may be written as a JSON number too: an account's number, seconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct TextOrNumber(pub String);

impl TextOrNumber {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TextOrNumber {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for TextOrNumber {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TextOrNumber;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a whole number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [("1800", 1800), ("30m", 1800), ("1h30m", 5400), ("2w", 1_209_600), (" 1d 2h ", 93_600), ("0", 0)];
        for (text, seconds) in cases {
            assert_eq!(parse_duration_s(text), Some(seconds), "{text}");
        }
        for text in ["", "m", "-5", "5x", "1.5h", "30 m", "99999999999999999999", "9999999999999999999w", "半小时"] {
            assert_eq!(parse_duration_s(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_milliseconds_and_utc() {
        assert_eq!(WireTime(Timestamp(0)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(WireTime(Timestamp(1_769_847_330_250)).to_string(), "2026-01-31T08:15:30.250Z");
        assert_eq!(parse_time("2026-01-31T16:15:30.250+08:00"), Some(Timestamp(1_769_847_330_250)));
        assert_eq!(parse_time("2026-01-31"), None);
        let _ = WireTime(Timestamp(i64::MAX)).to_string();
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration_s(&text);
            let _ = parse_time(&text);
        }

        #[test]
        fn a_time_survives_the_wire(ms in -62_000_000_000_000i64..253_000_000_000_000) {
            let json = serde_json::to_string(&WireTime(Timestamp(ms))).expect("a string serialises");
            prop_assert_eq!(serde_json::from_str::<WireTime>(&json).expect("and is read"), WireTime(Timestamp(ms)));
        }
    }
}
