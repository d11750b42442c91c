//! What keeps changes apart: whoever works under a lock proves, before each call that changes something, that the lock
//! is still his. A process that slept, or whose lock was taken away, changes nothing any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::error::ApiError;
use crate::error::Result;

tokio::task_local! {
    static FENCE: Option<Arc<dyn Fence>>;
}

/// The proof of a lock.
pub trait Fence: Send + Sync {
    /// Proves that changes may go on, for as long as one call takes.
    ///
    /// # Errors
    /// [`Kind::Locked`](crate::error::Kind::Locked), where the lock is another's by now; the store's.
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;

    /// The lock goes away with the place where it lies: nobody misses it from here on.
    fn retire(&self) {}
}

/// Does work whose changes need this proof, and that of the work around it.
pub async fn under<T>(fence: Arc<dyn Fence>, work: impl Future<Output = T>) -> T {
    let around = FENCE.try_with(Clone::clone).ok().flatten();
    let both: Arc<dyn Fence> = match around {
        Some(around) => Arc::new(Both(around, fence)),
        None => fence,
    };
    FENCE.scope(Some(both), work).await
}

/// Does work that needs no proof: it changes what is nobody else's.
pub async fn lifted<T>(work: impl Future<Output = T>) -> T {
    FENCE.scope(None, work).await
}

/// Proves that changes may go on; that is so where no lock is held.
pub async fn prove() -> Result<()> {
    match FENCE.try_with(Clone::clone).ok().flatten() {
        Some(fence) => fence.prove().await,
        None => Ok(()),
    }
}

/// Before the place is deleted where the locks lie that are held.
pub fn retire() {
    if let Some(fence) = FENCE.try_with(Clone::clone).ok().flatten() {
        fence.retire();
    }
}

/// The same as [`prove`], before a call; what reads needs no proof.
pub(super) async fn before(action: &'static str, on: &str) -> Result<(), ApiError> {
    if reads(action) { Ok(()) } else { prove().await.map_err(|error| ApiError::fenced(action, on, error)) }
}

/// Whether a call only reads, by its name.
fn reads(action: &str) -> bool {
    let name = action.split_once(':').map_or(action, |(_, name)| name);
    ["Describe", "List", "Get", "Head"].iter().any(|start| name.starts_with(start))
}

struct Both(Arc<dyn Fence>, Arc<dyn Fence>);

impl Fence for Both {
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async {
            self.0.prove().await?;
            self.1.prove().await
        })
    }

    fn retire(&self) {
        self.0.retire();
        self.1.retire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    struct Lost(&'static str);

    impl Fence for Lost {
        fn prove(&self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
            let lost = Error::new(Kind::Locked, self.0);
            Box::pin(async { if lost.message.is_empty() { Ok(()) } else { Err(lost) } })
        }
    }

    async fn says(action: &'static str) -> String {
        before(action, "x").await.err().map(|error| Error::from(error).message).unwrap_or_default()
    }

    #[tokio::test]
    async fn changes_need_every_proof_around_them() {
        assert_eq!(says("iam:DeleteRole").await, "");
        let work = under(Arc::new(Lost("")), async {
            assert_eq!(says("iam:DeleteRole").await, "");
            under(Arc::new(Lost("gone")), async {
                for action in ["iam:DeleteRole", "s3:PutObject", "elasticmapreduce:RunJobFlow"] {
                    assert_eq!(says(action).await, "gone");
                }
                for action in ["iam:GetRole", "elasticmapreduce:ListClusters", "ec2:DescribeVpcs"] {
                    assert_eq!(says(action).await, "");
                }
                assert_eq!(lifted(says("iam:DeleteRole")).await, "");
            })
            .await;
            assert_eq!(says("iam:DeleteRole").await, "");
        });
        under(Arc::new(Lost("outer")), async { assert_eq!(says("iam:DeleteRole").await, "outer") }).await;
        work.await;
    }
}
