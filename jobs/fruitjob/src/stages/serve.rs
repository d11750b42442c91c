//! Tasks for somebody else's job: what Spark's executors start.

use super::execute;
use super::worker::Worker;
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::spark;
use crate::exec::threads::Threads;
use crate::job::Job;

/// Does the tasks that stdin holds, on what the job's list stage left, and prints their results.
///
/// # Errors
/// What another attempt, perhaps elsewhere, may fix.
pub fn serve_task(job: &Job, context: Context) -> Result<()> {
    spark::serve(|tasks| {
        let worker = Worker::open(job, context)?;
        Threads::new(1, job.is_far()).run(&|task| execute(&worker, task), tasks)
    })
}
