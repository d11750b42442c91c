//! Spark, as it is asked for, and the driver that it is submitted.

/// What Spark is submitted: a driver that hands tasks to executables.
pub const DRIVER: &str = include_str!("spark.py");

/// How a job is spread.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct SparkOptions {
    /// A Spark property, for example spark.executor.instances=4; may be given several times
    #[arg(long = "spark-conf", value_name = "KEY=VALUE", value_parser = property)]
    pub conf: Vec<String>,
    /// Seconds of work that a Spark task should have: it costs a process and a model to load
    #[arg(long, value_name = "SECONDS", default_value_t = TASK_SECONDS)]
    pub task_seconds: f64,
}

const TASK_SECONDS: f64 = 20.0;

fn property(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if key.starts_with("spark.") => Ok(text.to_owned()),
        _ => Err("a property reads spark.NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_spark_s() {
        assert!(property("spark.executor.cores=4").is_ok() && property("spark.x=a=b").is_ok());
        assert!(property("spark.executor.cores").is_err() && property("executor.cores=4").is_err());
    }
}
