//! The one loop that waits: look, and look again after a while, until it is so or has taken too long.

use tracing::trace;

use crate::clock;
use crate::error::Result;

/// How often to look, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Every {
    /// Seconds before the first look.
    pub first: f64,
    /// Seconds between two looks.
    pub then: f64,
    /// Looks, at most.
    pub looks: u32,
}

impl Every {
    /// Looks at once, and then every so many seconds, until so many have passed.
    pub fn seconds(seconds: f64, at_most: f64) -> Every {
        Every { first: 0.0, then: seconds, looks: (at_most / seconds) as u32 + 1 }
    }
}

/// Looks until there is something to see: what `look` gives. None if there was nothing for too long.
///
/// # Errors
/// The look's.
pub async fn until<T>(every: Every, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    for n in 0..every.looks {
        trace!(look = n + 1, of = every.looks, "wait");
        clock::sleep(if n == 0 { every.first } else { every.then }).await;
        if let Some(seen) = look().await? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::error::{Error, Kind};

    const SHORT: f64 = 0.001;

    #[tokio::test]
    async fn it_looks_until_it_sees_something() {
        let mut looks = 0;
        let look = async || {
            looks += 1;
            Ok((looks == 3).then_some("there"))
        };
        assert_eq!(until(Every::seconds(SHORT, 1.0), look).await, Ok(Some("there")));
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn it_gives_up_after_a_last_look() {
        let mut looks = 0;
        let look = async || {
            looks += 1;
            Ok(None::<()>)
        };
        assert_eq!(until(Every::seconds(SHORT, 3.0 * SHORT), look).await, Ok(None));
        assert_eq!(looks, 4);
    }

    #[tokio::test]
    async fn it_may_wait_before_it_looks() {
        let begun = Instant::now();
        let look = async || Ok(Some(begun.elapsed()));
        let seen = until(Every { first: 20.0 * SHORT, then: 0.0, looks: 1 }, look).await;
        assert!(seen.unwrap().unwrap().as_secs_f64() >= 20.0 * SHORT);
    }

    #[tokio::test]
    async fn a_failure_ends_it() {
        let look = async || Err::<Option<()>, _>(Error::new(Kind::Denied, "no"));
        assert_eq!(until(Every::seconds(SHORT, 1.0), look).await.unwrap_err().kind, Kind::Denied);
    }
}
