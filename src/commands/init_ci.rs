//! `fruitctl init --ci`: a nightly workflow, and the policies of the two roles that it runs under.

use std::path::Path;

use serde_json::Value;

use crate::app;
use crate::aws::{self, Tags};
use crate::cli::{Ci, Cli, InitArgs};
use crate::error::{Error, Result};
use crate::stack::{Names, operator_policy};
use crate::{bundle, ui};

/// Where the policies go.
const TRUST: &str = "ci/trust-policy.json";
const RUN: &str = "ci/run-policy.json";
const SWEEP: &str = "ci/sweep-policy.json";

/// What is written.
struct Files {
    workflow: (&'static str, String),
    trust: Value,
    /// What vouches for a job, as an address.
    provider: String,
}

/// The roles that the workflow's jobs take on.
struct Roles {
    run: String,
    sweep: String,
}

impl Roles {
    fn new(names: &Names) -> Roles {
        let named = |job| format!("fruitctl-{}-ci-{job}", names.project);
        Roles { run: named("run"), sweep: named("sweep") }
    }
}

/// Writes the four files beside `fruitctl.toml`, and says what to do with them.
pub fn run(cli: &Cli, args: &InitArgs, ci: Ci) -> Result<()> {
    let config = app::settings(cli, args)?;
    let project = Names::project(&config)?;
    let repository = args.repository.as_deref().ok_or_else(|| {
        Error::usage("which repository? The roles are for its workflow alone").help(match ci {
            Ci::Github => "fruitctl init --ci github --repository OWNER/NAME",
            Ci::Gitlab => "fruitctl init --ci gitlab --repository GROUP/PROJECT",
        })
    })?;
    let names = app::block_on(async |_| {
        let (region, account) = match &args.account {
            Some(account) => (aws::region(&config.aws).await?.0, account.clone()),
            None => {
                let aws = app::account(&config, app::Access::Reads).await?;
                (aws.region, aws.account)
            }
        };
        Ok(Names { project, region, account, more_tags: Tags::new() })
    })?;
    let roles = Roles::new(&names);
    let Files { workflow: (workflow, text), trust, provider } = render(ci, &names, &roles, repository, args);
    let (run, sweep) = (operator_policy::run(&names, &config), operator_policy::sweep(&names, &config));
    let [trust, run, sweep] = [(TRUST, trust), (RUN, run), (SWEEP, sweep)].map(|(name, policy)| {
        (name, serde_json::to_string_pretty(&policy).expect("a policy is JSON") + "\n")
    });
    let files = [trust, run, sweep, (workflow, text)];
    // All or none.
    if let Some((name, _)) = files.iter().find(|(name, _)| !args.force && Path::new(name).exists()) {
        return Err(Error::usage(format!("{name} is there already; --force writes over it")));
    }
    for (name, text) in files {
        let path = Path::new(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::usage(format!("cannot make {}: {e}", folder.display())))?;
        }
        app::write(path, &text, args.force)?;
        ui::note(&format!("wrote {name}"));
    }
    say_what_is_next(ci, &roles, &provider, repository, args, workflow);
    Ok(())
}

/// What else has to be done, once.
fn say_what_is_next(
    ci: Ci,
    roles: &Roles,
    provider: &str,
    repository: &str,
    args: &InitArgs,
    workflow: &str,
) {
    let audience = if ci == Ci::Github { "sts.amazonaws.com" } else { provider };
    let Roles { run, sweep } = roles;
    ui::say(&format!(
        "\nOnce, by somebody who may make roles (the first two, unless the account has that role and this provider already):\n\
         \n  aws iam create-service-linked-role --aws-service-name elasticmapreduce.amazonaws.com\
         \n  aws iam create-open-id-connect-provider --url {provider} --client-id-list {audience}\
         \n  aws iam create-role --role-name {run} --max-session-duration 14400 --assume-role-policy-document file://{TRUST}\
         \n  aws iam put-role-policy --role-name {run} --policy-name fruitctl --policy-document file://{RUN}\
         \n  aws iam create-role --role-name {sweep} --assume-role-policy-document file://{TRUST}\
         \n  aws iam put-role-policy --role-name {sweep} --policy-name fruitctl --policy-document file://{SWEEP}\
         \n  fruitctl up --no-cluster --ssh-cidr none"
    ));
    if ci == Ci::Github {
        // Sources: https://docs.github.com/en/rest/deployments/environments, and .../branch-policies beside it.
        let environment = format!("repos/{repository}/environments/{}", args.environment);
        ui::say(&format!(
            "\nThe roles trust whatever job may name the environment {}: make it, for the branch alone:\n\
             \n  gh api -X PUT {environment} -F 'deployment_branch_policy[protected_branches]=false' -F \
             'deployment_branch_policy[custom_branch_policies]=true'\
             \n  gh api -X POST {environment}/deployment-branch-policies -f name={}",
            args.environment, args.branch
        ));
    } else {
        ui::say(&format!(
            "\nThe roles trust whatever job of the branch {} asks: protect it, so that only reviewed changes come there.",
            args.branch
        ));
    }
    ui::say(&format!(
        "\nThen set the variables FRUITCTL_URL and FRUITCTL_SHA256 of the repository (a release of fruitctl, and its\
         \nSHA-256), and commit {workflow} and fruitctl.toml."
    ));
}

fn render(ci: Ci, names: &Names, roles: &Roles, repository: &str, args: &InitArgs) -> Files {
    let provider = match ci {
        Ci::Github => "https://token.actions.githubusercontent.com".to_owned(),
        Ci::Gitlab => format!("https://{}", args.host),
    };
    let fill = |template: &str| {
        [
            ("project", names.project.as_str()),
            ("region", &names.region),
            ("account", &names.account),
            ("run_role", &roles.run),
            ("sweep_role", &roles.sweep),
            ("environment", &args.environment),
            ("repository", repository),
            ("branch", &args.branch),
            ("audience", &provider),
            ("host", provider.trim_start_matches("https://")),
        ]
        .iter()
        // The workflow has double braces of its own, with a space in them.
        .fold(template.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    };
    let (path, workflow, trust) = match ci {
        Ci::Github => (".github/workflows/fruitctl.yml", bundle::GITHUB, bundle::GITHUB_TRUST),
        Ci::Gitlab => (".gitlab-ci.yml", bundle::GITLAB, bundle::GITLAB_TRUST),
    };
    Files {
        workflow: (path, fill(workflow)),
        trust: serde_json::from_str(&fill(trust)).expect("the templates are JSON"),
        provider,
    }
}
