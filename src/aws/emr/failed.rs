//! Why a step failed. EMR hardly ever says; what is known is what the job said last, what it wrote to stderr, and what EMR
//! wrote to the step's `controller` log. This is the only place that reads these.

use super::causes::{Row, causes, find, row};

causes! {
    /// Why a step failed.
    StepCause {
        /// The executable in the bucket is not the one that was uploaded.
        Changed,
        /// The executable needs a newer C library than the node's.
        CLibrary,
        /// The executable is for another kind of processor.
        Processor,
        /// YARN stopped an executor that took more memory than it had asked for.
        YarnMemory,
        /// No node is large enough for one executor.
        ExecutorTooLarge,
        /// A Java process of Spark's had too little heap.
        Heap,
        /// The kernel stopped a process for want of memory, or refused it some.
        Memory,
        /// A disk is full.
        DiskFull,
        /// It took as long as it may.
        TooLong,
        /// A node was lost while it worked.
        NodeLost,
        /// A key of KMS may not be used, or does not work.
        Kms,
        /// An object is in an archive.
        Archived,
        /// The nodes have no credentials.
        NoCredentials,
        /// The nodes' credentials were too old, or their clock is wrong.
        Expired,
        /// S3 asked for patience.
        Throttled,
        /// A bucket is in another region.
        WrongRegion,
        /// The nodes do not reach S3.
        NoRoute,
        /// The nodes may not fetch the script or the executable.
        FetchRefused,
        /// The script or the executable is not in the bucket.
        FetchMissing,
        /// Something may not be read or written.
        Denied,
        /// There is nothing at the place of the input.
        Missing,
        /// YARN does not know of its own application: the VPC's DNS options.
        Dns,
        /// Somebody or something stopped it.
        Killed,
        /// Nothing says why.
        Unknown,
    }
}

// Sources that several rows have; the first two are ours.
const STEP: &str = "bootstrap/step.sh";
const JOB: &str = "jobs/fruitjob";
const AWS_S3: &str = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html";
const AWS_VPC: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-vpc.html";
const AWS_DISK: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-cluster-NO_SLAVE_LEFT-FAILED_BY_MASTER.html";
const AWS_CLI: &str = "aws/aws-cli#1689";
const BOTOCORE: &str = "boto/botocore botocore/exceptions.py";
const YARN: &str = "raster-foundry/raster-foundry#1797; apache/hadoop ContainersMonitorImpl.java";
const LINUX: &str = "https://man7.org/linux/man-pages/man3/errno.3.html";

