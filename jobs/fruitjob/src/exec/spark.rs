//! The engine for more than one machine: Spark schedules, retries and shows progress; processes of this executable do the
//! work, and all data goes through the store.
//!
//! Three processes take part. `fruitjob run --engine spark` is [`launch`]: it submits `spark.py`, a Spark driver that knows
//! nothing of images. That starts `fruitjob coordinate`, which runs the stages as anywhere, with [`Spark`] for an engine;
//! and, on executors, `fruitjob task`, which is [`serve_task`]. The lines between them are described in `spark.py`.
//!
//! Whatever is killed, what it had started ends too: coordinator and tasks watch the pipe that their parent holds, the driver
//! its launcher's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fruitjob_interface::spark::DRIVER;
pub use fruitjob_interface::spark::SparkOptions;
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, Done, Engine, Task, execute};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::job::Job;
use crate::record::SparkRecord;
use crate::session::{Context, Worker};

/// Tells the driver who submitted it.
const LAUNCHER: &str = "FRUITJOB_LAUNCHER";
/// When that was, in milliseconds since 1970.
const LAUNCHED: &str = "FRUITJOB_LAUNCHED";
/// Exit status of a process whose parent has gone.
const ORPHANED: i32 = 111;

/// Submits the job and waits for its end; passes on its events. The process's exit status: whoever failed has said why.
///
/// # Errors
/// [`Error::Usage`] without a spark-submit; [`Error::Failed`] when Spark ended without a word of the job's;
/// [`Error::Interrupted`] after a signal.
pub fn launch(options: &SparkOptions, job: &[String], context: &Context) -> Result<i32> {
    let submit = spark_submit()?;
    let us = std::env::current_exe().map_err(|e| Error::io("cannot find this executable", e))?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("cannot make a temporary folder", e))?;
    let driver = folder.path().join("spark.py");
    std::fs::write(&driver, DRIVER)
        .map_err(|e| Error::io(&format!("cannot write {}", driver.display()), e))?;
    let mut command = Command::new(&submit);
    command.args(["--name", "fruitjob"]);
    for property in &options.conf {
        command.args(["--conf", property]);
    }
    command.arg(&driver).arg(us).args(job).arg(format!("--task-seconds={}", options.task_seconds));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    command.env(LAUNCHER, std::process::id().to_string()).env(LAUNCHED, now.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::io(&format!("cannot start {}", submit.display()), e))?;
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let said = Arc::new(Mutex::new(Said::default()));
    let hear = |from: Box<dyn Read + Send>| {
        let said = said.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                said.lock().expect("no panic holds it").hear(&line);
                line.clear();
            }
        })
    };
    let readers = [hear(Box::new(out)), hear(Box::new(err))];
    let status = wait(&mut child, context)?;
    for reader in readers {
        let _ = reader.join();
    }
    context.check()?;
    let said = said.lock().expect("no panic holds it");
    if said.all {
        return Ok(status);
    }
    Err(Error::Failed(format!(
        "Spark ended (exit status {status}) before the job could say how it went; its last words: {}; \
         what was done is kept, and the same command goes on from here",
        said.last_words.join(" | ")
    )))
}

/// What came from spark-submit.
#[derive(Default)]
struct Said {
    /// The job's last event was among it.
    all: bool,
    last_words: Vec<String>,
}

impl Said {
    /// Passes a line on: events to stdout, all else to stderr. Spark mixes what its drivers print on either.
    fn hear(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        match serde_json::from_str::<Event>(text) {
            Ok(event) => {
                self.all |= matches!(event, Event::Finished { .. } | Event::Failed { .. });
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(line).and_then(|()| out.flush());
            }
            Err(_) => {
                let _ = std::io::stderr().write_all(line);
                // Spark logs what goes well, too, and where in its code what does not.
                if !text.contains(" INFO ") && !text.starts_with(char::is_whitespace) && !text.is_empty() {
                    self.last_words.push(text.to_owned());
                    let surplus = self.last_words.len().saturating_sub(5);
                    self.last_words.drain(..surplus);
                }
            }
        }
    }
}

