//! One stream of a step on its way here, cut into lines: every byte arrives once, whoever brings it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::logs::Stream;
use crate::ssh::tail::Control;

/// Who hears lines; `true`: that was the last one.
pub type Sink<'a> = &'a (dyn Fn(Stream, &str) -> bool + Sync);

/// Where a stream's bytes come from.
pub enum Source {
    /// Nothing has begun.
    None,
    /// A tail, which listens to control.
    Ssh(Arc<Control>),
    Bucket,
    /// All is here.
    Done,
}

/// One stream on its way.
pub struct Feed {
    pub stream: Stream,
    /// Where its bytes come from now.
    pub source: Source,
    /// Bytes that have arrived.
    pub offset: u64,
    /// The beginning of a line that has not ended.
    partial: Vec<u8>,
}

impl Drop for Feed {
    /// Whoever watched is gone: its tail need not look for the node any more.
    fn drop(&mut self) {
        if let Source::Ssh(control) = &self.source {
            control.stop.store(true, Ordering::SeqCst);
        }
    }
}

impl Feed {
    /// One of which nothing has arrived.
    pub fn new(stream: Stream) -> Feed {
        Feed { stream, source: Source::None, offset: 0, partial: Vec::new() }
    }

    /// Bytes that have arrived: whole lines go to `sink`.
    pub fn take(&mut self, bytes: &[u8], sink: Sink<'_>) {
        self.offset += bytes.len() as u64;
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            if sink(self.stream, String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])) {
                self.finish(sink);
            }
        }
    }

    /// What is left is a line too.
    pub fn finish(&mut self, sink: Sink<'_>) {
        if let Source::Ssh(control) = &self.source {
            control.stop.store(true, Ordering::SeqCst);
        }
        self.source = Source::Done;
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            sink(self.stream, String::from_utf8_lossy(&line).trim_end_matches('\r'));
        }
    }

    /// Whether nothing more is to come.
    pub fn is_done(&self) -> bool {
        matches!(self.source, Source::Done)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every line once, in order, however it is cut on its way; bytes that are no text too.
        #[test]
        fn lines_arrive_once_however_they_are_cut(
            lines in vec(vec(prop_oneof![any::<u8>(), Just(b'\r')], 0..9), 0..9),
            ends: bool,
            cuts in vec(1..9usize, 1..99),
        ) {
            let without_end = |line: &Vec<u8>| line.iter().copied().filter(|b| *b != b'\n').collect::<Vec<_>>();
            let mut text: Vec<u8> = lines.iter().flat_map(|line| [without_end(line), b"\n".to_vec()].concat()).collect();
            if !ends {
                text.pop();
            }
            let heard = Mutex::new(Vec::new());
            let sink = |_: Stream, line: &str| {
                heard.lock().unwrap().push(line.to_owned());
                false
            };
            let mut feed = Feed::new(Stream::Out);
            let (mut rest, mut cuts) = (&text[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                feed.take(piece, &sink);
                rest = after;
            }
            feed.finish(&sink);
            let whole = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<_> = whole.lines().map(|line| line.trim_end_matches('\r')).collect();
            prop_assert_eq!(&*heard.lock().unwrap(), &lines);
            prop_assert_eq!(feed.offset, text.len() as u64);
        }
    }
}
