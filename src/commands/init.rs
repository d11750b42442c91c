//! `fruitctl init`: a configuration file to begin with, and its schema for editors.

use std::path::{Path, PathBuf};

use fruitjob_interface::error::explain_io;

use crate::cli::{Cli, InitArgs};
use crate::config::Target;
use crate::error::{Error, Result};
use crate::{app, bundle, config, ui};

/// Where the schema lies, relative to the configuration, whose first line names it.
/// Source: <https://taplo.tamasfe.dev/configuration/directives.html>.
const SCHEMA: &str = ".fruitctl/schema.json";

/// Writes `fruitctl.toml`, or the file that `--config` names.
pub fn run(cli: &Cli, args: &InitArgs) -> Result<()> {
    let path = cli.config.clone().unwrap_or_else(|| PathBuf::from(config::FILE));
    let (text, next) = match args.target {
        Target::Local => {
            let or =
                |place: &Option<String>, default: &str| place.clone().unwrap_or_else(|| default.to_owned());
            (local(&or(&args.input, "fruits"), &or(&args.output, "out")), "fruitctl run")
        }
        Target::Emr => {
            let text =
                emr(&args.project, args.region.as_deref(), args.input.as_deref(), args.output.as_deref());
            (text, "fruitctl doctor")
        }
    };
    app::write(&path, &format!("#:schema ./{SCHEMA}\n{text}"), args.force)?;
    write_schema(&path)?;
    ui::say(&format!("wrote {}, and its schema for editors; edit it, then: {next}", path.display()));
    Ok(())
}

/// Writes the schema beside a configuration, over an older one.
fn write_schema(config: &Path) -> Result<()> {
    let path = config.parent().unwrap_or(Path::new("")).join(SCHEMA);
    let text = serde_json::to_string_pretty(&config::schema()).expect("a schema is JSON") + "\n";
    let folder = path.parent().expect("it lies in a folder");
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::usage(format!("cannot make {}: {}", folder.display(), explain_io(&e))))?;
    app::write(&path, &text, true)
}

fn local(input: &str, output: &str) -> String {
    render(bundle::CONFIG_LOCAL, &[("input", &quoted(input)), ("output", &quoted(output))])
}

fn emr(project: &str, region: Option<&str>, input: Option<&str>, output: Option<&str>) -> String {
    // What is not named waits to be filled in; no region is assumed.
    let line = |key: &str, value: Option<&str>, example: &str| match value {
        Some(value) => format!("{key} = {}", quoted(value)),
        None => format!("# {key} = {}", quoted(example)),
    };
    let values = [
        ("project", quoted(project)),
        ("region", line("region", region, "eu-west-3")),
        ("input", line("input", input, "s3://our-photos/Training")),
        ("output", line("output", output, "s3://our-vectors/nightly")),
    ];
    render(bundle::CONFIG_EMR, &values.each_ref().map(|(key, value)| (*key, value.as_str())))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Each placeholder is replaced where it stands in the template, whatever the others' values hold.
fn render(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) = part.split_once("}}").expect("placeholders are closed");
        text += values.iter().find(|(k, _)| *k == key).expect("placeholders have values").1;
        text += rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("fruitctl.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    /// Without the comment signs before options, but for two that others exclude.
    fn uncommented(text: &str) -> String {
        let is_excluded = |option: &str| option.starts_with("variance") || option.starts_with("node = ");
        text.lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(option) if option.starts_with('[') => option,
                Some(option) if option.contains(" = ") && !is_excluded(option) => option,
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n")
    }

    #[test]
    fn the_templates_are_valid_configurations() {
        let config = parse(&local("s3://a \"quoted\" bucket/{{output}}", "out\\put"));
        assert_eq!(config.job.input.as_deref(), Some("s3://a \"quoted\" bucket/{{output}}"));
        assert_eq!(config.job.output.as_deref(), Some("out\\put"));
        let config = parse(&emr("fruits", Some("eu-west-3"), Some("s3://in"), None));
        assert_eq!(
            (config.project.as_deref(), config.aws.region.as_deref()),
            (Some("fruits"), Some("eu-west-3"))
        );
        assert_eq!(parse(&emr("fruits", None, None, None)).aws.region, None);
    }

    /// What the templates show commented out has to work when the comment sign goes.
    #[test]
    fn every_option_of_the_templates_is_one() {
        let config = parse(&uncommented(&local("a", "b")));
        assert!(config.job.components.is_some() && config.job.max_rejects.is_some());
        assert!(config.preprocessing.std.is_some() && config.preprocessing.layout.is_some());
        let config = parse(&uncommented(&emr("fruits", None, None, None)));
        assert!(config.cluster.task.is_some() && config.cluster.managed_scaling.is_some());
        assert!(!config.cluster.bootstrap.is_empty() && !config.cluster.configurations.is_empty());
        assert!(
            config.roles.service.is_some()
                && !config.roles.node_policies.is_empty()
                && config.key.private_key.is_some()
                && config.bucket.kms_key.is_some()
        );
        assert!(!config.network.subnets.is_empty() && !config.prices.emr.is_empty());
    }

    /// What is shown as the default is the default.
    #[test]
    fn the_template_for_emr_states_the_defaults() {
        let config = parse(&emr("fruits", None, None, None));
        assert_eq!(config.cluster, Default::default());
        assert_eq!(config.bucket, Default::default());
        assert_eq!(config.network, Default::default());
    }
}
