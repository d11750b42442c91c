//! The engine for more than one machine: Spark schedules, retries and shows progress; processes of this executable do the
//! work, and all data goes through the store.
//!
//! Three processes take part. `fruitjob run --engine spark` [launches](super::launch): it submits `spark.py`, a Spark driver
//! that knows nothing of images. That starts `fruitjob coordinate`, which runs the stages as anywhere, with [`Spark`] for an
//! engine; and, on executors, `fruitjob task`, which reads tasks and prints their results
//! (`stages::serve`). The lines between them are described in `spark.py`.
//!
//! Each process monitors its parent and exits with it, so killing any one of them leaves no orphans: coordinator and tasks
//! watch the pipe that their parent holds, the driver its launcher's process.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fruitjob_interface::record::SparkRecord;
use fruitjob_interface::spark::SparkOptions;
use fruitjob_interface::{Event, count};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::launch::LAUNCHED;
use super::progress::Counters;
use super::{Batch, Done, Engine, Execute, Task};
use crate::error::{Error, Result};

/// Exit status of a process whose parent has gone.
const ORPHANED: i32 = 111;

/// What the coordinator asks of the driver.
#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
#[serde(rename_all = "snake_case")]
enum Request {
    Map { stage: String, description: String, tasks: Vec<String> },
}

/// What the driver answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Tasks that can run at once.
    Slots(usize),
    /// Tasks done, and attempts that failed.
    Progress {
        done: u64,
        failed: u64,
    },
    Results(Vec<String>),
    Error(String),
}

/// How a task process ended, if not badly: what would fail again anywhere is no matter for another attempt.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done(Vec<Done>),
    Usage(String),
    Denied(String),
}

impl Outcome {
    /// # Errors
    /// What may go better at another attempt.
    fn of(result: Result<Vec<Done>>) -> Result<Self> {
        match result {
            Ok(done) => Ok(Outcome::Done(done)),
            Err(Error::Usage(message)) => Ok(Outcome::Usage(message)),
            Err(Error::Denied(message)) => Ok(Outcome::Denied(message)),
            Err(error) => Err(error),
        }
    }
}

/// The engine, in the coordinator.
pub struct Spark {
    requests: Box<dyn Write + Send>,
    answers: Receiver<Answer>,
    task_seconds: f64,
    /// How the job is spread, so far.
    pub record: SparkRecord,
}

impl Spark {
    /// Greets the driver whose child this process is; this process ends when the driver does.
    ///
    /// # Errors
    /// [`Error::Usage`] when no driver is there.
    pub fn connect(options: &SparkOptions) -> Result<Self> {
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Some(answer) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
                let _ = sender.send(answer);
            }
            orphaned("the Spark driver has gone");
        });
        let Ok(Answer::Slots(slots)) = answers.recv() else {
            return Err(Error::Usage(
                "this is started by Spark's driver; type: fruitjob run --engine spark".into(),
            ));
        };
        let launched =
            std::env::var(LAUNCHED).ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut spark = Spark::new(Box::new(std::io::stdout()), answers, options, slots);
        spark.record.start_seconds =
            launched.map_or(0.0, |launched| now.saturating_sub(launched).as_secs_f64());
        Ok(spark)
    }

    /// An engine whose driver hears `requests`, a line each, and runs so many tasks at once.
    pub(super) fn new(
        requests: Box<dyn Write + Send>,
        answers: Receiver<Answer>,
        options: &SparkOptions,
        slots: usize,
    ) -> Self {
        let record = SparkRecord { slots, ..Default::default() };
        Spark { requests, answers, task_seconds: options.task_seconds, record }
    }
}

impl Engine for Spark {
    fn slots(&self) -> usize {
        self.record.slots
    }

    fn wants_costs(&self) -> bool {
        true
    }

    fn spark(&self) -> Option<SparkRecord> {
        Some(self.record.clone())
    }

