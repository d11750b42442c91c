//! One image of a listing, as the [manifest](super::manifest) keeps it.

use std::sync::Arc;

/// One image of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the input, with `/` between folders.
    pub path: String,
    /// Name of the folder that holds the image.
    pub label: Arc<str>,
    /// Size in bytes.
    pub size: u64,
    /// What changes when the content does: the ETag in an object store, size and modification time in a
    /// directory.
    pub tag: String,
    /// Why the image will be rejected without being read, when the listing already tells.
    pub problem: Option<String>,
}

/// A label, shared with the entry before where that has the same: a folder's images come one after another.
pub(crate) fn share(last: &mut Arc<str>, label: &str) -> Arc<str> {
    if **last != *label {
        *last = Arc::from(label);
    }
    last.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_held_once_while_it_stays_the_same() {
        let mut last = Arc::from("");
        let first = share(&mut last, "Apple");
        assert!(Arc::ptr_eq(&first, &share(&mut last, "Apple")));
        let other = share(&mut last, "Pear");
        assert_eq!((&*first, &*other, &*last), ("Apple", "Pear", "Pear"));
    }
}
