//! `fruitctl.toml`: read into [`Config`]; what is wrong with it is said with file, line and column.

mod classification;
mod cloud;
mod schema;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
pub use classification::{Classification, Classifications};
pub use cloud::*;
use fruitjob_interface::JobOptions;
use fruitjob_interface::error::explain_io;
use fruitjob_interface::model::{Inside, PreprocessingOptions};
pub use schema::schema;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::{Error, Result};

/// The file that is looked for when none is named.
pub const FILE: &str = "fruitctl.toml";

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// This machine
    Local,
    /// A cluster of Amazon EMR
    Emr,
}

/// Everything that `fruitctl.toml` may say. All of it may be left out.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the job runs [default: local]
    pub target: Option<Target>,
    /// The job: what it reads and writes, and how it computes. Flags of the same names overrule it. On a cluster, `input`
    /// and `output` may be left out: they are then `input/` and `output/` in the project's bucket.
    pub job: JobOptions,
    /// What the model's file does not say about its input, or says wrongly. Flags of the same names overrule it.
    pub preprocessing: PreprocessingOptions,
    /// The page that recognises, beside a run's results.
    pub app: AppConfig,
    /// Needed on AWS: part of the name of everything that is made there, and the value of its tag `fruitctl:project`: 2 to 20 of a-z,
    /// 0-9 and `-`, beginning with a letter and not ending with `-`.
    #[serde(deserialize_with = "project")]
    #[schemars(extend("pattern" = "^[a-z][a-z0-9-]{0,18}[a-z0-9]$"))]
    pub project: Option<String>,
    /// Which account and region.
    pub aws: AwsConfig,
    /// The project's bucket.
    pub bucket: BucketConfig,
    /// Roles that exist already, where fruitctl may not make any.
    #[serde(deserialize_with = "roles")]
    pub roles: RolesConfig,
    /// What the nodes may use in S3 besides.
    pub places: PlacesConfig,
    /// A key pair of your own, to log in to the nodes with.
    pub key: KeyConfig,
    /// Subnets, and who may reach port 22.
    pub network: NetworkConfig,
    /// The EMR cluster.
    pub cluster: ClusterConfig,
    /// Prices, where yours differ from the list prices that fruitctl carries.
    pub prices: PricesConfig,
    /// The job as the file has it, without flags: its places are granted.
    #[serde(skip)]
    pub written: JobOptions,
}

/// The page that recognises.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    /// Whether a run writes one to `app/` in its output when it has ended [default: false]
    pub publish: bool,
    /// Pictures of each label, at most [default: 8]
    #[schemars(range(min = 1, max = 10_000))]
    pub per_label: Option<u32>,
    /// The share of all pictures that is set aside, to say how often the page is right: 0 to 0.5 [default: 0.1]
    #[serde(deserialize_with = "check")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub check: Option<f64>,
}

fn check<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    let share = f64::deserialize(value)?;
    if (0.0..=0.5).contains(&share) {
        Ok(Some(share))
    } else {
        Err(serde::de::Error::custom(format!("{share} is no share between 0 and 0.5")))
    }
}

impl Config {
    /// Reads the named file, or `fruitctl.toml` in this directory, or, where there is none, nothing.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = named.map_or_else(|| PathBuf::from(FILE), Path::to_owned);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mut config = Config::parse(&text, &path)?;
                let base = path.parent().unwrap_or(Path::new(""));
                for script in &mut config.cluster.bootstrap {
                    script.script = base.join(&script.script).to_string_lossy().into_owned();
                }
                for place in [
                    &mut config.job.input,
                    &mut config.job.output,
                    &mut config.job.labels,
                    &mut config.job.model,
                ] {
                    rebase(place, base);
                }
                Ok(config)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(Config::default()),
            Err(e) => {
                let message = format!("cannot read {}: {}", path.display(), explain_io(&e));
                Err(Error::usage(message).help("fruitctl init (it writes one)"))
            }
        }
    }

    /// Parses the text of the file `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Config = toml::from_str(text).map_err(|e| Error::usage(explain(&e, text, path)))?;
        Ok(Config { written: config.job.clone(), ..config })
    }
}

