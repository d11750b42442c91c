//! `fruitctl up`: makes it so.

use serde::Serialize;

use super::{cloud, plan};
use crate::aws::Aws;
use crate::cli::{Cli, UpArgs};
use crate::error::{Error, Kind, Result};
use crate::stack::{self, Part, Plan, Resource, Spec, bucket, lock};
use crate::ui::steps::Steps;
use crate::{clock, explain, ui};

/// What `up --json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    plan: &'a Plan,
    cluster: &'a str,
}

/// Plans and applies.
pub fn run(cli: &Cli, args: &UpArgs) -> Result<()> {
    let config = cloud::stack_config(cli, &args.stack)?;
    let json = args.stack.cloud.json;
    cloud::block_on(async {
        let (aws, names) = cloud::connect(&config).await?;
        let spec = Spec::resolve(&config, &aws).await?;
        if args.dry_run {
            let (plan, prices, _) = plan::make(&config, &spec, &aws).await?;
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
            let (mut plan, prices, observed) = plan::make(&config, &spec, &aws).await?;
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
            Ok((plan, cluster))
        };
        let (plan, cluster) =
            cloud::locked(&aws, &spec.bucket.name, &lock::Name::stack(), "up", &args.lock, work).await?;
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
    const LIMIT: f64 = 3600.0;
    let steps = Steps::new();
    let mut waited = 0.0;
    loop {
        let found = aws.describe_cluster(id).await?;
        let found = found
            .ok_or_else(|| Error::new(Kind::Failed, format!("cluster {id} is gone")).next("fruitctl up"))?;
        match found.status.state.as_str() {
            "WAITING" | "RUNNING" => return Ok(()),
            "STARTING" | "BOOTSTRAPPING" => {
                steps.state(&format!("cluster {id}"), &found.status.state.to_lowercase())
            }
            _ => return Err(explain::ended(&found, aws).await),
        }
        if waited > LIMIT {
            return Err(Error::new(
                Kind::TimedOut,
                format!("cluster {id} is still {} after an hour", found.status.state),
            )
            .left(format!("cluster {id} in {}, which costs money every hour", aws.region))
            .next("fruitctl status, or: fruitctl down"));
        }
        clock::sleep(10.0).await;
        waited += 10.0;
    }
}
