//! What can go wrong in a job, sorted by who has to act, and the exit code of each.

use std::io;

/// Result of anything the job does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on a failure, and the exit code by which `fruitjob` and `fruitctl` both say so. The table is public:
/// `docs/reference/exit-codes.md`.
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
    /// The job has succeeded and its results are published; what follows has not: a check, a download, an entry of the
    /// history.
    AfterResults,
    /// A signal, by its number.
    Interrupted(i32),
}

impl Kind {
    /// All of them; of signals, those that are listened to.
    pub const ALL: [Kind; 13] = [
        Kind::Bug,
        Kind::Usage,
        Kind::Changes,
        Kind::Denied,
        Kind::Refused,
        Kind::Failed,
        Kind::TimedOut,
        Kind::Locked,
        Kind::LeftBehind,
        Kind::AfterResults,
        Kind::Interrupted(1),
        Kind::Interrupted(2),
        Kind::Interrupted(15),
    ];

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
            Kind::AfterResults => 10,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }

    /// The kind that has this exit code; none of a code that is nobody's.
    pub fn of_exit_code(code: i32) -> Option<Kind> {
        match code {
            129..=192 => Some(Kind::Interrupted(code - 128)),
            _ => Kind::ALL.into_iter().find(|kind| kind.exit_code() == code),
        }
    }
}

/// A failed job. Messages are lower-case fragments, rendered once, at the edge, behind `error: `.
///
/// Every message says what failed and on what; where there is something to type next, it says that too.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, the configuration or the model has to be changed.
    #[error("{0}")]
    Usage(String),
    /// The store refused us: credentials, permission.
    #[error("{0}")]
    Denied(String),
    /// The data or the place that holds it made the job fail: too many rejects, a full disk, a store that
    /// does not answer.
    #[error("{0}")]
    Failed(String),
    /// Somebody else is writing to the same output.
    #[error("{0}")]
    Locked(String),
    /// SIGINT or SIGTERM; what had been computed is kept. Holds the signal's number.
    #[error("interrupted; what was done is kept, and the same command goes on from here")]
    Interrupted(i32),
    /// We are wrong.
    #[error("{0}; this is a bug in fruitjob")]
    Bug(String),
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Bug(_) => Kind::Bug,
            Error::Usage(_) => Kind::Usage,
            Error::Denied(_) => Kind::Denied,
            Error::Failed(_) => Kind::Failed,
            Error::Locked(_) => Kind::Locked,
            Error::Interrupted(signal) => Kind::Interrupted(*signal),
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        self.kind().exit_code()
    }

    /// An I/O error while `doing` something to a file on this machine.
    pub fn io(doing: &str, err: io::Error) -> Self {
        Error::Failed(format!("{doing}: {}", explain_io(&err)))
    }
}

/// An I/O error in one line, with what to do about the frequent ones.
pub fn explain_io(err: &io::Error) -> String {
    if is_full(err) {
        return "no space left on the device; free some and run the same command again: \
                what was done is kept"
            .into();
    }
    match err.kind() {
        io::ErrorKind::NotFound => "not found".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => err.to_string(),
    }
}

/// Whether it is for want of space.
pub fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_leads_back_to_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_exit_code(kind.exit_code()), Some(kind));
        }
        assert_eq!(Kind::of_exit_code(137), Some(Kind::Interrupted(9)));
        assert_eq!([0, 11, 101, 124, 128, 255, -1].map(Kind::of_exit_code), [None; 7]);
    }
}
