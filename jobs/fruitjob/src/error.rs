//! What a store says when it fails, as an [`Error`].

use std::io;

use fruitjob_interface::error::is_full;
pub use fruitjob_interface::error::{Error, Result, explain_io};

/// An object-store error while `doing` something to an object or prefix.
pub fn store(doing: &str, err: object_store::Error) -> Error {
    let message = format!("{doing}: {}", explain_store(&err));
    if names_no_bucket(&err) {
        return Error::Usage(message);
    }
    let denied = is_denied(&err) || matches!(err, object_store::Error::Unauthenticated { .. });
    if denied { Error::Denied(message) } else { Error::Failed(message) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn a_store_s_error_says_who_has_to_act() {
        let path = || "fruits/a.jpg".to_owned();
        let source = || "403 Forbidden".to_owned().into();
        let denied = [
            generic("Error performing list request: 403 Forbidden: AccessDenied"),
            object_store::Error::PermissionDenied { path: path(), source: source() },
            object_store::Error::Unauthenticated { path: path(), source: source() },
        ];
        for error in denied {
            let error = store("cannot read a", error);
            assert!(matches!(error, Error::Denied(_)), "{error:?}");
            assert!(
                error.to_string().starts_with("cannot read a: ") && error.to_string().contains("credentials"),
                "{error}"
            );
        }
        let missing = store("x", object_store::Error::NotFound { path: path(), source: source() });
        assert!(matches!(&missing, Error::Failed(text) if text == "x: not found"), "{missing:?}");
        let bucket = store("x", generic("404: <Error><Code>NoSuchBucket</Code></Error>"));
        assert!(matches!(&bucket, Error::Usage(text) if text.contains("no such bucket")), "{bucket:?}");
        assert!(matches!(store("x", generic("500")), Error::Failed(_)));
    }

    #[test]
    fn a_full_disk_is_named_and_all_else_is_one_line() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        assert!(explain_store(&wrapped).contains("no space left"), "{}", explain_store(&wrapped));
        assert!(!explain_store(&generic("two\nlines")).contains('\n'));
    }
}
