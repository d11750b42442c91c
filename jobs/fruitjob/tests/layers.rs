//! Holds the order of layers: reads what each file of a crate names of the others, in `use` lines and in code, and reports
//! what does not point to the left. What is compiled for tests alone may name anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Layers from the left to the right. A unit is a folder, or a file beside the folders; those of one layer do not know
/// each other.
type Layers<'a> = &'a [&'a [&'a str]];

const FRUITJOB: Layers = &[
    &["error"],
    &["util", "cores"],
    &["storage", "image"],
    &["pca"],
    &["model"],
    &["job", "exec", "artifacts"],
    &["stages"],
    &["pipeline", "prune", "samples", "gallery"],
    &["page"],
    &["lib", "main"],
];

const INTERFACE: Layers = &[
    &["changes", "error", "layout", "model", "onnx", "page", "printable", "recognition", "spark", "stage"],
    &["location", "job", "record"],
    &["event", "prune"],
    &["lib"],
];

const FRUITCTL: Layers = &[
    &["error", "clock", "hash", "instances"],
    &["cancel", "wait", "bundle"],
    &["facts"],
    &["config"],
    &["ssh", "aws", "cli"],
    &["cost"],
    &["stack"],
    &["logs"],
    &["explain"],
    &["run"],
    &["ui"],
    &["app"],
    &["commands"],
    &["reference"],
    &["lib", "main"],
];

#[test]
fn fruitctl_is_in_layers() {
    check("../../src", FRUITCTL);
}

/// What two commands need lies to the left of them.
#[test]
fn no_command_imports_another() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    for file in sources(&root.join("commands")) {
        let module = module(file.strip_prefix(&root).expect("found below it"));
        // The folder's own file calls them all.
        if module.len() > 1 {
            let text = std::fs::read_to_string(&file).expect("readable");
            let others = names(&text, &module).into_iter().filter(|named| named.path[0] == "commands");
            let lines: Vec<_> = others.map(|named| (named.line, named.path)).collect();
            assert!(lines.is_empty(), "{}: {lines:?}", file.display());
        }
    }
}

#[test]
fn fruitjob_is_in_layers() {
    check("src", FRUITJOB);
    check("../interface/src", INTERFACE);
}

/// Panics with every arrow that does not point to the left; `root` is relative to this package.
fn check(root: &str, layers: Layers) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let report = read(&root, layers);
    println!("{}: {} arrows between folders", root.display(), report.arrows.len());
    assert!(report.faults.is_empty(), "\n{}", report.faults.join("\n"));
}

/// What the imports of a crate look like.
#[derive(Default)]
struct Report {
    /// From a unit to another.
    arrows: BTreeSet<(String, String)>,
    /// What is wrong, each with file and line.
    faults: Vec<String>,
}

/// Reads the crate whose root module lies in `root`.
fn read(root: &Path, layers: Layers) -> Report {
    let layer = |unit: &str| layers.iter().position(|units| units.contains(&unit));
    let mut report = Report::default();
    let mut units = BTreeSet::new();
    for file in sources(root) {
        let below = file.strip_prefix(root).expect("found below it");
        let module = module(below);
        let unit = module.first().cloned().unwrap_or_else(|| stem(below));
        let Some(own) = layer(&unit) else {
            report.faults.push(format!("{}: {unit} is in no layer", file.display()));
            continue;
        };
        units.insert(unit.clone());
        if module.is_empty() {
            continue; // the root: it declares everything
        }
        for named in names(&std::fs::read_to_string(&file).expect("readable"), &module) {
            let at = format!("{}:{}", file.display(), named.line);
            let path = named.path.join("::");
            let Some((other, there)) = named.path.first().and_then(|unit| Some((unit, layer(unit)?))) else {
                report.faults.push(format!("{at}: crate::{path} is of the crate's root"));
                continue;
            };
            if *other != unit {
                report.arrows.insert((unit.clone(), other.clone()));
                if there >= own {
                    report.faults.push(format!("{at}: {unit} -> {other} (crate::{path})"));
                }
            }
        }
    }
    for unit in layers.iter().flat_map(|units| units.iter()).filter(|unit| !units.contains(**unit)) {
        report.faults.push(format!("{}: there is no {unit}", root.display()));
    }
    report
}

