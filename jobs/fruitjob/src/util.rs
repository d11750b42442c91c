//! Small things that several layers need: the runtime, hashes, the time of day, and calls that may panic.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use fruitjob_interface::hex;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The runtime that serves the object store. Small: the arithmetic has threads of its own. Whoever speaks TLS on it does so
/// by ring.
///
/// # Errors
/// [`Error::Failed`] when its threads cannot be started.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    // An error says that the process has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::io("cannot start the runtime", e))
}

/// 64 lower-case hexadecimal digits.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// This moment, RFC 3339, UTC, to the second.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A name as it may be printed.
pub(crate) fn shown(name: &str) -> String {
    fruitjob_interface::printable_name(name).into_owned()
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

    #[test]
    fn hashes_and_times_are_written_as_others_write_them() {
        assert_eq!(hex_sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let now = now();
        assert!(now.len() == "2026-11-27T06:09:02Z".len() && now.ends_with('Z'), "{now}");
        assert!(chrono::DateTime::parse_from_rfc3339(&now).is_ok(), "{now}");
    }
}
