//! Submits a job to Spark, and passes on what it says: `fruitjob run --engine spark`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fruitjob_interface::Event;
use fruitjob_interface::spark::{DRIVER, SparkOptions};

use super::context::Context;
use crate::error::{Error, Result};

/// Tells the driver who submitted it.
const LAUNCHER: &str = "FRUITJOB_LAUNCHER";
/// When that was, in milliseconds since 1970.
pub(super) const LAUNCHED: &str = "FRUITJOB_LAUNCHED";

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
    let transcript = Arc::new(Mutex::new(Transcript::default()));
    let pass_on = |from: Box<dyn Read + Send>| {
        let transcript = transcript.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                transcript.lock().expect("no panic holds it").pass_on(&line);
                line.clear();
            }
        })
    };
    let readers = [pass_on(Box::new(out)), pass_on(Box::new(err))];
    let status = wait(&mut child, context)?;
    for reader in readers {
        let _ = reader.join();
    }
    context.check()?;
    let transcript = transcript.lock().expect("no panic holds it");
    if transcript.is_complete {
        return Ok(status);
    }
    Err(Error::Failed(format!(
        "Spark ended (exit status {status}) before the job could say how it went; its last words: {}; \
         what was done is kept, and the same command goes on from here",
        transcript.last_words.join(" | ")
    )))
}

/// What spark-submit has printed, as far as it matters at the end.
#[derive(Default)]
struct Transcript {
    /// The job's last event was among it.
    is_complete: bool,
    /// The last few lines that may say what went wrong.
    last_words: Vec<String>,
}

impl Transcript {
    /// Passes a line on: events to stdout, all else to stderr. Spark mixes what its drivers print on either.
    fn pass_on(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        match serde_json::from_str::<Event>(text) {
            Ok(event) => {
                self.is_complete |= matches!(event, Event::Finished { .. } | Event::Failed { .. });
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(line).and_then(|()| out.flush());
            }
            Err(_) => {
                let _ = std::io::stderr().write_all(line);
                self.remember(text);
            }
        }
    }

    /// Keeps a line, if it may be a last word.
    fn remember(&mut self, text: &str) {
        // Spark logs what goes well, too, and where in its code what does not.
        if !text.contains(" INFO ") && !text.starts_with(char::is_whitespace) && !text.is_empty() {
            self.last_words.push(text.to_owned());
            let surplus = self.last_words.len().saturating_sub(5);
            self.last_words.drain(..surplus);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_five_lines_that_may_say_what_went_wrong() {
        let mut transcript = Transcript::default();
        transcript.remember("24/05/01 10:00:00 INFO SparkContext: Running Spark");
        transcript.remember("\tat org.apache.spark.deploy.SparkSubmit.main(SparkSubmit.scala)");
        transcript.remember("");
        assert!(transcript.last_words.is_empty());
        for i in 0..7 {
            transcript.remember(&format!("line {i}"));
        }
        assert_eq!(transcript.last_words, ["line 2", "line 3", "line 4", "line 5", "line 6"]);
        assert!(!transcript.is_complete);
    }
}
