//! What GitHub shows of a job: its page, and annotations beside it. Nothing anywhere else.
//!
//! Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.

use std::fs::OpenOptions;
use std::io::Write;

use fruitjob_interface::printable;

use super::{edge, note};

/// Adds to the job's page.
pub fn page(markdown: &str) {
    let Some(file) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) else { return };
    let added = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut page| writeln!(page, "{}", printable(markdown)));
    if let Err(e) = added {
        note(&format!("the job's page could not be written: {e}"));
    }
}

/// An annotation: `error`, `warning` or `notice`. On stderr: stdout may be somebody's JSON.
pub fn annotate(kind: &str, title: &str, text: &str) {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|on| on == "true") {
        let _ = writeln!(anstream::stderr(), "{}", annotation(kind, title, text));
    }
}

fn annotation(kind: &str, title: &str, text: &str) -> String {
    let data = |text: &str| edge(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{}", data(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line() {
        assert_eq!(
            annotation("error", "a: b, c", "100 % lost\n  next: up"),
            "::error title=a%3A b%2C c::100 %25 lost%0A  next: up"
        );
    }
}