/// Every Rust file below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    let files = entries.into_iter().flat_map(|path| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// A file's module: `a/b.rs` and `a/b/mod.rs` are `[a, b]`; `lib.rs` and `main.rs` are the root, `[]`.
fn module(below: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        below.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    module
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Something of this crate that a file names.
#[derive(Debug, PartialEq)]
struct Named {
    line: usize,
    /// From the crate's root.
    path: Vec<String>,
}

/// What the source of `module` names of its crate: paths that begin with `crate`, `super` or `self`, but for those that are
/// compiled for tests alone.
fn names(source: &str, module: &[String]) -> Vec<Named> {
    let tokens = tokens(source);
    let word = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut named = Vec::new();
    // Modules inside the file that are open, each with the number of braces that are open around it.
    let mut inner: Vec<(usize, String)> = Vec::new();
    let mut braces = 0;
    let mut i = 0;
    while i < tokens.len() {
        let mut paths = Vec::new();
        let at = i;
        match word(i) {
            "#" if word(i + 1) == "[" => {
                let end = closing(&tokens, i + 1);
                let attribute: Vec<&str> = (i..end).map(word).collect();
                let is_for_tests = ["cfg", "test"].iter().all(|word| attribute.contains(word));
                i = end + 1;
                if is_for_tests && !attribute.contains(&"not") {
                    i = behind_item(&tokens, i);
                }
                continue;
            }
            "mod" if word(i + 2) == "{" => {
                inner.push((braces, word(i + 1).to_owned()));
                i += 2;
                continue;
            }
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                inner.pop_if(|(around, _)| *around == braces);
            }
            // Not what an `impl Trait` captures.
            "use" if word(i + 1) != "<" => i = tree(&tokens, i + 1, &[], &mut paths),
            "crate" | "super" | "self" if word(i + 1) == "::" && word(i.wrapping_sub(1)) != "::" => {
                let mut path = vec![word(i).to_owned()];
                while word(i + 1) == "::" && tokens.get(i + 2).is_some_and(Token::is_word) {
                    path.push(word(i + 2).to_owned());
                    i += 2;
                }
                paths.push(path);
            }
            _ => {}
        }
        let here: Vec<String> = module.iter().chain(inner.iter().map(|(_, name)| name)).cloned().collect();
        named.extend(
            paths
                .into_iter()
                .filter_map(|path| Some(Named { line: tokens[at].line, path: absolute(&here, path)? })),
        );
        i += 1;
    }
    named
}

/// A path from the crate's root, as it is meant in the module `here`; `None` where it is of another crate, or of a module's
/// own children.
fn absolute(here: &[String], path: Vec<String>) -> Option<Vec<String>> {
    let mut from = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => here.to_vec(),
        _ => return None,
    };
    for segment in path {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(from.pop()),
            _ => from.push(segment),
        }
    }
    Some(from)
}

/// Reads the tree of a `use` from the token `i` on, each of its paths behind `before`; returns the index behind it.
fn tree(tokens: &[Token], mut i: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "::" => {
                if path.is_empty() {
                    path.push("::".to_owned()); // another crate, whatever its name
                }
            }
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token.text != "}") {
                    i = tree(tokens, i, &path, paths);
                    i += usize::from(tokens.get(i).is_some_and(|token| token.text == ","));
                }
                return i + 1;
            }
            "as" => i += 1,
            "," | "}" | ";" => break,
            word => path.push(word.to_owned()),
        }
        i += 1;
    }
    paths.push(path);
    i
}

/// The index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len()
}

/// The index behind the item that begins at `i`: behind its braces, or its semicolon.
fn behind_item(tokens: &[Token], mut i: usize) -> usize {
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "{" => return closing(tokens, i) + 1,
            ";" => return i + 1,
            "(" | "[" => i = closing(tokens, i) + 1,
            _ => i += 1,
        }
    }
    i
}

/// A word, `::`, or another sign. Comments are left out; so are literals, but for the digits of numbers.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Takes source apart.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            '\'' => char_or_lifetime(rest),
            _ if literal_prefix(rest).is_some() => literal_prefix(rest).map_or(0, |prefix| {
                let (raw, body) = (rest[..prefix].contains('r'), &rest[prefix..]);
                prefix + if raw { raw_quoted(body) } else { quoted(body) }
            }),
            _ if first.is_alphanumeric() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(Token { line, text: rest[..end].to_owned() });
                end
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
                tokens.push(Token { line, text: rest[..length].to_owned() });
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < text.len() {
        let rest = &text[i..];
        let step = match rest {
            _ if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            _ if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        i += step;
        if depth == 0 {
            break;
        }
    }
    i
}

/// Length of what stands before the quotes of a literal such as `b"x"` or `r#"x"#`, if it is one.
fn literal_prefix(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let body = text[prefix.len()..].trim_start_matches(if prefix.contains('r') { '#' } else { '"' });
    let is_literal =
        if prefix.contains('r') { body.starts_with('"') } else { body.len() < text.len() - prefix.len() };
    is_literal.then_some(prefix.len())
}

