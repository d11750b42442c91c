//! Values on the command line: what each may be, and what it is then.

use std::time::Duration;

/// A name that stands in a policy: nothing in it may match more than itself.
fn plain(text: &str, also: &[u8], what: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || also.contains(&b);
    if !text.is_empty() && text.bytes().all(good) { Ok(text.to_owned()) } else { Err(format!("no {what}")) }
}

pub fn account(text: &str) -> Result<String, String> {
    let good = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if good { Ok(text.to_owned()) } else { Err("an account's number has twelve digits".into()) }
}

pub fn branch(text: &str) -> Result<String, String> {
    plain(text, b"._-/", "branch")
}

pub fn environment(text: &str) -> Result<String, String> {
    plain(text, b"._-", "environment")
}

pub fn host(text: &str) -> Result<String, String> {
    plain(text, b".-", "host")
}

pub fn repository(text: &str) -> Result<String, String> {
    let whole = text.split('/').count() >= 2 && text.split('/').all(|part| !part.is_empty());
    plain(text, b"._-/", "repository").ok().filter(|_| whole).ok_or_else(|| "it is named OWNER/NAME".into())
}

/// `90s`, `45m`, `2h 30m`, or seconds: seconds.
pub fn duration(text: &str) -> Result<u64, String> {
    let seconds = text.parse().map(Duration::from_secs);
    let time = seconds.or_else(|_| humantime::parse_duration(text));
    match time.map(|time| time.as_secs()) {
        Ok(0) => Err("a second at least".into()),
        Ok(seconds) => Ok(seconds),
        Err(_) => Err(format!("'{text}' is no time like 90s, 45m or 2h")),
    }
}

/// `20`, `0.5`: dollars.
pub fn dollars(text: &str) -> Result<f64, String> {
    let dollars = text.parse().ok().filter(|dollars: &f64| dollars.is_finite() && *dollars >= 0.0);
    dollars.ok_or_else(|| format!("'{text}' is no number of dollars like 20 or 0.5"))
}

/// `10%`, `0.1`: a share of what there is, up to a half.
pub fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    share
        .ok()
        .filter(|share| (0.0..=0.5).contains(share))
        .ok_or_else(|| format!("'{text}' is no share between 0% and 50%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_number() {
        assert_eq!((share("10%"), share("0.25"), share("0")), (Ok(0.1), Ok(0.25), Ok(0.0)));
        for bad in ["", "%", "60%", "0.6", "-1%", "nan", "10 of 100"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_widen_a_policy() {
        for bad in ["", "name", "owner/", "owner/*", "owner/a:ref", "owner/${x}"] {
            assert!(repository(bad).is_err(), "{bad}");
        }
        assert!(repository("our-team/nightly.jobs").is_ok() && repository("group/sub/project").is_ok());
        assert!(
            branch("release/1.x").is_ok() && branch("*").is_err() && host("gitlab.example.org:8").is_err()
        );
    }

    #[test]
    fn a_duration_has_a_unit_or_is_seconds() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("45m", 2700), ("2h", 7200), ("1h 30m", 5400), ("1d", 86_400)]
        {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for bad in ["", "s", "-1s", "0", "0s", "1ms", "soon", "99999999999999999999s", "99999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dollars_are_a_number() {
        assert_eq!((dollars("20"), dollars("0.5"), dollars("0")), (Ok(20.0), Ok(0.5), Ok(0.0)));
        for bad in ["", "nan", "NaN", "inf", "-inf", "-1", "1e999", "$20", "twenty"] {
            assert!(dollars(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_has_twelve_digits() {
        assert!(account("123456789012").is_ok());
        for bad in ["", "12345678901", "1234567890123", "12345678901x"] {
            assert!(account(bad).is_err(), "{bad}");
        }
    }
}
