//! The corpus of `tests/fixtures/aws`, and what remedies name.

use std::collections::BTreeMap;

use clap::CommandFactory;
use serde::Deserialize;

use super::*;
use crate::aws::emr::{Cluster, Detail, Status};
use crate::cli::Cli;

/// How a cluster ended, and what is to be told of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    cause: String,
    next: String,
    code: String,
    message: String,
    #[serde(default)]
    details: Vec<EndDetail>,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndDetail {
    code: String,
    data: BTreeMap<String, String>,
}

/// What a step wrote, and what is to be told of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFailure {
    cause: String,
    next: String,
    #[serde(default)]
    said: String,
    exit_code: Option<i32>,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    controller: String,
    source: String,
}

const ENDS: &str = include_str!("../../tests/fixtures/aws/ends.json");
const STEPS: &str = include_str!("../../tests/fixtures/aws/step_failures.json");

/// A cluster of ours that ended like this.
fn cluster(status: Status) -> Existing {
    let cluster =
        Cluster { service_role: "fruits-service".into(), profile: "fruits-nodes".into(), ..no_cluster() };
    Existing { id: "j-1".into(), status, primary_dns: None, zone: None, cluster, unread: Vec::new() }
}

fn no_cluster() -> Cluster {
    Cluster {
        name: String::new(),
        tags: BTreeMap::default(),
        release: String::new(),
        applications: Vec::new(),
        log_uri: "s3://b/logs".into(),
        service_role: String::new(),
        profile: String::new(),
        subnets: Vec::new(),
        key_pair: String::new(),
        primary_group: String::new(),
        worker_group: String::new(),
        access_group: String::new(),
        additional_primary: Vec::new(),
        additional_workers: Vec::new(),
        image: None,
        security_configuration: String::new(),
        fleets: false,
        workforce: Vec::new(),
        configurations: BTreeMap::default(),
        bootstrap: Vec::new(),
        idle_seconds: None,
        scaling: None,
        protected: false,
        root_gb: 30,
        keep_alive: false,
        steps: Vec::new(),
    }
}

#[test]
fn every_end_of_the_corpus_is_told_as_it_is() {
    let mut wrong = Vec::new();
    let ends: Vec<End> = serde_json::from_str(ENDS).unwrap();
    for end in &ends {
        let details = end.details.iter().map(|d| Detail {
            code: d.code.clone(),
            data: d.data.clone(),
            message: String::new(),
        });
        let found = cluster(Status {
            code: end.code.clone(),
            message: end.message.clone(),
            details: details.collect(),
            created: Some(1_795_651_200),
            ended: Some(1_795_651_260),
            ..Status::default()
        });
        let reason = found.status.reason();
        let next = ends::told(reason).next_for(&found, "eu-west-3");
        let told = sentence(&found);
        let own = end.message.trim_end_matches(['.', ' ']);
        if format!("{reason:?}") != end.cause || !next.contains(&end.next) || !told.contains(own) {
            wrong.push(format!("{reason:?}, not {}: {}\n  {told}\n  next: {next}", end.cause, end.source));
        }
    }
    assert!(wrong.is_empty(), "{} of {} ends:\n{}", wrong.len(), ends.len(), wrong.join("\n"));
}

#[test]
fn every_step_of_the_corpus_is_told_as_it_is() {
    let mut wrong = Vec::new();
    let failures: Vec<StepFailure> = serde_json::from_str(STEPS).unwrap();
    for failure in &failures {
        let StepFailure { said, stderr, controller, .. } = failure;
        let cause = StepCause::of(&[said, stderr, controller]);
        let next = steps::told(cause).next_for(&cluster(Status::default()), "eu-west-3");
        if format!("{cause:?}") != failure.cause || !next.contains(&failure.next) {
            wrong.push(format!(
                "{cause:?}, not {}: {said}{stderr}{controller} ({})",
                failure.cause, failure.source
            ));
        }
        // Who has to act is what the job said.
        if let Some(kind_said) = failure.exit_code.and_then(Kind::of_exit_code) {
            assert_eq!(kind(failure.exit_code, false), kind_said);
        }
    }
    assert!(wrong.is_empty(), "{} of {} steps:\n{}", wrong.len(), failures.len(), wrong.join("\n"));
}

