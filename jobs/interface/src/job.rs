//! What a job is asked to do: the options, as a command line and a configuration file share them.

use std::num::{NonZeroU64, NonZeroUsize};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Precision;

/// The most pixels that an image may have, unless another number is given: enough for a phone's 50 megapixels and its
/// panoramas.
pub const DEFAULT_MAX_PIXELS: u64 = 100_000_000;

/// Options of a job. The same struct is parsed from flags and from `[job]` in `fruitctl.toml`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobOptions {
    /// Where the images are: a directory, s3://, gs://, az:// or abfss:// URI; one folder a label
    #[arg(short, long, value_name = "URI")]
    pub input: Option<String>,
    /// Where the results go, and where features are kept for the next run
    #[arg(short, long, value_name = "URI")]
    pub output: Option<String>,
    /// A table that labels the images, in place of folders: a CSV or Parquet file, or its URI, with the columns file_name
    /// (or path) and label
    #[arg(long, value_name = "FILE")]
    pub labels: Option<String>,
    /// The backbone: an ONNX file or URI, or one that 'fruitctl models' lists [default: builtin]
    #[arg(short, long, value_name = "URI")]
    pub model: Option<String>,
    /// Where the features leave the model: an output of several, or a value inside it, what is behind which is left out
    #[arg(long, value_name = "NAME")]
    pub output_node: Option<String>,
    /// The model's SHA-256, without which it is not used; of one with weights in other files, that of all of them as
    /// run.json has it
    #[arg(long, value_name = "HEX", requires = "model")]
    pub model_sha256: Option<Sha256Hex>,
    /// What the model computes with [default: f32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Components to keep [default: 64, or as many as the images allow]
    #[arg(short = 'k', long, value_name = "K", conflicts_with = "variance")]
    pub components: Option<NonZeroUsize>,
    /// Keep as few components as explain more than this share of the variance, for example 0.95
    #[arg(long, value_name = "SHARE")]
    pub variance: Option<Share>,
    /// Project on the PCA of an earlier run, and fit none, so that vectors stay comparable: its id (pca.id in run.json),
    /// or where a run's results are; on a cluster also the run (fruitctl runs)
    #[arg(long, value_name = "RUN", conflicts_with_all = ["components", "variance"])]
    pub pin_pca: Option<String>,
    /// What runs the job: threads of one machine, or Spark's executors [default: auto]
    #[arg(long, value_enum)]
    pub engine: Option<EngineKind>,
    /// Worker threads [default: one a core]
    #[arg(short, long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Images that may be rejected before the run fails: a share or a number [default: 1%]
    #[arg(long, value_name = "N|N%")]
    pub max_rejects: Option<MaxRejects>,
    /// Pixels that an image may have; larger ones are rejected [default: 100000000]
    #[arg(long, value_name = "N")]
    pub max_pixels: Option<NonZeroU64>,
}

impl JobOptions {
    /// These options where they are set, `other`'s elsewhere.
    pub fn or(self, other: Self) -> Self {
        // Each of these answers the same question: one here overrules all there.
        let keeps = self.components.is_some() || self.variance.is_some() || self.pin_pca.is_some();
        let (components, variance, pin_pca) = if keeps {
            (self.components, self.variance, self.pin_pca)
        } else {
            (other.components, other.variance, other.pin_pca)
        };
        // The hash is that of the model beside it.
        let model_sha256 = if self.model.is_some() { self.model_sha256 } else { other.model_sha256 };
        JobOptions {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            labels: self.labels.or(other.labels),
            // A value of one model is none of another.
            output_node: if self.model.is_some() {
                self.output_node
            } else {
                self.output_node.or(other.output_node)
            },
            model: self.model.or(other.model),
            model_sha256,
            precision: self.precision.or(other.precision),
            engine: self.engine.or(other.engine),
            components,
            variance,
            pin_pca,
            threads: self.threads.or(other.threads),
            max_rejects: self.max_rejects.or(other.max_rejects),
            max_pixels: self.max_pixels.or(other.max_pixels),
        }
    }

    /// The command-line arguments that say the same.
    pub fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut flag = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        flag("input", self.input.clone());
        flag("output", self.output.clone());
        flag("labels", self.labels.clone());
        flag("model", self.model.clone());
        flag("output-node", self.output_node.clone());
        flag("model-sha256", self.model_sha256.clone().map(String::from));
        flag("precision", self.precision.map(|p| format!("{p:?}").to_lowercase()));
        flag("engine", self.engine.map(|e| e.name().to_owned()));
        flag("components", self.components.map(|k| k.to_string()));
        flag("variance", self.variance.map(|share| f64::from(share).to_string()));
        flag("pin-pca", self.pin_pca.clone());
        flag("threads", self.threads.map(|n| n.to_string()));
        flag("max-rejects", self.max_rejects.map(|most| most.to_string()));
        flag("max-pixels", self.max_pixels.map(|most| most.to_string()));
        args
    }
}

/// What runs a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// On a cluster, by the number of images and nodes; threads otherwise
    #[default]
    Auto,
    /// Threads of one machine
    Local,
    /// Spark's executors
    Spark,
}

impl EngineKind {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Auto => "auto",
            EngineKind::Local => "local",
            EngineKind::Spark => "spark",
        }
    }
}

