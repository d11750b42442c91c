//! Who hears how a run goes. The run knows nothing of terminals; `ui` implements this.

use fruitjob_interface::Event;

use crate::logs::Stream;
use crate::stack::Change;

/// Hears how a run goes, while it goes.
pub trait Reporter: Sync {
    /// A part of the work is in a state; the same one may be told many times.
    fn state(&self, what: &str, state: &str);

    /// A part of the work is done.
    fn done(&self, what: &str);

    /// A change of the plan is in a state; `Ok` when it is done.
    fn change(&self, change: &Change, state: Result<(), &str>);

    /// What was being worked on is no news any more.
    fn clear(&self);

    /// Something that should be known.
    fn note(&self, text: &str);

    /// Something that is not as it should be, and does not stop the run.
    fn warn(&self, text: &str);

    /// An event of the job, and the line of JSON that it came as.
    fn event(&self, event: &Event, line: &str);

    /// A line of the step that is no event.
    fn output(&self, stream: Stream, line: &str);
}
