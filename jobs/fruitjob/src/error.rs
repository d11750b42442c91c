//! What can go wrong in a job, sorted by who has to act, and the exit code of each.

use std::io;

/// Result of anything the job does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    /// The process's exit code. The table is public: see `docs/exit-codes.md`.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Bug(_) => 1,
            Error::Usage(_) => 2,
            Error::Denied(_) => 4,
            Error::Failed(_) => 6,
            Error::Locked(_) => 8,
            Error::Interrupted(signal) => 128 + signal,
        }
    }

    /// An I/O error while `doing` something to a file on this machine.
    pub fn io(doing: &str, err: io::Error) -> Self {
        Error::Failed(format!("{doing}: {}", explain_io(&err)))
    }

    /// An object-store error while `doing` something to an object or prefix.
    pub fn store(doing: &str, err: object_store::Error) -> Self {
        let message = format!("{doing}: {}", explain_store(&err));
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