/// What is told by words of a step, the cause before what follows from it: a container that was stopped for its memory
/// ends by a signal, and a key that may not be used refuses the object.
pub(super) const WORDS: &[Row<StepCause>] = &[
    row(&["is not what was shipped"], StepCause::Changed, STEP),
    row(&["glibc", "not found"], StepCause::CLibrary, "sharkdp/bat#2131"),
    row(&["exec format error"], StepCause::Processor, LINUX),
    row(&["cannot execute binary file"], StepCause::Processor, "lllyasviel/stable-diffusion-webui-forge#269"),
    row(&["for exceeding memory limits"], StepCause::YarnMemory, YARN),
    row(&["beyond", "memory limit"], StepCause::YarnMemory, YARN),
    row(&["above the max threshold"], StepCause::ExecutorTooLarge, "citiususc/SparkBWA#14"),
    row(
        &["outofmemoryerror"],
        StepCause::Heap,
        "https://docs.oracle.com/javase/8/docs/api/java/lang/OutOfMemoryError.html",
    ),
    row(
        &["java heap space"],
        StepCause::Heap,
        "https://docs.oracle.com/javase/8/docs/api/java/lang/OutOfMemoryError.html",
    ),
    row(
        &["gc overhead limit"],
        StepCause::Heap,
        "https://docs.oracle.com/javase/8/docs/api/java/lang/OutOfMemoryError.html",
    ),
    row(&["no space left"], StepCause::DiskFull, LINUX),
    row(&["disk quota exceeded"], StepCause::DiskFull, LINUX),
    row(&["local-dirs are bad"], StepCause::DiskFull, "apache/hadoop LocalDirsHandlerService.java"),
    row(&["used space above threshold"], StepCause::DiskFull, AWS_DISK),
    row(&["any valid local directory"], StepCause::DiskFull, "apache/hadoop LocalDirAllocator.java"),
    row(&["as --max-duration allows"], StepCause::TooLong, STEP),
    row(&["cannot allocate memory"], StepCause::Memory, LINUX),
    row(&["out of memory"], StepCause::Memory, LINUX),
    row(&["memory allocation of"], StepCause::Memory, "rust-lang/rust library/alloc/src/alloc.rs"),
    row(&["oom-kill"], StepCause::Memory, "guess"),
    row(&["oomkill"], StepCause::Memory, "guess"),
    row(&["oom killer"], StepCause::Memory, "guess"),
    row(&["slave lost"], StepCause::NodeLost, "apache/spark TaskEndReason.scala"),
    row(&["lost* node"], StepCause::NodeLost, "ldbc/ldbc_snb_datagen_spark#381"),
    row(&["lost node"], StepCause::NodeLost, "guess"),
    row(&["node was lost"], StepCause::NodeLost, "guess"),
    row(&["worker lost"], StepCause::NodeLost, "guess"),
    row(&["exit status: -100"], StepCause::NodeLost, "spring-attic/spring-hadoop#148"),
    row(&["signal 9"], StepCause::Memory, STEP),
    row(&["sigkill"], StepCause::Memory, "guess"),
    row(&["status: 137"], StepCause::Memory, "mozilla/telemetry-airflow#330"),
    row(&["code is 137"], StepCause::Memory, "mozilla/telemetry-airflow#330"),
    row(&["code 137"], StepCause::Memory, "mozilla/telemetry-airflow#330"),
    row(&["code: 137"], StepCause::Memory, "guess"),
    row(&["status 137"], StepCause::Memory, "guess"),
    row(&["ret '137'"], StepCause::Memory, "guess"),
    row(&["unable to locate credentials"], StepCause::NoCredentials, BOTOCORE),
    row(&["unable to load", "credentials"], StepCause::NoCredentials, "aws/aws-sdk-java#2521"),
    row(&["no valid credentials"], StepCause::NoCredentials, JOB),
    row(&["no credentials"], StepCause::NoCredentials, "guess"),
    row(&["nocredentials"], StepCause::NoCredentials, "guess"),
    row(&["169.254.169.254"], StepCause::NoCredentials, "aws/aws-cli#904"),
    row(&["invalidaccesskeyid"], StepCause::NoCredentials, AWS_S3),
    row(&["connect timeout"], StepCause::NoRoute, BOTOCORE),
    row(&["could not connect to the endpoint"], StepCause::NoRoute, BOTOCORE),
    row(&["connection timed out"], StepCause::NoRoute, LINUX),
    row(&["connect timed out"], StepCause::NoRoute, "guess"),
    row(&["connecttimeout"], StepCause::NoRoute, BOTOCORE),
    row(&["network is unreachable"], StepCause::NoRoute, LINUX),
    row(&["no route to host"], StepCause::NoRoute, LINUX),
    row(&["name resolution"], StepCause::NoRoute, "guess"),
    row(&["name or service not known"], StepCause::NoRoute, "guess"),
    row(&["could not resolve"], StepCause::NoRoute, "guess"),
    row(&["read timeout on endpoint"], StepCause::NoRoute, BOTOCORE),
    row(&["operation timed out"], StepCause::NoRoute, "guess"),
    row(&["dns error"], StepCause::NoRoute, "guess"),
    row(&["kms:"], StepCause::Kms, "cisagov/XFD#1371"),
    row(&["kms", "exception"], StepCause::Kms, AWS_S3),
    row(&["arn:aws:kms"], StepCause::Kms, "cisagov/XFD#1371"),
    row(&["kms key"], StepCause::Kms, "guess"),
    row(&["kmsaccessdenied"], StepCause::Kms, "guess"),
    row(&["customer master key"], StepCause::Kms, "ministryofjustice/modernisation-platform#3468"),
    row(&["invalidobjectstate"], StepCause::Archived, AWS_S3),
    row(&["object's storage class"], StepCause::Archived, AWS_S3),
    row(&["expiredtoken"], StepCause::Expired, AWS_S3),
    row(&["token", "expired"], StepCause::Expired, "boto/boto#898"),
    row(&["requesttimetooskewed"], StepCause::Expired, AWS_S3),
    row(&["invalidtoken"], StepCause::Expired, AWS_S3),
    row(&["slowdown"], StepCause::Throttled, AWS_S3),
    row(&["reduce your request rate"], StepCause::Throttled, AWS_S3),
    row(&["slow down"], StepCause::Throttled, AWS_S3),
    row(&["503 service unavailable"], StepCause::Throttled, AWS_S3),
    row(&["throttl"], StepCause::Throttled, AWS_S3),
    row(&["requestlimitexceeded"], StepCause::Throttled, "guess"),
    row(&["rate exceeded"], StepCause::Throttled, "guess"),
    row(&["permanentredirect"], StepCause::WrongRegion, AWS_S3),
    row(&["authorizationheadermalformed"], StepCause::WrongRegion, AWS_S3),
    row(&["is wrong; expecting"], StepCause::WrongRegion, AWS_S3),
    row(&["addressed using the specified endpoint"], StepCause::WrongRegion, AWS_S3),
    row(&["illegallocationconstraint"], StepCause::WrongRegion, AWS_S3),
    row(&["(301)"], StepCause::WrongRegion, "guess"),
    row(&["301 moved"], StepCause::WrongRegion, "JuliaCloud/AWSS3.jl#25"),
    row(&["(403)", "headobject"], StepCause::FetchRefused, AWS_CLI),
    row(&["fatal error", "(403)"], StepCause::FetchRefused, "aws/res#111"),
    row(
        &["download failed: s3://", "accessdenied"],
        StepCause::FetchRefused,
        "ministryofjustice/modernisation-platform#3468",
    ),
    row(&["(accessdenied)", "getobject"], StepCause::FetchRefused, "boto/boto3#2952"),
    row(&["error fetching jar file"], StepCause::FetchMissing, "guess"),
    row(&["(404)", "headobject"], StepCause::FetchMissing, AWS_CLI),
    row(&["fatal error", "(404)"], StepCause::FetchMissing, AWS_CLI),
    row(&["(nosuchkey)"], StepCause::FetchMissing, AWS_S3),
    row(&["nosuchbucket"], StepCause::Missing, AWS_S3),
    row(&["no such bucket"], StepCause::Missing, JOB),
    row(&["no image below"], StepCause::Missing, JOB),
    row(&["permission denied"], StepCause::Denied, JOB),
    row(&["accessdenied"], StepCause::Denied, AWS_S3),
    row(&["access denied"], StepCause::Denied, AWS_VPC),
    row(&["403 forbidden"], StepCause::Denied, AWS_S3),
    row(&["(403)"], StepCause::Denied, AWS_CLI),
    row(&["nosuchkey"], StepCause::Missing, AWS_S3),
    row(&["doesn't exist in rm"], StepCause::Dns, AWS_VPC),
    row(&["executorlostfailure"], StepCause::NodeLost, "raster-foundry/raster-foundry#246"),
    row(&["ended by signal"], StepCause::Killed, STEP),
    row(&["signal 15"], StepCause::Killed, "guess"),
    row(&["sigterm"], StepCause::Killed, "guess"),
    row(&["code 143"], StepCause::Killed, "guess"),
    row(&["code is 143"], StepCause::Killed, "guess"),
    row(&["code: 143"], StepCause::Killed, "guess"),
    row(&["status: 143"], StepCause::Killed, "guess"),
    row(&["ret '143'"], StepCause::Killed, "guess"),
];

