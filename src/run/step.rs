//! Submits the step: to the cluster that is there, or with a cluster of its own that ends with it.
//!
//! AddJobFlowSteps has no token by which AWS could tell a repetition: after a lost answer, a step of the run's name is
//! looked for before the call is made again.

use fruitjob_interface::{EngineKind, JobOptions};

use super::history::Work;
use super::request::{Request, step_name};
use super::ship::Shipped;
use crate::aws::emr::{Step, StepSpec, step_words};
use crate::aws::{Aws, Reason};
use crate::error::{Error, Kind, Result};
use crate::wait;

/// EMR's limit. Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-work-with-steps.html
const LONGEST: usize = 10_240;

/// What a run is to run.
pub fn work(request: &Request, shipped: &Shipped, engine: EngineKind) -> Work {
    Work {
        executable: shipped.executable.clone(),
        job: JobOptions {
            model: shipped.model.clone(),
            model_sha256: shipped.model_sha256.clone(),
            labels: shipped.labels.clone(),
            engine: Some(engine),
            ..request.job.clone()
        },
        preprocessing: request.preprocessing.clone(),
    }
}

/// The step of a run; `spark` are Spark's properties, where it runs the job.
pub fn spec(
    request: &Request,
    shipped: &Shipped,
    work: &Work,
    spark: &[String],
    region: &str,
    is_last: bool,
) -> Result<StepSpec> {
    let mut args = vec![
        region.to_owned(),
        work.executable.clone(),
        shipped.sha256.clone(),
        request.max_seconds.to_string(),
        "run".into(),
    ];
    args.extend(work.job.args());
    args.extend(work.preprocessing.args());
    args.extend(spark.iter().map(|property| format!("--spark-conf={property}")));
    let step = StepSpec {
        name: step_name(&request.id),
        script: shipped.script.clone(),
        sha256: shipped.script_sha256.clone(),
        args,
        is_last,
    };
    let length: usize = step_words(&step, region).iter().map(String::len).sum();
    if length > LONGEST {
        return Err(Error::usage(format!(
            "the step's arguments have {length} characters, and EMR takes {LONGEST}"
        ))
        .help("shorten the names of input, output and model"));
    }
    Ok(step)
}

/// Adds the step to a cluster, once, whatever happens to the answer; its id. None if the cluster has ended or is ending.
pub async fn add(cluster: &str, step: &StepSpec, aws: &Aws) -> Result<Option<String>> {
    for _ in 0..3 {
        match aws.add_step(cluster, step).await {
            Ok(id) => return Ok(Some(id)),
            Err(error) if error.reason() == Some(Reason::ClusterEnding) => return Ok(None),
            Err(error) if !error.is_lost() => return Err(error.into()),
            Err(_) => {}
        }
        let look = async || find(cluster, &step.name, aws).await;
        if let Some(found) = wait::until(wait::Every { first: 3.0, then: 3.0, looks: 3 }, look).await? {
            return Ok(Some(found.id));
        }
    }
    Err(Error::new(Kind::TimedOut, format!("AddJobFlowSteps on {cluster} was not answered three times"))
        .help("fruitctl status, then: fruitctl run"))
}

pub async fn find(cluster: &str, name: &str, aws: &Aws) -> Result<Option<Step>> {
    Ok(aws.steps(cluster).await?.into_iter().find(|step| step.name == name))
}
