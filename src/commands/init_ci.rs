//! `fruitctl init --ci`: a nightly workflow, the policies of the two roles that it runs under, and the sweep on a schedule of
//! AWS's.

use std::path::{Component, Path, PathBuf};

use fruitjob_interface::error::explain_io;
use serde_json::Value;

use crate::app;
use crate::aws::{self, Tags};
use crate::cli::{Ci, Cli, InitArgs};
use crate::error::{Error, Result};
use crate::stack::{Names, operator_policy};
use crate::{bundle, config, ui};

/// What goes beside `fruitctl.toml`.
const TRUST: &str = "ci/trust-policy.json";
const RUN: &str = "ci/run-policy.json";
const SWEEP: &str = "ci/sweep-policy.json";
const STACK: &str = "ci/sweep-stack.json";

/// Where things are, and go.
struct Places {
    /// The repository: CI looks for workflows there alone, and runs their commands there.
    root: PathBuf,
    /// The folder of `fruitctl.toml`, beside which the policies go.
    beside: PathBuf,
    /// That file, where one was named.
    named: Option<PathBuf>,
    /// What commands say so that they find it from the repository.
    config: String,
}

impl Places {
    /// Of the configuration that is named, or the one that is here.
    fn find(named: Option<&Path>) -> Result<Places> {
        let file = named.unwrap_or(Path::new(config::FILE));
        let here = std::env::current_dir()
            .map_err(|e| Error::usage(format!("cannot tell which folder this is: {}", explain_io(&e))))?;
        let absolute = plain(&here.join(file));
        let folder = absolute.parent().unwrap_or(&here);
        // A worktree's .git is a file.
        let root = folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&here).to_owned();
        let inside = absolute.strip_prefix(&root).map_err(|_| {
            Error::usage(format!("{} is not in the repository {}", absolute.display(), root.display()))
                .help("type it in the repository, or name a file that is in it: fruitctl -c FILE init --ci")
        })?;
        let inside = inside
            .to_str()
            .filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)));
        let inside = inside.ok_or_else(|| {
            Error::usage(format!(
                "{} has letters in its path that a workflow's commands would have to quote",
                file.display()
            ))
            .help("use letters, digits, '.', '_' and '-' in names of folders")
        })?;
        let config = if inside == config::FILE { String::new() } else { format!(" --config {inside}") };
        // As somebody who is there would type it.
        let root = if root == here { PathBuf::new() } else { root };
        let beside = file.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Places { root, beside, named: named.map(Path::to_owned), config })
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
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

/// All that the files depend on.
struct Asked<'a> {
    ci: Ci,
    args: &'a InitArgs,
    repository: &'a str,
    names: Names,
    roles: Roles,
    places: Places,
    /// What vouches for a job, as an address.
    provider: String,
}

/// Writes the workflow where CI looks for it and the others beside `fruitctl.toml`, and says what to do with them.
pub fn run(cli: &Cli, args: &InitArgs, ci: Ci) -> Result<()> {
    let config = app::settings(cli, args)?;
    let project = Names::project(&config)?;
    let places = Places::find(cli.config.as_deref())?;
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
    let provider = match ci {
        Ci::Github => "https://token.actions.githubusercontent.com".to_owned(),
        Ci::Gitlab => format!("https://{}", args.host),
    };
    let asked = Asked { ci, args, repository, roles: Roles::new(&names), names, places, provider };
    let sweep = operator_policy::sweep(&asked.names, &config);
    let files = [
        asked.beside(TRUST, &json(&asked.trust())),
        asked.beside(RUN, &json(&operator_policy::run(&asked.names, &config))),
        asked.beside(SWEEP, &json(&sweep)),
        asked.beside(STACK, &json(&asked.stack(&sweep))),
        asked.workflow(),
    ];
    // All or none.
    if let Some((path, _)) = files.iter().find(|(path, _)| !args.force && path.exists()) {
        return Err(Error::usage(format!("{} is there already; --force writes over it", path.display())));
    }
    for (path, text) in files {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::usage(format!("cannot make {}: {}", folder.display(), explain_io(&e))))?;
        }
        app::write(&path, &text, args.force)?;
        ui::note(&format!("wrote {}", path.display()));
    }
    asked.say_what_is_next();
    Ok(())
}

fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a policy is JSON") + "\n"
}

impl Asked<'_> {
    /// A file beside `fruitctl.toml`.
    fn beside(&self, name: &str, text: &str) -> (PathBuf, String) {
        (self.places.beside.join(name), text.to_owned())
    }

    /// The workflow, where CI looks for it.
    fn workflow(&self) -> (PathBuf, String) {
        let (name, template) = match self.ci {
            Ci::Github => (".github/workflows/fruitctl.yml", bundle::GITHUB),
            Ci::Gitlab => (".gitlab-ci.yml", bundle::GITLAB),
        };
        (self.places.root.join(name), self.fill(template))
    }

    /// Who may take on the roles.
    fn trust(&self) -> Value {
        let template = match self.ci {
            Ci::Github => bundle::GITHUB_TRUST,
            Ci::Gitlab => bundle::GITLAB_TRUST,
        };
        serde_json::from_str(&self.fill(template)).expect("the templates are JSON")
    }

    /// The sweep on a schedule of AWS's, with the rights of the sweep.
    /// Sources: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-codebuild-tutorial.html>, and
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-codebuild-project.html>.
    fn stack(&self, sweep: &Value) -> Value {
        let mut stack: Value =
            serde_json::from_str(&self.fill(bundle::SWEEP_STACK)).expect("the templates are JSON");
        stack["Resources"]["SweepRole"]["Properties"]["Policies"][0]["PolicyDocument"] = sweep.clone();
        stack
    }

    fn fill(&self, template: &str) -> String {
        let Asked { names, roles, places, provider, .. } = self;
        [
            ("project", names.project.as_str()),
            ("region", &names.region),
            ("account", &names.account),
            ("run_role", &roles.run),
            ("sweep_role", &roles.sweep),
            ("config", &places.config),
            ("environment", &self.args.environment),
            ("repository", self.repository),
            ("branch", &self.args.branch),
            ("audience", provider),
            ("host", provider.trim_start_matches("https://")),
        ]
        .iter()
        // The workflow has double braces of its own, with a space in them.
        .fold(template.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    }

    /// What else has to be done, once.
    fn say_what_is_next(&self) {
        let Asked { ci, args, repository, names, roles: Roles { run, sweep }, places, provider } = self;
        let audience = if *ci == Ci::Github { "sts.amazonaws.com" } else { provider };
        let file = |name: &str| places.beside.join(name).display().to_string();
        let (trust, run_policy, sweep_policy) = (file(TRUST), file(RUN), file(SWEEP));
        let here =
            places.named.as_ref().map_or(String::new(), |file| format!(" --config {}", file.display()));
        ui::say(&format!(
            "\nOnce, by somebody who may make roles (the first two, unless the account has that role and this provider already):\n\
             \n  aws iam create-service-linked-role --aws-service-name elasticmapreduce.amazonaws.com\
             \n  aws iam create-open-id-connect-provider --url {provider} --client-id-list {audience}\
             \n  aws iam create-role --role-name {run} --max-session-duration 14400 --assume-role-policy-document file://{trust}\
             \n  aws iam put-role-policy --role-name {run} --policy-name fruitctl --policy-document file://{run_policy}\
             \n  aws iam create-role --role-name {sweep} --assume-role-policy-document file://{trust}\
             \n  aws iam put-role-policy --role-name {sweep} --policy-name fruitctl --policy-document file://{sweep_policy}\
             \n  fruitctl{here} up --no-cluster --ssh-cidr none"
        ));
        if *ci == Ci::Github {
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
        let (workflow, stack) = (self.workflow().0, file(STACK));
        ui::say(&format!(
            "\nThen set the variables FRUITCTL_URL and FRUITCTL_SHA256 of the repository (a release of fruitctl, and its\
             \nSHA-256), and commit {} and {}.\n\
             \nTo have overdue clusters ended where CI does not run any more (docs/howto/nightly.md):\n\
             \n  aws cloudformation deploy --region {} --stack-name fruitctl-{}-sweep --template-file {stack} \
             --capabilities CAPABILITY_IAM --parameter-overrides Url=FRUITCTL_URL Sha256=FRUITCTL_SHA256",
            workflow.display(),
            places.named.as_deref().unwrap_or(Path::new(config::FILE)).display(),
            names.region,
            names.project
        ));
    }
}
