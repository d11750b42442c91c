//! `fruitctl up`: makes it so.

use serde::Serialize;

use crate::app;
use crate::aws::Aws;
use crate::aws::emr::ClusterState;
use crate::cli::{Cli, UpArgs};
use crate::error::{Error, Kind, Result};
use crate::stack::{self, Part, Plan, Relaunches, Resource, Spec, bucket, cluster, lock};
use crate::ui::steps::Steps;
use crate::{clock, explain, ui, wait};

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
        let (aws, names) = app::connect(&config, app::Access::unless(args.dry_run)).await?;
        // Without a cluster, it need not be one that can be launched.
        let spec = if args.no_cluster {
            Spec::resolve(&config, &aws).await?
        } else {
            Spec::to_launch(&config, &aws).await?
        };
        let part = if args.no_cluster { Part::ButCluster } else { Part::All };
        if args.dry_run {
            let (mut plan, prices, _) = Plan::make(&config, &spec, &aws).await?;
            if args.no_cluster {
                plan.leave_out_cluster();
            }
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
            bucket::create(&spec.names, &spec.bucket, &aws).await?;
        }
        let work = async {
            let (mut plan, prices, observed) = Plan::make(&config, &spec, &aws).await?;
            if is_new {
                plan.is_new(Resource::Bucket);
            }
            if args.no_cluster {
                plan.leave_out_cluster();
            }
            if !json {
                ui::plan::print(&plan, &prices, &aws);
            }
            let steps = Steps::new();
            let cluster = stack::apply(part, &spec, &observed, &plan, &aws, &|change, state| {
                steps.report(change, state)
            })
            .await?;
            Ok((plan, cluster.unwrap_or_default()))
        };
        let claim = app::claim(&aws, &spec.bucket.name, "up", &args.lock, cancel);
        let (plan, cluster) = claim.hold_until_cancelled(&lock::Name::stack(), work).await?;
        let cluster = if args.wait { ready(cluster, spec.clone(), &claim, &aws).await? } else { cluster };
        if json {
            ui::json(&Outcome { plan: &plan, cluster: &cluster });
        } else if args.no_cluster {
            ui::say("all that a cluster needs is there; none was started: fruitctl run --one-shot");
        } else if plan.has_changes() || args.wait {
            let seen = if args.wait { "is ready" } else { "starts; it takes some minutes: fruitctl status" };
            ui::say(&format!(
                "cluster {cluster} {seen}\n{} an hour; fruitctl down ends it",
                plan.cost.short()
            ));
        }
        Ok(())
    })
}

/// Waits until the cluster can take steps; or another, where that one ended before it began. Its id.
async fn ready(mut id: String, mut spec: Spec, claim: &lock::Claim<'_>, aws: &Aws) -> Result<String> {
    let mut relaunches = Relaunches::default();
    while !wait_ready(&id, aws).await? {
        let found = cluster::until_ended(&id, aws, &|_| {}).await?.ok_or_else(|| gone(&id))?;
        let Some(again) = relaunches.again(&mut spec, &found, aws).await else {
            return Err(explain::ended(&found, aws).await);
        };
        ui::note(&format!("cluster {id} ended before it began: {}; another is asked for", again.why));
        clock::sleep(again.seconds).await;
        let wanted = spec.wanted_cluster();
        id = claim.hold_until_cancelled(&lock::Name::stack(), cluster::stand(&wanted, aws)).await?;
    }
    Ok(id)
}

fn gone(id: &str) -> Error {
    Error::new(Kind::Failed, format!("cluster {id} is gone")).help("fruitctl up")
}

/// Waits until a cluster can take steps; false: it ends instead.
async fn wait_ready(id: &str, aws: &Aws) -> Result<bool> {
    let steps = Steps::new();
    let mut state = ClusterState::Starting;
    let look = async || {
        state = aws.describe_cluster(id).await?.ok_or_else(|| gone(id))?.status.state;
        if state.takes_steps() || !state.is_usable() {
            return Ok(Some(state.takes_steps()));
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
