//! Follows files that grow on a node, byte by byte, over connections that break.
//!
//! What counts is the number of bytes that have arrived: a new connection asks for what comes after them, and so does
//! whoever takes over when there is no connection to be had.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ssh2::Session;
use tracing::{debug, info};

use super::{Target, Trouble, output, quote};
use crate::clock;

/// What a tail says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The next bytes of the file.
    Bytes(Vec<u8>),
    /// All that the file had when it was told to end has arrived.
    Done,
    /// There will be no more from here, and why.
    Lost(Trouble),
}

/// Hears a tail, and holds it up while there is too much to hear; false where nobody listens any more.
pub type Say<'a> = &'a dyn Fn(Said) -> bool;

/// Told to a tail while it runs.
#[derive(Debug, Default)]
pub struct Control {
    /// The file grows no more: end when all of it is here.
    pub ending: AtomicBool,
    /// Stop now.
    pub stop: AtomicBool,
}

/// Seconds for which a node that answered before may be away.
const PATIENCE: f64 = 60.0;

/// Follows `path` from byte `offset` on, until told to end or lost. Blocks; one thread and one session each, for a
/// session that two threads share is held by the one that reads.
pub fn follow(target: &Target, path: &str, mut offset: u64, control: &Arc<Control>, say: Say<'_>) {
    let mut lost_since: Option<Instant> = None;
    loop {
        let trouble = match target.connect() {
            Ok(session) => {
                debug!(host = target.host, path, offset, "tail connected");
                let (before, since) = (offset, Instant::now());
                match read(&session, path, &mut offset, control, say) {
                    Ok(()) => {
                        say(Said::Done);
                        return;
                    }
                    Err(trouble) => {
                        // It was there: patience begins anew. One that lets us in and throws us out was not.
                        if offset > before || since.elapsed() > clock::paced(5.0) {
                            lost_since = None;
                        }
                        trouble
                    }
                }
            }
            Err(trouble) => trouble,
        };
        let give_up = matches!(trouble, Trouble::WrongHostKey(_))
            || lost_since.get_or_insert_with(Instant::now).elapsed() > clock::paced(PATIENCE);
        let stopped = control.stop.load(Ordering::SeqCst);
        info!(host = target.host, path, offset, %trouble, give_up, stopped, "tail interrupted");
        if give_up || stopped {
            say(Said::Lost(trouble));
            return;
        }
        std::thread::sleep(clock::paced(2.0).max(Duration::from_millis(20)));
    }
}

/// Milliseconds after which a read without bytes is the moment to look around.
fn look_around() -> u32 {
    clock::paced(0.5).as_millis().max(20) as u32
}

/// Reads over one connection; `Ok` when told to end and all is here.
fn read(
    session: &Session,
    path: &str,
    offset: &mut u64,
    control: &Control,
    say: Say<'_>,
) -> Result<(), Trouble> {
    let path = quote(path);
    let mut channel = session.channel_session()?;
    // Logs are root's on EMR. --retry and -F: it may not be there yet, and may be moved away.
    channel.exec(&format!("exec sudo tail -c +{} -F {path} 2>/dev/null", *offset + 1))?;
    session.set_timeout(look_around());
    let mut buffer = vec![0; 64 << 10];
    let mut quiet = Instant::now();
    loop {
        match channel.read(&mut buffer) {
            Ok(0) => return Err(Trouble::Broken("the tail ended".into())),
            Ok(n) => {
                *offset += n as u64;
                quiet = Instant::now();
                if !say(Said::Bytes(buffer[..n].to_vec())) {
                    return Ok(());
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                if control.stop.load(Ordering::SeqCst) {
                    return Err(Trouble::Broken("told to stop".into()));
                }
                session.keepalive_send()?;
                if control.ending.load(Ordering::SeqCst) {
                    session.set_timeout(10_000);
                    let size = output(session, &format!("sudo stat -c %s {path}"))?;
                    session.set_timeout(look_around());
                    if size.trim().parse::<u64>().is_ok_and(|size| size <= *offset) {
                        return Ok(());
                    }
                }
                // A peer that is gone without a word is only found by asking.
                if quiet.elapsed() > Duration::from_secs(30) {
                    session.set_timeout(10_000);
                    output(session, "true")?;
                    session.set_timeout(look_around());
                    quiet = Instant::now();
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}
