//! The edge: what every line passes before a terminal or a CI's log has it. Names of files, labels, what nodes say and
//! messages of AWS are others' words, and none of them may act.
//!
//! Of a terminal's sequences, those of our own styles stay, so that others' words can at most be coloured by them.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::OnceLock;

use fruitjob_interface::printable;

/// The sequences of our styles; the last ends each.
const STYLES: [&str; 6] = ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"];

/// The text as it may be printed here.
pub fn edge(text: &str) -> String {
    escape(text, in_ci())
}

/// Whether a CI reads along that takes lines of a log for commands: GitHub's and Azure's runners.
/// Sources: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>,
/// <https://learn.microsoft.com/azure/devops/pipelines/build/variables>.
fn in_ci() -> bool {
    static CI: OnceLock<bool> = OnceLock::new();
    *CI.get_or_init(|| {
        let is = |name: &str| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        is("GITHUB_ACTIONS") || is("TF_BUILD")
    })
}

fn escape(text: &str, in_ci: bool) -> String {
    let (mut escaped, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\u{1b}') {
        let (before, from) = rest.split_at(at);
        escaped.push_str(&printable(before));
        let style = STYLES.iter().find(|style| from.starts_with(**style));
        // In a log, a style could stand between the two halves of a command.
        match style {
            Some(style) if !in_ci => escaped.push_str(style),
            Some(_) => {}
            None => escaped.push_str("\\u001b"),
        }
        rest = &from[style.map_or(1, |style| style.len())..];
    }
    escaped.push_str(&printable(rest));
    if in_ci { escaped.split('\n').map(without_commands).collect::<Vec<_>>().join("\n") } else { escaped }
}

/// A line that no runner takes for a command. GitHub's takes `::` at a line's start, and like Azure's `##[` and `##vso[`
/// anywhere in it. The escapes are those of JSON, which may be in the line.
/// Sources: actions/runner src/Runner.Common/ActionCommand.cs; microsoft/azure-pipelines-agent
/// src/Microsoft.VisualStudio.Services.Agent/Command.cs.
fn without_commands(line: &str) -> Cow<'_, str> {
    let mut line = Cow::Borrowed(line);
    if let Some(rest) = line.trim_start().strip_prefix("::") {
        let blank = line.len() - rest.len() - 2;
        line = Cow::Owned(format!("{}\\u003a:{rest}", &line[..blank]));
    }
    let mut from = 0;
    while let Some(at) = line[from..].find("##").map(|at| from + at + 2) {
        let name = line[at..].len()
            - line[at..].trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '#').len();
        from = at + name;
        if line[from..].starts_with('[') {
            line = Cow::Owned(format!("{}\\u005b{}", &line[..from], &line[from + 1..]));
        }
    }
    line
}

/// A writer of whole lines that go over the edge.
pub struct Edge<W>(pub W);

impl<W: Write> Write for Edge<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(edge(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BAD, BOLD, DIM, GOOD, WARN};
    use super::*;

    #[test]
    fn our_styles_stay_and_nothing_else() {
        for style in [BAD, BOLD, DIM, GOOD, WARN] {
            let text = format!("{style}x{style:#}");
            assert_eq!(escape(&text, false), text);
            assert_eq!(escape(&text, true), "x");
        }
        assert_eq!(
            escape("\u{1b}]0;t\u{7}\u{1b}[8mx\u{1b}[2J", false),
            "\\u001b]0;t\\u0007\\u001b[8mx\\u001b[2J"
        );
    }

    #[test]
    fn no_line_is_a_command_of_a_ci() {
        for (line, shown) in [
            ("::error::x", "\\u003a:error::x"),
            ("a\n  ::set-env name=x::y", "a\n  \\u003a:set-env name=x::y"),
            ("\u{1b}[1m::add-mask::x", "\\u003a:add-mask::x"),
            ("std::io", "std::io"),
            ("##[error]x", "##\\u005berror]x"),
            ("a ##vso[task.setvariable]x", "a ##vso\\u005btask.setvariable]x"),
            ("#\u{1b}[1m#[error]x", "##\\u005berror]x"),
            ("###[error]x ##[y]", "###\\u005berror]x ##\\u005by]"),
            ("## title [1]", "## title [1]"),
        ] {
            assert_eq!(escape(line, true), shown);
        }
        assert_eq!(escape("::error::x ##[y]", false), "::error::x ##[y]");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in "(\\PC|\\pC|#|\\[|:|\n| ){0,30}", in_ci: bool) {
            let escaped = escape(&text, in_ci);
            prop_assert!(!STYLES.iter().fold(escaped.clone(), |text, style| text.replace(style, "")).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            if in_ci {
                prop_assert!(!escaped.contains("##[") && !escaped.contains("##vso["));
                prop_assert!(escaped.lines().all(|line| !line.trim_start().starts_with("::")));
            }
        }
    }
}
