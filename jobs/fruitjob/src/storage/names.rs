//! Keys that the stores' client cannot take for paths: it would refuse the whole page of a listing for one of them.
//!
//! The client reads a listing after this has: in the page, such a key is replaced by one that the client accepts,
//! and [`listed`] gives the key back. A key that can be read nevertheless is read under its own name.

use std::borrow::Cow;

use bytes::Bytes;
use object_store::path::Path as Key;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Begins what stands for a key; a character for private use. A key in which it occurs is replaced as well.
const MARK: char = '\u{E0F1}';

/// The elements of a listing that hold a key: of S3 and Google's storage, of Azure's, and of Azure's where XML cannot
/// hold the name (<https://learn.microsoft.com/rest/api/storageservices/list-blobs#response-body>).
const ELEMENTS: [(&str, &str, bool); 3] =
    [("<Key>", "</Key>", false), ("<Name>", "</Name>", false), ("<Name Encoded=\"true\">", "</Name>", true)];

/// A page of a listing in which each key is one that the client accepts.
pub(super) fn replaced(page: Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(&page) else { return page };
    let mut out = String::new();
    let mut rest = text;
    while let Some((start, content, end)) = next_key(rest) {
        out.push_str(&rest[..start]);
        out.push_str(&content);
        rest = &rest[end..];
    }
    if out.is_empty() {
        return page;
    }
    out.push_str(rest);
    out.into()
}

/// The next element with a key that has to be replaced: where it starts and ends, and what to put there.
fn next_key(text: &str) -> Option<(usize, String, usize)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find('<')?;
        from = start + 1;
        let found = ELEMENTS.iter().find(|(open, ..)| text[start..].starts_with(open));
        let Some((open, close, encoded)) = found else { continue };
        let begin = start + open.len();
        let length = text[begin..].find(close)?;
        let end = begin + length + close.len();
        from = end;
        let mut key = unescape(&text[begin..begin + length]);
        if *encoded {
            key = Cow::Owned(percent_decode_str(&key).decode_utf8_lossy().into_owned());
        }
        if *encoded || !is_plain(&key) {
            let (open, close) = (&ELEMENTS[usize::from(close.contains("Name"))].0, close);
            let content = format!("{open}{MARK}{}{close}", utf8_percent_encode(&key, NON_ALPHANUMERIC));
            return Some((start, content, end));
        }
    }
}

/// Whether the client, and the XML before it, leave a key as it is.
fn is_plain(key: &str) -> bool {
    key.trim() == key && !key.contains(MARK) && is_path(key)
}

fn is_path(key: &str) -> bool {
    Key::parse(key).is_ok_and(|path| path.as_ref() == key)
}

/// An element's text with its references resolved, also those to characters that XML does not allow.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let character = rest.split_once(';').and_then(|(name, after)| Some((reference(name)?, after)));
        match character {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// The key that the store has, of one that the client listed.
pub(super) fn listed(key: &Key) -> Cow<'_, str> {
    match key.as_ref().strip_prefix(MARK) {
        Some(encoded) => percent_decode_str(encoded).decode_utf8_lossy(),
        None => Cow::Borrowed(key.as_ref()),
    }
}

/// Whether the client listed something else in place of a key.
pub(super) fn is_replaced(key: &Key) -> bool {
    key.as_ref().starts_with(MARK)
}

/// Why a key cannot be read; `None` where it can.
pub(super) fn problem(key: &str) -> Option<String> {
    if is_path(key) {
        return None;
    }
    let segment = |wanted: &[&str]| key.split('/').any(|segment| wanted.contains(&segment));
    let what = match () {
        () if key.chars().any(|c| c.is_ascii_control()) => "a control character",
        () if segment(&[".", ".."]) => "a part that is '.' or '..'",
        () if key.ends_with('/') => "a '/' at its end",
        () => "a part that is empty ('//', or '/' at its beginning)",
    };
    Some(format!("key with {what}: it cannot be read; rename the object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client makes of a listing: its keys, as they are given back.
    fn through(keys: &[&str], element: &str) -> Vec<String> {
        let escape = |key: &str| key.replace('&', "&amp;").replace('<', "&lt;").replace('\x07', "&#x7;");
        let page: String =
            keys.iter().map(|key| format!("<{element}>{}</{element}>\n", escape(key))).collect();
        let page = replaced(page.into());
        let text = std::str::from_utf8(&page).unwrap();
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let keys =
            text.split(&open).skip(1).map(|rest| unescape(rest.split_once(&close).unwrap().0).into_owned());
        keys.map(|key| {
            assert_eq!(key.trim(), key, "XML may drop what is around it");
            listed(&Key::parse(&key).unwrap()).into_owned()
        })
        .collect()
    }

    #[test]
    fn every_key_survives_a_listing() {
        let keys = [
            "a/b.jpg",
            "a//b.jpg",
            "/a.jpg",
            "a/./b.jpg",
            "a/../b.jpg",
            "a/\x07.jpg",
            "a\n/b.jpg",
            " a.jpg",
            "a/",
            "//",
            "a/b.jpg ",
            "\u{E0F1}a%20.jpg",
            "a/100%.jpg",
            "a&b<c.jpg",
            "&amp;/\u{FFFF}.jpg",
            "é🍎/\u{7F}.png",
        ];
        for element in ["Key", "Name"] {
            assert_eq!(through(&keys, element), keys);
        }
    }

    #[test]
    fn a_page_of_plain_keys_is_left_alone() {
        let page =
            Bytes::from_static(b"<R><Name>bucket</Name><Contents><Key>a&amp;b/c d.jpg</Key></Contents></R>");
        assert_eq!(replaced(page.clone()), page);
        let cut = Bytes::from_static(b"<R><Key>a//b");
        assert_eq!(replaced(cut.clone()), cut);
        let other = Bytes::from_static(b"\xFF<Key>a//b</Key>");
        assert_eq!(replaced(other.clone()), other);
    }

    #[test]
    fn names_that_azure_encodes_are_decoded() {
        let page =
            replaced(Bytes::from_static(b"<Name Encoded=\"true\">a%EF%BF%BF.jpg</Name><Size>1</Size>"));
        let text = std::str::from_utf8(&page).unwrap();
        let key = text.strip_prefix("<Name>").unwrap().strip_suffix("</Name><Size>1</Size>").unwrap();
        assert_eq!(listed(&Key::parse(key).unwrap()), "a\u{FFFF}.jpg");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (key, word) in [
            ("a//b", "'//'"),
            ("/a", "at its beginning"),
            ("a/", "at its end"),
            ("a/./b", "'..'"),
            ("../b", "'..'"),
            ("a\n", "control character"),
        ] {
            assert!(problem(key).unwrap().contains(word), "{key:?}: {:?}", problem(key));
        }
        assert_eq!(problem(" a/\u{E0F1}b%2F.jpg "), None);
    }
}
