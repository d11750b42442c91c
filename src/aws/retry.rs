//! What is tried again, how often and for how long: one table, and nothing that it does not name.
//!
//! Rejected, on purpose: `InvalidParameterValue` of EC2 (mostly a real mistake; only its text about instance
//! profiles is a race), `LimitExceeded` of IAM (a quota does not grow by waiting), `ValidationException` of EMR but for
//! the two texts below.

use super::ApiError;

/// So many attempts are made, however long they took.
pub const LEAST: u32 = 4;

/// Calls without a token by which AWS could tell a repetition: an answer that got lost is looked up, never asked
/// for again. (RunJobFlow repeated blindly makes two clusters.)
const NOT_BLINDLY: &[&str] = &[
    "elasticmapreduce:RunJobFlow",
    "elasticmapreduce:AddJobFlowSteps",
    "elasticmapreduce:AddInstanceGroups",
];

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// Seconds before the second attempt.
    first: f64,
    /// At most so many seconds between two.
    longest: f64,
    /// Seconds after which no other is made.
    pub total: f64,
}

impl Wait {
    /// Seconds before the attempt after this one: doubled each time, with jitter.
    pub fn before(&self, attempt: u32) -> f64 {
        let exponential = self.first * 2f64.powi(attempt.min(16) as i32 - 1);
        exponential.min(self.longest) * (0.5 + fastrand::f64() / 2.0)
    }
}

/// AWS has too much to do, or we ask too often.
const LOAD: Wait = Wait { first: 0.5, longest: 20.0, total: 180.0 };
/// The answer got lost on its way.
const LOST: Wait = Wait { first: 0.5, longest: 8.0, total: 60.0 };
/// Made a moment ago, and not known everywhere yet.
const PROPAGATION: Wait = Wait { first: 0.5, longest: 5.0, total: 120.0 };
/// Something else has to end first.
const BUSY: Wait = Wait { first: 1.0, longest: 10.0, total: 300.0 };

/// A row: these calls (a prefix), this code (empty: any), this text (empty: any).
struct Row {
    action: &'static str,
    code: &'static str,
    text: &'static str,
    wait: Wait,
}

const fn row(action: &'static str, code: &'static str, text: &'static str, wait: Wait) -> Row {
    Row { action, code, text, wait }
}

/// Source: botocore, retries/standard.py, ThrottledRetryableChecker.
const THROTTLES: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

const TABLE: &[Row] = &[
    // The connection broke on the way in. Source: botocore, retries/standard.py, TransientRetryableChecker.
    row("", "RequestTimeout", "", LOST),
    row("", "RequestTimeoutException", "", LOST),
    // A bucket of this name was deleted a moment ago, or somebody else creates it right now.
    // Source: terraform-provider-aws, s3/bucket.go.
    row("s3:", "OperationAborted", "", BUSY),
    row("s3:", "ConditionalRequestConflict", "", LOAD),
    // The bucket was created a moment ago. Only settings are tried again: a read means what it says.
    row("s3:Put", "NoSuchBucket", "", Wait { total: 20.0, ..PROPAGATION }),
    // Two writers. Source: API reference of CreateRole, DeleteRole.
    row("iam:", "ConcurrentModification", "", LOAD),
    row("iam:", "EntityTemporarilyUnmodifiable", "", BUSY),
    // A role made a moment ago. Source: terraform-provider-aws, iam/instance_profile.go, iam/role.go.
    row("iam:AddRoleToInstanceProfile", "NoSuchEntity", "role", PROPAGATION),
    row("iam:CreateRole", "MalformedPolicyDocument", "Invalid principal", PROPAGATION),
    // The profile that the role was taken out of is not done yet. Source: terraform-provider-aws, iam/role.go.
    row("iam:DeleteRole", "DeleteConflict", "", PROPAGATION),
    row("iam:DeleteInstanceProfile", "DeleteConflict", "", PROPAGATION),
    // Instances that end hold their groups. Source: terraform-provider-aws, ec2/vpc_security_group.go.
    row("ec2:DeleteSecurityGroup", "DependencyViolation", "", BUSY),
    row("ec2:DeleteSecurityGroup", "InvalidGroup.InUse", "", BUSY),
    // Made a moment ago.
    row("ec2:AuthorizeSecurityGroup", "InvalidGroup.NotFound", "", Wait { total: 30.0, ..PROPAGATION }),
    // EMR believes in a profile later than IAM. Source: terraform-provider-aws, emr/cluster.go.
    row("elasticmapreduce:RunJobFlow", "ValidationException", "Invalid InstanceProfile", PROPAGATION),
    row(
        "elasticmapreduce:RunJobFlow",
        "AccessDeniedException",
        "Failed to authorize instance profile",
        PROPAGATION,
    ),
    row(
        "elasticmapreduce:RunJobFlow",
        "ValidationException",
        "ServiceRole",
        Wait { total: 60.0, ..PROPAGATION },
    ),
    // A cluster that ends still uses it.
    row("elasticmapreduce:DeleteSecurityConfiguration", "InvalidRequestException", "in use", BUSY),
];

/// How to wait before trying again; `None`: not at all.
pub fn wait(error: &ApiError) -> Option<Wait> {
    if is_throttle(error) {
        return Some(LOAD);
    }
    if error.transport().is_some_and(|transport| transport.fault.lasts()) {
        return None;
    }
    if error.is_lost() {
        return (!NOT_BLINDLY.contains(&error.action)).then_some(LOST);
    }
    TABLE
        .iter()
        .find(|row| {
            error.action.starts_with(row.action)
                && (row.code.is_empty() || row.code == error.code)
                && error.message.contains(row.text)
        })
        .map(|row| row.wait)
}

/// Whether AWS asks for patience; then nothing was done.
pub fn is_throttle(error: &ApiError) -> bool {
    error.is(THROTTLES) || error.status == Some(429)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(action: &'static str, code: &str, message: &str, status: Option<u16>) -> ApiError {
        ApiError::answer(action, "x".into(), code.into(), message.into(), status)
    }

    #[test]
    fn a_lost_answer_of_run_job_flow_is_not_asked_for_again() {
        assert_eq!(wait(&error("s3:PutObject", "", "reset", None)), Some(LOST));
        for action in NOT_BLINDLY {
            assert_eq!(wait(&error(action, "", "reset", None)), None);
            assert_eq!(wait(&error(action, "InternalFailure", "", Some(500))), None);
            // Refused is not lost.
            assert_eq!(wait(&error(action, "ThrottlingException", "Rate exceeded", Some(400))), Some(LOAD));
        }
    }

    #[test]
    fn nothing_unknown_is_tried_again() {
        for code in
            ["ValidationException", "AccessDenied", "InvalidParameterValue", "LimitExceeded", "Surprise"]
        {
            for action in
                ["elasticmapreduce:RunJobFlow", "ec2:CreateSecurityGroup", "iam:CreateRole", "s3:PutObject"]
            {
                assert_eq!(wait(&error(action, code, "no", Some(400))), None, "{action} {code}");
            }
        }
        let profile = error(
            "elasticmapreduce:RunJobFlow",
            "ValidationException",
            "Invalid InstanceProfile: x.",
            Some(400),
        );
        assert_eq!(wait(&profile), Some(PROPAGATION));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        for attempt in 1..40 {
            let s = LOAD.before(attempt);
            assert!((0.25..=20.0).contains(&s), "{s}");
        }
    }
}