    fn map(&mut self, _: Execute, context: &Context, counters: &Counters, batch: Batch) -> Result<Vec<Done>> {
        let Batch { stage, units, tasks, seconds } = batch;
        let lengths = chunks(&seconds, self.task_seconds, self.record.slots);
        let mut rest = tasks.as_slice();
        let lines = lengths.iter().map(|length| {
            let (chunk, behind) = rest.split_at(*length);
            rest = behind;
            serde_json::to_string(chunk).expect("plain data")
        });
        let lines: Vec<String> = lines.collect();
        let n = lines.len() as u64;
        if n == 0 {
            return Ok(Vec::new());
        }
        self.record.tasks += n;
        let description = format!("{}: {}", stage.name(), count(n, "task"));
        let request = Request::Map { stage: stage.name().into(), description, tasks: lines };
        let line = serde_json::to_string(&request).expect("plain data") + "\n";
        self.requests
            .write_all(line.as_bytes())
            .and_then(|()| self.requests.flush())
            .map_err(|e| Error::io("cannot ask Spark's driver", e))?;
        let (mut failures, at_first) = (0, counters.so_far());
        loop {
            context.check()?;
            let answer = match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => answer,
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::Failed("the Spark driver has gone".into()));
                }
            };
            match answer {
                Answer::Slots(_) => {}
                Answer::Progress { done, failed } => {
                    counters.at(at_first + units * done.min(n) / n);
                    if failed > failures {
                        let attempts = count(failed, "attempt");
                        let message = format!(
                            "{attempts} at tasks of stage {} failed; Spark tries again",
                            stage.name()
                        );
                        context.observer.event(&Event::Warning { message });
                        self.record.failed_attempts += failed - failures;
                        failures = failed;
                    }
                }
                Answer::Error(message) => {
                    return Err(Error::Failed(format!(
                        "stage {} failed on Spark: {message}; the tasks that worked are kept, and the same command goes \
                         on from here",
                        stage.name()
                    )));
                }
                Answer::Results(lines) => return results(&lines, &lengths),
            }
        }
    }
}

/// The results of all tasks, from a line for each chunk of these lengths.
///
/// # Errors
/// Why a chunk failed for good; [`Error::Bug`] where results are missing.
fn results(lines: &[String], lengths: &[usize]) -> Result<Vec<Done>> {
    let tasks = lengths.iter().sum();
    let mut results = Vec::with_capacity(tasks);
    for (line, length) in lines.iter().zip(lengths) {
        match serde_json::from_str(line) {
            Ok(Outcome::Done(done)) if done.len() == *length => results.extend(done),
            Ok(Outcome::Usage(message)) => return Err(Error::Usage(message)),
            Ok(Outcome::Denied(message)) => return Err(Error::Denied(message)),
            _ => return Err(Error::Bug(format!("a task answered {line:?}"))),
        }
    }
    if results.len() != tasks {
        return Err(Error::Bug(format!("{} results of {tasks} tasks", results.len())));
    }
    Ok(results)
}

/// Lengths of runs of consecutive tasks that cost about `wanted` seconds each; but where all of it would then keep
/// fewer than `slots` busy, shorter ones, as long as a process is worth starting.
fn chunks(costs: &[f64], wanted: f64, slots: usize) -> Vec<usize> {
    const LEAST: f64 = 0.1;
    let total: f64 = costs.iter().sum();
    let at_most = (total / (wanted * LEAST)).ceil().max(1.0);
    let number = (total / wanted).ceil().max(at_most.min(slots as f64)).max(1.0);
    let (mut lengths, mut length, mut spent) = (Vec::new(), 0, 0.0);
    for cost in costs {
        spent += cost;
        length += 1;
        if spent >= total * (lengths.len() + 1) as f64 / number {
            lengths.push(std::mem::take(&mut length));
        }
    }
    if length > 0 {
        lengths.push(length);
    }
    lengths
}

/// Reads tasks from one line of stdin, has them done by `execute`, and prints their results as a line: what an executor
/// starts. This process ends when whoever wanted them does.
///
/// # Errors
/// What another attempt, perhaps elsewhere, may fix.
pub(crate) fn serve(execute: impl FnOnce(&[Task]) -> Result<Vec<Done>>) -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| Error::io("cannot read the task", e))?;
    let tasks: Vec<Task> =
        serde_json::from_str(&line).map_err(|e| Error::Usage(format!("stdin holds no task: {e}")))?;
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        orphaned("whoever wanted this task has gone");
    });
    let line = serde_json::to_string(&Outcome::of(execute(&tasks))?).expect("plain data");
    writeln!(std::io::stdout().lock(), "{line}").map_err(|e| Error::io("cannot print the result", e))
}

/// Ends a process whose parent has gone.
fn orphaned(why: &str) {
    // Not eprintln!: stderr may be closed too, and then it panics.
    let _ = writeln!(std::io::stderr(), "error: {why}");
    std::process::exit(ORPHANED);
}

