//! Why a cluster ended and why a step failed: the cause that `aws` told, in people's words, with AWS's own, the end of the
//! right log, and what to do.

mod ends;
mod steps;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use {ends::told as told_of_end, steps::told as told_of_step};

use crate::aws::Aws;
use crate::aws::emr::{EndReason, Existing, Step, StepCause, StepState};
use crate::clock;
use crate::error::{Error, Kind};
use crate::logs::{self, LINES, last_lines, plain};
use crate::stack::RUN;

/// What people are told of a cause.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// What happened; empty where AWS's words have to do.
    pub what: &'static str,
    /// What to do. `{region}`, `{role}` (the service role), `{profile}` (the nodes'), `{denied}` (a command),
    /// `{console}` (an address) and `{again}` (the command that starts such a cluster) are filled in.
    pub next: &'static str,
}

impl Told {
    /// What to do about this cluster.
    fn next_for(&self, found: &Existing, region: &str) -> String {
        let console =
            format!("https://{region}.console.aws.amazon.com/cloudtrailv2/home?region={region}#/events");
        // A run's own cluster comes back with the run; up would start one that stays.
        let again = if found.cluster.tags.contains_key(RUN) { "fruitctl run" } else { "fruitctl up" };
        self.next
            .replace("{again}", again)
            .replace("{denied}", &denied(found, region))
            .replace("{console}", &console)
            .replace("{region}", region)
            .replace("{role}", &plain(&found.cluster.service_role))
            .replace("{profile}", &plain(&found.cluster.profile))
    }
}

/// The command that lists what failed for the service role while the cluster started. EMR itself tells nobody of it.
/// Source: <https://docs.aws.amazon.com/cli/latest/reference/cloudtrail/lookup-events.html>.
fn denied(found: &Existing, region: &str) -> String {
    let time = |option: &str, at: Option<i64>| at.map(|at| format!(" {option} {}", clock::rfc3339(at)));
    let since = time("--start-time", found.status.created).unwrap_or_default();
    // What EMR does at the end is of interest too.
    let until = time("--end-time", found.status.ended.map(|at| at + 60)).unwrap_or_default();
    let role = plain(&found.cluster.service_role);
    format!(
        "aws cloudtrail lookup-events --region {region}{since}{until} --query \"Events[?contains(CloudTrailEvent, \
         'errorCode') && contains(CloudTrailEvent, '{role}')].CloudTrailEvent\" --output text"
    )
}

/// The failure of a cluster that ended, or is about to.
pub async fn ended(found: &Existing, aws: &Aws) -> Error {
    use EndReason as R;
    let reason = found.status.reason();
    let next = ends::told(reason).next_for(found, &aws.region);
    let (message, next) = match reason {
        R::Bootstrap | R::BootstrapTimeout | R::ActionNotFetched => action_failed(found, next, aws).await,
        R::Provisioning | R::RootFull | R::Metastore => not_provisioned(found, next, aws).await,
        _ => (sentence(found), next),
    };
    Error::new(Kind::Failed, format!("cluster {} ended: {message}", found.id))
        .leftover("no cluster; bucket, roles and network are there")
        .help(next)
}

/// What is told of a bootstrap action: which, where, and the end of its stderr.
async fn action_failed(found: &Existing, next: String, aws: &Aws) -> (String, String) {
    let (reason, nodes) = (found.status.reason(), found.status.nodes());
    let mut message = failed_action(found, &nodes, aws).await;
    message += match reason {
        EndReason::ActionNotFetched => ": it could not be fetched from the bucket",
        EndReason::BootstrapTimeout => ": it took longer than EMR waits",
        _ => "",
    };
    let ran = nodes.first().zip(found.status.action()).filter(|_| reason != EndReason::ActionNotFetched);
    let (message, next) = match ran {
        Some((node, number)) => {
            let place = format!("{}{node}/bootstrap-actions/{number}", node_logs(found));
            let lines = last_lines(&format!("{place}/stderr.gz"), aws).await;
            with_log(message, "its stderr", lines, next, &place)
        }
        None => (message, format!("{next}; what the nodes said: {}", node_logs(found))),
    };
    (format!("{message}\n  in AWS's words: {}", said(found)), next)
}

