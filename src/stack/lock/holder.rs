//! Whose a lock is, and whether anybody is still behind it.

use serde::{Deserialize, Serialize};

use super::LEASE;
use crate::clock;

/// Seconds by which two clocks may differ: S3 refuses whoever is more than a quarter of an hour off. A lock that has
/// expired for longer is nobody's, and need not be watched.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, RequestTimeTooSkewed.
const SKEW: i64 = 1800;

/// What turns words around on a terminal.
const BIDI: &[char] = &[
    '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

/// Whose a lock is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Drawn for each attempt: how one knows one's own. Empty where it cannot be read.
    pub id: String,
    /// User, host and process, for people.
    pub owner: String,
    /// What they do: `up`, `down`.
    pub doing: String,
    /// Seconds since 1970.
    pub since: i64,
    /// After this, nobody holds it, by its holder's clock.
    pub expires: i64,
    /// The machine's run and its process names, where there are such things.
    machine: Option<String>,
    /// The process there, and when it was started.
    process: Option<(u32, String)>,
}

impl Holder {
    pub(super) fn me(doing: &str) -> Holder {
        let var = |name| std::env::var(name).unwrap_or_default();
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_else(|_| var("HOSTNAME"));
        let (user, pid) = (var("USER"), std::process::id());
        Holder {
            id: format!("{:016x}", fastrand::u64(..)),
            owner: format!(
                "{}@{} (process {pid})",
                if user.is_empty() { "somebody" } else { &user },
                host.trim()
            ),
            doing: doing.to_owned(),
            since: clock::now(),
            expires: clock::now() + LEASE,
            machine: machine(),
            process: started(pid).map(|at| (pid, at)),
        }
    }

    /// What stands in place of a holder whose lock was taken away: dead from the beginning.
    pub(super) fn nobody(instead_of: &Holder) -> Holder {
        Holder { id: String::new(), expires: 0, machine: None, process: None, ..instead_of.clone() }
    }

    /// Somebody's on another machine.
    #[cfg(test)]
    pub(super) fn elsewhere() -> Holder {
        Holder {
            owner: "ana@elsewhere".into(),
            machine: Some("another".into()),
            process: None,
            ..Holder::me("up")
        }
    }

    /// What cannot be read was written by another version; it is waited for as long as a lock can live.
    pub(super) fn parse(body: &[u8]) -> Holder {
        let read = serde_json::from_slice(body).map(|mut holder: Holder| {
            // Whoever may write to the bucket has a say here: it is printed, and an id is typed.
            for words in [&mut holder.owner, &mut holder.doing] {
                *words = words.chars().filter(|c| !c.is_control() && !BIDI.contains(c)).take(200).collect();
            }
            if !holder.id.chars().all(|c| c.is_ascii_hexdigit()) {
                holder.id.clear();
            }
            holder
        });
        read.unwrap_or_else(|_| Holder {
            id: String::new(),
            owner: "another version of fruitctl".into(),
            doing: "something".into(),
            since: clock::now(),
            expires: clock::now() + LEASE,
            machine: None,
            process: None,
        })
    }

    /// Whether nobody stands behind it any more.
    pub(super) fn is_dead(&self) -> bool {
        if self.expires.saturating_add(SKEW) <= clock::now() {
            return true;
        }
        match &self.process {
            Some((pid, at)) => {
                self.machine.is_some() && self.machine == machine() && started(*pid).as_ref() != Some(at)
            }
            None => false,
        }
    }
}

/// This boot of this machine, and this set of process numbers (a container has its own).
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let pids = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), pids.display()))
}

/// When a process was started, in ticks since boot: its number alone may be somebody else's by now.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_holder_lives_while_its_process_does() {
        let me = Holder::me("up");
        assert!(!me.is_dead());
        assert!(Holder { expires: clock::now() - SKEW - 1, ..me.clone() }.is_dead());
        // Perhaps its clock is behind ours.
        assert!(!Holder { expires: clock::now() - 1, ..me.clone() }.is_dead());
        let (pid, _) = me.process.clone().unwrap();
        // Another process of our number, or none.
        assert!(Holder { process: Some((pid, "1".into())), ..me.clone() }.is_dead());
        assert!(Holder { process: Some((u32::MAX, "1".into())), ..me.clone() }.is_dead());
        // Elsewhere, nothing can be said of a process.
        assert!(
            !Holder { machine: Some("another".into()), process: Some((pid, "1".into())), ..me }.is_dead()
        );
    }
    proptest! {
        /// Whatever lies there: somebody's, until the time is over for which a lock can live.
        #[test]
        fn a_damaged_lock_is_somebodys(body: Vec<u8>) {
            prop_assert!(!Holder::parse(&body).is_dead());
        }

        #[test]
        fn a_lock_of_elsewhere_is_dead_when_its_time_is_long_over(since: i64, expires: i64) {
            let body = json!({
                "id": "1", "owner": "ana@elsewhere", "doing": "up", "since": since, "expires": expires,
                "machine": "another", "process": [7, "1"],
            });
            let holder = Holder::parse(body.to_string().as_bytes());
            prop_assert_eq!(holder.expires, expires);
            prop_assert_eq!(holder.is_dead(), expires < clock::now() - SKEW);
        }
    }
}