impl StepCause {
    /// The cause that the first of these texts tells: the surest comes first.
    pub fn of(texts: &[&str]) -> StepCause {
        texts.iter().find_map(|text| find(WORDS, "", text)).unwrap_or(StepCause::Unknown)
    }

    /// Whether a text tells this cause, whatever else it tells.
    pub fn is_told_by(self, text: &str) -> bool {
        let text = text.to_lowercase();
        let tells = |row: &Row<StepCause>| row.pieces.iter().all(|piece| text.contains(piece));
        WORDS.iter().any(|row| row.cause == self && tells(row))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aws::emr::causes::is_source;

    #[test]
    fn rows_are_in_lower_case_and_have_sources() {
        for row in WORDS {
            assert!(row.pieces.iter().all(|piece| *piece == piece.to_lowercase()), "{:?}", row.pieces);
            assert!(is_source(row.source), "{}", row.source);
        }
    }

    #[test]
    fn every_cause_has_a_row() {
        for cause in StepCause::ALL {
            assert!(*cause == StepCause::Unknown || WORDS.iter().any(|row| row.cause == *cause), "{cause:?}");
        }
    }

    #[test]
    fn what_the_job_said_goes_before_what_it_wrote() {
        let (said, stderr) = ("no image below s3://b/i", "WARN Slave lost");
        assert_eq!(StepCause::of(&[said, stderr]), StepCause::Missing);
        assert_eq!(StepCause::of(&["too many rejects", stderr]), StepCause::NodeLost);
        assert_eq!(StepCause::of(&[]), StepCause::Unknown);
    }

    proptest! {
        #[test]
        fn any_output_has_a_cause(said: String) {
            StepCause::of(&[&said]);
        }
    }
}
