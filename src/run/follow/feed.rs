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
    /// The ETag of the log in the bucket that was read last.
    pub seen: Option<String>,
    /// The beginning of a line that has not ended: at most [`longest`] bytes.
    partial: Vec<u8>,
    /// Bytes of that line that were left out.
    left_out: u64,
}

/// Bytes of a line that are taken. The last event names all parts of the results: half a megabyte for a million images
/// (docs/explanation/scale.md). No line of words is so long.
const fn longest(stream: Stream) -> usize {
    match stream {
        Stream::Out => 64 << 20,
        Stream::Err => 1 << 20,
    }
}

/// Passes on a line without its end.
fn say(stream: Stream, line: &[u8], left_out: u64, sink: Sink<'_>) -> bool {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    match left_out {
        0 => sink(stream, line),
        left_out => sink(stream, &format!("{line} [and {left_out} bytes more]")),
    }
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
        Feed { stream, source: Source::None, offset: 0, seen: None, partial: Vec::new(), left_out: 0 }
    }

    /// Bytes that have arrived: whole lines go to `sink`. In time that grows with the bytes, and memory that does not grow
    /// with lines.
    pub fn take(&mut self, mut bytes: &[u8], sink: Sink<'_>) {
        self.offset += bytes.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            let is_last = if self.partial.is_empty() && line.len() <= longest(self.stream) {
                say(self.stream, line, 0, sink)
            } else {
                self.keep(line);
                self.say_partial(sink)
            };
            if is_last {
                self.finish(sink);
            }
        }
        self.keep(bytes);
    }

    /// Keeps the next bytes of a line, as many as are shown of one.
    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(longest(self.stream) - self.partial.len());
        self.partial.extend_from_slice(&bytes[..kept]);
        self.left_out += (bytes.len() - kept) as u64;
    }

    /// The line that has begun, as it is now.
    fn say_partial(&mut self, sink: Sink<'_>) -> bool {
        let (line, left_out) = (std::mem::take(&mut self.partial), std::mem::take(&mut self.left_out));
        say(self.stream, &line, left_out, sink)
    }

    /// What is left is a line too.
    pub fn finish(&mut self, sink: Sink<'_>) {
        if let Source::Ssh(control) = &self.source {
            control.stop.store(true, Ordering::SeqCst);
        }
        self.source = Source::Done;
        if !self.partial.is_empty() {
            self.say_partial(sink);
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

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let heard = Mutex::new(Vec::new());
        let sink = |_: Stream, line: &str| {
            heard.lock().unwrap().push(line.to_owned());
            false
        };
        const LONGEST: usize = longest(Stream::Err);
        let mut feed = Feed::new(Stream::Err);
        for _ in 0..30 {
            feed.take(&[b'x'; LONGEST], &sink);
            assert!(feed.partial.capacity() <= 2 * LONGEST);
        }
        feed.take(b"\nshort\n", &sink);
        let heard = heard.lock().unwrap();
        assert!(heard[0].ends_with(&format!("x [and {} bytes more]", 29 * LONGEST)) && heard[1] == "short");
        assert_eq!(feed.offset, 30 * LONGEST as u64 + 7);
    }

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
