//! What `fruitctl` can fail with: what failed, on what, why, what was left behind, and what to type next.

use std::fmt;

/// Result of anything `fruitctl` does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on a failure. Each kind has an exit code, listed in `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// We are wrong.
    Bug,
    /// The command line or the configuration has to be changed.
    Usage,
    /// `plan --detailed-exitcode`: there is something to do. No failure.
    Changes,
    /// Credentials or permission.
    Denied,
    /// The cloud refused: quota, capacity, validation, a name that somebody else has.
    Refused,
    /// The job, or the cluster under it, failed.
    Failed,
    /// A deadline or a cost limit has passed.
    TimedOut,
    /// Somebody else is at work on the same thing.
    Locked,
    /// Something is left that should be gone; the message names it.
    LeftBehind,
    /// A signal, by its number.
    Interrupted(i32),
}

impl Kind {
    /// The process's exit code.
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Bug => 1,
            Kind::Usage => 2,
            Kind::Changes => 3,
            Kind::Denied => 4,
            Kind::Refused => 5,
            Kind::Failed => 6,
            Kind::TimedOut => 7,
            Kind::Locked => 8,
            Kind::LeftBehind => 9,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }
}

/// A failure. Parts are lower-case fragments, rendered once, at the edge, behind `error: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub kind: Kind,
    /// What failed, on which resource, and the probable cause.
    pub message: String,
    /// What exists now that did not before, or should not.
    pub left: Option<String>,
    /// The next command to type, or what to change.
    pub next: Option<String>,
}

impl Error {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), left: None, next: None }
    }

    /// A mistake in the command line or the configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// Adds what to type or to change.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.get_or_insert(next.into());
        self
    }

    /// Adds what was left behind.
    pub fn left(mut self, left: impl Into<String>) -> Self {
        self.left.get_or_insert(left.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)?;
        for (label, part) in [("left behind", &self.left), ("next", &self.next)] {
            if let Some(part) = part {
                write!(f, "\n  {label}: {part}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<fruitjob::Error> for Error {
    fn from(error: fruitjob::Error) -> Self {
        use fruitjob::Error as E;
        let kind = match error {
            E::Usage(_) => Kind::Usage,
            E::Denied(_) => Kind::Denied,
            E::Failed(_) => Kind::Failed,
            E::Locked(_) => Kind::Locked,
            E::Interrupted(signal) => Kind::Interrupted(signal),
            E::Bug(_) => Kind::Bug,
        };
        Error::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The job's codes and ours are one table.
    #[test]
    fn the_codes_of_both_programs_agree() {
        use fruitjob::Error as E;
        let text = String::new;
        for error in [
            E::Usage(text()),
            E::Denied(text()),
            E::Failed(text()),
            E::Locked(text()),
            E::Interrupted(15),
            E::Bug(text()),
        ] {
            let code = error.exit_code();
            assert_eq!(Error::from(error).kind.exit_code(), code);
        }
    }

    #[test]
    fn an_error_says_what_is_left_and_what_is_next() {
        let error = Error::new(Kind::Refused, "no capacity").left("a bucket").next("fruitctl up");
        assert_eq!(error.to_string(), "no capacity\n  left behind: a bucket\n  next: fruitctl up");
    }
}
