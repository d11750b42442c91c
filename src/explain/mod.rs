//! Why a cluster ended: EMR's codes in people's words, and the last lines of the right log.

use crate::aws::Aws;
use crate::aws::emr::{Detail, EndReason, Existing, Status, Step, StepState};
use crate::error::{Error, Kind};
use crate::logs::{LINES, last_lines};

/// The failure of a cluster that ended, or is about to.
pub async fn ended(found: &Existing, aws: &Aws) -> Error {
    let status = &found.status;
    let mut message = format!("cluster {} ended: {}", found.id, sentence(status));
    let mut next = advice(status).to_owned();
    if let Some((instance, number)) = bootstrap_action(status) {
        let name = action_name(&found.id, number, aws).await;
        message =
            format!("cluster {} ended: bootstrap action {number}{name} failed on node {instance}", found.id);
        if status.reason() == EndReason::ActionNotFetched {
            message += ": it could not be fetched from the bucket";
        } else {
            let place =
                format!("{}/{}/node/{instance}/bootstrap-actions/{number}", found.cluster.log_uri, found.id);
            match last_lines(&format!("{place}/stderr.gz"), aws).await {
                Some(lines) => {
                    message += &format!("; the end of its stderr:\n{lines}");
                    next = format!("fix the script, then: fruitctl up; all of its output: {place}/");
                }
                None => {
                    next = format!(
                        "its output is not in the bucket yet; look for it at {place}/, then: fruitctl up"
                    )
                }
            }
        }
    }
    Error::new(Kind::Failed, message).leftover("no cluster; bucket, roles and network are there").help(next)
}

/// The failure of a step, with what it said.
pub async fn step(
    step: &Step,
    cluster: &Existing,
    said: Option<(String, i32)>,
    stderr: &[String],
    logs: &str,
    aws: &Aws,
) -> Error {
    let what = format!("step {} of cluster {}", step.id, cluster.id);
    let status = &cluster.status;
    // A step that goes down with its cluster says nothing of its own.
    if matches!(step.state, StepState::Interrupted | StepState::Cancelled)
        && !status.is_usable()
        && !status.code.is_empty()
        && status.reason() != EndReason::Done
    {
        let mut error = ended(cluster, aws).await;
        error.message = format!("{what} was stopped with its cluster: {}", error.message);
        return error;
    }
    if step.state == StepState::Cancelled {
        return Error::new(Kind::Failed, format!("{what} was cancelled")).help("fruitctl run");
    }
    let all = stderr.join("\n");
    let text = said.as_ref().map(|(text, _)| text.clone()).unwrap_or_default();
    let (cause, next) = cause(&format!("{text}\n{all}"));
    let mut message = format!("{what} failed");
    if !cause.is_empty() {
        message += &format!(": {cause}");
    }
    if !text.is_empty() {
        message += &format!(": {text}");
    } else if !stderr.is_empty() {
        let from = stderr.len().saturating_sub(LINES);
        let lines: Vec<_> = stderr[from..].iter().map(|line| format!("    {line}")).collect();
        message += &format!("; the end of its stderr:\n{}", lines.join("\n"));
    } else if !step.failure.is_empty() {
        message += &format!(": {}", step.failure);
    }
    let late = all.contains("as --max-duration allows");
    Error::new(kind(said.map(|(_, code)| code), late), message)
        .help(format!("{next}; all that it said: {logs}/"))
}

/// Who has to act on a step's failure: what the job said, by its exit code. A signal stopped it on the node, not here:
/// when its time was over, or somebody did.
fn kind(code: Option<i32>, late: bool) -> Kind {
    match code.and_then(Kind::of_exit_code) {
        // What ended for want of time may have said something else of it first.
        Some(Kind::Interrupted(_) | Kind::Failed | Kind::Bug) | None if late => Kind::TimedOut,
        Some(Kind::Interrupted(_)) | None => Kind::Failed,
        Some(kind) => kind,
    }
}

