//! Whether a run is spread over the cluster's nodes, and how Spark is told their shape.

use fruitjob_interface::model::{self, Inside};
use fruitjob_interface::{EngineKind, number};

use super::Request;
use super::estimate::{BUILTIN_RATE, OTHER_RATE};
use crate::aws::Aws;
use crate::aws::emr::{Role, Workforce};
use crate::aws::s3_uri::S3Uri;
use crate::error::{Error, Result};
use crate::instances::vcpus;
use crate::stack::{Spec, cluster};

/// What a run is given to work with.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Spark's properties; `None` where the primary node does it alone.
    pub spark: Option<Vec<String>>,
    /// vCPUs that work.
    pub vcpus: u32,
    /// Images, where they were counted for it.
    pub counted: Option<Counted>,
    /// Why, for people.
    pub why: String,
}

/// A count that ends where there are enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    pub images: usize,
    /// There are more than that.
    pub more: bool,
}

/// Seconds that the primary node may need before the others are worth their trouble.
const PATIENCE: f64 = 300.0;
/// Megabytes of Spark's own, an executor.
const HEAP_MB: u32 = 512;
/// Megabytes of a task: its process, and the Python that holds it.
const TASK_MB: u32 = 448;

/// Decides.
pub async fn choose(spec: &Spec, request: &Request, aws: &Aws) -> Result<Choice> {
    let (wanted, cluster) = (request.job.engine.unwrap_or_default(), &spec.cluster);
    let shape = Shape::of(cluster);
    let alone = |why: String| {
        let why = format!("the primary node alone: {why}");
        Ok::<_, Error>(Choice { spark: None, vcpus: shape.primary, counted: None, why })
    };
    let spread = |why: String| Choice {
        spark: Some(shape.properties(&request.id, &aws.region)),
        vcpus: shape.slots(),
        counted: None,
        why: format!("Spark on {} slots: {why}", shape.slots()),
    };
    let has_spark = cluster.applications.iter().any(|name| name == "Spark");
    match wanted {
        EngineKind::Local => alone("engine local".into()),
        EngineKind::Spark if !has_spark => Err(Error::usage("engine spark needs Spark on the cluster")
            .help("add \"Spark\" to applications under [cluster]")),
        EngineKind::Spark if shape.executors == 0 => {
            Err(Error::usage("engine spark needs core or task nodes, and the cluster has none")
                .help("set count under [cluster.core] to 1 or more, or leave engine out"))
        }
        EngineKind::Spark => Ok(spread("engine spark".into())),
        EngineKind::Auto if !has_spark => alone("no Spark among applications".into()),
        EngineKind::Auto if shape.slots() <= shape.primary => {
            alone(format!("it has {} vCPUs, and the other nodes have {}", shape.primary, shape.slots()))
        }
        EngineKind::Auto => {
            let name = request.job.model.as_deref().unwrap_or(model::DEFAULT);
            let builtin = Inside::named(name).is_some_and(Inside::is_in_every_job);
            let rate = if builtin { BUILTIN_RATE } else { OTHER_RATE } * f64::from(shape.primary);
            let enough = (PATIENCE * rate) as usize;
            let input = request.job.input.as_deref().and_then(S3Uri::parse);
            let Some(input) = input else { return alone("the input cannot be counted".into()) };
            let Ok(found) = aws.count_objects(&input.bucket, &input.prefix(), enough + 1).await else {
                return alone(
                    "the input cannot be counted from here; engine = \"spark\" spreads it all the same"
                        .into(),
                );
            };
            let minutes = PATIENCE / 60.0;
            let counted = Counted { images: found.min(enough), more: found > enough };
            let choice = if counted.more {
                spread(format!(
                    "more than {} images, which would take one node over {minutes} minutes",
                    number(enough as u64)
                ))
            } else {
                alone(format!("{} images take it less than {minutes} minutes", number(found as u64)))?
            };
            Ok(Choice { counted: Some(counted), ..choice })
        }
    }
}

/// The nodes, as Spark sees them.
#[derive(Debug, PartialEq)]
struct Shape {
    /// vCPUs of the primary node.
    primary: u32,
    /// vCPUs of an executor: of the smallest type, so that each fits anywhere.
    cores: u32,
    /// Executors in all; at most, where EMR chooses the number of nodes.
    executors: u32,
    /// EMR does so.
    scaled: bool,
}

