//! What `fruitctl` can fail with: what failed, on what, why, what was left behind, and what to type next.

use std::fmt;

pub use fruitjob_interface::error::Kind;

/// Result of anything `fruitctl` does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure. Parts are lower-case fragments, rendered once, at the edge, behind `error: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub kind: Kind,
    /// What failed, on which resource, and the probable cause.
    pub message: String,
    /// What exists now that did not before, or should not.
    pub leftover: Option<String>,
    /// The next command to type, or what to change.
    pub help: Option<String>,
}

impl Error {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), leftover: None, help: None }
    }

    /// A mistake in the command line or the configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// Adds what to type or to change.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert(help.into());
        self
    }

    /// Adds what was left behind.
    pub fn leftover(mut self, leftover: impl Into<String>) -> Self {
        self.leftover.get_or_insert(leftover.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)?;
        for (label, part) in [("left behind", &self.leftover), ("next", &self.help)] {
            if let Some(part) = part {
                write!(f, "\n  {label}: {part}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<fruitjob_interface::Error> for Error {
    fn from(error: fruitjob_interface::Error) -> Self {
        Error::new(error.kind(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table that people read says what we do.
    #[test]
    fn the_codes_are_as_documented() {
        let table = include_str!("../docs/reference/exit-codes.md");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")?.0.into());
        let documented: Vec<i32> =
            rows.flat_map(|codes: &str| codes.split(", ")).filter_map(|code| code.parse().ok()).collect();
        let mut ours: Vec<i32> = [0].into_iter().chain(Kind::ALL.map(Kind::exit_code)).collect();
        let mut sorted = documented.clone();
        sorted.sort_unstable();
        ours.sort_unstable();
        assert_eq!(sorted, ours);
    }

    #[test]
    fn an_error_says_what_is_left_and_what_is_next() {
        let error = Error::new(Kind::Refused, "no capacity").leftover("a bucket").help("fruitctl up");
        assert_eq!(error.to_string(), "no capacity\n  left behind: a bucket\n  next: fruitctl up");
    }
}