/// The probable cause of what a step said, and the remedy.
fn cause(said: &str) -> (&'static str, &'static str) {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["ended by signal 9", "Cannot allocate memory", "out of memory"]) {
        (
            "it probably ran out of memory",
            "choose a larger instance type under [cluster.primary], or fewer --threads",
        )
    } else if has(&["no space left", "No space left"]) {
        ("the node's disk is full", "raise ebs_gb under [cluster], then: fruitctl run")
    } else if has(&["permission denied", "AccessDenied", "Access Denied", "(403)"]) {
        (
            "the nodes' role may not do that",
            "check input and output under [job], then run fruitctl up to update the role",
        )
    } else if has(&["NoSuchBucket", "no image below"]) {
        (
            "there is nothing at the place that [job] names",
            "see input under [job]; fruitctl upload puts images there",
        )
    } else if has(&["as --max-duration allows"]) {
        ("it took longer than it may", "the same command goes on from there; --max-duration allows more")
    } else if has(&["ended by signal"]) {
        ("somebody or something killed it", "the same command goes on from there")
    } else if has(&["is not what was shipped"]) {
        (
            "the executable in the bucket was changed",
            "find out by whom, delete jobs/ in the bucket, then: fruitctl run",
        )
    } else {
        ("", "fix that, then the same command: it continues from there")
    }
}

/// ` 'name'`, of the n-th bootstrap action.
async fn action_name(id: &str, number: usize, aws: &Aws) -> String {
    let actions = aws.bootstrap_actions(id).await.ok().flatten().unwrap_or_default();
    actions.get(number - 1).map(|action| format!(" '{}'", action.name)).unwrap_or_default()
}

/// Node and number of the bootstrap action that failed: from the details, or from the text.
fn bootstrap_action(status: &Status) -> Option<(String, usize)> {
    if !status.code.contains("BOOTSTRAP") {
        return None;
    }
    let data = |detail: &Detail| {
        let number = detail.data.get("bootstrap-action")?.parse().ok()?;
        // Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-errordetail-bootstrap.html
        Some((detail.data.get("primary-instance-id")?.clone(), number))
    };
    let text = || {
        // "On the master instance (i-...), bootstrap action 2 returned a non-zero return code"
        let instance = status.message.split_once('(')?.1.split_once(')')?.0;
        let number = status.message.split_once("bootstrap action ")?.1.split(' ').next()?.parse().ok()?;
        Some((instance.to_owned(), number))
    };
    status.details.iter().find_map(data).or_else(text).filter(|(_, number)| *number > 0)
}

/// What happened, in one sentence.
fn sentence(status: &Status) -> String {
    let said = match status.message.trim_end_matches(['.', ' ']) {
        "" if status.code.is_empty() => "EMR does not say why".to_owned(),
        "" => status.code.clone(),
        message => message.to_owned(),
    };
    let words = match status.reason() {
        EndReason::Role => "EMR does not take its service role, or its nodes' profile",
        EndReason::EmrRole => "the account has no service-linked role of EMR, and you may not make it",
        EndReason::SpotRole => {
            "the account has no service-linked role of Spot, and the service role may not make it"
        }
        EndReason::NoCapacity => "AWS has no such instances left in this availability zone",
        EndReason::NotOffered => "this availability zone has no such instances",
        EndReason::NoSpotForPrimary => "there was no Spot instance for the primary node",
        EndReason::Quota => "the account's quota is too small for it",
        EndReason::Throttled => "EC2 was asked too often",
        EndReason::KeyPair => "its key pair does not exist",
        EndReason::SubnetsApart => "its subnets are of several VPCs",
        EndReason::GroupsApart => "its security groups are of another VPC than its subnet",
        EndReason::SubnetFull => "its subnet has too few free addresses",
        EndReason::NoInternetGateway => "its subnet has no way to the internet",
        EndReason::AccessGroup => {
            "its subnet is private, and its service access group is missing or lacks a rule"
        }
        EndReason::PublicRule => "a security group lets the internet in",
        EndReason::Idle => "it was idle for as long as idle_minutes allows",
        EndReason::Terminated => "somebody terminated it",
        EndReason::Done => "its work was done",
        EndReason::PrimaryLost => "its primary node was lost (a Spot instance taken back, or a failure)",
        EndReason::InstancesLate => "its instances did not come in time",
        EndReason::StepFailed => "a step failed, and the cluster was to end with it",
        EndReason::Internal => "EMR could not start it",
        EndReason::Refused
        | EndReason::ActionNotFetched
        | EndReason::BootstrapTimeout
        | EndReason::Bootstrap
        | EndReason::Unknown => return said,
    };
    if said == status.code { words.to_owned() } else { format!("{words} ({said})") }
}

