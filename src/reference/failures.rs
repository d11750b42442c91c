//! `docs/reference/failures.md`: why clusters end and steps fail.

use super::{head, table, wrap};
use crate::aws::emr::{EndReason, StepCause};
use crate::explain::{Told, told_of_end, told_of_step};

pub fn page() -> String {
    let ends = EndReason::ALL.iter().map(|reason| told_of_end(*reason));
    let steps = StepCause::ALL.iter().map(|cause| told_of_step(*cause));
    let intro = "Each cause that fruitctl can tell, in its words, and what it says next. AWS's own words stand beside \
                 them in every message. fruitctl goes by EMR's codes first, and by AWS's sentences only where there is \
                 no code: the tables, with the source of each row, are `src/aws/emr/ended.rs` and \
                 `src/aws/emr/failed.rs`.";
    let denied = "Where EMR says only that it could not do something, the reason is in the account's CloudTrail: the \
                  calls that failed for the service role while the cluster started. A message has this command with \
                  its role, region and times filled in. CloudTrail shows a call some minutes after it was made. The \
                  console shows the same under CloudTrail, Event history. Both need `cloudtrail:LookupEvents`, which \
                  fruitctl itself does not.";
    let command = "aws cloudtrail lookup-events --region REGION --start-time START --end-time END \\\n        \
                   --query \"Events[?contains(CloudTrailEvent, 'errorCode')\n        \
                   && contains(CloudTrailEvent, 'ROLE')].CloudTrailEvent\" \\\n        \
                   --output text";
    [
        head("Why clusters end and steps fail", "src/explain", intro),
        format!("\n## A cluster ends\n\n{}", rows(ends)),
        format!("\n## A step fails\n\n{}", rows(steps)),
        format!("\n## What was denied\n\n{}\n    {command}\n", wrap(denied)),
    ]
    .concat()
}

fn rows(told: impl Iterator<Item = Told>) -> String {
    let row = |told: Told| {
        let what = if told.what.is_empty() { "(AWS's or the job's own words)" } else { told.what };
        let next = told
            .next
            .replace("{again}", "fruitctl up")
            .replace("{denied}", "[CloudTrail](#what-was-denied)")
            .replace("{console}", "CloudTrail's event history")
            .replace("{region}", "REGION")
            .replace("{role}", "SERVICE_ROLE")
            .replace("{profile}", "NODE_ROLE");
        [what.to_owned(), code(&next)]
    };
    table(["what happened", "what to do"], &told.map(row).collect::<Vec<_>>())
}

/// With commands, options and sections of fruitctl.toml as code.
fn code(next: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut in_aws = false;
    for word in next.split(' ') {
        let bare = word.trim_end_matches([';', ',', ':']);
        let rest = &word[bare.len()..];
        let after_fruitctl = words.last().is_some_and(|last| last == "`fruitctl");
        let is_code = bare.starts_with("--") || bare.starts_with('[') && !bare.contains("](");
        if bare == "aws" || bare == "fruitctl" {
            in_aws = bare == "aws";
            words.push(format!("`{word}"));
        } else if in_aws && rest.is_empty() {
            words.push(word.to_owned());
        } else if in_aws || after_fruitctl {
            in_aws = false;
            words.push(format!("{bare}`{rest}"));
        } else if is_code {
            words.push(format!("`{bare}`{rest}"));
        } else {
            words.push(word.to_owned());
        }
    }
    words.join(" ") + if in_aws { "`" } else { "" }
}
