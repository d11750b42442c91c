//! Names of buckets are the world's, and those of projects can be guessed. So every call on the project's bucket names
//! the account that should own it, and S3 itself refuses a bucket of that name which is somebody else's.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents, endpoint};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::endpoint::EndpointResolverParams;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use super::Aws;

const HEADER: &str = "x-amz-expected-bucket-owner";

/// The project's bucket, once its name is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Ours(Arc<OnceLock<String>>);

impl Aws {
    /// From here on, calls on this bucket name our account as its owner.
    pub fn expect_to_own(&self, bucket: &str) {
        let _ = self.ours.0.set(bucket.to_owned());
    }
}

/// Adds the owner to requests on [`Ours`].
#[derive(Debug)]
pub(super) struct OwnerNamed {
    account: String,
    ours: Ours,
}

impl OwnerNamed {
    pub(super) fn new(account: &str, ours: &Ours) -> OwnerNamed {
        OwnerNamed { account: account.to_owned(), ours: ours.clone() }
    }
}

impl Intercept for OwnerNamed {
    fn name(&self) -> &'static str {
        "OwnerNamed"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A bucket that is being made has no owner yet.
        let makes = settings.load::<Metadata>().is_some_and(|call| call.name() == "CreateBucket");
        let params = settings.load::<EndpointResolverParams>();
        let bucket = params.and_then(|params| params.get::<endpoint::Params>()?.bucket());
        if !makes && bucket.is_some() && bucket == self.ours.0.get().map(String::as_str) {
            context.request_mut().headers_mut().insert(HEADER, self.account.clone());
        }
        Ok(())
    }
}
