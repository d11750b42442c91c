//! `fruitctl init --ci`: a nightly workflow, and the two policies of the role that it runs under.

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
const PERMISSIONS: &str = "ci/permissions-policy.json";

/// What is written.
struct Files {
    workflow: (&'static str, String),
    trust: Value,
    permissions: Value,
    /// What vouches for a job, as an address.
    provider: String,
    role: String,
}

/// Writes the three files beside `fruitctl.toml`, and says what to do with them.
pub fn run(cli: &Cli, args: &InitArgs, ci: Ci) -> Result<()> {
    let config = app::settings(cli, args)?;
    let project = Names::project(&config)?;
    let repository = args.repository.as_deref().ok_or_else(|| {
        Error::usage("which repository? The role is for its workflow alone").help(match ci {
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
    let files = render(ci, &names, repository, args, operator_policy::operator(&names, &config));
    let Files { workflow: (workflow, text), trust, permissions, provider, role } = files;
    let policies = [(TRUST, trust), (PERMISSIONS, permissions)];
    let [trust, permissions] = policies.map(|(name, policy)| {
        (name, serde_json::to_string_pretty(&policy).expect("a policy is JSON") + "\n")
    });
    let files = [trust, permissions, (workflow, text)];
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
    let audience = if ci == Ci::Github { "sts.amazonaws.com" } else { &provider };
    ui::say(&format!(
        "\nOnce, by somebody who may make roles (the first line, unless the account has this provider already):\n\
         \n  aws iam create-open-id-connect-provider --url {provider} --client-id-list {audience}\
         \n  aws iam create-role --role-name {role} --max-session-duration 14400 --assume-role-policy-document file://{TRUST}\
         \n  aws iam put-role-policy --role-name {role} --policy-name fruitctl --policy-document file://{PERMISSIONS}\
         \n\nThen set the variables FRUITCTL_URL and FRUITCTL_SHA256 of the repository (a release of fruitctl, and its\
         \nSHA-256), and commit {workflow} and fruitctl.toml."
    ));
    Ok(())
}

fn render(ci: Ci, names: &Names, repository: &str, args: &InitArgs, permissions: Value) -> Files {
    let role = format!("fruitctl-{}-ci", names.project);
    let provider = match ci {
        Ci::Github => "https://token.actions.githubusercontent.com".to_owned(),
        Ci::Gitlab => format!("https://{}", args.host),
    };
    let fill = |template: &str| {
        [
            ("project", names.project.as_str()),
            ("region", &names.region),
            ("account", &names.account),
            ("ci_role", &role),
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
        permissions,
        provider,
        role,
    }
}