/// A relative path in a file is relative to the file.
fn rebase(place: &mut Option<String>, base: &Path) {
    if let Some(text) = place
        && !text.contains("://")
        && Inside::named(text).is_none()
    {
        *text = base.join(&*text).to_string_lossy().into_owned();
    }
}

/// `FILE:LINE:COLUMN: what is wrong`, the line, and a mark below it.
fn explain(error: &toml::de::Error, text: &str, path: &Path) -> String {
    let message = suggest(error.message());
    let Some(span) = error.span() else { return format!("{}: {message}", path.display()) };
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count();
    let marked = text.get(span).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
    let gutter = number.to_string();
    format!(
        "{}:{number}:{}: {message}\n{gutter} | {line}\n{:width$} | {:column$}{}",
        path.display(),
        column + 1,
        "",
        "",
        "^".repeat(marked.max(1)),
        width = gutter.len(),
    )
}

/// serde's "unknown field `x`, expected one of `a`, `b`", with the nearest of what is possible.
fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(kind), Some(found)) = (
        ["unknown field", "unknown variant"].into_iter().find(|kind| message.starts_with(kind)),
        quoted.next(),
    ) else {
        return message.to_owned();
    };
    let possible: Vec<&str> = quoted.collect();
    let nearest = possible
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(found, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min();
    let what = if kind == "unknown field" { "key" } else { "value" };
    match nearest {
        Some((_, nearest)) => format!("unknown {what} '{found}'; did you mean '{nearest}'?"),
        None => format!("unknown {what} '{found}'; possible here: {}", possible.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("fruitctl.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_the_nearest_one() {
        let message = error("target = \"local\"\n\n[job]\ninput = \"x\"\ncompnents = 3\n");
        assert_eq!(
            message,
            "fruitctl.toml:5:1: unknown key 'compnents'; did you mean 'components'?\n\
             5 | compnents = 3\n  | ^^^^^^^^^"
        );
        let message = error("[jobs]\n");
        assert!(
            message.starts_with("fruitctl.toml:1:2: unknown key 'jobs'; did you mean 'job'?"),
            "{message}"
        );
        let message = error("[job]\nzzzzzz = 1\n");
        assert!(message.contains("possible here: input, output"), "{message}");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        for (text, place, words) in [
            ("[job]\ncomponents = 0\n", "fruitctl.toml:2:14", "nonzero"),
            ("[job]\nvariance = 95\n", "fruitctl.toml:2:12", "between 0 and 1"),
            ("[job]\nmax_rejects = \"some\"\n", "fruitctl.toml:2:15", "1%"),
            ("[job]\nthreads = \"four\"\n", "fruitctl.toml:2:11", "invalid type"),
            ("target = \"locl\"\n", "fruitctl.toml:1:10", "did you mean 'local'?"),
            ("[job\n", "fruitctl.toml:1:5", ""),
            ("é = ü\n", "fruitctl.toml:1:", ""),
        ] {
            let message = error(text);
            assert!(message.starts_with(place) && message.contains(words), "{text:?}: {message}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[job]\ninput = \"fruits\"\noutput = \"s3://b/out\"\nmodel = \"builtin\"\n")
            .unwrap();
        let job = Config::load(Some(&file)).unwrap().job;
        assert_eq!(job.input.unwrap(), dir.path().join("fruits").to_str().unwrap());
        assert_eq!(job.output.as_deref(), Some("s3://b/out"));
        assert_eq!(job.model.as_deref(), Some("builtin"));
        let missing = Config::load(Some(&dir.path().join("none.toml"))).unwrap_err().to_string();
        assert!(missing.contains("fruitctl init"), "{missing}");
    }
}
