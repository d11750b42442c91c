//! Text that others wrote, as it may be printed: names of files, labels, what a node says, messages of servers. A terminal
//! obeys control characters: it moves the cursor, copies to the clipboard, renames its window; and some characters turn
//! the order of those around them.

use std::borrow::Cow;

/// The same text, with what acts written as `\u001b`: an escape that JSON has too, so that JSON stays JSON. Lines stay
/// lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// The same of a name, which is on one line.
pub fn printable_name(name: &str) -> Cow<'_, str> {
    escape(name, acts)
}

/// Sources: <https://www.unicode.org/reports/tr9/> (bidirectional formatting), <https://trojansource.codes/>; U+2028 and
/// U+2029 end lines.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn escape(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' if acts(c) => escaped.push_str("\\n"),
            '\r' if acts(c) => escaped.push_str("\\r"),
            // All of them are of one unit of UTF-16.
            c if acts(c) => escaped.push_str(&format!("\\u{:04x}", c as u32)),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out() {
        assert_eq!(printable_name("Äpfel \\ 🍎/a b.jpg"), "Äpfel \\ 🍎/a b.jpg");
        assert_eq!(printable_name("a\n\u{1b}[31m\u{202e}gpj\u{9b}"), "a\\n\\u001b[31m\\u202egpj\\u009b");
        assert_eq!(printable("a\r\n\t\u{7}b"), "a\\r\n\t\\u0007b");
        // A clipboard, and a window's title.
        assert_eq!(printable("\u{1b}]52;c;eA==\u{7}"), "\\u001b]52;c;eA==\\u0007");
    }

    #[test]
    fn json_stays_json() {
        let text = serde_json::to_string(&["\u{202e}\u{9b}\u{7f} é"]).unwrap();
        let escaped = printable(&text);
        assert!(!escaped.contains(['\u{202e}', '\u{9b}', '\u{7f}']));
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), ["\u{202e}\u{9b}\u{7f} é"]);
    }
}