#[test]
fn every_cause_is_in_the_corpus() {
    let ends: Vec<End> = serde_json::from_str(ENDS).unwrap();
    for reason in EndReason::ALL {
        assert!(ends.iter().any(|end| end.cause == format!("{reason:?}")), "{reason:?}");
    }
    let failures: Vec<StepFailure> = serde_json::from_str(STEPS).unwrap();
    for cause in StepCause::ALL {
        assert!(failures.iter().any(|failure| failure.cause == format!("{cause:?}")), "{cause:?}");
    }
}

/// AWS's words are always there, and obey no terminal.
#[test]
fn awss_own_words_are_told() {
    let said_of = |code: &str, message: &str| {
        sentence(&cluster(Status { code: code.into(), message: message.into(), ..Status::default() }))
    };
    assert!(said_of("ODD", ".").contains("ODD") && said_of("ODD", "").contains("ODD"));
    assert!(said_of("", " .").contains("does not say"));
    let hostile = said_of("VALIDATION_ERROR", "\u{1b}[2Jgone\r\nand \u{202e}back");
    assert!(hostile.contains("gone") && !hostile.chars().any(char::is_control), "{hostile}");
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

/// What a cause is told as, whether it passes by itself, and whether `doctor` looks at it.
struct Case {
    name: String,
    next: String,
    passes: bool,
    is_doctors: bool,
}

fn cases() -> Vec<Case> {
    use EndReason as R;
    use StepCause as C;
    let found = cluster(Status { created: Some(1), ended: Some(2), ..Status::default() });
    let ends = EndReason::ALL.iter().map(|reason| Case {
        name: format!("{reason:?}"),
        next: ends::told(*reason).next_for(&found, "eu-west-3"),
        passes: matches!(
            reason,
            R::Throttled | R::Idle | R::Terminated | R::Done | R::PrimaryLost | R::Internal
        ),
        // Its checks "subnets" and "zones".
        is_doctors: matches!(reason, R::AccessGroup | R::Subnet | R::NotOffered),
    });
    let steps = StepCause::ALL.iter().map(|cause| Case {
        name: format!("step {cause:?}"),
        next: steps::told(*cause).next_for(&found, "eu-west-3"),
        passes: matches!(cause, C::TooLong | C::NodeLost | C::Expired | C::Throttled | C::Killed),
        // Its check "subnets": routes out, and endpoints for S3.
        is_doctors: matches!(cause, C::NoRoute),
    });
    ends.chain(steps).collect()
}

/// The commands of a remedy: from their first word to what ends a command in a sentence.
fn commands(next: &str) -> Vec<&str> {
    let starts = next.match_indices("fruitctl ").map(|(at, _)| &next[at..]);
    starts.map(|rest| rest[..rest.find([';', ',', ':']).unwrap_or(rest.len())].trim()).collect()
}

#[test]
fn every_fruitctl_command_of_a_remedy_exists() {
    let cli = Cli::command();
    for case in cases() {
        for command in commands(&case.next) {
            let name = command.split(' ').nth(1).unwrap();
            assert!(cli.find_subcommand(name).is_some(), "{}: {command}", case.name);
            for option in command.split(' ').filter(|word| word.starts_with("--")) {
                let long = option.trim_start_matches('-');
                let sub = cli.find_subcommand(name).unwrap();
                assert!(sub.get_arguments().any(|a| a.get_long() == Some(long)), "{}: {command}", case.name);
            }
        }
        // Options of run are named without it.
        for option in ["--executable", "--threads", "--engine", "--max-duration"] {
            let run = cli.find_subcommand("run").unwrap();
            assert!(run.get_arguments().any(|a| a.get_long() == option.strip_prefix("--")), "{option}");
        }
    }
}

/// What does not pass by itself fails again if nothing is changed: no remedy says to do just the same again.
#[test]
fn no_remedy_sends_in_a_circle() {
    for Case { name, next, passes, is_doctors } in cases() {
        let same = ["fruitctl up", "fruitctl run", "the same command", "then"];
        assert!(passes || !same.iter().any(|same| next.starts_with(same)), "{name}: {next}");
        assert_eq!(next.contains("fruitctl doctor"), is_doctors, "{name}: {next}");
        assert!(next.len() > 20 && !next.contains(['{', '}', '\n']), "{name}: {next}");
    }
}

/// Commands of AWS's CLI and their options, as its reference has them:
/// <https://docs.aws.amazon.com/cli/latest/reference/>.
const AWS_CLI: &[(&str, &[&str])] = &[
    ("iam create-service-linked-role", &["--aws-service-name"]),
    ("iam get-role", &["--role-name"]),
    ("iam get-instance-profile", &["--instance-profile-name"]),
    ("cloudtrail lookup-events", &["--lookup-attributes", "--start-time", "--end-time"]),
    ("ec2 describe-subnets", &[]),
    ("ec2 describe-dhcp-options", &[]),
    ("ec2 get-ebs-default-kms-key-id", &[]),
    ("emr get-block-public-access-configuration", &[]),
    ("s3api restore-object", &["--bucket", "--key", "--restore-request"]),
    ("s3api get-bucket-location", &["--bucket"]),
];

#[test]
fn every_aws_command_of_a_remedy_is_one_of_its_reference() {
    // <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-options.html>
    const GLOBAL: &[&str] = &["--region", "--query", "--output"];
    let mut used = 0;
    for Case { name, next, .. } in cases() {
        for (at, _) in next.match_indices("aws ").filter(|(at, _)| *at == 0 || next[..*at].ends_with(' ')) {
            let command = &next[at + 4..];
            let Some((_, options)) = AWS_CLI.iter().find(|(known, _)| command.starts_with(known)) else {
                panic!("{name}: aws {command}");
            };
            let end = command.find("; ").unwrap_or(command.len());
            for option in command[..end].split(' ').filter(|word| word.starts_with("--")) {
                assert!(
                    options.contains(&option) || GLOBAL.contains(&option),
                    "{name}: {option} of {command}"
                );
            }
            assert_eq!(command[..end].matches('"').count() % 2, 0, "{name}: {command}");
            used += 1;
        }
    }
    assert!(used > 10, "{used}");
}

#[test]
fn the_denied_events_are_those_of_the_cluster_s_beginning() {
    let found =
        cluster(Status { created: Some(1_795_651_200), ended: Some(1_795_651_260), ..Status::default() });
    let command = denied(&found, "eu-west-3");
    for piece in [
        "--region eu-west-3 --start-time 2026-11-26T00:00:00Z --end-time 2026-11-26T00:02:00Z",
        "contains(CloudTrailEvent, 'errorCode')",
        "contains(CloudTrailEvent, 'fruits-service')",
    ] {
        assert!(command.contains(piece), "{command}");
    }
    let unknown = denied(&cluster(Status::default()), "eu-west-3");
    assert!(!unknown.contains("-time"), "{unknown}");
}

/// `up` would start a cluster that stays beside the run's own.
#[test]
fn a_run_s_cluster_comes_back_with_the_run() {
    let mut found = cluster(Status::default());
    let next = |found: &Existing| ends::told(EndReason::NoCapacity).next_for(found, "eu-west-3");
    assert!(next(&found).ends_with("then: fruitctl up"));
    found.cluster.tags.insert(RUN.into(), "nightly".into());
    assert!(next(&found).ends_with("then: fruitctl run"));
}
