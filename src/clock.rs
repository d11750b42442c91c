//! Waiting and the time of day: one place, so that tests can make all waits short.

use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// How long a second of waiting is. `FRUITCTL_PACE=0.01` makes every wait, every poll and every limit on retries a
/// hundred times shorter: for tests against an emulator, and for nothing else.
pub fn pace() -> f64 {
    static PACE: OnceLock<f64> = OnceLock::new();
    *PACE.get_or_init(|| share("FRUITCTL_PACE"))
}

/// How long a second of a lock's life is, by `FRUITCTL_LEASE_PACE`. One of its own: where all else is a hundred times as
/// fast, a busy machine would not renew a lock in time.
pub fn lease_pace() -> f64 {
    static PACE: OnceLock<f64> = OnceLock::new();
    *PACE.get_or_init(|| share("FRUITCTL_LEASE_PACE"))
}

fn share(variable: &str) -> f64 {
    let share = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    share.filter(|p| (0.0..=1.0).contains(p)).unwrap_or(1.0)
}

/// `seconds`, at this pace.
pub fn paced(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds * pace())
}

/// Waits; at this pace.
pub async fn sleep(seconds: f64) {
    tokio::time::sleep(paced(seconds)).await;
}

/// Now, in seconds since 1970.
pub fn now() -> i64 {
    Utc::now().timestamp()
}

/// `seconds` since 1970 as `2026-11-24T02:00:00Z`.
pub fn rfc3339(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| seconds.to_string(), |t| t.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The other way.
pub fn parse(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.timestamp())
}

/// Whole days from a date, `2025-01-31`, until now.
pub fn days_since(date: &str) -> Option<i64> {
    let then = date.parse::<NaiveDate>().ok()?;
    Some((Utc::now().date_naive() - then).num_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(rfc3339(1_795_651_200), "2026-11-26T00:00:00Z");
        assert_eq!(parse("2026-11-26T00:00:00Z"), Some(1_795_651_200));
        assert_eq!(parse("soon"), None);
        assert!(days_since("2025-01-01").unwrap() > 600);
    }
}
