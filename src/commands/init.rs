//! `fruitctl init`: a configuration file to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use fruitjob::error::explain_io;

use crate::cli::{Cli, InitArgs};
use crate::error::{Error, Result};
use crate::{config, ui};

const TEMPLATE: &str = include_str!("../../templates/fruitctl.toml");

/// Writes `fruitctl.toml`, or the file that `--config` names.
pub fn run(cli: &Cli, args: &InitArgs) -> Result<()> {
    let path = cli.config.clone().unwrap_or_else(|| PathBuf::from(config::FILE));
    let text = render(&args.input, &args.output);
    write(&path, &text, args.force)?;
    ui::say(&format!("wrote {}; edit it, then: fruitctl run", path.display()));
    Ok(())
}

fn render(input: &str, output: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    // Each placeholder is replaced where it stands in the template, whatever the other's value holds.
    let (before, rest) = TEMPLATE.split_once("{{input}}").expect("the template has it");
    let (between, after) = rest.split_once("{{output}}").expect("the template has it, further down");
    [before, &quoted(input), between, &quoted(output), after].concat()
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(!force).create(force).truncate(force);
    let write = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    write.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::usage(format!("{} is there already; --force writes over it", path.display()))
        }
        _ => Error::usage(format!("cannot write {}: {}", path.display(), explain_io(&e))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_template_is_a_valid_configuration() {
        let text = render("s3://a \"quoted\" bucket/{{output}}", "out\\put");
        let config = Config::parse(&text, Path::new("fruitctl.toml")).unwrap();
        assert_eq!(config.job.input.as_deref(), Some("s3://a \"quoted\" bucket/{{output}}"));
        assert_eq!(config.job.output.as_deref(), Some("out\\put"));
    }

    /// What the template shows commented out has to work when the comment sign goes.
    #[test]
    fn every_option_of_the_template_is_one() {
        let uncommented: String = render("a", "b")
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(option) if option.contains(" = ") && !option.starts_with("variance") => option,
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let config = Config::parse(&uncommented, Path::new("fruitctl.toml")).unwrap();
        assert!(config.job.components.is_some() && config.job.max_rejects.is_some(), "{uncommented}");
        assert!(config.preprocessing.std.is_some() && config.preprocessing.layout.is_some(), "{uncommented}");
    }
}
