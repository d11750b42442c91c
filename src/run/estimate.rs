//! What a run will take and cost, before it costs anything: the images that are listed, at the pace of an earlier run of
//! the same model or at one that was assumed, after the time in which a cluster starts.

use fruitjob_interface::{count, model, number};
use serde::Serialize;

use super::engine::{Choice, Counted};
use super::{Request, history};
use crate::aws::Aws;
use crate::aws::emr::Cluster;
use crate::aws::s3_uri::S3Uri;
use crate::cost::{PricedNodes, Prices};
use crate::error::{Kind, Result};
use crate::stack::Spec;

/// Images a second and vCPU of a run before which there was none: less than was measured, since vCPUs are half cores
/// (docs/explanation/scale.md). The store is the limit with the model inside, the model with others.
pub const BUILTIN_RATE: f64 = 250.0;
/// The same with another model.
pub const OTHER_RATE: f64 = 80.0;

/// Seconds until a cluster runs its first step, where no earlier run says it. Others report 5 to 15 minutes, such as
/// https://alchemy.run/providers/aws/emr/cluster; AWS gives no number, and it was never measured here.
const START: f64 = 600.0;

/// Images that are counted at most: a hundred calls.
const COUNTED: usize = 100_000;

/// Runs of the history that are looked at.
const RUNS: usize = 10;

/// What a run will take and cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Objects below the input.
    pub images: usize,
    /// There are more than were counted.
    pub more: bool,
    /// Images a second, of all that works.
    pub images_per_second: f64,
    /// The run that was so fast; none, where it is assumed.
    pub as_in: Option<String>,
    /// Seconds until the cluster runs the step; 0 on one that stands.
    pub start_seconds: f64,
    /// Seconds of work after that, if no features are there yet; at least, where there are more images.
    pub seconds: f64,
    /// Dollars for both; null, where a price is unknown, or there are more images.
    pub dollars: Option<f64>,
    /// Seconds that this machine would take for the work; null, where the model's pace is not known.
    pub here_seconds: Option<f64>,
}

impl Estimate {
    /// In words, on one line.
    pub fn text(&self) -> String {
        let Estimate { images, more, start_seconds, seconds, .. } = *self;
        let least = if more { "more than " } else { "" };
        let start = match start_seconds {
            0.0 => String::new(),
            start => format!(" after {} in which the cluster starts", time(start)),
        };
        let from = self.as_in.as_ref().map_or("assumed".into(), |run| format!("as in run {run}"));
        let rate = number(self.images_per_second as u64);
        let dollars = self.dollars.map_or("of unknown cost".into(), |d| format!("${d:.2}"));
        format!(
            "{least}{}: {least}{} of work at {rate} images/s ({from}){start}, {dollars}; less, where features are there already",
            count(images as u64, "image"),
            time(seconds)
        )
    }

    /// What is faster, where that is so; `input` is where the images are.
    pub fn advice(&self, input: &str) -> Option<String> {
        let here = self.here_seconds.filter(|here| !self.more && *here < self.start_seconds)?;
        Some(format!(
            "this machine would take about {}, and be done before the cluster has started: \
             fruitctl run --target local --input {input} --output out",
            time(here)
        ))
    }
}

