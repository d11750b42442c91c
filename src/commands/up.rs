//! `fruitctl up`: makes it so.

use serde::Serialize;

use crate::app;
use crate::aws::Aws;
use crate::aws::emr::ClusterState;
use crate::cli::{Cli, UpArgs};
use crate::error::{Error, Kind, Result};
use crate::stack::{self, Part, Plan, Resource, Spec, bucket, lock};
use crate::ui::steps::Steps;
use crate::{explain, ui, wait};

/// What `up --json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    plan: &'a Plan,
    cluster: &'a str,
}

/// Plans and applies.
pub fn run(cli: &Cli, args: &UpArgs) -> Result<()> {
    let config = app::settings(cli, &args.stack)?;
    let json = args.stack.cloud.json;
    app::block_on(async |cancel| {
        let (aws, names) = app::connect(&config).await?;
        let spec = Spec::resolve(&config, &aws).await?;
        if args.dry_run {
            let (plan, prices, _) = Plan::make(&config, &spec, &aws).await?;
            if json {
                ui::json(&plan);
            } else {
                ui::plan::print(&plan, &prices, &aws);
            }
            return Ok(());
        }
        // The lock lies in the bucket. Making it is the one thing that is done without: it can be done twice.
        let is_new = bucket::observe(&names, &spec.bucket.name, &aws).await?.is_none();
        if is_new {
            bucket::create(&spec.bucket, &aws).await?;
        }
        let work = async {
            let (mut plan, prices, observed) = Plan::make(&config, &spec, &aws).await?;
            if is_new {
                plan.is_new(Resource::Bucket);
            }
            if !json {
                ui::plan::print(&plan, &prices, &aws);
            }
            let steps = Steps::new();
            let cluster = stack::apply(Part::All, &spec, &observed, &plan, &aws, &|change, state| {
                steps.report(change, state)
            })
            .await?;
            Ok((plan, cluster.unwrap_or_default()))
        };
        let claim = app::claim(&aws, &spec.bucket.name, "up", &args.lock, cancel);
        let (plan, cluster) = claim.hold_until_cancelled(&lock::Name::stack(), work).await?;
        if args.wait {
            wait_ready(&cluster, &aws).await?;
        }
        if json {
            ui::json(&Outcome { plan: &plan, cluster: &cluster });
        } else if plan.has_changes() {
            let seen = if args.wait { "is ready" } else { "starts; it takes some minutes: fruitctl status" };
            ui::say(&format!(
                "cluster {cluster} {seen}\n{} an hour; fruitctl down ends it",
                plan.cost.short()
            ));
        }
        Ok(())
    })
}

/// Waits until a cluster can take steps; if it ends instead, says why.
async fn wait_ready(id: &str, aws: &Aws) -> Result<()> {
    let steps = Steps::new();
    let mut state = ClusterState::Starting;
    let look = async || {
        let found = aws.describe_cluster(id).await?;
        let found = found
            .ok_or_else(|| Error::new(Kind::Failed, format!("cluster {id} is gone")).help("fruitctl up"))?;
        state = found.status.state;
        if state.takes_steps() {
            return Ok(Some(()));
        }
        if !state.is_usable() {
            return Err(explain::ended(&found, aws).await);
        }
        steps.state(&format!("cluster {id}"), &state.in_words());
        Ok(None)
    };
    let ready = wait::until(wait::Every::seconds(10.0, 3600.0), look).await?;
    ready.ok_or_else(|| {
        Error::new(Kind::TimedOut, format!("cluster {id} is still {} after an hour", state.name()))
            .leftover(format!("cluster {id} in {}, which costs money every hour", aws.region))
            .help("fruitctl status, or: fruitctl down")
    })
}