/// What is told of a node on which EMR could not install or start something: Puppet's errors.
async fn not_provisioned(found: &Existing, next: String, aws: &Aws) -> (String, String) {
    let message = sentence(found);
    match found.status.nodes().first() {
        Some(node) => {
            let place = format!("{}{node}/provision-node", node_logs(found));
            let lines = logs::provisioning(&place, aws).await;
            with_log(message, &format!("the log of node {node}"), lines, next, &place)
        }
        None => (message, format!("{next}; what the nodes said: {}", node_logs(found))),
    }
}

/// Where EMR puts the logs of a cluster's nodes.
fn node_logs(found: &Existing) -> String {
    format!("{}/{}/node/", found.cluster.log_uri, found.id)
}

/// Adds the end of a log to a message, and its place to what is next.
fn with_log(
    message: String,
    whose: &str,
    lines: Option<String>,
    next: String,
    place: &str,
) -> (String, String) {
    match lines {
        Some(lines) => (
            format!("{message}; the end of {whose}:\n{lines}"),
            format!("{next}; all of its output: {place}/"),
        ),
        None => (message, format!("{next}; its output is not in the bucket yet, look for it at {place}/")),
    }
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
        && status.reason() != EndReason::Unknown
        && status.reason() != EndReason::Done
    {
        let mut error = ended(cluster, aws).await;
        error.message = format!("{what} was stopped with its cluster: {}", error.message);
        return error;
    }
    if step.state == StepState::Cancelled {
        return Error::new(Kind::Failed, format!("{what} was cancelled"))
            .help("the same command goes on from there");
    }
    let all = stderr.join("\n");
    let text = said.as_ref().map(|(text, _)| text.clone()).unwrap_or_default();
    // Of a command that never began, EMR's own log is all that there is.
    let controller = if text.is_empty() && all.trim().is_empty() {
        last_lines(&format!("{logs}/controller.gz"), aws).await
    } else {
        None
    };
    let log = controller.as_deref().unwrap_or_default();
    let cause = StepCause::of(&[&text, &all, &step.failure, log]);
    let told = steps::told(cause);
    let mut message = format!("{what} failed");
    if !told.what.is_empty() {
        message += &format!(": {}", told.what);
    }
    if !text.is_empty() {
        message += &format!(": {}", plain(&text));
    } else if !all.trim().is_empty() {
        let from = stderr.len().saturating_sub(LINES);
        let lines: Vec<_> = stderr[from..].iter().map(|line| format!("    {}", plain(line))).collect();
        message += &format!("; the end of its stderr:\n{}", lines.join("\n"));
    } else {
        if !step.failure.is_empty() {
            message += &format!(": {}", plain(&step.failure));
        }
        if let Some(lines) = &controller {
            message += &format!("; the end of EMR's log of it:\n{lines}");
        }
    }
    let late = StepCause::TooLong.is_told_by(&all);
    Error::new(kind(said.map(|(_, code)| code), late), message)
        .help(format!("{}; all that it said: {logs}/", told.next_for(cluster, &aws.region)))
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

/// `bootstrap action 2 'name' failed on node i-...`, as far as it is known.
async fn failed_action(found: &Existing, nodes: &[String], aws: &Aws) -> String {
    let mut what = match found.status.action() {
        Some(number) => {
            let actions = aws.bootstrap_actions(&found.id).await.ok().flatten().unwrap_or_default();
            let name = actions.get(number - 1).map(|action| format!(" '{}'", plain(&action.name)));
            format!("bootstrap action {number}{}", name.unwrap_or_default())
        }
        None => "a bootstrap action".to_owned(),
    };
    what += " failed";
    match nodes {
        [] => {}
        [node] => what += &format!(" on node {node}"),
        // EMR names two of many.
        nodes => what += &format!(" on several nodes, among them {}", nodes.join(" and ")),
    }
    what
}

/// What happened, in one sentence; with AWS's own words, always.
fn sentence(found: &Existing) -> String {
    match ends::told(found.status.reason()).what {
        "" => said(found),
        what => format!("{what} ({})", said(found)),
    }
}

/// AWS's own words, for a terminal.
fn said(found: &Existing) -> String {
    let words = plain(&found.status.words());
    match words.trim_end_matches(['.', ' ']) {
        "" => "EMR does not say why".to_owned(),
        words => words.to_owned(),
    }
}
