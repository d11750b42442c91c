//! What people are told of a step's failure: one row a cause.

use super::Told;
use crate::aws::emr::StepCause;

/// What happened, and what to do about it; as of a cluster's end. Longer than a function should be, because it is a table.
pub fn told(cause: StepCause) -> Told {
    use StepCause as C;
    let (what, next) = match cause {
        C::Changed => (
            "the executable in the bucket was changed",
            "find out by whom, delete jobs/ in the bucket, then: fruitctl run",
        ),
        C::CLibrary => (
            "the executable needs a newer C library than the nodes have",
            "leave out --executable, for the one of a release runs there; or name a later release under [cluster]; \
             then: fruitctl run",
        ),
        C::Processor => (
            "the executable is for another kind of processor than the nodes'",
            "leave out --executable, for a release has both kinds; or name types of its kind under [cluster]; \
             then: fruitctl run",
        ),
        C::YarnMemory => (
            "YARN stopped an executor for its memory",
            "name types with more memory for each vCPU under [cluster.core] and [cluster.task], such as r6g for m6g; \
             then: fruitctl run",
        ),
        C::ExecutorTooLarge => (
            "no node is large enough for one executor of Spark",
            "name larger types under [cluster.core] and [cluster.task], or use --engine local; then: fruitctl run",
        ),
        C::Heap => (
            "a Java process of Spark ran out of heap",
            "name larger types under [cluster.primary], or use --engine local; then: fruitctl run",
        ),
        C::Memory => (
            "it probably ran out of memory",
            "choose a larger instance type under [cluster.primary], or fewer --threads; then: fruitctl run",
        ),
        C::DiskFull => ("the node's disk is full", "raise ebs_gb under [cluster], then: fruitctl run"),
        C::TooLong => {
            ("it took longer than it may", "the same command goes on from there; --max-duration allows more")
        }
        C::NodeLost => (
            "a node was lost while it worked (a Spot instance taken back, or a failure)",
            "the same command goes on from there; if it was a Spot instance, set spot = false under [cluster.core]",
        ),
        C::Kms => (
            "a key of KMS does not work, or the nodes' role may not use it",
            "let {profile} use the key by its policy (kms:Decrypt, kms:GenerateDataKey), or name it as kms_key under \
             [bucket], then: fruitctl up",
        ),
        C::Archived => (
            "an object is in an archive, and cannot be read there",
            "restore it first: aws s3api restore-object --bucket BUCKET --key KEY --restore-request Days=7; \
             then: fruitctl run",
        ),
        C::NoCredentials => (
            "the nodes got no credentials",
            "look for a bootstrap action or firewall that closes 169.254.169.254; the role that they should have: \
             aws iam get-instance-profile --instance-profile-name {profile}",
        ),
        C::Expired => (
            "the nodes' credentials had expired, or their clock is wrong",
            "the same command goes on from there, with new credentials",
        ),
        C::Throttled => (
            "S3 was asked too often",
            "wait a few minutes; the same command goes on from there; fewer --threads ask less",
        ),
        C::WrongRegion => (
            "a bucket is in another region than it was asked in",
            "see where it is: aws s3api get-bucket-location --bucket BUCKET; name a bucket of {region}, or set region \
             under [aws]; then: fruitctl run",
        ),
        C::NoRoute => (
            "the nodes do not reach S3",
            "fruitctl doctor says whether their subnet has a route out or an endpoint for S3; add one, then: fruitctl run",
        ),
        C::FetchRefused => (
            "the nodes may not fetch the script or the executable from the bucket",
            "fruitctl plan: if the node role or the bucket is to be changed, fruitctl up does it; else see whether a \
             policy of the bucket or of a VPC endpoint denies it",
        ),
        C::FetchMissing => (
            "the script or the executable is not in the bucket",
            "see who deletes objects below jobs/ there; fruitctl run uploads them again",
        ),
        C::Denied => (
            "the nodes' role may not do that",
            "check input and output under [job], then run fruitctl up to update the role",
        ),
        C::Missing => (
            "there is nothing at the place that [job] names",
            "see input under [job]; fruitctl upload puts images there",
        ),
        C::Dns => (
            "the nodes do not find each other by name",
            "give the VPC DHCP options with AmazonProvidedDNS: aws ec2 describe-dhcp-options --region {region}; \
             then: fruitctl run",
        ),
        C::Killed => ("somebody or something killed it", "the same command goes on from there"),
        C::Unknown => ("", "fix that, then the same command: it continues from there"),
    };
    Told { what, next }
}
