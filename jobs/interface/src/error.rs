//! What can go wrong in a job, sorted by who has to act, and the exit code of each.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// Result of anything the job does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on a failure, and the exit code by which `fruitjob` and `fruitctl` both say so. The table is public:
/// `docs/exit-codes.md`.
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
    /// All of them; of signals, those that are listened to.
    pub const ALL: [Kind; 12] = [
        Kind::Bug,
        Kind::Usage,
        Kind::Changes,
        Kind::Denied,
        Kind::Refused,
        Kind::Failed,
        Kind::TimedOut,
        Kind::Locked,
        Kind::LeftBehind,
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
            Kind::Interrupted(signal) => 128 + signal,
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

    /// An object-store error while `doing` something to an object or prefix.
    pub fn store(doing: &str, err: object_store::Error) -> Self {
        let message = format!("{doing}: {}", explain_store(&err));
        if names_no_bucket(&err) {
            return Error::Usage(message);
        }
        let denied = is_denied(&err) || matches!(err, object_store::Error::Unauthenticated { .. });
        if denied { Error::Denied(message) } else { Error::Failed(message) }
    }
}

/// The probable cause of an object-store error in one line, without the store's own retry novel.
pub fn explain_store(err: &object_store::Error) -> String {
    use object_store::Error as E;
    if let Some(io) = find_io(err)
        && (is_full(io) || io.kind() == io::ErrorKind::PermissionDenied)
    {
        return explain_io(io);
    }
    match err {
        E::NotFound { .. } => "not found".into(),
        _ if names_no_bucket(err) => {
            "there is no such bucket; check its name, and the endpoint in use".into()
        }
        _ if is_denied(err) => "permission denied; check what the credentials in use may do here".into(),
        E::Unauthenticated { .. } => {
            "no valid credentials; check AWS_PROFILE, AWS_ACCESS_KEY_ID or the instance's role".into()
        }
        other => other.to_string().replace('\n', " "),
    }
}

/// Whether the store refuses. A refused list comes as a generic error, with its status in the text.
fn is_denied(err: &object_store::Error) -> bool {
    use object_store::Error as E;
    matches!(err, E::PermissionDenied { .. })
        || matches!(err, E::Generic { source, .. } if source.to_string().contains("403 Forbidden"))
}

/// Whether there is no such bucket: a list says so in the text of a generic error.
fn names_no_bucket(err: &object_store::Error) -> bool {
    // The reason lies below the error; only the last one's text is whole.
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(inner) = error {
        if inner.to_string().contains("<Code>NoSuchBucket</Code>") {
            return true;
        }
        error = inner.source();
    }
    false
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

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn find_io<'a>(err: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(io) = err.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = err.source();
    }
    None
}

/// Calls what may panic on bytes that somebody else wrote: others' decoders and compilers. The panic is an error, its
/// message, and is not printed.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    QUIET.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panics".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_others_is_an_error() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(
            caught(|| Vec::<u8>::new()[0]),
            Err("index out of bounds: the len is 0 but the index is 0".into())
        );
    }
}