/// `40 s`, `7 min`, `3.2 h`.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{} s", s.ceil()),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Estimates a run; none, where the input cannot be listed from here. `standing`: the cluster that
/// is there for it.
pub async fn estimate(
    spec: &Spec,
    request: &Request,
    choice: &Choice,
    standing: Option<&Cluster>,
    prices: &Prices,
    aws: &Aws,
) -> Result<Option<Estimate>> {
    let Some(input) = request.job.input.as_deref().and_then(S3Uri::parse) else { return Ok(None) };
    let Counted { images, more } = match choice.counted {
        Some(counted) => counted,
        None => match aws.count_objects(&input.bucket, &input.prefix(), COUNTED + 1).await {
            Ok(found) => Counted { images: found.min(COUNTED), more: found > COUNTED },
            Err(error) if error.kind() == Kind::Denied => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    // Without a bucket there is no history.
    let runs = history::latest(&spec.bucket.name, RUNS, aws).await.unwrap_or_default();
    let pace = pace(&request.job.model, &runs);
    let start = runs.iter().find_map(|run| run.start_seconds).unwrap_or(START);
    let images_per_second = pace.rate * f64::from(choice.vcpus.max(1));
    let start_seconds = if standing.is_some() { 0.0 } else { start };
    let seconds = images as f64 / images_per_second;
    let public = !spec.network.is_private;
    let nodes = standing.map_or_else(|| spec.nodes(), |cluster| PricedNodes::of(cluster, public));
    let hourly = prices.cluster(&aws.region, &nodes);
    // The pace is that of as many nodes as there may be, and so is the price; of images that were not all counted, there is none.
    let dollars_an_hour = hourly.range.map_or(hourly.total, |(_, most)| most);
    let is_known = hourly.unknown.is_empty() && !more;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    Ok(Some(Estimate {
        images,
        more,
        images_per_second,
        as_in: pace.run,
        start_seconds,
        seconds,
        dollars: is_known.then(|| dollars_an_hour * (start_seconds + seconds) / 3600.0),
        here_seconds: pace.is_known.then(|| images as f64 / (pace.rate * cores as f64)),
    }))
}

/// How fast a model is.
struct Pace {
    /// Images a second and vCPU.
    rate: f64,
    /// The run that was so fast.
    run: Option<String>,
    /// Measured, of this model.
    is_known: bool,
}

/// The pace of the latest run of this model that did some work; or what is assumed.
fn pace(model: &Option<String>, runs: &[history::Entry]) -> Pace {
    let is_same = |run: &&history::Entry| run.work().is_ok_and(|work| name(&work.job.model) == name(model));
    let earlier = runs.iter().filter(is_same).find_map(|run| Some((run.images_per_vcpu?, run.id.clone())));
    match earlier {
        Some((rate, run)) => Pace { rate, run: Some(run), is_known: true },
        None if name(model) == model::DEFAULT => Pace { rate: BUILTIN_RATE, run: None, is_known: true },
        None => Pace { rate: OTHER_RATE, run: None, is_known: false },
    }
}

/// A model's file name without its ending: the place of a shipped one is another.
fn name(model: &Option<String>) -> &str {
    let model = model.as_deref().unwrap_or(model::DEFAULT);
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_suffix(".onnx").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::history::{Entry, Work};

    fn run(id: &str, model: &str, rate: Option<f64>) -> Entry {
        let mut work = Work::default();
        work.job.model = Some(model.into());
        Entry { id: id.into(), images_per_vcpu: rate, ..Entry::of(work) }
    }

    #[test]
    fn the_pace_is_that_of_the_latest_run_of_the_model() {
        let runs = [
            run("idle", "s3://b/jobs/1/m.onnx", None),
            run("late", "s3://b/jobs/1/m.onnx", Some(90.0)),
            run("early", "s3://b/jobs/2/m.onnx", Some(70.0)),
            run("other", "builtin", Some(300.0)),
        ];
        let of = |model: Option<&str>| {
            let found = pace(&model.map(str::to_owned), &runs);
            (found.rate, found.run.unwrap_or_default(), found.is_known)
        };
        assert_eq!(of(Some("models/m.onnx")), (90.0, "late".into(), true));
        assert_eq!(of(None), (300.0, "other".into(), true));
        assert_eq!(of(Some("n.onnx")), (OTHER_RATE, String::new(), false));
        assert!(pace(&None, &[]).is_known && pace(&None, &[]).rate == BUILTIN_RATE);
    }

    #[test]
    fn it_says_what_is_faster() {
        let estimate = Estimate {
            images: 90_380,
            more: false,
            images_per_second: 1000.0,
            as_in: None,
            start_seconds: 600.0,
            seconds: 90.38,
            dollars: Some(0.08),
            here_seconds: Some(180.0),
        };
        assert_eq!(
            estimate.text(),
            "90,380 images: 2 min of work at 1,000 images/s (assumed) after 10 min in which the cluster starts, \
             $0.08; less, where features are there already"
        );
        let advice = estimate.advice("s3://b/input").unwrap();
        assert!(advice.contains("about 3 min") && advice.contains("--input s3://b/input"), "{advice}");
        for other in [
            Estimate { more: true, ..estimate.clone() },
            Estimate { start_seconds: 0.0, ..estimate.clone() },
            Estimate { here_seconds: Some(700.0), ..estimate.clone() },
            Estimate { here_seconds: None, ..estimate },
        ] {
            assert_eq!(other.advice("s3://b/input"), None);
        }
    }
}