fn spark_submit() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("SPARK_HOME") {
        return Ok(Path::new(&home).join("bin/spark-submit"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("spark-submit")).find(|file| file.is_file());
    found.ok_or_else(|| {
        Error::Usage(
            "engine spark needs spark-submit, which is neither below SPARK_HOME nor in PATH; run this where Spark is, \
             on a cluster's primary node, or leave out --engine spark"
                .into(),
        )
    })
}

/// Waits for the driver; a signal to us is a signal to it, and after half a minute the last one.
fn wait(child: &mut Child, context: &Context) -> Result<i32> {
    let mut patience: Option<u32> = None;
    loop {
        match child.try_wait().map_err(|e| Error::io("cannot wait for spark-submit", e))? {
            Some(status) => {
                use std::os::unix::process::ExitStatusExt;
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
        match &mut patience {
            None if context.check().is_err() => {
                patience = Some(600);
                let pid = rustix::process::Pid::from_child(child);
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            None => {}
            Some(0) => {
                let _ = child.kill();
            }
            Some(ticks) => *ticks -= 1,
        }
    }
}

/// What the coordinator asks of the driver.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    Map { stage: &'a str, description: String, tasks: Vec<String> },
}

/// What the driver answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
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

/// The engine, in the coordinator.
pub struct Spark {
    answers: Receiver<Answer>,
    task_seconds: f64,
    /// What there is to tell of it.
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
        let record = SparkRecord {
            start_seconds: launched.map_or(0.0, |launched| now.saturating_sub(launched).as_secs_f64()),
            slots,
            ..Default::default()
        };
        Ok(Spark { answers, task_seconds: options.task_seconds, record })
    }
}

impl Engine for Spark {
    fn slots(&self) -> usize {
        self.record.slots
    }

    fn asks(&self) -> bool {
        true
    }

    fn spark(&self) -> Option<SparkRecord> {
        Some(self.record.clone())
    }

    fn map(&mut self, worker: &Worker, batch: Batch) -> Result<Vec<Done>> {
        let Batch { stage, units, tasks, seconds } = batch;
        let (context, counters) = (&worker.context, &worker.counters);
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
        let description = format!("{}: {}", stage.name(), crate::count(n, "task"));
        let request = Request::Map { stage: stage.name(), description, tasks: lines };
        let line = serde_json::to_string(&request).expect("plain data");
        writeln!(std::io::stdout().lock(), "{line}")
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
                        let attempts = crate::count(failed, "attempt");
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
                Answer::Results(lines) => {
                    let mut results = Vec::with_capacity(tasks.len());
                    for (line, length) in lines.iter().zip(&lengths) {
                        match serde_json::from_str(line) {
                            Ok(Outcome::Done(done)) if done.len() == *length => results.extend(done),
                            Ok(Outcome::Usage(message)) => return Err(Error::Usage(message)),
                            Ok(Outcome::Denied(message)) => return Err(Error::Denied(message)),
                            _ => return Err(Error::Bug(format!("a task answered {line:?}"))),
                        }
                    }
                    if results.len() != tasks.len() {
                        return Err(Error::Bug(format!(
                            "{} results of {} tasks",
                            results.len(),
                            tasks.len()
                        )));
                    }
                    return Ok(results);
                }
            }
        }
    }
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

/// Runs the tasks that one line of stdin holds, and prints their results as a line.
///
/// # Errors
/// What another attempt, perhaps elsewhere, may cure.
pub fn serve_task(job: &Job, context: Context) -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| Error::io("cannot read the task", e))?;
    let tasks: Vec<Task> =
        serde_json::from_str(&line).map_err(|e| Error::Usage(format!("stdin holds no task: {e}")))?;
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        orphaned("whoever wanted this task has gone");
    });
    let work = || {
        let worker = Worker::open(job, context)?;
        tasks.iter().map(|task| execute(&worker, task)).collect::<Result<Vec<Done>>>()
    };
    let outcome = match work() {
        Ok(done) => Outcome::Done(done),
        Err(Error::Usage(message)) => Outcome::Usage(message),
        Err(Error::Denied(message)) => Outcome::Denied(message),
        Err(error) => return Err(error),
    };
    let line = serde_json::to_string(&outcome).expect("plain data");
    writeln!(std::io::stdout().lock(), "{line}").map_err(|e| Error::io("cannot print the result", e))
}

/// Ends a process whose parent has gone.
fn orphaned(why: &str) {
    // Not eprintln!: stderr may be closed too, and then it panics.
    let _ = writeln!(std::io::stderr(), "error: {why}");
    std::process::exit(ORPHANED);
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
}
