//! The pages of `docs/reference` that are lists, written from the code that they list. For tests alone.

mod commands;
mod config;
mod events;
mod failures;

use std::path::Path;

use serde_json::Value;

use crate::cli::SchemaOf;
use crate::commands::schema;

/// The columns of a page that is not a table.
const WIDTH: usize = 100;

/// What is committed is what the code says; with `FRUITCTL_REFERENCE=write`, it is made so.
#[test]
fn the_reference_is_as_the_code_says() {
    let json = |of| serde_json::to_string_pretty(&schema(of)).unwrap() + "\n";
    let files = [
        ("reference/commands.md", commands::page()),
        ("reference/config.md", config::page()),
        ("reference/events.md", events::page()),
        ("reference/failures.md", failures::page()),
        ("schema/config-1.json", json(SchemaOf::Config)),
        ("schema/events-2.json", json(SchemaOf::Events)),
        ("schema/run-summary-2.json", json(SchemaOf::RunSummary)),
    ];
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let write = std::env::var_os("FRUITCTL_REFERENCE").is_some_and(|what| what == "write");
    let mut stale = Vec::new();
    for (name, text) in files {
        if write {
            std::fs::write(docs.join(name), &text).unwrap();
        } else if std::fs::read_to_string(docs.join(name)).ok() != Some(text) {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "docs/{} are not what the code says; type: just reference (or FRUITCTL_REFERENCE=write cargo test -p fruitctl reference)",
        stale.join(", docs/")
    );
}

/// The beginning of a page.
fn head(title: &str, from: &str, text: &str) -> String {
    format!("<!-- Written by 'just reference' from {from}. -->\n\n# {title}\n\n{}", wrap(text))
}

/// A paragraph, in lines of at most so many columns. A piece of code is not broken.
fn wrap(text: &str) -> String {
    let (mut lines, mut line, mut in_code) = (Vec::new(), String::new(), false);
    let mut word = String::new();
    for piece in text.split_whitespace() {
        word += if word.is_empty() { "" } else { " " };
        word += piece;
        in_code ^= piece.matches('`').count() % 2 == 1;
        if in_code {
            continue;
        }
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        line += if line.is_empty() { "" } else { " " };
        line += &std::mem::take(&mut word);
    }
    lines.push(line);
    lines.join("\n") + "\n"
}

/// A table; nothing, where it has no rows.
fn table<const N: usize>(columns: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let cell = |text: &String| text.replace('|', "\\|").replace('\n', " ");
    let body: String = rows.iter().map(|cells| row(cells.iter().map(cell).collect())).collect();
    format!("{}|{}\n{body}", row(columns.map(str::to_owned).to_vec()), "---|".repeat(N))
}

/// A description, as a sentence, and what it says of the default: `[default: ...]`.
fn split_default(text: &str) -> (String, Option<String>) {
    let text = text.replace('\n', " ");
    let (words, default) = match text.split_once(" [default: ") {
        Some((words, rest)) => {
            let end = rest.rfind(']').expect("a default ends with its bracket");
            (format!("{words}{}", &rest[end + 1..]), Some(rest[..end].to_owned()))
        }
        None => (text, None),
    };
    (words.trim_end_matches('.').to_owned(), default)
}

/// Words of an enumeration, with what they mean.
fn choices<'a>(words: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let word = |(word, help): (&str, Option<&str>)| match help {
        Some(help) => format!("`{word}` ({})", help.replace('\n', " ").trim_end_matches('.')),
        None => format!("`{word}`"),
    };
    words.map(word).collect::<Vec<_>>().join(", ")
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}
