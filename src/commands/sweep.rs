//! `fruitctl sweep`: ends clusters of any project that are past their deadline, and closes doors that have expired.

use serde::Serialize;

use crate::app;
use crate::aws::Aws;
use crate::aws::emr::ClusterState;
use crate::cli::{Cli, SweepArgs};
use crate::error::{Error, Kind, Result};
use crate::logs::plain;
use crate::stack::{DEADLINE, PROJECT, cluster, network};
use crate::{clock, ui};

/// A cluster past its deadline.
#[derive(Serialize)]
struct Late {
    id: String,
    name: String,
    project: String,
    deadline: String,
    state: ClusterState,
    terminated: bool,
}

/// Looks for them, and ends them.
pub fn run(cli: &Cli, args: &SweepArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let aws = app::account(&config, app::Access::unless(args.dry_run)).await?;
        let (mut late, mut failure) = (Vec::new(), None);
        // Of another project's clusters nothing is asked where one is named.
        let prefix = args.project.as_ref().map_or("fruitctl-".to_owned(), |only| format!("fruitctl-{only}-"));
        for listed in aws.list_clusters(None, cluster::ACTIVE).await? {
            if !listed.name.starts_with(&prefix) || listed.status.state == ClusterState::Terminating {
                continue;
            }
            // One that cannot be looked at keeps nobody from the others.
            let found = match aws.describe_cluster(&listed.id).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    let unseen =
                        format!("cluster {} ({}) in {}, perhaps", listed.id, listed.name, aws.region);
                    failure.get_or_insert(Error::from(error).leftover(unseen));
                    continue;
                }
            };
            let tags = &found.cluster.tags;
            let Some(project) = tags.get(PROJECT) else { continue };
            if args.project.as_ref().is_some_and(|only| only != project) {
                continue;
            }
            let deadline = tags.get(DEADLINE).map_or("", String::as_str);
            let Some(ends) = clock::parse(deadline) else {
                ui::note(&format!(
                    "cluster {} of project {project} has no deadline that can be read ('{deadline}'): it is left alone",
                    found.id
                ));
                continue;
            };
            if ends > clock::now() {
                continue;
            }
            let mut terminated = false;
            if !args.dry_run {
                match cluster::terminate(&found, &aws).await {
                    Ok(()) => terminated = true,
                    // The others' money runs on as well.
                    Err(error) => drop(failure.get_or_insert(error)),
                }
            }
            late.push(Late {
                id: found.id,
                name: found.cluster.name.clone(),
                project: project.clone(),
                deadline: deadline.to_owned(),
                state: found.status.state,
                terminated,
            });
        }
        show(&late, args, &aws.region);
        if let Err(error) = close_doors(args, &aws).await {
            failure.get_or_insert(error);
        }
        match failure {
            Some(error) => Err(Error { kind: Kind::LeftBehind, ..error }.help("fruitctl sweep")),
            None => Ok(()),
        }
    })
}

fn show(late: &[Late], args: &SweepArgs, region: &str) {
    if args.cloud.json {
        return ui::json(&late);
    }
    if late.is_empty() {
        return ui::say(&format!("no cluster in {region} is past its deadline"));
    }
    for l in late {
        let verb = if l.terminated {
            "terminated"
        } else if args.dry_run {
            "would terminate"
        } else {
            "could not terminate"
        };
        ui::say(&format!(
            "{verb} {} of project {}: {}, deadline {}",
            l.id,
            l.project,
            l.state.in_words(),
            l.deadline
        ));
    }
}

/// Takes rules for SSH away that have expired. Who may end clusters and nothing else does not, and says so.
async fn close_doors(args: &SweepArgs, aws: &Aws) -> Result<()> {
    match network::expire(args.project.as_deref(), args.dry_run, aws).await {
        Ok(rules) => {
            let verb = if args.dry_run { "would close" } else { "closed" };
            for rule in rules {
                ui::note(&format!("{verb} {}, which has expired", plain(&rule)));
            }
            Ok(())
        }
        Err(error) if error.kind == Kind::Denied => {
            ui::note(&format!("rules for SSH that have expired stay: {}", error.message));
            Ok(())
        }
        Err(error) => Err(error),
    }
}