impl Shape {
    fn of(cluster: &cluster::Spec) -> Shape {
        let (primary, others): (Vec<&Workforce>, Vec<&Workforce>) =
            cluster.workforce.iter().partition(|w| w.role == Role::Primary);
        let smallest = |w: &Workforce| w.types.iter().map(|kind| vcpus(kind)).min().unwrap_or(1);
        let cores = others.iter().map(|w| smallest(w)).min().unwrap_or(1);
        let nodes = |w: &&Workforce| w.count.max(0) as u32 * (smallest(w) / cores);
        let scaled = cluster.scaling.filter(|_| !others.is_empty());
        Shape {
            primary: primary.iter().map(|w| smallest(w)).min().unwrap_or(1),
            cores,
            executors: scaled.map_or_else(|| others.iter().map(nodes).sum(), |(_, most)| most.max(0) as u32),
            scaled: scaled.is_some(),
        }
    }

    fn slots(&self) -> u32 {
        self.cores * self.executors
    }

    /// One executor a node with all its vCPUs, little memory for Spark and the rest for the processes of the job, which
    /// live beside its heap. What is overtaken or lost is computed again: tasks can be run twice.
    /// Source: https://spark.apache.org/docs/3.5.6/configuration.html
    fn properties(&self, run: &str, region: &str) -> Vec<String> {
        let mut properties = vec![
            format!("spark.app.name=fruitctl run {run}"),
            format!("spark.executor.cores={}", self.cores),
            format!("spark.executor.memory={HEAP_MB}m"),
            format!("spark.executor.memoryOverhead={}m", TASK_MB * self.cores),
            format!("spark.default.parallelism={}", self.slots()),
            "spark.task.cpus=1".into(),
            "spark.speculation=true".into(),
            "spark.speculation.quantile=0.9".into(),
            "spark.speculation.multiplier=2".into(),
        ];
        // YARN starts executors with an environment of its own, not with the primary node's.
        // Source: https://spark.apache.org/docs/3.5.6/running-on-yarn.html, and aws/sagemaker-spark-container#74.
        for process in ["spark.executorEnv", "spark.yarn.appMasterEnv"] {
            for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
                properties.push(format!("{process}.{name}={region}"));
            }
        }
        // EMR's default is dynamic allocation, which waits for tasks before it asks for executors.
        properties.extend(if self.scaled {
            vec![
                "spark.dynamicAllocation.enabled=true".to_owned(),
                format!("spark.dynamicAllocation.maxExecutors={}", self.executors),
            ]
        } else {
            vec![
                "spark.dynamicAllocation.enabled=false".to_owned(),
                format!("spark.executor.instances={}", self.executors),
            ]
        });
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterConfig, Nodes, Scaling};

    fn nodes(types: &[&str], count: u32) -> Nodes {
        Nodes { types: types.iter().map(|kind| (*kind).to_owned()).collect(), count, spot: false }
    }

    fn shape(config: ClusterConfig) -> Shape {
        Shape::of(&cluster::Spec::new(&config).unwrap())
    }

    #[test]
    fn executors_fit_the_smallest_node() {
        let mut config = ClusterConfig { core: nodes(&["m6g.xlarge"], 2), ..Default::default() };
        assert_eq!(shape(config.clone()), Shape { primary: 4, cores: 4, executors: 2, scaled: false });
        config.task = Some(nodes(&["m6g.2xlarge", "m6g.4xlarge"], 3));
        assert_eq!(shape(config.clone()), Shape { primary: 4, cores: 4, executors: 8, scaled: false });
        config.managed_scaling = Some(Scaling { min: 1, max: 10 });
        let scaled = shape(config);
        assert_eq!((scaled.executors, scaled.scaled), (10, true));
        let properties = scaled.properties("x", "eu-west-3").join(" ");
        assert!(properties.contains("spark.executorEnv.AWS_REGION=eu-west-3"), "{properties}");
        assert!(properties.contains("maxExecutors=10") && !properties.contains("executor.instances"));
        let alone = shape(ClusterConfig { core: nodes(&["m6g.xlarge"], 0), ..Default::default() });
        assert_eq!((alone.slots(), alone.executors), (0, 0));
    }
}
