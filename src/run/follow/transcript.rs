//! What a step said: its events are passed on, and what explains a failure is kept.

use std::collections::VecDeque;
use std::sync::Mutex;

use fruitjob_interface::Event;

use crate::logs::Stream;
use crate::run::Reporter;

/// Lines of stderr that are remembered for an explanation.
const REMEMBERED: usize = 20;

/// What a step has said so far.
#[derive(Default)]
pub struct Transcript(Mutex<StepOutput>);

/// What may explain a step's failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepOutput {
    /// The job's own last word: message and exit code.
    pub failure: Option<(String, i32)>,
    /// The last lines of stderr, without those that Spark writes about its own doings.
    pub stderr: VecDeque<String>,
}

impl Transcript {
    /// One line of the step; `true` after the last event.
    pub fn hear(&self, stream: Stream, line: &str, reporter: &dyn Reporter) -> bool {
        match (stream, serde_json::from_str::<Event>(line)) {
            (Stream::Out, Ok(event)) => {
                reporter.event(&event, line);
                if let Event::Failed { message, exit_code } = &event {
                    self.output().failure = Some((message.clone(), *exit_code));
                }
                return matches!(event, Event::Finished { .. } | Event::Failed { .. });
            }
            // What Spark has to say of its own doings is in the logs.
            (Stream::Err, _) if line.contains(" INFO ") => {}
            (Stream::Out, Err(_)) => reporter.output(stream, line),
            (Stream::Err, _) => {
                reporter.output(stream, line);
                let stderr = &mut self.output().stderr;
                stderr.push_back(line.to_owned());
                if stderr.len() > REMEMBERED {
                    stderr.pop_front();
                }
            }
        }
        false
    }

    /// What may explain a failure, so far.
    pub fn so_far(&self) -> StepOutput {
        self.output().clone()
    }

    fn output(&self) -> std::sync::MutexGuard<'_, StepOutput> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Change;

    /// Counts what it hears.
    #[derive(Default)]
    struct Ears(Mutex<Vec<String>>);

    impl Ears {
        fn heard(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }
    }

    impl Reporter for Ears {
        fn state(&self, _: &str, _: &str) {}
        fn done(&self, _: &str) {}
        fn change(&self, _: &Change, _: Result<(), &str>) {}
        fn clear(&self) {}
        fn note(&self, _: &str) {}
        fn warn(&self, _: &str) {}
        fn event(&self, _: &Event, line: &str) {
            self.heard(&format!("event {line}"));
        }
        fn output(&self, stream: Stream, line: &str) {
            self.heard(&format!("{} {line}", stream.file()));
        }
    }

    #[test]
    fn the_failure_is_the_last_event() {
        let (transcript, ears) = (Transcript::default(), Ears::default());
        let failed = r#"{"event":"failed","message":"no image","exit_code":2}"#;
        assert!(!transcript.hear(Stream::Out, "hello", &ears));
        assert!(!transcript.hear(Stream::Out, r#"{"event":"warning","message":"w"}"#, &ears));
        assert!(transcript.hear(Stream::Out, failed, &ears));
        assert_eq!(transcript.so_far().failure, Some(("no image".into(), 2)));
        assert_eq!(ears.0.lock().unwrap().len(), 3);
    }

    #[test]
    fn an_event_on_stderr_is_a_line_like_others() {
        let (transcript, ears) = (Transcript::default(), Ears::default());
        let line = r#"{"event":"failed","message":"no image","exit_code":2}"#;
        assert!(!transcript.hear(Stream::Err, line, &ears));
        assert_eq!(transcript.so_far(), StepOutput { failure: None, stderr: [line.to_owned()].into() });
    }

    #[test]
    fn the_end_of_stderr_is_kept_without_sparks_own() {
        let (transcript, ears) = (Transcript::default(), Ears::default());
        for n in 0..REMEMBERED + 5 {
            transcript.hear(Stream::Err, &format!("line {n}"), &ears);
            transcript.hear(Stream::Err, "26/11/27 01:00:00 INFO SparkContext: on its way", &ears);
        }
        let kept = transcript.so_far().stderr;
        assert_eq!((kept.len(), kept.front().unwrap().as_str()), (REMEMBERED, "line 5"));
        assert_eq!(ears.0.lock().unwrap().len(), REMEMBERED + 5);
    }
}