/// Length of a string from its opening quote to its closing one.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return i + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// Length of a raw string, from its first `#` or quote on.
fn raw_quoted(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len())
}

/// Length of a character in quotes, or of the quote before a lifetime's name.
fn char_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            text[escaped + 1..].find('\'').map_or(text.len(), |at| escaped + 1 + at + 1)
        }
        (Some(_), Some((close, '\''))) => close + 1,
        _ => 1,
    }
}

/// The paths that a source of the module `a::b` names.
fn named(source: &str) -> Vec<String> {
    let module = ["a".to_owned(), "b".to_owned()];
    let line = |named: &Named| format!("{}:{}", named.line, named.path.join("::"));
    names(source, &module).iter().map(line).collect()
}

#[test]
fn trees_are_read_branch_by_branch() {
    let source = "use crate::{x::{self, Y as Z, deep::*}, w};\npub(crate) use super::c::D;\nuse self::e;";
    assert_eq!(named(source), ["1:x", "1:x::Y", "1:x::deep::*", "1:w", "2:a::c::D", "3:a::b::e"]);
}

#[test]
fn other_crates_are_none_of_ours() {
    assert!(named("use std::io;\nuse ::crate_of_others::x;\nuse serde::{Serialize};").is_empty());
}

#[test]
fn paths_in_code_count_and_comments_and_texts_do_not() {
    let source = [
        "//! See [`crate::no`].",
        "fn f() -> crate::x::Y { /* crate::no /* super::no */ */ super::c::g('\"', '\\'', \"crate::no\") }",
        "const TEXTS: [&str; 2] = [r#\"super::no\"#, \"\\\"crate::no\"];",
        "fn g<'a>(t: &'a str) { crate::z::h::<crate::w>(t) }",
    ]
    .join("\n");
    assert_eq!(named(&source), ["2:x::Y", "2:a::c::g", "4:z::h", "4:w"]);
}

#[test]
fn visibility_and_receivers_are_no_paths() {
    assert!(named("pub(crate) fn f(self) { self.x(); Self::y(); }\npub(super) struct S;").is_empty());
}

#[test]
fn what_is_for_tests_may_name_anything() {
    let source = [
        "#[cfg(test)] mod tests { use crate::x; fn f() { super::super::y() } }",
        "#[cfg(test)] use crate::{z};",
        "#[cfg(all(test, unix))] #[allow(dead_code)] fn f(a: [u8; 3]) { crate::w() }",
        "#[cfg(not(test))] use crate::v;",
    ]
    .join("\n");
    assert_eq!(named(&source), ["4:v"]);
}

#[test]
fn super_climbs_out_of_modules_inside_a_file() {
    let source = "mod inner { use super::x; use super::super::y; mod more { use super::super::z; } use super::w; }\nuse super::v;";
    assert_eq!(named(source), ["1:a::b::x", "1:a::y", "1:a::b::z", "1:a::b::w", "2:a::v"]);
}

#[test]
fn files_are_modules() {
    let of = |path: &str| module(Path::new(path)).join("::");
    assert_eq!(
        ["a.rs", "a/mod.rs", "a/b.rs", "lib.rs", "main.rs", "a/main.rs"].map(of),
        ["a", "a", "a::b", "", "", "a::main"]
    );
}

#[test]
fn every_fault_is_reported_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod left; mod right; mod beside; pub use right::R;");
    write("left.rs", "\nuse crate::right::R;\n");
    write("right/mod.rs", "use crate::left;\nuse super::beside::B;\n");
    write("right/deep.rs", "use super::R;\nuse super::super::left::L;\nuse crate::R;\n");
    write("beside.rs", "");
    write("stray.rs", "");
    let report = read(folder.path(), &[&["left"], &["right", "beside"], &["gone"], &["lib"]]);
    let faults: Vec<&str> =
        report.faults.iter().map(|f| f.strip_prefix(folder.path().to_str().unwrap()).unwrap()).collect();
    assert_eq!(
        faults,
        [
            "/left.rs:2: left -> right (crate::right::R)",
            "/right/deep.rs:3: crate::R is of the crate's root",
            "/right/mod.rs:2: right -> beside (crate::beside::B)",
            "/stray.rs: stray is in no layer",
            ": there is no gone",
        ]
    );
    let arrow = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        report.arrows.into_iter().collect::<Vec<_>>(),
        [arrow("left", "right"), arrow("right", "beside"), arrow("right", "left")]
    );
}
