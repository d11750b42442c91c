//! Where locks lie: a store of small objects with conditional writes; and the clock by which they are renewed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::resources::bucket::OWN;
use super::Name;
use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::error::Result;

/// A store of locks, and a clock. [`Bucket`] is the one there is; tests have one in memory, with a clock of its own.
pub(super) trait Store: Clone + Send + Sync + 'static {
    /// The store's name, for people.
    fn name(&self) -> &str;

    /// An object and its ETag.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<(Vec<u8>, String)>>> + Send;

    /// Writes an object on a condition; its ETag, or `None` where the condition does not hold.
    fn put(
        &self,
        key: &str,
        body: &[u8],
        only: Only<'_>,
    ) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Deletes an object; one that is not there is fine.
    fn delete(&self, key: &str) -> impl Future<Output = Result<()>> + Send;

    /// The time since some moment; it runs while the machine sleeps.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// A clock that nobody sets, and that runs while the machine sleeps.
/// Source: clock_gettime(2), CLOCK_BOOTTIME.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
/// macOS's runs while it sleeps: see clock_gettime(3) there.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// An S3 bucket.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) aws: Arc<Aws>,
    pub(super) name: String,
}

impl Bucket {
    /// Locks that lie there, held or not.
    pub(super) async fn names(&self) -> Result<Vec<Name>> {
        let objects = match self.aws.list_objects(&self.name, OWN).await {
            Err(error) if error.is(&["NoSuchBucket"]) => Vec::new(),
            objects => objects?,
        };
        Ok(objects.into_iter().filter_map(|object| Name::of_key(object.key)).collect())
    }
}

impl Store for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, String)>> {
        Ok(self.aws.get_object(&self.name, key).await?)
    }

    async fn put(&self, key: &str, body: &[u8], only: Only<'_>) -> Result<Option<String>> {
        Ok(self.aws.put_object(&self.name, key, body, only).await?)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.aws.delete_object(&self.name, key).await?)
    }

    fn now(&self) -> Duration {
        let now = clock_gettime(CLOCK);
        Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