/// What a driver answers that has each chunk of tasks done once, by `execute`.
#[cfg(test)]
pub(super) fn answered(request: &[u8], execute: Execute) -> Answer {
    let Request::Map { tasks, .. } = serde_json::from_slice(request).expect("a request");
    let chunk = |line: &String| {
        let tasks: Vec<Task> = serde_json::from_str(line).expect("tasks");
        Outcome::of(tasks.iter().map(execute).collect())
            .map(|done| serde_json::to_string(&done).expect("plain data"))
    };
    match tasks.iter().map(chunk).collect::<Result<_>>() {
        Ok(lines) => Answer::Results(lines),
        Err(error) => Answer::Error(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_worth_a_process_and_keep_all_slots_busy() {
        // A little work: one process, however many slots.
        assert_eq!(chunks(&[0.1; 10], 20.0, 8), [10]);
        // More: every slot has its part.
        assert_eq!(chunks(&[1.0; 16], 20.0, 4), [4, 4, 4, 4]);
        // Much: as long as asked for.
        assert_eq!(chunks(&[1.0; 100], 20.0, 4), [20; 5]);
        // One that costs more than all others is not split, and all are there.
        assert_eq!(chunks(&[1.0, 100.0, 1.0, 1.0], 20.0, 4).iter().sum::<usize>(), 4);
        assert_eq!(chunks(&[0.0; 7], 20.0, 4).iter().sum::<usize>(), 7);
        assert!(chunks(&[], 20.0, 4).is_empty());
    }

    fn line(outcome: &Outcome) -> String {
        serde_json::to_string(outcome).unwrap()
    }

    #[test]
    fn tasks_and_requests_are_written_as_older_executables_read_them() {
        let tasks = [
            Task::Featurize { partition: 3, reuse: vec!["ab".into()] },
            Task::Sum { node: 1 },
            Task::Merge { level: 1, node: 2, below: 70 },
            Task::Project { partition: 0 },
        ];
        let text = [
            r#"[{"stage":"featurize","partition":3,"reuse":["ab"]},{"stage":"sum","node":1},"#,
            r#"{"stage":"merge","level":1,"node":2,"below":70},{"stage":"project","partition":0}]"#,
        ]
        .concat();
        assert_eq!(serde_json::to_string(&tasks).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vec<Task>>(&text).unwrap().len(), 4);
        let request =
            Request::Map { stage: "fit".into(), description: "fit: 1 task".into(), tasks: vec!["[]".into()] };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"map":{"stage":"fit","description":"fit: 1 task","tasks":["[]"]}}"#
        );
    }

    #[test]
    fn the_driver_s_answers_are_understood() {
        let answer = |text: &str| serde_json::from_str::<Answer>(text).unwrap();
        assert!(matches!(answer(r#"{"slots": 8}"#), Answer::Slots(8)));
        assert!(matches!(
            answer(r#"{"progress": {"done": 3, "failed": 1}}"#),
            Answer::Progress { done: 3, failed: 1 }
        ));
        assert!(
            matches!(answer(r#"{"results": ["a", "b"]}"#), Answer::Results(lines) if lines == ["a", "b"])
        );
        assert!(matches!(answer(r#"{"error": "oh"}"#), Answer::Error(text) if text == "oh"));
    }

    #[test]
    fn results_are_put_together_from_those_of_the_chunks() {
        let done = |rows| Done { rows, ..Default::default() };
        let lines = [line(&Outcome::Done(vec![done(1), done(2)])), line(&Outcome::Done(vec![done(3)]))];
        let rows: Vec<u64> = results(&lines, &[2, 1]).unwrap().iter().map(|d| d.rows).collect();
        assert_eq!(rows, [1, 2, 3]);
        for (lines, lengths) in [(&lines[..], &[1, 2][..]), (&lines[..1], &[2, 1]), (&["{".to_owned()], &[1])]
        {
            assert!(matches!(results(lines, lengths), Err(Error::Bug(_))), "{lengths:?}");
        }
    }

    #[test]
    fn what_would_fail_again_anywhere_is_an_outcome_and_all_else_another_attempt() {
        let usage = line(&Outcome::of(Err(Error::Usage("u".into()))).unwrap());
        assert_eq!(usage, r#"{"usage":"u"}"#);
        assert!(matches!(results(&[usage], &[1]), Err(Error::Usage(text)) if text == "u"));
        let denied = line(&Outcome::of(Err(Error::Denied("d".into()))).unwrap());
        assert!(matches!(results(&[denied], &[1]), Err(Error::Denied(text)) if text == "d"));
        for error in [Error::Failed("f".into()), Error::Bug("b".into()), Error::Interrupted(15)] {
            assert!(Outcome::of(Err(error)).is_err());
        }
    }
}