/// What to do about it.
fn advice(status: &Status) -> &'static str {
    match status.reason() {
        EndReason::Role => {
            "see whether the roles are as planned: fruitctl plan; if they are, then: fruitctl up"
        }
        EndReason::EmrRole => {
            "aws iam create-service-linked-role --aws-service-name elasticmapreduce.amazonaws.com, then: fruitctl up"
        }
        EndReason::SpotRole => {
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com, then: fruitctl up"
        }
        EndReason::NoCapacity | EndReason::NotOffered | EndReason::InstancesLate => {
            "name more instance types or subnets in fruitctl.toml, then: fruitctl up"
        }
        EndReason::NoSpotForPrimary => "set spot = false under [cluster.primary], then: fruitctl up",
        EndReason::Quota => {
            "use fewer or smaller nodes, or ask for a higher quota: https://console.aws.amazon.com/servicequotas/home"
        }
        EndReason::SubnetFull => "name larger subnets under [network], then: fruitctl up",
        EndReason::KeyPair
        | EndReason::SubnetsApart
        | EndReason::GroupsApart
        | EndReason::NoInternetGateway
        | EndReason::AccessGroup
        | EndReason::PublicRule
        | EndReason::Refused => "fruitctl doctor, fix what it finds, then: fruitctl up",
        EndReason::BootstrapTimeout => "fruitctl up (one launch in a hundred fails like this)",
        EndReason::ActionNotFetched => "check that the node role may read the bucket: fruitctl plan",
        EndReason::Throttled
        | EndReason::Bootstrap
        | EndReason::Idle
        | EndReason::Terminated
        | EndReason::Done
        | EndReason::StepFailed
        | EndReason::PrimaryLost
        | EndReason::Internal
        | EndReason::Unknown => "fruitctl up",
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_failed_action_is_found_in_details_and_in_text() {
        let text = Status {
            code: "BOOTSTRAP_FAILURE".into(),
            message: "On the master instance (i-0ab), bootstrap action 2 returned a non-zero return code"
                .into(),
            ..Status::default()
        };
        assert_eq!(bootstrap_action(&text), Some(("i-0ab".into(), 2)));
        let data = [("primary-instance-id", "i-1"), ("bootstrap-action", "3")];
        let detail = Detail {
            code: "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE".into(),
            data: data.map(|(k, v)| (k.into(), v.into())).into(),
        };
        assert_eq!(
            bootstrap_action(&Status { details: vec![detail], ..text.clone() }),
            Some(("i-1".into(), 3))
        );
        assert_eq!(bootstrap_action(&Status { message: "odd".into(), ..text }), None);
    }

    #[test]
    fn an_exit_code_of_the_job_is_ours() {
        for kind_of in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Interrupted(_))) {
            assert_eq!(kind(Some(kind_of.exit_code()), false), kind_of);
        }
        assert_eq!([Some(137), Some(143), Some(101), None].map(|code| kind(code, false)), [Kind::Failed; 4]);
        assert_eq!([Some(143), Some(6), Some(1), None].map(|code| kind(code, true)), [Kind::TimedOut; 4]);
        assert_eq!(kind(Some(4), true), Kind::Denied);
    }

    #[test]
    fn no_reason_is_no_sentence_and_yet_there_is_one() {
        let said = |code: &str, message: &str| {
            sentence(&Status { code: code.into(), message: message.into(), ..Status::default() })
        };
        assert!(said("ODD", ".").contains("ODD") && said("ODD", "").contains("ODD"));
        assert!(said("", " .").contains("does not say"));
    }

    proptest! {
        /// Whatever EMR says, and however it says it, there is something to say and something to type.
        #[test]
        fn any_status_is_explained(
            code in "(BOOTSTRAP_FAILURE|VALIDATION_ERROR|INTERNAL_ERROR|USER_REQUEST|[A-Z_]{1,20})",
            message in "(\\PC{0,40}|\\PC{0,9}\\(\\PC{0,9}\\)?\\PC{0,9}bootstrap action [0-9]{0,21} ?\\PC{0,9})",
            details in vec(("[A-Z_]{0,30}", "\\PC{0,9}", "-?[0-9]{0,21}"), 0..3),
        ) {
            let details = details.into_iter().map(|(code, instance, number)| Detail {
                code,
                data: [("primary-instance-id".into(), instance), ("bootstrap-action".into(), number)].into(),
            });
            let status = Status { code, message, details: details.collect(), ..Status::default() };
            prop_assert!(!sentence(&status).is_empty() && !advice(&status).is_empty());
            prop_assert!(bootstrap_action(&status).is_none_or(|(_, number)| number > 0));
        }

        #[test]
        fn any_output_has_a_cure(said: String) {
            prop_assert!(!cause(&said).1.is_empty());
        }
    }
}