/// A SHA-256 as 64 hexadecimal digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            Ok(Sha256Hex(text.to_ascii_lowercase()))
        } else {
            Err(format!("'{text}' is no SHA-256, which has 64 hexadecimal digits"))
        }
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sha256Hex> for String {
    fn from(digits: Sha256Hex) -> String {
        digits.0
    }
}

/// A share of a whole, above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = 0, "maximum" = 1))]
pub struct Share(f64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(x: f64) -> Result<Self, String> {
        if x > 0.0 && x < 1.0 {
            Ok(Share(x))
        } else {
            Err(format!("a share lies between 0 and 1, not at {x}"))
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|e| e.to_string())?.try_into()
    }
}

/// How many images may be rejected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^([0-9]+|[0-9]+([.][0-9]+)? *%)$"))]
pub enum MaxRejects {
    /// This many.
    Count(u64),
    /// This share of the images listed.
    Share(f64),
}

impl MaxRejects {
    /// Whether `rejected` of `listed` images are too many.
    pub fn exceeded(self, rejected: u64, listed: u64) -> bool {
        match self {
            MaxRejects::Count(most) => rejected > most,
            MaxRejects::Share(most) => rejected as f64 > most * listed as f64,
        }
    }
}

impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is neither a number of images nor a share such as 1%");
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(MaxRejects::Share(percent / 100.0)),
                _ => Err(wrong()),
            },
            None => text.parse().map(MaxRejects::Count).map_err(|_| wrong()),
        }
    }
}

impl TryFrom<String> for MaxRejects {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MaxRejects> for String {
    fn from(most: MaxRejects) -> String {
        most.to_string()
    }
}

impl std::fmt::Display for MaxRejects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxRejects::Count(most) => write!(f, "{most}"),
            MaxRejects::Share(most) => write!(f, "{}%", most * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Color, ExifOrientation, Fit, Layout, PreprocessingOptions, Resample};

    #[test]
    fn rejects_are_counted_or_shared() {
        let one_percent: MaxRejects = "1%".parse().unwrap();
        assert!(!one_percent.exceeded(1, 100) && one_percent.exceeded(2, 100));
        let none: MaxRejects = "0".parse().unwrap();
        assert!(!none.exceeded(0, 5) && none.exceeded(1, 5));
        for bad in ["", "-1", "101%", "x%", "1.5"] {
            assert!(bad.parse::<MaxRejects>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_say_the_same() {
        #[derive(clap::Parser, Debug, PartialEq)]
        struct All {
            #[command(flatten)]
            job: JobOptions,
            #[command(flatten)]
            preprocessing: PreprocessingOptions,
        }
        let all = All {
            job: JobOptions {
                input: Some("s3://b/with space".into()),
                output: Some("-odd".into()),
                labels: Some("labels.csv".into()),
                output_node: Some("features".into()),
                model: Some("m.onnx".into()),
                model_sha256: Some("0a".repeat(32).parse().unwrap()),
                precision: Some(Precision::Int8),
                engine: Some(EngineKind::Spark),
                components: None,
                variance: Some(Share(0.95)),
                pin_pca: None,
                threads: NonZeroUsize::new(3),
                max_rejects: Some(MaxRejects::Share(0.01)),
                max_pixels: NonZeroU64::new(1_000_000),
            },
            preprocessing: PreprocessingOptions {
                input_size: Some(96),
                resize: Some(100),
                mean: Some(vec![-1.5, 2.0, 3.25]),
                std: Some(vec![127.5]),
                color: Some(Color::Bgr),
                layout: Some(Layout::Nhwc),
                resample: Some(Resample::Bicubic),
                fit: Some(Fit::Squash),
                exif_orientation: Some(ExifOrientation::Ignore),
            },
        };
        let args = ["x".to_owned()].into_iter().chain(all.job.args()).chain(all.preprocessing.args());
        assert_eq!(<All as clap::Parser>::parse_from(args), all);
    }

    #[test]
    fn a_flag_for_components_overrules_a_file_for_variance() {
        let file = JobOptions { variance: Some(Share(0.95)), input: Some("a".into()), ..Default::default() };
        let flags =
            JobOptions { components: NonZeroUsize::new(8), output: Some("o".into()), ..Default::default() };
        let both = flags.or(file);
        assert_eq!((both.components, both.variance), (NonZeroUsize::new(8), None));
        assert_eq!((both.input.as_deref(), both.output.as_deref()), (Some("a"), Some("o")));
        let file = JobOptions {
            model: Some("a".into()),
            model_sha256: Some("b".repeat(64).parse().unwrap()),
            ..Default::default()
        };
        let flags = JobOptions { model: Some("c".into()), ..Default::default() };
        assert_eq!(flags.or(file.clone()).model_sha256, None, "that was another model's");
        assert_eq!(JobOptions::default().or(file.clone()), file);
        assert!("b".repeat(63).parse::<Sha256Hex>().is_err() && "g".repeat(64).parse::<Sha256Hex>().is_err());
        let pin = JobOptions { pin_pca: Some("3fa2".into()), ..Default::default() };
        assert_eq!(pin.args(), ["--pin-pca=3fa2"]);
        let pinned = pin.clone().or(JobOptions { components: NonZeroUsize::new(8), ..Default::default() });
        assert_eq!((pinned.components, pinned.pin_pca), (None, pin.pin_pca));
        assert!("1.5".parse::<Share>().is_err() && "NaN".parse::<Share>().is_err());
    }
}
